"""The sphere of H. C. Plummer 1911 (doi:10.1093/mnras/71.5.460), with an edge. Pure: no MPI, no fields."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Sphere"]


@dataclass(frozen=True)
class Sphere:
    """A sphere of density ∝ (r² + radius²)^(−5/2) up to an edge, in equilibrium but for particles that would pass that.

    Attributes
    ----------
    radius : that of Plummer's formula, of which the projected one of half the mass is.
    edge : where it is cut off.
    inner : the mass within the edge, times the constant of gravity.
    """

    radius: float
    edge: float
    inner: float

    @property
    def share(self) -> float:
        """The share of the mass of the sphere without an edge that is within the edge. Local."""
        return (self.edge / math.hypot(self.edge, self.radius)) ** 3

    @property
    def mass(self) -> float:
        """The mass of the sphere without an edge, times the constant of gravity. Local."""
        return self.inner / self.share

    def potential(self, r: float) -> float:
        """Return the potential at a distance from the middle. Local."""
        if r > self.edge:
            return -self.inner / r
        # What is beyond the edge would pull in no direction, and be a constant.
        beyond = self.radius**2 / math.hypot(self.edge, self.radius) ** 3
        return -self.mass * (1 / math.hypot(r, self.radius) - beyond)
