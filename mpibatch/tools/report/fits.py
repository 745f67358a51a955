"""Laws of scaling, fitted to the medians of a study, with their errors; or the reason why they cannot be.

Each law gives the time on p ranks, with the time on one rank, `seconds`, as a parameter among the others: the base
has noise like every other point. What is fitted is the logarithm, since noise is a part of the time. Errors are
standard errors from the spread of the runs, and wider by √(χ²/dof) where the law misses the points by more than that.

Amdahl, doi:10.1145/1465482.1465560: T = T₁ (f + (1−f)/p).
Gustafson, doi:10.1145/42411.42415, for work that grows with p: work per second = (s + (1−s) p) / T₁.
Gunther's Universal Scalability Law, arXiv:0808.1431: work per second = p / (1 + α(p−1) + βp(p−1)) / T₁.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpibatch.tools.report.statistics import median

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Fit", "FitPoint", "FittedParameter", "fit_all"]

# Below this part of a time, differences between runs are the clock's and the scheduler's, whatever the spread says.
_FLOOR = 1e-3
# √(π/2): the standard error of a median of normal values against that of a mean.
_MEDIAN = math.sqrt(math.pi / 2)


@dataclass(frozen=True)
class FitPoint:
    """What is known of one point: its width p (ranks, or cores), and the seconds per unit of work of its runs."""

    width: int
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class FittedParameter:
    """A parameter: its value and standard error (None where there is nothing to tell it from), and what it means."""

    name: str
    value: float
    error: float | None
    meaning: str
    at_bound: bool = False


@dataclass(frozen=True)
class Fit:
    """One law. Without estimates `refused` says why it was not fitted."""

    law: str
    estimates: tuple[FittedParameter, ...] = ()
    misfit: float | None = None  # χ²/dof: about 1 where the law is as good as the spread of the runs allows
    points: int = 0
    remark: str = ""
    refused: str = ""

    def value(self, name: str) -> float:
        """Return a parameter's value. Local."""
        return next(estimate.value for estimate in self.estimates if estimate.name == name)

    def speedup(self, width: float, base: float = 1.0) -> float:
        """Return the law's speed on `width` against its speed on `base`. Local."""
        law = _LAWS[self.law]
        values = [estimate.value for estimate in self.estimates]
        return float(law.rate(width, *values) / law.rate(base, *values))


@dataclass(frozen=True)
class _Law:
    rate: Callable[..., Any]  # work per second on p
    names: tuple[str, ...]
    meanings: tuple[str, ...]


def _amdahl(p: Any, seconds: Any, serial: Any) -> Any:
    return 1 / (seconds * (serial + (1 - serial) / p))


def _gustafson(p: Any, seconds: Any, serial: Any) -> Any:
    return (serial + (1 - serial) * p) / seconds


def _universal(p: Any, seconds: Any, contention: Any, coherency: Any) -> Any:
    return p / (1 + contention * (p - 1) + coherency * p * (p - 1)) / seconds


_ONE = "seconds for the first point's work on one rank, by this law"
_LAWS = {
    "Amdahl": _Law(_amdahl, ("seconds", "serial"), (_ONE, "part of the time that does not become shorter with ranks")),
    "Gustafson": _Law(
        _gustafson, ("seconds", "serial"), (_ONE, "part of the time that is the same however many ranks there are")
    ),
    "Universal Scalability Law": _Law(
        _universal,
        ("seconds", "contention", "coherency"),
        (_ONE, "α: waiting for what is shared", "β: each rank with each other"),
    ),
}


def fit_all(samples: Sequence[FitPoint], mode: str) -> list[Fit]:
    """Return the fits of the laws that speak of a study of this mode. Local. Needs scipy."""
    first = "Amdahl" if mode == "strong" else "Gustafson"
    return [fit(name, samples) for name in (first, "Universal Scalability Law")]


def fit(name: str, samples: Sequence[FitPoint]) -> Fit:
    """Return one law's fit, or why there is none. Local. Needs scipy."""
    law = _LAWS[name]
    widths = sorted({sample.width for sample in samples})
    unknown = len(law.names)
    if len(widths) <= unknown:
        return Fit(
            name,
            points=len(widths),
            refused=f"not fitted: {unknown} parameters need at least {unknown + 1} different counts, "
            f"and there {'is' if len(widths) == 1 else 'are'} {len(widths)}; add counts to --ranks",
        )
    import numpy as np
    from scipy.optimize import curve_fit

    p = np.array([sample.width for sample in samples], dtype=float)
    y = np.log([median(sample.seconds) for sample in samples])
    guess = [median(samples[int(np.argmin(p))].seconds) * float(p.min()), *[0.01] * (unknown - 1)]
    bounds = ([guess[0] / 100, *[0.0] * (unknown - 1)], [guess[0] * 100, *[1.0] * (unknown - 1)])
    sigma = _errors(samples)
    try:
        values, covariance = curve_fit(
            lambda p, *parameters: -np.log(law.rate(p, *parameters)),
            p,
            y,
            p0=guess,
            bounds=bounds,
            sigma=sigma,
            absolute_sigma=sigma is not None,
            x_scale=guess,
        )
    except (RuntimeError, ValueError) as error:
        return Fit(name, points=len(widths), refused=f"not fitted: {' '.join(str(error).split())}")
    residuals = (y + np.log(law.rate(p, *values))) / (1.0 if sigma is None else np.array(sigma))
    misfit = float(residuals @ residuals) / (len(samples) - unknown) if len(samples) > unknown else 0.0
    scale = 1.0 if sigma is None else max(1.0, math.sqrt(misfit))
    errors = [float(error) * scale for error in np.sqrt(np.diag(covariance))]
    estimates = tuple(
        FittedParameter(label, value, error if math.isfinite(error) else None, meaning, place > 0 and value < 1e-6)
        for place, (label, value, error, meaning) in enumerate(
            zip(law.names, map(float, values), errors, law.meanings, strict=True)
        )
    )
    fitted = Fit(name, estimates, None if sigma is None else misfit, len(widths))
    return Fit(name, estimates, fitted.misfit, fitted.points, _remark(fitted, widths[-1]))


def _errors(samples: Sequence[FitPoint]) -> list[float] | None:
    """The standard error of each median's logarithm; None if no point has two runs.

    The spread is pooled over the points: that three runs of one of them happened to agree makes it no better known.
    """
    logs = [[math.log(second) for second in sample.seconds] for sample in samples]
    squares = sum((value - sum(group) / len(group)) ** 2 for group in logs for value in group)
    freedom = sum(len(group) - 1 for group in logs)
    if freedom == 0:
        return None
    noise = math.sqrt(squares / freedom)
    return [max(_FLOOR, noise * (_MEDIAN if len(group) > 2 else 1.0) / math.sqrt(len(group))) for group in logs]


def _remark(fit: Fit, widest: int) -> str:
    """What the parameters amount to."""
    if fit.law == "Universal Scalability Law":
        contention, coherency = fit.value("contention"), fit.value("coherency")
        if coherency < 1e-9:
            most = f", so that it levels off at {1 / contention:.3g} ×" if contention > 1e-6 else ""
            return f"no β can be told from zero within the counts measured{most}"
        peak = math.sqrt(max(0.0, 1 - contention) / coherency)
        reach = " (beyond the counts measured: an extrapolation)" if peak > widest else ""
        return f"fastest on about {peak:.3g}{reach}"
    serial = fit.value("serial")
    if fit.law == "Amdahl":
        if serial < 1e-6:
            return "no serial part can be told from zero within the counts measured"
        return f"no number of ranks would make it more than {1 / serial:.3g} × as fast as one (an extrapolation)"
    return f"each rank added brings {100 * (1 - serial):.3g} % of a rank's work"
