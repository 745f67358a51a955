"""Neighborhoods: to which cells a cell passes on what it holds. Pure: no MPI, no numba."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.filters._engine.arguments import whole
from mpibatch.filters._engine.footprints import numbers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Neighborhood", "Steps", "cross", "cube", "from_connectivity", "from_footprint", "resolved"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of a neighborhood as flat offsets in a padded block.

    To hold all steps: `every`; those that lead forth or back to other rows (`forth`, `back`), and those within the row
    (`right`, `left`).
    """

    every: Ints
    forth: Ints
    back: Ints
    right: Ints
    left: Ints


@dataclass(frozen=True, slots=True)
class Neighborhood:
    """Steps from a cell to its neighbors, one a row, the nearest first and else in raster order; never (0, …, 0)."""

    steps: Ints

    @property
    def reach(self) -> tuple[tuple[int, int], ...]:
        """How far a cell reads, or is read from, on either side of each axis. Local."""
        far = np.abs(self.steps).max(axis=0, initial=0)
        return tuple((int(n), int(n)) for n in far)

    @property
    def is_symmetric(self) -> bool:
        """Whether there is a way back for each step. Local."""
        return {tuple(step) for step in self.steps.tolist()} == {tuple(step) for step in (-self.steps).tolist()}

    def form(self) -> npt.NDArray[np.bool_]:
        """Return the neighbors, which are at most one cell away along each axis, as 3 cells of each. Local."""
        form = np.zeros((3,) * self.steps.shape[1], np.bool_)
        form[tuple((self.steps + 1).T)] = True
        return form

    def flat(self, shape: Sequence[int]) -> Steps:
        """Return the steps in a block of this padded shape. Local."""
        strides = np.array([math.prod(shape[axis + 1 :]) for axis in range(len(shape))], np.int64)
        flat = np.ascontiguousarray(self.steps @ strides)
        within = ~self.steps[:, :-1].any(axis=1)

        def of(chosen: npt.NDArray[np.bool_]) -> Ints:
            return np.ascontiguousarray(flat[chosen])

        return Steps(
            flat, of(~within & (flat > 0)), of(~within & (flat < 0)), of(within & (flat > 0)), of(within & (flat < 0))
        )

    def rows(self, shape: Sequence[int]) -> tuple[Ints, Ints]:
        """Return, as flat offsets, rows of which three cells are neighbors, and the other steps. Local."""
        strides = np.array([math.prod(shape[axis + 1 :]) for axis in range(len(shape))], np.int64)
        known = set(map(tuple, self.steps.tolist()))
        outer = {step[:-1] for step in known}
        whole = sorted(row for row in outer if all((*row, x) in known for x in (-1, 0, 1)))
        if len(whole) < 2:
            whole = []
        rest = [step for step in self.steps.tolist() if tuple(step[:-1]) not in whole or abs(step[-1]) > 1]
        rows = np.array([(*row, 0) for row in whole], np.int64).reshape(-1, len(shape))
        return rows @ strides, np.array(rest, np.int64).reshape(-1, len(shape)) @ strides


def _around(form: npt.NDArray[np.bool_], center: Sequence[int]) -> Neighborhood:
    steps = np.argwhere(form).astype(np.int64) - np.asarray(center, np.int64)
    steps = steps[steps.any(axis=1)]
    return Neighborhood(steps[np.argsort((steps**2).sum(axis=1), kind="stable")])


def from_connectivity(name: str, connectivity: Any, ndim: int) -> Neighborhood:
    """Return the neighbors at most `connectivity` axes away. Local."""
    number = whole(name, "connectivity", connectivity)
    if not 1 <= number <= ndim:
        raise UsageError(f"{name}: connectivity = {number} for a grid of {ndim} axes; give a number from 1 to {ndim}")
    return _around(np.abs(np.indices((3,) * ndim) - 1).sum(axis=0) <= number, (1,) * ndim)


def cross(ndim: int) -> Neighborhood:
    """Return the neighbors that share a face. Local."""
    return from_connectivity("", 1, ndim)


def cube(ndim: int) -> Neighborhood:
    """Return the neighbors that share at least a corner. Local."""
    return from_connectivity("", ndim, ndim)


def from_footprint(
    name: str, footprint: Any, ndim: int, offset: Any = None, argument: str = "footprint", sides: int | None = None
) -> Neighborhood:
    """Return the neighborhood of a footprint of 0 and 1 around its center, or around the entry at `offset`. Local.

    `sides`: the extent that it must have along each axis, if any.
    """
    given = numbers_of(name, argument, footprint)
    if given.ndim != ndim:
        raise UsageError(f"{name}: {argument} has {given.ndim} axes, and the field {ndim} grid axes; give as many")
    if not ((given == 0) | (given == 1)).all():
        raise UsageError(
            f"{name}: {argument} of dtype {given.dtype} holds more than 0 and 1; say with True and False which "
            "cells are neighbors"
        )
    if not given.size:
        raise UsageError(f"{name}: {argument} of shape {given.shape} is empty; give at least one cell")
    if sides is not None and any(n != sides for n in given.shape):
        raise UsageError(f"{name}: {argument} has the shape {given.shape}; give {sides} cells along each axis")
    if offset is None:
        if any(n % 2 == 0 for n in given.shape):
            raise UsageError(
                f"{name}: {argument} of shape {given.shape} has no center; give an odd number of cells along each axis"
            )
        return _around(given != 0, [n // 2 for n in given.shape])
    places = tuple(whole(name, "offset", n) for n in (offset if np.iterable(offset) else (offset,)))
    if len(places) != ndim or any(not 0 <= o < n for o, n in zip(places, given.shape, strict=False)):
        raise UsageError(
            f"{name}: offset = {offset!r} is no place in a {argument} of shape {given.shape}; give the index of its "
            "center"
        )
    return _around(given != 0, places)


def resolved(name: str, footprint: Any, connectivity: Any, ndim: int, sides: int | None = None) -> Neighborhood:
    """Return the neighborhood as scikit-image's `footprint` and `connectivity` name it, checked: symmetric. Local."""
    if footprint is None:
        return from_connectivity(name, ndim if connectivity is None else connectivity, ndim)
    near = from_footprint(name, footprint, ndim, sides=sides)
    if not near.is_symmetric:
        raise UsageError(
            f"{name}: footprint is not symmetric, so that a cell would be its neighbor's neighbor, and not the other "
            "way round; give one that is equal to np.flip(footprint)"
        )
    return near
