"""Oracles in Python that take long: each rank computes a share, and all know everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")


def shared_out(function: Callable[[Any], T], items: Iterable[Any]) -> list[T]:
    """``[function(item) for item in items]``, of items that all ranks have. Collective."""
    world = MPI.COMM_WORLD
    every = list(items)
    shares = world.allgather([function(item) for item in every[world.rank :: world.size]])
    return [shares[n % world.size][n // world.size] for n in range(len(every))]
