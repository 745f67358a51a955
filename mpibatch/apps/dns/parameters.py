"""What a job may set, and the cells that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.simulate import Count, NotNegative, Positive, Range

__all__ = ["Parameters"]


@dataclass(frozen=True)
class Parameters:
    """What a job may set."""

    problem: Literal["taylor-green", "turbulence", "channel"] = "taylor-green"
    shape: tuple[Count, ...] = (32, 32, 32)  # cells along (z,) y and x
    length: Positive | tuple[Positive, ...] = 2 * math.pi  # of all axes or of each; across a channel it is 2
    viscosity: NotNegative = 0.01
    peak: Positive = 3.0  # wave number, in radians, where most of the energy of random eddies is
    power: NotNegative = 0.0  # put into turbulence
    stretching: Annotated[float, Range(least=0, most=4)] = 0.0  # of a channel's cells: at the walls they are thinner
    disturbance: Literal["wave", "noise"] = "wave"  # of a channel's flow
    amplitude: NotNegative = 1e-3  # largest velocity along x of a wave, rms of noise
    keep: Literal["gradient", "flow"] = "gradient"  # what is constant in a channel
    average_from: NotNegative | None = None  # time from which a channel's profiles are averaged
    random: Annotated[int, Range(least=0)] = 1  # another number, other eddies
    start: str | None = None  # an HDF5 file with velocity_x, velocity_y, ... on their faces, instead
    shells: Annotated[int, Range(least=0)] = 0  # of wave numbers, whose energies are in the rows
    courant: Annotated[float, Range(above=0, most=1)] = 0.7  # share of the longest stable step
    dt: Positive | None = None  # instead of `courant`

    def __post_init__(self) -> None:
        axes = len(self.shape)
        if axes not in (2, 3):
            raise mb.UsageError(f"shape = {list(self.shape)} has {axes} axes; give the cells along 2 or 3")
        if min(self.shape) < 4:
            raise mb.UsageError(f"shape = {list(self.shape)}; give 4 or more cells along every axis")
        if isinstance(self.length, tuple) and len(self.length) != axes:
            raise mb.UsageError(f"length = {list(self.length)} for {axes} axes; give one value for each axis")
        if self.is_walled and isinstance(self.length, tuple) and self.length[-2] != 2:
            raise mb.UsageError(
                f"length = {list(self.length)}: a channel is 2 across, from -1 to 1; give y the length 2"
            )
        if self.is_walled and self.viscosity == 0:
            raise mb.UsageError("viscosity = 0 leaves a channel without its flow; give one above 0")
        for name, fits in (
            ("power", self.problem == "turbulence"),
            ("stretching", self.is_walled),
            ("shells", not self.is_walled),
        ):
            if getattr(self, name) and not fits:
                raise mb.UsageError(
                    f'{name} = {getattr(self, name):g} means nothing in problem = "{self.problem}"; leave it out'
                )
        if self.average_from is not None and not self.is_walled:
            raise mb.UsageError(f'average_from means nothing in problem = "{self.problem}"; leave it out')

    @property
    def is_walled(self) -> bool:
        """Whether there are walls, across the axis y. Local."""
        return self.problem == "channel"

    @property
    def lengths(self) -> tuple[float, ...]:
        """The length of every axis. Local."""
        given = self.length if isinstance(self.length, tuple) else (self.length,) * len(self.shape)
        return (*given[:-2], 2.0, given[-1]) if self.is_walled else given

    @property
    def spacing(self) -> tuple[float, ...]:
        """The mean cell spacing along every axis. Local."""
        return tuple(length / cells for length, cells in zip(self.lengths, self.shape, strict=True))

    @property
    def faces(self) -> npt.NDArray[np.float64]:
        """Where faces across y are. Local."""
        even = [2 * j / self.shape[-2] - 1 for j in range(self.shape[-2] + 1)]
        if not self.is_walled:
            return np.array(even) * self.lengths[-2] / 2
        s = self.stretching
        return np.array([math.tanh(s * y) / math.tanh(s) if s and abs(y) < 1 else y for y in even])
