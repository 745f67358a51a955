"""What a box does by itself: it expands, or it stays. Pure: no MPI, no fields."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Background", "Expanding", "Still"]

NODE = math.sqrt(0.6)


def integral(function: Callable[[float], float], low: float, high: float, panels: int = 32) -> float:
    """Return the integral of a smooth function, by Gauss's rule of three points in each panel. Local."""
    half = (high - low) / (2 * panels)
    values = []
    for panel in range(panels):
        middle = low + (2 * panel + 1) * half
        outer = function(middle - NODE * half) + function(middle + NODE * half)
        values.append(half * (5 * outer + 8 * function(middle)) / 9)
    return math.fsum(values)


@dataclass(frozen=True)
class Expanding:
    """A flat universe of matter and a cosmological constant, from the scale factor `begin` on; time is what `a` grows.

    Attributes
    ----------
    omega : the share of matter, at a = 1.
    coupling : what the laplacian of the potential is of the contrast in density, but for 1/a.
    """

    omega: float
    begin: float

    @property
    def coupling(self) -> float:
        """3/2 of the share of matter, in units of the Hubble constant. Local."""
        return 1.5 * self.omega

    def scale(self, time: float) -> float:
        """Return the scale factor. Local."""
        return self.begin + time

    def hubble(self, time: float) -> float:
        """Return the rate of expansion, over that at a = 1. Local."""
        return math.sqrt(self.omega / self.scale(time) ** 3 + 1 - self.omega)

    def pace(self, time: float) -> float:
        """Return how fast the program's time goes, that is, a. Local."""
        return self.scale(time) * self.hubble(time)

    def kick(self, first: float, last: float) -> float:
        """Return the integral of dt / a. Local."""
        return self._integral(1, first, last)

    def drift(self, first: float, last: float) -> float:
        """Return the integral of dt / a². Local."""
        return self._integral(2, first, last)

    def _integral(self, power: int, first: float, last: float) -> float:
        """Return the integral of dt over this power of a, along ln a. Local."""

        def of_octave(log_a: float) -> float:
            a = math.exp(log_a)
            return 1 / (a**power * self.hubble(a - self.begin))

        return integral(of_octave, math.log(self.scale(first)), math.log(self.scale(last)))

    def growth(self, time: float) -> float:
        """Return the growing mode D(a), which is a as long as there is nothing but matter. Local."""
        a = self.scale(time)
        # With s² = a the integrand is smooth.
        area = integral(
            lambda s: 2 * s**4 / (self.omega + (1 - self.omega) * s**6) ** 1.5, 0.0, math.sqrt(a), panels=256
        )
        return 2.5 * self.omega * self.hubble(time) * area

    def growth_velocity(self, time: float) -> float:
        """Return a² dD/dt. Local."""
        a, growth = self.scale(time), self.growth(time)
        matter = self.omega / a**3 / self.hubble(time) ** 2
        return a**2 * self.hubble(time) * matter * (2.5 * a - 1.5 * growth)


@dataclass(frozen=True)
class Still:
    """A box that stays as it is; the unit of time is 1/√(4πGρ) of its mean density."""

    coupling: float = 1.0

    def scale(self, time: float) -> float:
        """Return the scale factor. Local."""
        return 1.0

    def hubble(self, time: float) -> float:
        """Return the rate of expansion. Local."""
        return 0.0

    def pace(self, time: float) -> float:
        """Return how fast the program's time goes. Local."""
        return 1.0

    def kick(self, first: float, last: float) -> float:
        """Return the time between two. Local."""
        return last - first

    drift = kick

    def growth(self, time: float) -> float:
        """Return how what begins at rest grows. Local."""
        return math.cosh(time)

    def growth_velocity(self, time: float) -> float:
        """Return its derivative. Local."""
        return math.sinh(time)


Background = Expanding | Still
