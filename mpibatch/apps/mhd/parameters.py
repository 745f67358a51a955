"""What a job may set, and the cells that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import mpibatch as mb
from mpibatch.simulate import Count, Positive, Range

__all__ = ["Parameters"]

WALLS = {"tube": "outflow", "alfven": "periodic", "orszag-tang": "periodic", "blast": "outflow"}


@dataclass(frozen=True)
class Parameters:
    """What a job may set."""

    problem: Literal["tube", "alfven", "orszag-tang", "blast"] = "tube"
    shape: tuple[Count, ...] = (512,)  # cells along (z, y and) x; nothing changes along an axis of 1
    length: Positive | tuple[Positive, ...] = 1.0  # of all axes or of each
    gamma: Annotated[float, Range(above=1)] = 5 / 3  # ratio of specific heats
    walls: Literal["outflow", "periodic"] | None = None  # default: as the problem is usually posed
    amplitude: Positive = 0.1  # of Alfvén's wave, with 1 as the field along it
    start: str | None = None  # an HDF5 file with density, velocity_x, ..., pressure, magnetic_x, ..., instead
    courant: Annotated[float, Range(above=0, most=1)] = 0.4

    def __post_init__(self) -> None:
        axes = len(self.shape)
        if not 1 <= axes <= 3:
            raise mb.UsageError(f"shape = {list(self.shape)} has {axes} axes; give the cells along 1 to 3")
        if isinstance(self.length, tuple) and len(self.length) != axes:
            raise mb.UsageError(f"length = {list(self.length)} for {axes} axes; give one value for each axis")
        if not any(self.wide):
            raise mb.UsageError(f"shape = {list(self.shape)} is one cell; give 2 or more along one axis at least")
        if self.start is None and self.problem == "orszag-tang" and not all(self.wide[1:]):
            raise mb.UsageError(
                f'problem = "orszag-tang" is in the plane of y and x, and shape = {list(self.shape)}; give 2 or more '
                "cells along both"
            )
        if self.start is None and self.problem == "alfven" and self.walls == "outflow":
            raise mb.UsageError('problem = "alfven" is a wave in a periodic box; leave walls out')

    @property
    def cells(self) -> tuple[int, int, int]:
        """The cells along z, y and x. Local."""
        z, y, x = (1,) * (3 - len(self.shape)) + self.shape
        return z, y, x

    @property
    def lengths(self) -> tuple[float, ...]:
        """The length of each of them. Local."""
        given = self.length if isinstance(self.length, tuple) else (self.length,) * len(self.shape)
        return (1.0,) * (3 - len(given)) + given

    @property
    def spacing(self) -> tuple[float, ...]:
        """The cell spacing along each. Local."""
        return tuple(length / cells for length, cells in zip(self.lengths, self.cells, strict=True))

    @property
    def volume(self) -> float:
        """Of a cell. Local."""
        return math.prod(self.spacing)

    @property
    def wide(self) -> tuple[bool, ...]:
        """Whether there is more than one cell along each. Local."""
        return tuple(cells > 1 for cells in self.cells)

    @property
    def open(self) -> tuple[bool, ...]:
        """Whether each ends in walls that let all pass. Local."""
        is_open = (self.walls or WALLS[self.problem]) == "outflow"
        return tuple(is_open and is_wide for is_wide in self.wide)
