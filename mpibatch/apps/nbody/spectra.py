"""Power spectra of the matter at a = 1, by linear theory. Wave numbers in h/Mpc. Pure: no MPI, no fields."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpibatch.apps.nbody.parameters import Parameters

__all__ = ["power_of", "sigma"]

Power = Callable[[float], float]
LOW, HIGH, PANELS = math.log(1e-6), math.log(1e3), 4000


def power_of(p: Parameters) -> Power:
    """Return the power spectrum in (Mpc/h)³ as a function of the wave number. Local."""
    transfer = {"power-law": lambda k: 1.0, "bbks": lambda k: bbks(p, k), "eisenstein-hu": lambda k: no_wiggle(p, k)}
    shape = transfer[p.spectrum]

    def raw(k: float) -> float:
        return float(k**p.index * shape(k) ** 2)

    size = (p.sigma8 / sigma(raw, 8.0)) ** 2
    return lambda k: size * raw(k)


def sigma(power: Power, radius: float) -> float:
    """Return the rms contrast in spheres of a radius, in Mpc/h. Local."""

    def of_octave(log_k: float) -> float:
        k = math.exp(log_k)
        x = k * radius
        # The difference of sine and cosine would lose its digits for small x.
        window = 3 * (math.sin(x) - x * math.cos(x)) / x**3 if x > 1e-2 else 1 - x * x / 10
        return power(k) * k**3 * window**2 / (2 * math.pi**2)

    h = (HIGH - LOW) / PANELS
    weights = [1, *([4, 2] * (PANELS // 2 - 1)), 4, 1]
    return math.sqrt(h / 3 * math.fsum(w * of_octave(LOW + i * h) for i, w in enumerate(weights)))


def bbks(p: Parameters, k: float) -> float:
    """Return the transfer function of Bardeen et al. 1986, with Sugiyama's 1995 shape. Local."""
    gamma = p.omega_matter * p.hubble * math.exp(-p.omega_baryon * (1 + math.sqrt(2 * p.hubble) / p.omega_matter))
    q = k / gamma
    rest = 1 + 3.89 * q + (16.1 * q) ** 2 + (5.46 * q) ** 3 + (6.71 * q) ** 4
    return math.log1p(2.34 * q) / (2.34 * q) / math.sqrt(math.sqrt(rest))


def no_wiggle(p: Parameters, k: float) -> float:
    """Return the transfer function of Eisenstein and Hu 1998 without oscillations, their equations 26 to 31. Local."""
    matter, share = p.omega_matter * p.hubble**2, p.omega_baryon / p.omega_matter
    sound = 44.5 * math.log(9.83 / matter) / math.sqrt(1 + 10 * (share * matter) ** 0.75)
    alpha = 1 - 0.328 * math.log(431 * matter) * share + 0.38 * math.log(22.3 * matter) * share**2
    gamma = p.omega_matter * p.hubble * (alpha + (1 - alpha) / (1 + (0.43 * k * p.hubble * sound) ** 4))
    q = k * (p.temperature / 2.7) ** 2 / gamma
    size = math.log(2 * math.e + 1.8 * q)
    return size / (size + (14.2 + 731 / (1 + 62.5 * q)) * q * q)
