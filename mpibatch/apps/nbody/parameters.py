"""What a job may set, and the mesh that follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import mpibatch as mb
from mpibatch.apps.nbody.backgrounds import Background, Expanding, Still
from mpibatch.apps.nbody.spheres import Sphere
from mpibatch.simulate import Count, NotNegative, Positive, Range

__all__ = ["MARGIN", "Parameters"]

MARGIN = 3  # cells along the faces of a box in empty space, into which no particle may come

Even = tuple[Count, ...]


@dataclass(frozen=True)
class Parameters:
    """What a job may set."""

    problem: Literal["random", "wave", "plummer"] = "random"
    shape: Even = (64, 64, 64)  # cells of the mesh along z, y and x, which are cubes
    particles: Even | None = None  # along each axis, on a lattice; as many as cells if left out
    length: Positive = 100.0  # Mpc/h, of the longest side
    expansion: bool = True  # False: a box at rest, whose unit of time is 1/√(4πGρ)
    begin: Positive = 0.02  # scale factor at the beginning; the time is what it grows from there
    omega_matter: Annotated[float, Range(above=0, most=1)] = 0.3  # the rest is a cosmological constant
    omega_baryon: NotNegative = 0.05
    hubble: Positive = 0.7  # in 100 km/s/Mpc
    temperature: Positive = 2.7255  # K, of the microwave background
    spectrum: Literal["eisenstein-hu", "bbks", "power-law"] = "eisenstein-hu"
    index: Annotated[float, Range(above=-3, most=2)] = 0.96  # of the spectrum on large scales
    sigma8: Positive = 0.8  # rms contrast in spheres of 8 Mpc/h, by linear theory at a = 1, or in a box at rest
    random: Annotated[int, Range(least=0)] = 1  # another number, other waves
    wave: tuple[int, ...] = (0, 0, 1)  # how often a plane wave fits into the box, along each axis
    crossing: Positive = 1.0  # time at which its sheets meet, counted as the scale factor is
    radius: Positive = 5.0  # of Plummer's sphere, in the unit of the length
    cloud: Literal["cic", "tsc"] = "cic"  # of a particle
    symbol: Literal["spectral", "stencil"] = "spectral"  # whose Laplacian the potential has: -k², or 7 points
    shells: Annotated[int, Range(least=0)] = 0  # of wave numbers, whose power is in the rows
    write: Literal["density", "particles", "both"] = "density"
    courant: Annotated[float, Range(above=0, most=1)] = 0.25  # share of the shortest time that anything takes
    dt: Positive | None = None  # instead of `courant`

    def __post_init__(self) -> None:
        for name, counts in (("shape", self.shape), ("particles", self.lattice)):
            if len(counts) != 3 or min(counts) < 4 or any(n % 2 for n in counts):
                raise mb.UsageError(
                    f"{name} = {list(counts)}; give three even numbers, 4 or more: of odd ones half a spectrum does "
                    "not tell how many they are"
                )
        if len(self.wave) != 3 or not any(self.wave):
            raise mb.UsageError(f"wave = {list(self.wave)}; give three whole numbers, not all of them 0")
        if any(2 * abs(w) >= n for w, n in zip(self.wave, self.lattice, strict=True)):
            raise mb.UsageError(f"wave = {list(self.wave)} is too short for {list(self.lattice)} particles; give less")
        if self.omega_baryon > self.omega_matter:
            raise mb.UsageError(
                f"omega_baryon = {self.omega_baryon:g} is part of omega_matter = {self.omega_matter:g}; give less"
            )
        if self.spectrum == "power-law" and self.index >= 1:
            raise mb.UsageError(
                f"index = {self.index:g}: a power law with 1 or more has no finite sigma8; give less, or a spectrum"
            )
        if self.problem == "wave" and self.expansion and self.crossing <= self.begin:
            raise mb.UsageError(
                f"crossing = {self.crossing:g} is before begin = {self.begin:g}; give a later one: until then is known"
            )
        if self.is_isolated:
            self._check_sphere()

    def _check_sphere(self) -> None:
        """Refuse what a sphere in empty space has not. Local. UsageError."""
        if self.expansion:
            raise mb.UsageError('problem = "plummer" is a sphere in empty space, at rest; give expansion = false')
        if self.symbol != "spectral":
            raise mb.UsageError(f'symbol = "{self.symbol}" means nothing in problem = "plummer"; leave it out')
        if self.sphere.edge < 3 * self.radius:
            raise mb.UsageError(
                f"radius = {self.radius:g}: a sphere in {list(self.shape)} cells ends {self.sphere.edge:g} from its "
                "middle, and needs three times its radius; give a smaller radius, or a longer length with more cells"
            )

    @property
    def lattice(self) -> tuple[int, ...]:
        """Particles along each axis. Local."""
        return self.shape if self.particles is None else self.particles

    @property
    def spacing(self) -> float:
        """The side of a cell. Local."""
        return self.length / max(self.shape)

    @property
    def lengths(self) -> tuple[float, ...]:
        """The sides of the box. Local."""
        return tuple(n * self.spacing for n in self.shape)

    @property
    def is_isolated(self) -> bool:
        """Whether there is nothing outside of the box, rather than what is inside again. Local."""
        return self.problem == "plummer"

    @property
    def sphere(self) -> Sphere:
        """The sphere that fits into the box, in lengths, with all its mass. Local."""
        edge = 0.6 * (min(self.shape) / 2 - MARGIN) * self.spacing  # beyond is room for those that others stir up
        return Sphere(self.radius, edge, math.prod(self.lengths) / (4 * math.pi))

    @property
    def speed_unit(self) -> float:
        """What a length times the Hubble constant is in km/s; in a box at rest 1. Local."""
        return 100.0 if self.expansion else 1.0

    def units(self, unit: str) -> dict[str, str]:
        """Return the attribute with a unit; of a box at rest, which has none, nothing. Local."""
        return {"units": unit} if self.expansion else {}

    @property
    def background(self) -> Background:
        """What the box does by itself. Local."""
        return Expanding(self.omega_matter, self.begin) if self.expansion else Still()
