"""Prices and Greeks of options on one or two assets, from the Black–Scholes equation.

Equation: with the logarithms of the spot prices xᵢ = ln Sᵢ, and time t counted back from expiry, in years,

    ∂V/∂t = ½ Σᵢⱼ ρᵢⱼ σᵢ σⱼ ∂²V/∂xᵢ∂xⱼ + Σᵢ (r − qᵢ − σᵢ²/2) ∂V/∂xᵢ − r V,

with volatilities σ per √year, rate r and dividend yields q per year, and V(0) the payoff: of a put (K − S)⁺, of a call
(S − K)⁺, where S is the larger of two prices. So the time reached (`until`) is the time to expiry, and each output is
the price at that time to expiry, for all spot prices at once. An American option is worth its payoff at least, at any
time, or at every `exercise_every` years.

Scheme: central differences in x and the explicit Euler step, then the larger of that and the payoff at exercise. The
initial payoff is averaged over each cell, which keeps second order in h across its kink. The grid reaches `width`
standard deviations to both sides of spot price and strike, and is held there at the payoff of the forward prices,
discounted; the spot price is in the middle of a cell. It is stable, and with one asset monotone, for

    dt ≤ 1 / (Σᵢ σᵢ²/hᵢ² + r)    and    |r − qᵢ − σᵢ²/2| hᵢ ≤ σᵢ²,

and its error is O(dt) + O(h²): with dt at a fixed share of that limit, of second order in h.

Greeks, from the grid: delta ∂V/∂Sᵢ, gamma ∂²V/∂Sᵢ², and theta −∂V/∂t, of an option that is not exercised at once.

References: F. Black and M. Scholes 1973, doi:10.1086/260062; for two assets R. M. Stulz 1982,
doi:10.1016/0304-405X(82)90011-3; American puts in F. A. Longstaff and E. S. Schwartz 2001, doi:10.1093/rfs/14.1.113.
Where there is a closed form (European, and with two assets the call on the larger) the diagnostics hold the error.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import mpibatch as mb
from mpibatch.cli import run_program
from mpibatch.simulate import Count, Positive

__all__ = ["Parameters", "run"]

SAMPLES = 16  # points along each axis of a cell at which the payoff is averaged


@dataclass(frozen=True)
class Parameters:
    """What a job may set."""

    spot: tuple[Positive, ...] = (36.0,)  # of one or two assets, in units of money
    strike: Positive = 40.0
    volatility: tuple[Positive, ...] = (0.2,)  # per √year
    dividend: tuple[float, ...] = (0.0,)  # yield per year
    correlation: float = 0.0  # of two assets
    rate: float = 0.06  # per year
    kind: Literal["put", "call"] = "put"  # on the larger of two prices
    exercise: Literal["european", "american"] = "european"
    exercise_every: Positive | None = None  # years between the dates of exercise; any time, if left out
    expiry: Positive = 1.0  # years, the longest that the grid is wide enough for
    cells: Count = 401  # along each axis
    width: Positive = 5.0  # standard deviations
    share: Positive = 0.8  # of the longest stable step
    dt: Positive | None = None  # years, instead of `share`

    def __post_init__(self) -> None:
        self._check_numbers()
        for sigma, drift, h in zip(self.volatility, self.drifts, self.spacing, strict=True):
            if abs(drift) * h > sigma**2:
                raise mb.UsageError(
                    f"{self.cells} cells are too few: with volatility {sigma:g} and drift {drift:g} the scheme needs "
                    f"cells of {sigma**2 / abs(drift):.3g} in the logarithm of the price, not {h:.3g}; give "
                    f"{math.ceil(self.cells * abs(drift) * h / sigma**2) + 1} or more"
                )
        if self.dt is not None and not 0 < self.dt <= self.longest:
            raise mb.UsageError(
                f"dt = {self.dt:g} is not stable: the longest step for these cells and volatilities is "
                f"{self.longest:.6g} years; give that or less, or leave dt out"
            )

    def _check_numbers(self) -> None:
        assets = len(self.spot)
        if assets not in (1, 2):
            raise mb.UsageError(f"spot = {list(self.spot)} has {assets} assets; give one or two")
        for name, values in (("volatility", self.volatility), ("dividend", self.dividend)):
            if len(values) != assets:
                raise mb.UsageError(f"{name} = {list(values)} for {assets} assets; give one value for each")
        numbers = (*self.spot, self.strike, *self.volatility, self.expiry, self.width, self.share)
        if not all(0 < number < math.inf for number in numbers):
            raise mb.UsageError(f"{self} has a price, volatility, time or width that is no finite number above 0")
        if not all(map(math.isfinite, (self.rate, *self.dividend))):
            raise mb.UsageError(f"rate = {self.rate} and dividend = {list(self.dividend)}; give finite numbers")
        if not -1 < self.correlation < 1:
            raise mb.UsageError(f"correlation = {self.correlation:g}; give one between -1 and 1")
        if self.cells < 5:
            raise mb.UsageError(f"cells = {self.cells} along an axis cannot show a price; give 5 or more")
        if self.share > 1:
            raise mb.UsageError(f"share = {self.share:g} of the longest stable step is not stable; give 1 or less")

    @property
    def drifts(self) -> tuple[float, ...]:
        """The drift of the logarithm of each price, per year. Local."""
        return tuple(self.rate - q - 0.5 * s * s for q, s in zip(self.dividend, self.volatility, strict=True))

    @property
    def below(self) -> int:
        """How many cells are below that of the spot price. Local."""
        return (self.cells - 1) // 2

    @property
    def spacing(self) -> tuple[float, ...]:
        """The cell spacing in the logarithm of each price. Local."""
        return tuple(
            (self.width * sigma * math.sqrt(self.expiry) + abs(math.log(self.strike / spot))) / self.below
            for sigma, spot in zip(self.volatility, self.spot, strict=True)
        )

    @property
    def longest(self) -> float:
        """The longest stable step. Local."""
        rates = [(s / h) ** 2 for s, h in zip(self.volatility, self.spacing, strict=True)]
        return 1 / (math.fsum(rates) + max(self.rate, 0.0))


@mb.stencil
def step1(v, payoff, diffusion, drift, discount, exercised):
    """One step for one asset."""
    after = v[0] + (diffusion * (v[-1] - 2.0 * v[0] + v[1]) + drift * (v[1] - v[-1]) - discount * v[0])
    return max(after, payoff[0]) if exercised else after


@mb.stencil
def step2(v, payoff, diffusion_a, diffusion_b, mixed, drift_a, drift_b, discount, exercised):
    """One step for two."""
    after = v[0, 0] + (
        diffusion_a * (v[-1, 0] - 2.0 * v[0, 0] + v[1, 0])
        + diffusion_b * (v[0, -1] - 2.0 * v[0, 0] + v[0, 1])
        + mixed * ((v[1, 1] - v[1, -1]) - (v[-1, 1] - v[-1, -1]))
        + (drift_a * (v[1, 0] - v[-1, 0]) + drift_b * (v[0, 1] - v[0, -1]))
        - discount * v[0, 0]
    )
    return max(after, payoff[0, 0]) if exercised else after


@mb.stencil
def greeks1(v):
    """Delta and gamma: derivatives by the price, from those by its logarithm."""
    h, s = mb.spacing(0), np.exp(mb.coordinate(0))
    first = (v[1] - v[-1]) / (2.0 * h)
    second = (v[1] - 2.0 * v[0] + v[-1]) / (h * h)
    return [first / s], [(second - first) / (s * s)]


@mb.stencil
def greeks2(v):
    """The same by each of two prices."""
    deltas, gammas = [], []
    for axis, low, high in ((0, v[-1, 0], v[1, 0]), (1, v[0, -1], v[0, 1])):
        h, s = mb.spacing(axis), np.exp(mb.coordinate(axis))
        first = (high - low) / (2.0 * h)
        second = (high - 2.0 * v[0, 0] + low) / (h * h)
        deltas += [first / s]
        gammas += [(second - first) / (s * s)]
    return deltas, gammas


def run(p: Parameters, simulation: mb.Simulation) -> mb.Field:
    """Solve it, and return the last price. Collective."""
    if simulation.schedule.until is not None and simulation.schedule.until > p.expiry:
        raise mb.UsageError(
            f"until = {simulation.schedule.until:g} years is beyond expiry = {p.expiry:g}, for which the grid is wide "
            "enough; raise expiry"
        )
    origin = tuple(math.log(s) - h * p.below for s, h in zip(p.spot, p.spacing, strict=True))
    grid = simulation.grid((p.cells,) * len(p.spot), spacing=p.spacing, origin=origin, units="ln(price)")
    payoff = grid.from_function(lambda *x: payoff_at(p, x))
    state = {"price": grid.from_function(lambda *x: averaged_payoff(p, x), halo=1)}
    spare = state["price"].like()
    spot_weight = grid.from_function(lambda *x: spot_cell(p, x))
    step, greeks = (step1, greeks1) if len(p.spot) == 1 else (step2, greeks2)

    def walls(*coordinates: Any) -> Any:
        *x, time = coordinates
        return forward_payoff(p, x, time)

    def at_spot(field: mb.Field) -> float:
        return float(mb.sum(spot_weight * field))

    def output(state: dict[str, mb.Field]) -> dict[str, mb.Field]:
        delta, gamma = greeks(state["price"], walls=walls, time=simulation.time)
        return {"price": state["price"], "delta": delta, "gamma": gamma}

    def diagnostics(state: dict[str, mb.Field]) -> dict[str, float]:
        price = state["price"]
        delta, gamma = greeks(price, walls=walls, time=simulation.time)
        row = {"price": at_spot(price)}
        for axis in range(grid.ndim):
            chosen = np.arange(grid.ndim) == axis
            row[f"delta{axis + 1}"] = float(mb.sum(spot_weight * delta * chosen))
            row[f"gamma{axis + 1}"] = float(mb.sum(spot_weight * gamma * chosen))
        # A step without exercise is linear in its length, and thus theta to round-off.
        after = step(price, payoff, *factors(p, p.longest), False, walls=walls, time=simulation.time)
        row["theta"] = at_spot(price - after) / p.longest
        exact = closed_form(p, simulation.time)
        if exact is not None:
            row["error"] = row["price"] - exact
        return row

    for now in simulation.steps(
        state,
        dt=p.dt or p.share * p.longest,
        output=output,
        diagnostics=diagnostics,
        time_units="year",
        attrs={"price": {"units": "money", "long_name": "price of the option"}},
    ):
        exercised = is_exercised(p, now.time, now.time + now.dt)
        step(state["price"], payoff, *factors(p, now.dt), exercised, out=spare, walls=walls, time=now.time)
        state["price"], spare = spare, state["price"]
    return state["price"]


def factors(p: Parameters, dt: float) -> list[float]:
    """Return what the differences in a step are multiplied with. Local."""
    diffusion = [0.5 * dt * (s / h) ** 2 for s, h in zip(p.volatility, p.spacing, strict=True)]
    if len(p.spot) == 2:
        diffusion.append(0.25 * dt * p.correlation * math.prod(p.volatility) / math.prod(p.spacing))
    return [*diffusion, *(0.5 * dt * drift / h for drift, h in zip(p.drifts, p.spacing, strict=True)), p.rate * dt]


def is_exercised(p: Parameters, before: float, after: float) -> bool:
    """Whether there is a date of exercise after `before`, up to `after`. Local."""
    if p.exercise == "european":
        return False
    every = p.exercise_every
    return every is None or math.floor(after / every + 1e-9) > math.floor(before / every + 1e-9)


def payoff_at(p: Parameters, x: Any) -> Any:
    """Return the payoff at logarithms of prices. Local."""
    larger = np.exp(x[0]) if len(x) == 1 else np.maximum(np.exp(x[0]), np.exp(x[1]))
    return np.maximum(larger - p.strike if p.kind == "call" else p.strike - larger, 0.0)


def averaged_payoff(p: Parameters, x: Any) -> Any:
    """Return its mean over each cell. Local."""
    offsets = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5
    total: Any = 0.0
    for offset in np.ndindex(*(SAMPLES,) * len(x)):
        total = total + payoff_at(p, [c + offsets[n] * h for c, n, h in zip(x, offset, p.spacing, strict=True)])
    return total / SAMPLES ** len(x)


def forward_payoff(p: Parameters, x: Any, time: float) -> Any:
    """Return what the option is worth far from its kink: the payoff of forward prices, discounted. Local."""
    forward = [c + (p.rate - q) * time for c, q in zip(x, p.dividend, strict=True)]
    later = math.exp(-p.rate * time) * payoff_at(p, forward)
    return later if p.exercise == "european" else np.maximum(later, payoff_at(p, x))


def spot_cell(p: Parameters, x: Any) -> Any:
    """Return 1 in the cell of the spot price, 0 in the others. Local."""
    parts = [abs(c - math.log(s)) < 0.5 * h for c, s, h in zip(x, p.spot, p.spacing, strict=True)]
    return math.prod(parts)


def closed_form(p: Parameters, time: float) -> float | None:
    """Return the exact price at the spot prices, if it is known. Local."""
    if p.exercise != "european" or (len(p.spot) == 2 and p.kind == "put"):
        return None
    if time == 0:
        return float(payoff_at(p, [math.log(s) for s in p.spot]))
    return black_scholes(p, time) if len(p.spot) == 1 else stulz(p, time)


def normal(a: float) -> float:
    """Return the normal distribution function. Local."""
    return 0.5 * math.erfc(-a / math.sqrt(2))


def normal2(a: float, b: float, correlation: float) -> float:
    """Return the bivariate one: Plackett's integral over the correlation, with its sine as the variable. Local."""
    end = math.asin(correlation)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    angle = 0.5 * end * (nodes + 1)
    inside = np.exp(-(a * a + b * b - 2 * a * b * np.sin(angle)) / (2 * np.cos(angle) ** 2))
    return normal(a) * normal(b) + 0.5 * end * math.fsum(weights * inside) / (2 * math.pi)


def black_scholes(p: Parameters, time: float) -> float:
    """Return the price of a European option on one asset. Local."""
    spread = p.volatility[0] * math.sqrt(time)
    high = (math.log(p.spot[0] / p.strike) + p.drifts[0] * time) / spread + spread
    asset, money = p.spot[0] * math.exp(-p.dividend[0] * time), p.strike * math.exp(-p.rate * time)
    sign = 1 if p.kind == "call" else -1
    return sign * (asset * normal(sign * high) - money * normal(sign * (high - spread)))


def stulz(p: Parameters, time: float) -> float:
    """Return the price of a European call on the larger of two prices. Local."""
    root = math.sqrt(time)
    sigma, rho = p.volatility, p.correlation
    both = math.sqrt(sigma[0] ** 2 + sigma[1] ** 2 - 2 * rho * sigma[0] * sigma[1])
    assets = [s * math.exp(-q * time) for s, q in zip(p.spot, p.dividend, strict=True)]
    low = [(math.log(s / p.strike) + m * time) / (v * root) for s, m, v in zip(p.spot, p.drifts, sigma, strict=True)]
    value = -p.strike * math.exp(-p.rate * time) * (1 - normal2(-low[0], -low[1], rho))
    for first, second in ((0, 1), (1, 0)):
        exchange = math.log(assets[first] / assets[second]) / (both * root) + 0.5 * both * root
        value += assets[first] * normal2(
            low[first] + sigma[first] * root, exchange, (sigma[first] - rho * sigma[second]) / both
        )
    return value


if __name__ == "__main__":
    sys.exit(run_program(__file__))
