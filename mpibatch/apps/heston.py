"""Prices of options on an asset of random volatility, from Heston's equation, by super-time-steps.

Equation: the asset's price S and its variance v per year follow dS/S = (r − q) dt + √v dW₁ and dv = κ (θ − v) dt +
σ √v dW₂, with correlation ρ of the two. With time t counted back from expiry, in years, x = ln S + (r − q) t, which is
the logarithm of the forward price, and η = √v, an option is worth exp(−r t) U(x, η, t), where

    ∂U/∂t = ½ η² (∂²U/∂x² − ∂U/∂x) + ½ ρ σ η ∂²U/∂x∂η + ⅛ σ² ∂²U/∂η² + ((½ κ θ − ⅛ σ²) / η − ½ κ η) ∂U/∂η

and U(0) is the payoff, of a put (K − S)⁺. A call is a put and exp(x) − K more. So the time reached (`until`) is the
time to expiry, and each output has the prices for all forward prices and variances at once.

Scheme: central differences on even cells in x and η. Prices are smooth and even in η, whether variance reaches 0
(2 κ θ < σ²) or not: a mirror at v = 0 is all that the equation asks for. There is another at √v = √max(v₀, θ) +
`width` √c, where c = σ² (1 − exp(−κ T)) / 4κ is the scale of v's chi-squared distribution. Where central differences
of the drift in η would swing, they are upwind. The outermost cells in x keep their value, the payoff of the forward
price. exp(x) is a martingale of the differences, too. Payoffs are averaged over cells. The error is of second order in
both spacings.

Steps are RKL2 (C. D. Meyer, D. S. Balsara and T. D. Aslam 2014, doi:10.1016/j.jcp.2013.08.021), of second order: s
sweeps over the cells, stable for dt up to (s² + s − 2)/4 explicit steps, where no equations are solved. An American
option is exercised at each of the `dates`, where a step ends.

Rows: prices at `spot` and v₀, by cubic polynomials in x and η, with deltas and gammas, which are differences of these.
European ones have an `error` as well, from the closed form (S. L. Heston 1993, doi:10.1093/rfs/6.2.327), by the
integral of A. L. Lewis (2001, doi:10.2139/ssrn.282110) and the characteristic function of H. Albrecher et al. (2007).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

import mpibatch as mb
from mpibatch.cli import run_program
from mpibatch.simulate import Count, Positive, Range

__all__ = ["Parameters", "run"]

ROUNDING = 1e-9  # of times: steps add up to expiry, or to a little more


@dataclass(frozen=True)
class Parameters:
    """What a job may set."""

    spot: tuple[Positive, ...] = (90.0, 100.0, 110.0)  # in units of money; each gets its price in the rows
    strike: Positive = 100.0
    variance: Positive = 0.0225  # v₀ per year
    reversion: Positive = 2.0  # κ per year
    mean: Positive = 0.0225  # θ per year
    volatility: Positive = 0.25  # σ, of the variance
    correlation: Annotated[float, Range(least=-1, most=1)] = -0.5
    rate: float = 0.03  # per year
    dividend: float = 0.0  # yield per year
    kind: Literal["put", "call"] = "call"
    exercise: Literal["european", "american"] = "european"
    expiry: Positive = 1.0  # years, the longest that the grid is wide enough for
    cells: tuple[Count, Count] = (64, 256)  # along √v and ln(price)
    width: Positive = 5.0  # standard deviations
    dates: Count = 25  # evenly until expiry: a step from one to the next

    def __post_init__(self) -> None:
        if not self.spot:
            raise mb.UsageError("spot = [] has no price; give one or more")
        if not all(map(math.isfinite, (self.rate, self.dividend))):
            raise mb.UsageError(f"rate = {self.rate} and dividend = {self.dividend}; give finite numbers")
        if min(self.cells) < 8:
            raise mb.UsageError(f"cells = {list(self.cells)} cannot show a price; give 8 or more along both axes")

    @property
    def scale(self) -> float:
        """Of the chi-squared distribution of variance at expiry. Local."""
        return -(self.volatility**2) * math.expm1(-self.reversion * self.expiry) / (4 * self.reversion)

    @property
    def highest(self) -> float:
        """The highest √v of the grid. Local."""
        return math.sqrt(max(self.variance, self.mean)) + self.width * math.sqrt(self.scale)

    @property
    def reach(self) -> float:
        """How far the grid goes to both sides of ln(strike). Local."""
        spread = math.sqrt(max(self.variance, self.mean) * self.expiry) + math.sqrt(self.scale * self.expiry)
        return self.width * spread + max(abs(self.forward(spot, self.expiry)) for spot in self.spot)

    @property
    def spacing(self) -> tuple[float, float]:
        """The cell spacing along √v and ln(price). Local."""
        return self.highest / self.cells[0], 2 * self.reach / self.cells[1]

    def forward(self, spot: float, time: float) -> float:
        """Return the logarithm of the forward price over the strike. Local."""
        return math.log(spot / self.strike) + (self.rate - self.dividend) * time


def generator(u, kappa, theta, sigma, rho):
    """The right-hand side of the equation."""
    eta, k, h = mb.coordinate(0), mb.spacing(0), mb.spacing(1)
    drift = (0.5 * kappa * theta - 0.125 * sigma * sigma) / eta - 0.5 * kappa * eta
    spread = 0.125 * sigma * sigma
    # Against swings; the mirror at v = 0 makes central differences right in the first cells.
    spread = spread if mb.index(0) == 0 else max(spread, 0.5 * k * abs(drift))
    curved = (u[0, -1] - 2.0 * u[0, 0] + u[0, 1]) / (h * h)
    sloped = (u[0, 1] - u[0, -1]) * (np.tanh(0.5 * h) / (h * h))  # as steep as exp(x) is curved
    change = (
        0.5 * eta * eta * (curved - sloped)
        + 0.5 * rho * sigma * eta * ((u[1, 1] - u[1, -1]) - (u[-1, 1] - u[-1, -1])) / (4.0 * h * k)
        + spread * (u[-1, 0] - 2.0 * u[0, 0] + u[1, 0]) / (k * k)
        + drift * (u[1, 0] - u[-1, 0]) / (2.0 * k)
    )
    return np.where((mb.index(1) == 0) | (mb.index(1) == mb.cells(1) - 1), 0.0, change)


@mb.stencil
def first(u, kappa, theta, sigma, rho, share):
    """The first sweep of a step, and the rate of change before it."""
    change = generator(u, kappa, theta, sigma, rho)
    return u[0, 0] + share * change, change


@mb.stencil
def further(u, before, start, rate, kappa, theta, sigma, rho, mu, nu, share, gamma):
    """A further sweep, with those of the two sweeps before, and the beginning of the step."""
    change = generator(u, kappa, theta, sigma, rho)
    return mu * u[0, 0] + nu * before[0, 0] + (1.0 - mu - nu) * start[0, 0] + share * change + gamma * rate[0, 0]


@mb.stencil
def exercised(u, forward, fixed, factor):
    """The larger of that and the payoff at once, but for what a call is more than a put."""
    return max(u[0, 0], fixed + factor * forward[0, 0])


def run(p: Parameters, simulation: mb.Simulation) -> mb.Field:
    """Solve it, and return the last prices. Collective."""
    check_time(p, simulation.schedule.until or 0.0)
    k, h = p.spacing
    grid = simulation.grid(p.cells, spacing=(k, h), origin=(0.5 * k, math.log(p.strike) - p.reach + 0.5 * h))
    state = {"value": grid.from_function(lambda eta, x: averaged_put(p, x) + 0.0 * eta, halo=1)}
    others = [state["value"].like() for _ in range(3)]
    forward = grid.from_function(lambda eta, x: np.exp(x) + 0.0 * eta)
    model = (p.reversion, p.mean, p.volatility, p.correlation)

    def price(state: dict[str, mb.Field]) -> mb.Field:
        value = state["value"] + (forward - p.strike) if p.kind == "call" else state["value"]
        discounted: mb.Field = math.exp(-p.rate * simulation.time) * value
        return discounted

    def diagnostics(state: dict[str, mb.Field]) -> dict[str, float]:
        row: dict[str, float] = {}
        field, time = price(state), simulation.time
        for n, spot in enumerate(p.spot, 1):
            x = math.log(p.strike) + p.forward(spot, time)
            low, middle, high = (at(grid, field, math.sqrt(p.variance), x + shift) for shift in (-h, 0.0, h))
            slope, bend = (high - low) / (2 * h), (high - 2 * middle + low) / h**2
            row |= {f"price{n}": middle, f"delta{n}": slope / spot, f"gamma{n}": (bend - slope) / spot**2}
            if p.exercise == "european":
                row[f"error{n}"] = middle - closed_form(p, spot, time)
        return row

    for now in simulation.steps(
        state,
        dt=p.expiry / p.dates,
        output=lambda state: {"price": price(state)},
        diagnostics=diagnostics,
        time_units="year",
        attrs={"price": {"units": "money", "long_name": "price of the option, by √v and the forward price's ln"}},
    ):
        check_time(p, now.time + now.dt)
        sweeps = sweeps_for(longest_explicit(p), now.dt)
        start, (rate, after, before) = state["value"], others
        share, rest = rkl2(sweeps)
        first(start, *model, share * now.dt, out=(after, rate), walls="reflect")
        further_walls = {"u": "reflect"}
        # The second sweep has the beginning as the last but one.
        last = start
        for mu, nu, share, gamma in rest:
            out = before if last is start else last
            further(
                after, last, start, rate, *model, mu, nu, share * now.dt, gamma * now.dt, out=out, walls=further_walls
            )
            last, after = after, out
        if p.exercise == "american":
            exercised(after, forward, *floor(p, now.time + now.dt), out=after)
        state["value"], others = after, [rate, last, start]
    return price(state)


def check_time(p: Parameters, time: float) -> None:
    """Refuse a time to expiry for which the grid is too narrow. Local. UsageError."""
    if time > p.expiry * (1 + ROUNDING):
        raise mb.UsageError(
            f"{time:g} years are beyond expiry = {p.expiry:g}, for which the grid is wide enough; raise expiry, or end "
            "earlier (until or steps)"
        )


def longest_explicit(p: Parameters) -> float:
    """Return the longest step of one sweep that is stable. Local."""
    k, h = p.spacing
    eta = (np.arange(p.cells[0]) + 0.5) * k
    drift = (0.5 * p.reversion * p.mean - 0.125 * p.volatility**2) / eta - 0.5 * p.reversion * eta
    across = np.maximum(0.125 * p.volatility**2, 0.5 * k * abs(drift)) * 4 / k**2
    mixed = abs(p.correlation) * p.volatility * eta / (2 * h * k)
    return 2 / float((2 * eta * eta / h**2 + mixed + across).max())


def sweeps_for(explicit: float, dt: float) -> int:
    """Return the least odd number of sweeps for a step. Local."""
    sweeps = math.ceil(0.5 * (math.sqrt(9 + 16 * dt / explicit) - 1))
    return max(3, sweeps | 1)


def rkl2(sweeps: int) -> tuple[float, list[tuple[float, float, float, float]]]:
    """Return the first sweep's share of a step, and of the others the factors μ, ν, μ̃ and γ̃. Local."""
    b = [1 / 3] * 2 + [(j * j + j - 2) / (2 * j * (j + 1)) for j in range(2, sweeps + 1)]
    w = 4 / (sweeps * sweeps + sweeps - 2)
    rest = []
    for j in range(2, sweeps + 1):
        mu, nu = (2 * j - 1) / j * b[j] / b[j - 1], -(j - 1) / j * b[j] / b[j - 2]
        rest.append((mu, nu, mu * w, -(1 - b[j - 1]) * mu * w))
    return b[1] * w, rest


def averaged_put(p: Parameters, x: Any) -> Any:
    """Return the mean over each cell of a put's payoff. Local."""
    h, kink = p.spacing[1], math.log(p.strike)
    low = x - 0.5 * h
    high = np.clip(kink, low, x + 0.5 * h)
    return (p.strike * (high - low) - (np.exp(high) - np.exp(low))) / h


def floor(p: Parameters, time: float) -> tuple[float, float]:
    """Return what is paid at once, per forward price: a constant and a factor, but for what a call is more. Local."""
    fixed, factor = p.strike * math.exp(p.rate * time), -math.exp(p.dividend * time)
    return (fixed, factor) if p.kind == "put" else (p.strike - fixed, -factor - 1.0)


def at(grid: mb.Grid, field: mb.Field, eta: float, x: float) -> float:
    """Return a field's value between cells, by cubic polynomials: an exact sum over all cells. Collective."""
    weights = [cubic(place, axis, grid) for axis, place in enumerate((eta, x))]
    return float(mb.sum(grid.from_function(lambda eta, x: weights[0](eta) * weights[1](x)) * field))


def cubic(place: float, axis: int, grid: mb.Grid) -> Callable[[Any], Any]:
    """Return a function from coordinates of cells to their weight at a place. Local."""
    h, origin, cells = grid.spacing[axis], grid.origin[axis], grid.shape[axis]
    begin = min(max(math.floor((place - origin) / h) - 1, 0), cells - 4)
    nodes = [origin + (begin + n) * h for n in range(4)]

    def weight(coordinate: Any) -> Any:
        total = 0.0 * coordinate
        for n, node in enumerate(nodes):
            value = math.prod((place - other) / (node - other) for m, other in enumerate(nodes) if m != n)
            total = total + np.where(abs(coordinate - node) < 0.5 * h, value, 0.0)
        return total

    return weight


def closed_form(p: Parameters, spot: float, time: float) -> float:
    """Return the exact price of a European option. Local."""
    x, money = p.forward(spot, time), p.strike * math.exp(-p.rate * time)
    asset = spot * math.exp(-p.dividend * time)
    parity = 0.0 if p.kind == "call" else money - asset
    if not time:
        return max(asset - money, 0.0) + parity
    # Gauss's nodes on pieces, up to where the integrand has decayed.
    nodes, weights = np.polynomial.legendre.leggauss(32)
    total, begin, size = 0.0, 0.0, 1.0
    while begin < 1e5:
        u = begin + 0.5 * size * (nodes + 1)
        parts = (np.exp(1j * u * x) * characteristic(p, u - 0.5j, time)).real / (u * u + 0.25)
        total += 0.5 * size * math.fsum(weights * parts)
        if abs(parts).max() < 1e-14:
            break
        begin, size = begin + size, min(2 * size, 16.0)
    return asset - money * math.exp(0.5 * x) * total / math.pi + parity


def characteristic(p: Parameters, u: Any, time: float) -> Any:
    """Return the characteristic function of the logarithm of spot over forward price. Local."""
    kappa, sigma = p.reversion, p.volatility
    b = kappa - 1j * p.correlation * sigma * u
    d = np.sqrt(b * b + sigma**2 * (u * u + 1j * u))
    g, decay = (b - d) / (b + d), np.exp(-d * time)
    level = kappa * p.mean / sigma**2 * ((b - d) * time - 2 * np.log((1 - g * decay) / (1 - g)))
    return np.exp(level + p.variance / sigma**2 * (b - d) * (1 - decay) / (1 - g * decay))


if __name__ == "__main__":
    sys.exit(run_program(__file__))
