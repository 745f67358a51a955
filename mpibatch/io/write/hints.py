"""MPI-IO hints: what was measured to be good, and what the user says in ``$MPIBATCH_HINTS``."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["DEFAULTS", "VARIABLE", "hints", "info"]

VARIABLE = "MPIBATCH_HINTS"
# Ranks of a node that collect what lies scattered in the file and write it in large pieces. ROMIO's default, one,
# spends its time copying: 4 were 1.4 times as fast on 2 cores. MPI libraries ignore hints that they do not know.
DEFAULTS = {"cb_config_list": "*:4"}


def hints() -> dict[str, str]:
    """Return the hints in force: the defaults, and ``$MPIBATCH_HINTS`` such as ``cb_nodes=8;striping_unit=4194304``.

    A hint without a value takes a default back. Local.
    """
    settings = dict(DEFAULTS)
    for word in os.environ.get(VARIABLE, "").split(";"):
        name, equals, value = (part.strip() for part in word.partition("="))
        if not equals and not name:
            continue
        if not equals or not name:
            raise UsageError(f"${VARIABLE} has {word.strip()!r}; give name=value;name=value with names of MPI-IO hints")
        settings[name] = value
    return {name: value for name, value in settings.items() if value}


@contextmanager
def info(settings: Mapping[str, str]) -> Iterator[MPI.Info]:
    """Yield hints as MPI wants them. Local."""
    made = MPI.Info.Create()
    try:
        for name, value in settings.items():
            made.Set(name, value)
        yield made
    finally:
        made.Free()
