"""The prices of all positions: paths shared out over ranks, sums that are exact, and a file from which to go on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.apps.risk.estimates import OUTPUTS, SUMS, Estimate, estimate, exact_sums, totals
from mpibatch.apps.risk.positions import Position
from mpibatch.apps.risk.regression import scale_of, worth_of_holding
from mpibatch.base.json_files import write_json
from mpibatch.mpi import MPI, agreed

__all__ = ["Book", "Settings"]

Values = npt.NDArray[np.float64]

FORMAT = "mpibatch risk 2"
CHUNK = 1 << 15  # paths of which a rank holds all outputs at a time
GROUP = 64  # positions whose sums are sent together
BUMP = 0.02  # of the root of the variance, for vega of barriers in Heston's model


@dataclass(frozen=True)
class Settings:
    """What a price depends on, beside its position and the number of paths."""

    seed: int = 0
    steps: int = 50  # per year, of Heston's variance
    regression_paths: int = 20000

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 64:
            raise mb.UsageError(f"the seed {self.seed} is not valid; give a whole number from 0 to 2^64 - 1")
        for name, value in (("steps", self.steps), ("regression paths", self.regression_paths)):
            if value < 1:
                raise mb.UsageError(f"{name} = {value} is not valid; give a whole number, 1 or more")


class Book:
    """Positions with the sums over their paths so far. All methods but `estimates` are collective.

    Attributes
    ----------
    positions : sequence of Position
    settings : Settings
    paths : int
        How many are summed up, the same of each position. Path i of a position has the same random numbers whenever it
        is priced: moved by a scenario, on other ranks, after more paths. European options and barriers that are watched
        all the time share them with one another; so do positions with as many dates, two or more, and, in Heston's
        model, with as many steps. Others have paths of their own: no sum over positions is made path by path.
    """

    def __init__(self, comm: MPI.Intracomm, positions: Sequence[Position], settings: Settings) -> None:
        self.comm, self.positions, self.settings, self.paths = comm, positions, settings, 0
        self._sums = [[0] * SUMS for _ in positions]
        self._rules: dict[int, Values] = {}  # of American options, by number

    def extend(self, paths: int) -> None:
        """Go on to this number of paths."""
        for number, position in enumerate(self.positions):
            if position.style == "american" and number not in self._rules:
                settings = self.settings
                self._rules[number] = worth_of_holding(self.comm, position, settings.regression_paths, settings.seed)
        more = paths - self.paths
        low, high = (self.paths + more * rank // self.comm.size for rank in (self.comm.rank, self.comm.rank + 1))
        rows = np.empty((OUTPUTS, min(CHUNK, max(high - low, 1))))
        for first in range(0, len(self.positions), GROUP):
            some = range(first, min(first + GROUP, len(self.positions)))
            mine = np.array([self._sums_of(number, low, high, rows) for number in some])
            more_of_each = totals(self.comm, mine, [self.positions[number].where for number in some])
            for number, more_sums in zip(some, more_of_each, strict=True):
                self._sums[number] = [a + b for a, b in zip(self._sums[number], more_sums, strict=True)]
        self.paths = paths

    def estimates(self) -> list[Estimate]:
        """Return what is known of each position. Local."""
        return [
            _or_exercised(position, estimate(sums, self.paths, _control_mean(position)))
            for position, sums in zip(self.positions, self._sums, strict=True)
        ]

    def _sums_of(self, number: int, low: int, high: int, rows: Values) -> npt.NDArray[np.int64]:
        """This rank's sums of the paths from `low` to `high`. Local."""
        position = self.positions[number]
        parts = exact_sums(np.empty((OUTPUTS, 0)))
        if _is_worthless(position):
            return parts
        for begin in range(low, high, CHUNK):
            some = rows if high - begin >= CHUNK else np.empty((OUTPUTS, high - begin))  # contiguous
            if position.style == "american":
                _simulate_american(position, self._rules[number], begin, self.settings.seed, some)
            else:
                _simulate(position, self.settings, begin, some)
            parts += exact_sums(some)
        return parts

    def save(self, path: str) -> None:
        """Write what it takes to go on. The file is complete, or as it was."""
        with agreed(self.comm, f"writing {path}"):
            if self.comm.rank == 0:
                rules = {str(number): [list(map(float.hex, row)) for row in rule.tolist()]
                         for number, rule in self._rules.items()}  # fmt: skip
                sums = [[_short(total) for total in row] for row in self._sums]
                state = {"format": FORMAT, "book": self._identity(), "paths": self.paths}
                write_json(Path(path), state | {"sums": sums, "rules": rules}, indent=None)

    def restore(self, path: str) -> None:
        """Take up what `save` wrote, if there is such a file. UsageError if it is of other positions or settings."""
        state: dict[str, Any] | None = None
        with agreed(self.comm, f"reading {path}"):
            if self.comm.rank == 0 and Path(path).exists():
                try:
                    state = json.loads(Path(path).read_text())
                    is_ours = isinstance(state, dict) and state.get("format") == FORMAT
                except ValueError:
                    is_ours = False
                if not is_ours or state is None:
                    raise mb.UsageError(f"{path} is no state of this program; remove it, or name another file")
                if state["book"] != self._identity():
                    raise mb.UsageError(
                        f"{path} is the state of other positions, or of another seed, steps or regression paths; give "
                        "those again, or name another file"
                    )
        state = self.comm.bcast(state, root=0)
        if state is not None:
            self.paths = state["paths"]
            self._sums = [[_long(text) for text in row] for row in state["sums"]]
            self._rules = {
                int(number): np.array([list(map(float.fromhex, row)) for row in rule]).reshape(
                    -1, len(rule[0]) if rule else 1
                )
                for number, rule in state["rules"].items()
            }

    def _identity(self) -> str:
        """What makes the sums what they are, in a word. Local."""
        of_positions = [
            (p.style, p.right, p.fixings, *map(float.hex, p.numbers().tolist()), bool(p.heston)) for p in self.positions
        ]
        return hashlib.sha256(json.dumps([of_positions, asdict(self.settings)]).encode()).hexdigest()


def _short(total: int) -> str:
    """A sum in few digits: most have many zeros behind."""
    zeros = (total & -total).bit_length() - 1 if total else 0
    return f"{total >> zeros:x}p{zeros}"


def _long(text: str) -> int:
    digits, _, zeros = text.partition("p")
    return int(digits, 16) << int(zeros)


def _is_bridged(position: Position) -> bool:
    return position.style.startswith(("up", "down")) and not position.fixings


def _is_worthless(position: Position) -> bool:
    """Whether a barrier that is watched all the time was reached, and ended it."""
    return _is_bridged(position) and position.style.endswith("out") and position.is_beyond()


def _simulate(position: Position, settings: Settings, begin: int, out: Values) -> None:
    """Write all outputs of paths. Local."""
    from mpibatch.apps.risk._loops import rows as of

    style = {"european": of.EUROPEAN, "asian": of.ASIAN, "geometric-asian": of.GEOMETRIC}.get(position.style)
    if style is None:
        is_out = position.style.endswith("out")
        if not _is_bridged(position):
            style = of.DATES_OUT if is_out else of.DATES_IN
        elif position.is_beyond():
            style = of.EUROPEAN  # in, and for good
        else:
            style = of.BRIDGE_OUT if is_out else of.BRIDGE_IN
    dates = 1 if style == of.EUROPEAN else max(position.fixings, 1)
    numbers, draws, state = position.numbers(), np.empty(of.DRAWS), np.empty(of.STATE)
    up = position.style.startswith("up")
    shared = (np.uint64(begin), np.uint64(settings.seed), style, position.sign, up, dates)
    if not position.heston:
        from mpibatch.apps.risk._loops.paths import simulate

        simulate(*shared, numbers, draws, state, out)
        return
    from mpibatch.apps.risk._loops import heston_paths as loops

    parts = math.ceil(settings.steps * position.expiry / dates)
    if style not in (of.DATES_OUT, of.DATES_IN):
        loops.simulate_heston(*shared, parts, numbers, draws, state, out)
        return
    # Vega, by volatility, the root of the variance now: from the same random numbers, a little above and below.
    variance, theta = numbers[of.VARIANCE], numbers[of.THETA]
    root, bump = math.sqrt(variance), BUMP * math.sqrt(max(variance, theta))
    low, high = max(root - bump, 0.0), root + bump
    variances, states = np.array([variance, low * low, high * high]), np.empty((3, of.STATE))
    loops.simulate_heston_dates(*shared, parts, variances, high - low, numbers, draws, states, out)


def _simulate_american(position: Position, rule: Values, begin: int, seed: int, out: Values) -> None:
    from mpibatch.apps.risk._loops import american_options as loops
    from mpibatch.apps.risk._loops import rows as of

    numbers, scale = position.numbers(), scale_of(position)
    work = np.empty(of.DRAWS), np.empty(of.STATE)
    loops.simulate_american(np.uint64(begin), np.uint64(seed), position.sign, scale, rule, numbers, *work, out)


def _control_mean(position: Position) -> float:
    """Return the exact mean of the control. Local."""
    from mpibatch.apps.risk._loops.american_options import black
    from mpibatch.apps.risk._loops.arithmetic import exp

    p, time, n = position, position.expiry, position.fixings
    growth, discount = p.rate - p.dividend, exp(-p.rate * position.expiry)
    if p.style == "american":
        return float(discount * black(p.spot * exp(growth * time), p.strike, p.sigma * math.sqrt(time), p.sign))
    if p.style == "asian" and p.heston:
        return float(discount * p.spot * math.fsum(exp(growth * time * date / n) for date in range(1, n + 1)) / n)
    if p.style == "asian":
        # The geometric mean is lognormal; A. Kemna and A. Vorst 1990, doi:10.1016/0378-4266(90)90039-5, of dates.
        square = p.sigma * p.sigma  # and no power, which is the C library's
        mean = (growth - 0.5 * square) * time * (n + 1) / (2 * n)
        variance = square * time * (n + 1) * (2 * n + 1) / (6 * n * n)
        return float(discount * black(p.spot * exp(mean + 0.5 * variance), p.strike, math.sqrt(variance), p.sign))
    return float(discount * p.spot * exp(growth * time))


def _or_exercised(position: Position, held: Estimate) -> Estimate:
    """Return what an American option is worth, which may be exercised now."""
    if position.style != "american" or position.payoff <= held.price:
        return held
    return Estimate(
        price=position.payoff, error=0.0, delta=position.sign, delta_error=0.0, gamma=0.0, gamma_error=0.0, vega=0.0,
        vega_error=0.0,
    )  # fmt: skip
