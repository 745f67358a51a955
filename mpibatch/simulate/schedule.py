"""When a simulation ends, writes and checks, and how its time is cut into steps. Pure arithmetic, the same everywhere.

A `Clock` is all that a run needs to go on from where it was: a few numbers.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CHECK_EVERY", "Clock", "Every", "Schedule"]

CHECK_EVERY = 100  # steps between searches for NaN, unless told
# Times that differ by less than this share of an interval are one: k * 0.1 is not always 0.1 * k in floats.
CLOSE = 1e-9
# A step that is this much longer than asked for, by rounding, is not worth another one.
ROUNDING = 1e-12
# Shorter steps than this share of the time reached make no progress in double precision that one would wait for.
SHORTEST = 1e-14


@dataclass(frozen=True)
class Every:
    """How often: each `time` units of time, or each `steps` steps. Neither: at the beginning and the end only.

    Parameters
    ----------
    time : float, optional
        Units of time, above 0.
    steps : int, optional
        A number of steps, 1 or more.

    Raises
    ------
    UsageError
        If both are given, or one is no such number.

    Notes
    -----
    Local. Both are attributes; it cannot be changed.

    Examples
    --------
    >>> from mpibatch.simulate import Every
    >>> print(Every(0.5), Every(steps=10), Every(), sep="; ")
    every 0.5 units of time; every 10 steps; at the beginning and the end
    """

    time: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.time is not None and self.steps is not None:
            raise UsageError(f"every {self.time:g} units of time and every {self.steps} steps were given; give one")
        if self.time is not None and not 0 < self.time < math.inf:
            raise UsageError(f"every {self.time} units of time is not valid; give a finite number above 0")
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"every {self.steps} steps is not valid; give 1 or more")

    def __str__(self) -> str:
        if self.time is not None:
            return f"every {self.time:g} units of time"
        return f"every {self.steps} steps" if self.steps is not None else "at the beginning and the end"


@dataclass(frozen=True)
class Schedule:
    """When a run ends (after `until` units of time, or `steps` steps, whichever comes first), and what happens when.

    Parameters
    ----------
    until : float, optional
        The end in units of time, above 0.
    steps : int, optional
        The end in steps, 1 or more. One of both must be given.
    output : Every, default ``Every()``
        When something is written.
    diagnostics : Every, default ``Every()``
        When a row of diagnostics is added.
    check_every : int, default 100
        Steps between searches for NaN; 0: never.

    Raises
    ------
    UsageError
        If there is no end, or a number is out of range.

    Notes
    -----
    Local. All of them are attributes; it cannot be changed.

    Examples
    --------
    >>> from mpibatch.simulate import Every, Schedule
    >>> Schedule(until=2.0, output=Every(0.5)).outputs()
    5
    """

    until: float | None = None
    steps: int | None = None
    output: Every = field(default_factory=Every)
    diagnostics: Every = field(default_factory=Every)
    check_every: int = CHECK_EVERY  # steps between searches for NaN; 0: never

    def __post_init__(self) -> None:
        if self.until is None and self.steps is None:
            raise UsageError("the simulation has no end; give until (units of time) or steps")
        if self.until is not None and not 0 < self.until < math.inf:
            raise UsageError(f"until={self.until} is not valid; give a finite time above 0")
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"steps={self.steps} is not valid; give 1 or more")
        if self.check_every < 0:
            raise UsageError(f"check_every={self.check_every} is not valid; give a number of steps, or 0 for never")

    def identity(self) -> dict[str, Any]:
        """Return what changes the result, for checkpoints.

        Returns
        -------
        dict of str to object
            The ends, and how often there are outputs and rows, in words and numbers that JSON can hold.

        Notes
        -----
        Local.

        Examples
        --------
        >>> from mpibatch.simulate import Schedule
        >>> identity = Schedule(steps=10).identity()
        >>> identity["steps"], identity["until"]
        (10, None)
        """
        return {
            "until": self.until,
            "steps": self.steps,
            "outputs": asdict(self.output),
            "rows of diagnostics": asdict(self.diagnostics),
        }

    def outputs(self) -> int | None:
        """Return how many outputs there will be.

        Returns
        -------
        int or None
            None if that depends on the steps.

        Notes
        -----
        Local.

        Examples
        --------
        >>> from mpibatch.simulate import Every, Schedule
        >>> Schedule(steps=10, output=Every(steps=4)).outputs()
        4
        >>> Schedule(steps=10, output=Every(0.5)).outputs() is None
        True
        """
        output = self.output
        if output.time is None and output.steps is None:
            return 2
        if output.time is not None and self.until is not None and self.steps is None:
            return 1 + _intervals(self.until / output.time, CLOSE)
        if output.steps is not None and self.steps is not None and self.until is None:
            return 1 + _intervals(self.steps / output.steps, 0.0)
        return None


def _intervals(ratio: float, close: float) -> int:
    return max(1, math.ceil(ratio - close))


@dataclass
class Clock:
    """Where a run is. Between `start` and the next time that must be met lie `total` equal steps, `done` of them made.

    Attributes
    ----------
    step, time : steps made, and the time reached.
    start, done, total : as above; `total` 0 stands for no such time, or for steps that are not equal.
    """

    schedule: Schedule
    step: int = 0
    time: float = 0.0
    start: float = 0.0
    done: int = 0
    total: int = 0

    def to_extra(self) -> dict[str, float]:
        """Return where it is, for checkpoints. Local."""
        return {"step": self.step, "time": self.time, "start": self.start, "done": self.done, "total": self.total}

    def go_on(self, extra: Mapping[str, Any]) -> None:
        """Go on from what `to_extra` returned. Local."""
        self.step, self.done, self.total = int(extra["step"]), int(extra["done"]), int(extra["total"])
        self.time, self.start = float(extra["time"]), float(extra["start"])

    @property
    def finished(self) -> bool:
        """Whether the end is reached. Local."""
        until, steps = self.schedule.until, self.schedule.steps
        return (until is not None and self.time >= until) or (steps is not None and self.step >= steps)

    def is_due(self, every: Every) -> bool:
        """Whether something is due now; all is at the beginning and at the end. Local."""
        if self.step == 0 or self.finished:
            return True
        if every.steps is not None:
            return self.step % every.steps == 0
        if every.time is None:
            return False
        ratio = self.time / every.time
        return abs(ratio - round(ratio)) <= CLOSE

    def target(self) -> float:
        """Return the next time that must be met exactly; infinity if there is none. Local."""
        until = math.inf if self.schedule.until is None else self.schedule.until
        nearest = until
        for every in (self.schedule.output, self.schedule.diagnostics):
            if every.time is not None:
                time = (math.floor(self.time / every.time + CLOSE) + 1) * every.time
                nearest = min(nearest, time if abs(time - until) > CLOSE * every.time else until)
        return nearest

    def equal_steps(self, dt: float, max_steps: int = 1) -> tuple[float, int]:
        """Return (length, number) of the steps to make next, at most `dt` long and `max_steps` of them. Local."""
        target = self.target()
        if target == math.inf:
            return dt, min(max_steps, self._steps_to_event())
        if self.done == self.total:
            self.start, self.done = self.time, 0
            self.total = max(1, math.ceil((target - self.time) / dt * (1 - ROUNDING)))
        length = (target - self.start) / self.total
        return length, min(max_steps, self.total - self.done, self._steps_to_event())

    def one_step(self, dt: float) -> float:
        """Return the length of a single step, at most `dt`, such that no tiny one is left over for later. Local."""
        self.start, self.done, self.total = self.time, 0, 0
        left = self.target() - self.time
        if dt < left < 2 * dt:
            return left / 2
        return min(dt, left)

    def advance(self, length: float, count: int) -> None:
        """Note that `count` steps of a length from `equal_steps` or `one_step` were made. Local."""
        target = self.target()
        if length < SHORTEST * abs(self.time):
            raise RunError(
                f"the time step fell to {length:.3g} at t = {self.time:.6g}, step {self.step}: the time does not "
                "advance any more; look at the diagnostics before it for what grows without bound"
            )
        self.step += count
        if self.total:
            self.done += count
            is_met = self.done == self.total
            self.time = target if is_met else self.start + self.done * length
        elif target == math.inf:
            self.done += count
            self.time = self.start + self.done * length
        else:
            reached = self.time + length
            self.time = target if abs(reached - target) <= ROUNDING * abs(target) else reached

    def expected(self, dt: float) -> int:
        """Return about how many steps the run has in all, if they stay as long as now. Local."""
        left = math.inf
        if self.schedule.until is not None:
            left = math.ceil((self.schedule.until - self.time) / dt - CLOSE)
        if self.schedule.steps is not None:
            left = min(left, self.schedule.steps - self.step)
        return self.step + max(0, int(left))

    def _steps_to_event(self) -> int:
        """Steps to the next thing that is counted in steps; 1 or more."""
        left = [every.steps - self.step % every.steps for every in self._evers() if every.steps is not None]
        if self.schedule.steps is not None:
            left.append(self.schedule.steps - self.step)
        return max(1, min(left, default=1 << 62))

    def _evers(self) -> tuple[Every, Every]:
        return self.schedule.output, self.schedule.diagnostics
