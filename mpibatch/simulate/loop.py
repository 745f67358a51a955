"""The time loop: hands out steps, and between them checks, writes and reports."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.base import tally
from mpibatch.base.compiled import compile_seconds
from mpibatch.base.progress import heartbeat
from mpibatch.base.timing import spent
from mpibatch.simulate import restart
from mpibatch.simulate.checks import INITIAL, UNSTABLE, check_state, check_step
from mpibatch.simulate.pass_length import Pace

if TYPE_CHECKING:
    from collections.abc import Generator

    from mpibatch.checkpoint.checkpoints import Checkpoints
    from mpibatch.fields.grid import Grid
    from mpibatch.simulate.plans import LoopPlan, Report, RunPlan, State
    from mpibatch.simulate.progress import Progress

__all__ = ["Now", "Outcome", "passes"]


@dataclass(frozen=True)
class Now:
    """One pass of the loop: `count` steps of length `dt`, from `time` and `step` on.

    Parameters
    ----------
    step : int
        Steps made before it.
    time : float
        The time reached before it.
    dt : float
        The length of each of its steps.
    count : int, default 1
        How many steps: 1, unless more were allowed.

    Notes
    -----
    Local; the same on every rank. All of them are attributes; it cannot be changed.

    Examples
    --------
    >>> import mpibatch as mb
    >>> with mb.Simulation(steps=2) as simulation:
    ...     state = {"u": simulation.grid(4).full(8.0)}
    ...     for now in simulation.steps(state, dt=0.25):
    ...         print(now)
    Now(step=0, time=0.0, dt=0.25, count=1)
    Now(step=1, time=0.25, dt=0.25, count=1)
    """

    step: int
    time: float
    dt: float
    count: int = 1


@dataclass(frozen=True)
class Outcome:
    """What a run did; the same on every rank but for the seconds, which are this rank's."""

    grid: Grid
    steps: int
    time: float
    written: tuple[tuple[str, tuple[int, ...], str, int], ...]  # dataset, shape, dtype, bytes
    seconds: float  # between the first step and the end, output included, compiling not
    first: int = 0  # the step of the checkpoint from which it went on
    writing: float = 0.0  # seconds of output and checkpoints between the first step and the end


def passes(plan: RunPlan, loop: LoopPlan, progress: Progress, state: State) -> Generator[Now, None, Outcome]:
    """Yield each pass until the end, and return what the run did. Collective."""
    clock = progress.clock
    check_state(state, "in the initial data", INITIAL)
    first = _resume(plan, loop, progress, state)
    if not first:
        _record(plan, loop, progress, state, 0.0)
    tally.lap("start")
    begin, written, pace = _seconds_without_compiling(), spent("io"), Pace(plan.comm, loop.max_steps)
    while not progress.is_over:
        now = _next(plan, loop, progress, state, pace.max_steps, is_first=clock.step == first)
        if plan.report is not None and now.step == first:
            _report(plan.report, progress, now.dt)
        pace.begin()
        heartbeat.name_step(f"step {now.step + 1}")
        yield now
        pace.end(now.count)
        clock.advance(now.dt, now.count)
        _search(plan, progress, state, now)
        _record(plan, loop, progress, state, now.dt)
        if plan.report is not None:
            _report(plan.report, progress, now.dt)
        if plan.checkpoints is not None:
            _keep(plan, loop, plan.checkpoints, progress, state)
    tally.lap("steps")
    return Outcome(
        grid=next(iter(state.values())).grid,
        steps=clock.step,
        time=clock.time,
        written=progress.file.sizes(),
        seconds=_seconds_without_compiling() - begin,
        first=first,
        writing=spent("io") - written,
    )


def _resume(plan: RunPlan, loop: LoopPlan, progress: Progress, state: State) -> int:
    """Restore what a checkpoint holds; return its step, 0 for none."""
    if plan.checkpoints is None or not plan.resume:
        return 0
    fields = loop.pack(state)
    restored = restart.restore(plan.checkpoints, plan.output, fields, progress.clock, progress.rows, progress.streams)
    if restored is None:
        return 0
    if loop.unpack is not None:
        loop.unpack(fields)
    progress.file.moments = restored.outputs
    if restored.snapshot is not None:
        progress.file.open(loop.outputs(state), loop.attrs, restored.snapshot)
    return progress.clock.step


def _next(plan: RunPlan, loop: LoopPlan, progress: Progress, state: State, max_steps: int, *, is_first: bool) -> Now:
    """Return the pass to make, of at most `max_steps`."""
    clock, dt = progress.clock, loop.dt
    longest = float(dt(state) if callable(dt) else dt)
    if callable(dt) or is_first:
        check_step(plan.comm, longest, clock)
    if callable(dt):
        return Now(clock.step, clock.time, clock.one_step(longest))
    for every in (loop.align_every, plan.schedule.check_every):
        max_steps = min(max_steps, every - clock.step % every) if every else max_steps
    length, count = clock.equal_steps(longest, max_steps)
    return Now(clock.step, clock.time, length, count)


def _search(plan: RunPlan, progress: Progress, state: State, now: Now) -> None:
    """Search for NaN, where that is due."""
    schedule, clock = plan.schedule, progress.clock
    cadence = schedule.check_every
    if not cadence:
        return
    crossed = clock.step // cadence > now.step // cadence
    if crossed or clock.is_due(schedule.output) or clock.is_due(schedule.diagnostics):
        searched = "" if cadence == 1 else f" (searched every {cadence} steps: check_every = 1 tells the first)"
        check_state(state, f"after step {clock.step}, t = {clock.time:.6g}{searched}", UNSTABLE)


def _record(plan: RunPlan, loop: LoopPlan, progress: Progress, state: State, dt: float) -> None:
    """Write what is due."""
    clock, is_end = progress.clock, progress.is_stopped
    if plan.output is not None and (is_end or clock.is_due(plan.schedule.output)):
        progress.file.append(loop.outputs(state), loop.attrs)
        progress.stillness.look(state, clock.step)
        progress.file.moments.append((clock.step, clock.time))
    if loop.diagnostics is not None and (is_end or clock.is_due(plan.schedule.diagnostics)):
        progress.rows.add(clock.step, clock.time, dt, loop.diagnostics(state))


def _report(report: Report, progress: Progress, dt: float) -> None:
    """Report steps made, and steps in all."""
    clock = progress.clock
    total = clock.step if progress.is_stopped else clock.expected(dt)
    report(clock.step, total, f"t = {clock.time:.6g}")


def _keep(plan: RunPlan, loop: LoopPlan, checkpoints: Checkpoints, progress: Progress, state: State) -> None:
    """Write a checkpoint, where that is due."""
    step = progress.clock.step
    if progress.is_over or not checkpoints.due(step):
        return
    fields = loop.pack(state)
    if plan.schedule.check_every:
        # What is broken must not take the place of what is not.
        check_state(fields, f"after step {step}, before it goes into a checkpoint", UNSTABLE)
    snapshot = progress.file.snapshot()
    extra = restart.collect(progress.clock, progress.rows, progress.file.moments, progress.streams, snapshot)
    checkpoints.save(step, fields, extra)


def _seconds_without_compiling() -> float:
    return time.perf_counter() - compile_seconds()
