"""The time loop: hands out steps, and between them checks, writes and reports."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from mpibatch.base import tally
from mpibatch.base.compiled import compile_seconds
from mpibatch.base.errors import UsageError
from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase, spent
from mpibatch.checkpoint.checkpoints import Checkpoints
from mpibatch.fields.field import Field, check_field
from mpibatch.fields.grid import Grid
from mpibatch.io.write.series import Series, series
from mpibatch.io.write.snapshot import Snapshot
from mpibatch.mpi import MPI, Leaving, private
from mpibatch.random import Generator
from mpibatch.simulate import restart
from mpibatch.simulate.batching import Pace
from mpibatch.simulate.diagnostics import Rows
from mpibatch.simulate.finite import check_finite
from mpibatch.simulate.schedule import CHECK_EVERY, Clock, Every, Schedule
from mpibatch.simulate.stillness import Stillness

__all__ = ["Now", "Outcome", "Simulation"]

State = dict[str, Field]
StepLength = float | Callable[[State], float]
# report(done, total, label), as in mpibatch.job.execution.progress.
Report = Callable[[int, int, str], None]
Output = Callable[[State], Mapping[str, Field]]
Diagnostics = Callable[[State], Mapping[str, Any]]
Attributes = Mapping[str, Mapping[str, Any]]

# What a file has besides the fields.
TABLES = ("diagnostics", "step", "time")
UNSTABLE = "the scheme is probably unstable there: shorten the time step, or look at initial data, walls and parameters"


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


class Simulation:
    """One run of a program: its end, its output and its time loop. A context manager.

    Parameters
    ----------
    schedule : Schedule, optional
        Instead of the numbers from `until` to `check_every`, which are not looked at if it is given.
    until : float, optional
        The end in units of time, above 0.
    steps : int, optional
        The end in steps, 1 or more. With `until` and `steps`, whichever comes first; one of both must be given.
    output : str, optional
        The HDF5 file. It gets its name at the end of the ``with`` block. Default: no file.
    every : float, optional
        Units of time between outputs.
    every_steps : int, optional
        Steps between outputs. Neither: the first and the last state.
    diagnostics : str, optional
        A CSV file for the rows of diagnostics. Default: they are in the HDF5 file only.
    diagnostics_every : float, optional
        Units of time between rows.
    diagnostics_every_steps : int, optional
        Steps between rows. Neither: with every output.
    check_every : int, default 100
        Steps between searches for NaN and infinity; outputs, rows and initial data are always searched. 1 tells the
        first step exactly, and allows no fused steps. A search reads all fields once. 0: no search but of the initial
        data.
    comm : mpi4py.MPI.Intracomm, optional
        Whose ranks take part. Default: COMM_WORLD.
    layout : mapping of str to object, optional
        `topology` and `sizes` for `grid`, as in `mpibatch.Grid`.
    attrs : mapping of str to object, optional
        Attributes of the HDF5 file.
    report : callable, optional
        Called on this rank with (steps made, steps in all, label) before the first pass and after every one.
    record : bool, default False
        Whether the HDF5 file tells of this run (date, hosts, decomposition, seconds), as in `mpibatch.save`.
    checkpoints : Checkpoints, optional
        Where and when the state is kept, so that another run can go on from it; see `mpibatch.checkpoint`. They are
        removed when the run is complete.
    resume : bool, default False
        Go on from the newest of them, if there is one. Otherwise none may be there.

    Attributes
    ----------
    schedule : Schedule
        When it ends, writes and searches.
    comm : mpi4py.MPI.Intracomm
        A private duplicate of the communicator.
    outcome : mpibatch.simulate.loop.Outcome or None
        What the run did, after its time loop.

    Raises
    ------
    UsageError
        The same on every rank, if the numbers cannot be meant, or for checkpoints that are there and not to be resumed.

    Notes
    -----
    Collective; see `mpibatch.simulate` for how a run goes.

    Examples
    --------
    >>> import mpibatch as mb
    >>> with mb.Simulation(until=1.0, output="decay.h5", every=0.5) as simulation:
    ...     state = {"u": simulation.grid(4).full(8.0)}
    ...     for now in simulation.steps(state, dt=0.25):
    ...         state["u"] = (1.0 - now.dt) * state["u"]
    >>> with mb.open("decay.h5") as run:
    ...     print(run.times, run["u"][:, 0])
    [0.  0.5 1. ] [8.      4.5     2.53125]
    """

    def __init__(
        self,
        schedule: Schedule | None = None,
        *,
        until: float | None = None,
        steps: int | None = None,
        output: str | None = None,
        every: float | None = None,
        every_steps: int | None = None,
        diagnostics: str | None = None,
        diagnostics_every: float | None = None,
        diagnostics_every_steps: int | None = None,
        check_every: int = CHECK_EVERY,
        comm: MPI.Intracomm | None = None,
        layout: Mapping[str, Any] | None = None,
        attrs: Mapping[str, Any] | None = None,
        report: Report | None = None,
        record: bool = False,
        checkpoints: Checkpoints | None = None,
        resume: bool = False,
    ) -> None:
        written = Every(every, every_steps)
        row_cadence = Every(diagnostics_every, diagnostics_every_steps)
        row_cadence = written if row_cadence == Every() else row_cadence
        self.schedule = schedule or Schedule(until, steps, written, row_cadence, check_every)
        self.comm = private(comm)
        self.outcome: Outcome | None = None
        self._clock = Clock(self.schedule)
        self._path, self._attrs, self._layout = output, dict(attrs or {}), dict(layout or {})
        self._report, self._with_record = report, record
        self._rows = Rows(self.comm, diagnostics)
        self._resources = ExitStack()
        self._series: Series | None = None
        self._outputs: list[tuple[int, float]] = []
        self._shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self._units = ""
        self._why_stopped: str | None = None
        self._loops = 0
        self._stillness = Stillness(self.comm)
        self._is_entered = self._is_dt_checked = False
        self._checkpoints, self._resume = checkpoints, resume
        self._streams: list[Generator] = []
        if checkpoints is not None:
            checkpoints.identity = {**self.schedule.identity(), "output": output is not None, **checkpoints.identity}
        restart.check_start(checkpoints, resume)

    @property
    def time(self) -> float:
        """The time reached, a float. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> with mb.Simulation(until=1.0) as simulation:
        ...     state = {"u": simulation.grid(4).full(8.0)}
        ...     for now in simulation.steps(state, dt=0.3):
        ...         state["u"] = (1.0 - now.dt) * state["u"]
        >>> simulation.time, now.dt
        (1.0, 0.25)
        """
        return self._clock.time

    @property
    def step(self) -> int:
        """The steps made, an int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> with mb.Simulation(until=1.0) as simulation:
        ...     state = {"u": simulation.grid(4).full(8.0)}
        ...     for now in simulation.steps(state, dt=0.3):
        ...         state["u"] = (1.0 - now.dt) * state["u"]
        >>> simulation.step
        4
        """
        return self._clock.step

    def grid(self, shape: Any, **geometry: Any) -> Grid:
        """Return a Grid on the run's communicator, with the topology that the job asks for.

        Parameters
        ----------
        shape : int or sequence of int
            Cells along each of 1 to 4 axes.
        **geometry
            Further parameters of `mpibatch.Grid`, `comm` apart; they go before the `layout` of the simulation.

        Returns
        -------
        Grid
            A new one.

        Raises
        ------
        UsageError
            As `mpibatch.Grid`, the same on every rank.

        Notes
        -----
        Collective, as `mpibatch.Grid`.

        Examples
        --------
        >>> import mpibatch as mb
        >>> simulation = mb.Simulation(steps=1, layout={"topology": (None, 1)})
        >>> grid = simulation.grid((4, 6), periodic=True)
        >>> grid.topology[1], grid.periodic
        (1, (True, True))
        """
        return Grid(shape, comm=self.comm, **{**self._layout, **geometry})

    def random(self, seed: int) -> Generator:
        """Return random numbers that go on after a checkpoint as without it; see `mpibatch.random`.

        Parameters
        ----------
        seed : int
            0 to 2^64 - 1.

        Returns
        -------
        mpibatch.random.Generator
            Its state goes into the checkpoints.

        Raises
        ------
        UsageError
            If the seed is out of range.

        Notes
        -----
        Local; to be called before `steps`, in the same order in every run.

        Examples
        --------
        >>> import mpibatch as mb
        >>> simulation = mb.Simulation(steps=1)
        >>> simulation.random(7)
        Generator(seed=7, draws=0)
        """
        self._streams.append(Generator(seed))
        return self._streams[-1]

    def stop(self, why: str = "") -> None:
        """End the run after this pass, such as in a steady state.

        Parameters
        ----------
        why : str, default ""
            For the reader of the program; it is shown nowhere.

        Notes
        -----
        Local; but all ranks must call it in the same pass. The last state is written as at the end.

        Examples
        --------
        >>> import mpibatch as mb
        >>> with mb.Simulation(steps=1000) as simulation:
        ...     state = {"u": simulation.grid(4).full(8.0)}
        ...     for now in simulation.steps(state, dt=1.0):
        ...         state["u"] = 0.5 * state["u"]
        ...         if mb.max(state["u"]) < 1.0:
        ...             simulation.stop("cold")
        >>> simulation.step
        4
        """
        self._why_stopped = why

    def steps(
        self,
        state: State,
        dt: StepLength,
        *,
        output: Output | None = None,
        diagnostics: Diagnostics | None = None,
        max_steps: int | None = 1,
        align_every: int = 0,
        time_units: str = "",
        attrs: Attributes | None = None,
    ) -> Iterator[Now]:
        """Yield each pass until the end; see `mpibatch.simulate` for how steps are cut.

        Parameters
        ----------
        state : dict of str to Field
            The fields by name; the loop's body puts the new ones in.
        dt : float or callable
            The longest step allowed, or a function of the state that returns it, the same on all ranks.
        output : callable, optional
            A function of the state that returns what is written, by name. Default: all of `state`.
        diagnostics : callable, optional
            A function of the state that returns the numbers of a row, by name; collective (`mpibatch.sum`, ...).
        max_steps : int or None, default 1
            How many equal steps a pass may make at once (for `mpibatch.iterate`), None for any number; only with a
            number for `dt`. How many it makes depends on how long they take; nothing that is written does.
        align_every : int, default 0
            Passes end at each multiple of so many steps; 0: wherever.
        time_units : str, default ""
            The unit of time, for the file.
        attrs : mapping of str to mapping, optional
            Attributes of the datasets, by name of the field, such as ``{"u": {"units": "K"}}``.

        Yields
        ------
        Now
            What the body of the loop is to do: its steps, their length, and where they begin.

        Raises
        ------
        UsageError
            A step length that is no positive number, or differs between ranks; no fields; a second loop, or one outside
            of the ``with`` block that completes the output.
        RunError
            NaN or infinity in a field, a step too short to advance, a full disk.
        Stopped
            A signal asked for the end, and the checkpoint is written.

        Notes
        -----
        Collective, and every error is the same on every rank. Messages of a pass: one all-reduce of 24 bytes for the
        length of the step, before the first pass or, with a function for `dt`, before each; one of 8 bytes where NaN is
        searched; one if a pass may make several steps; and what checkpoints and outputs need.

        Examples
        --------
        >>> import mpibatch as mb
        >>> with mb.Simulation(until=1.0, diagnostics="decay.csv") as simulation:
        ...     state = {"u": simulation.grid(4).full(8.0)}
        ...     row = lambda state: {"mean": mb.mean(state["u"])}
        ...     for now in simulation.steps(state, dt=0.25, diagnostics=row):
        ...         state["u"] = (1.0 - now.dt) * state["u"]
        >>> from pathlib import Path
        >>> print(Path("decay.csv").read_text())
        step,time,dt,mean
        0,0.0,0.0,8.0
        4,1.0,0.25,2.53125
        <BLANKLINE>
        """
        self._loops += 1
        if self._loops > 1:
            raise UsageError("steps() was called twice in one simulation; make another Simulation for another run")
        if (self._path is not None or self._checkpoints is not None) and not self._is_entered:
            raise UsageError("steps() was called outside of the simulation's with block, which completes the output")
        chosen = output or dict
        self._units = time_units
        self._check(state, "in the initial data", "repair or replace them")
        first = self._go_on(state, chosen, attrs)
        if not first:
            self._record(state, 0.0, chosen, diagnostics, attrs)
        tally.lap("start")
        begin, written, pace = _without_compiling(), spent("io"), Pace(self.comm, max_steps)
        while not self._clock.finished and self._why_stopped is None:
            now = self._next(state, dt, pace.max_steps, align_every)
            if now.step == first:
                self._tell(now.dt)
            pace.begin()
            yield now
            pace.end(now.count)
            self._clock.advance(now.dt, now.count)
            self._look(state, now)
            self._record(state, now.dt, chosen, diagnostics, attrs)
            self._tell(now.dt)
            self._keep(state)
        tally.lap("steps")
        grid, taken, io = next(iter(state.values())).grid, _without_compiling() - begin, spent("io") - written
        self.outcome = Outcome(grid, self._clock.step, self._clock.time, self._written(), taken, first, io)

    def _go_on(self, state: State, chosen: Output, attrs: Attributes | None) -> int:
        """Restore what a checkpoint holds; return its step, 0 for none."""
        if self._checkpoints is None or not self._resume:
            return 0
        restored = restart.restore(self._checkpoints, self._path, state, self._clock, self._rows, self._streams)
        if restored is None:
            return 0
        self._outputs = restored.outputs
        if restored.snapshot is not None:
            self._open(chosen(state), attrs, restored.snapshot)
        return self._clock.step

    def _keep(self, state: State) -> None:
        """Write a checkpoint, where that is due."""
        is_end = self._clock.finished or self._why_stopped is not None
        if self._checkpoints is None or is_end or not self._checkpoints.due(self._clock.step):
            return
        if self.schedule.check_every:
            # What is broken must not take the place of what is not.
            self._check(state, f"after step {self._clock.step}, before it goes into a checkpoint", UNSTABLE)
        snapshot = self._series.snapshot() if self._series is not None else None
        extra = restart.collect(self._clock, self._rows, self._outputs, self._streams, snapshot)
        self._checkpoints.save(self._clock.step, state, extra)

    def _next(self, state: State, dt: StepLength, max_steps: int, align_every: int) -> Now:
        clock = self._clock
        longest = float(dt(state) if callable(dt) else dt)
        if callable(dt) or not self._is_dt_checked:
            self._same_everywhere(longest)
            self._is_dt_checked = True
        if callable(dt):
            return Now(clock.step, clock.time, clock.one_step(longest))
        for every in (align_every, self.schedule.check_every):
            max_steps = min(max_steps, every - clock.step % every) if every else max_steps
        length, count = clock.equal_steps(longest, max_steps)
        return Now(clock.step, clock.time, length, count)

    def _same_everywhere(self, dt: float) -> None:
        """Refuse steps of no length, and ranks with different ones: they would wait for one another for ever."""
        low, is_length = np.empty(3), 0 < dt < math.inf
        mine = np.array([dt, -dt, 1.0]) if is_length else np.zeros(3)
        with REDUCTION:
            self.comm.Allreduce(mine, low, op=MPI.MIN)
        high = -low[1]
        if not low[2]:
            which = "" if is_length else f" of {dt}"
            raise UsageError(
                f"a time step{which} was given at t = {self._clock.time:.6g}, step {self._clock.step}; give a finite "
                "number above 0, the same on all ranks"
            )
        if low[0] != high:
            raise UsageError(
                f"ranks gave time steps between {float(low[0])!r} and {float(high)!r}; compute them from mpibatch.max "
                "and its like, which are the same on all ranks"
            )

    def _look(self, state: State, now: Now) -> None:
        """Search for NaN, where that is due."""
        cadence, clock = self.schedule.check_every, self._clock
        if not cadence:
            return
        crossed = clock.step // cadence > now.step // cadence
        if crossed or clock.is_due(self.schedule.output) or clock.is_due(self.schedule.diagnostics):
            searched = "" if cadence == 1 else f" (searched every {cadence} steps: check_every = 1 tells the first)"
            self._check(state, f"after step {clock.step}, t = {clock.time:.6g}{searched}", UNSTABLE)

    def _check(self, state: State, when: str, advice: str) -> None:
        if not state:
            raise UsageError("steps() was given an empty state; give the fields by name: {'u': u}")
        for name, field in state.items():
            check_field(f"state[{name!r}] of a simulation", field)
        with phase("compute"):
            check_finite(state, when, advice)

    def _record(
        self,
        state: State,
        dt: float,
        chosen: Output,
        diagnostics: Diagnostics | None,
        attrs: Attributes | None,
    ) -> None:
        """Write what is due."""
        clock, is_end = self._clock, self._why_stopped is not None
        if self._path is not None and (is_end or clock.is_due(self.schedule.output)):
            fields = chosen(state)
            if self._series is None:
                self._open(fields, attrs)
            assert self._series is not None
            self._series.append(fields)
            self._stillness.look(state, clock.step)
            self._outputs.append((clock.step, clock.time))
        if diagnostics is not None and (is_end or clock.is_due(self.schedule.diagnostics)):
            self._rows.add(clock.step, clock.time, dt, diagnostics(state))

    def _open(self, fields: Mapping[str, Field], attrs: Attributes | None, resume: Snapshot | None = None) -> None:
        """Open the file of the series."""
        assert self._path is not None
        # Told now, and not when the tables are added after the last step.
        if taken := [name for name in fields if name.split("/")[0] in TABLES]:
            raise UsageError(f"the output {taken[0]!r} has the name of one of the tables {TABLES}; rename it")
        checkpoints = self._checkpoints
        opened = series(
            self._path,
            fields,
            outputs=self.schedule.outputs() or 0,
            attrs=self._attrs,
            dataset_attrs=attrs,
            resume=resume,
            record=self._with_record,
            keep=lambda: checkpoints is not None and checkpoints.newest is not None,
        )
        self._series = self._resources.enter_context(opened)
        self._shapes = {name: (u.shape, u.dtype) for name, u in fields.items()}

    def _tell(self, dt: float) -> None:
        if self._report is not None:
            clock = self._clock
            total = clock.step if self._why_stopped is not None else clock.expected(dt)
            self._report(clock.step, total, f"t = {clock.time:.6g}")

    def _written(self) -> tuple[tuple[str, tuple[int, ...], str, int], ...]:
        count = len(self._outputs)
        return tuple(
            (name, (count, *shape), dtype.name, count * math.prod(shape) * dtype.itemsize)
            for name, (shape, dtype) in sorted(self._shapes.items())
        )

    def __enter__(self) -> Simulation:
        self._is_entered = True
        self._resources.enter_context(Leaving(self.comm))
        if self._checkpoints is not None:
            self._resources.enter_context(self._checkpoints)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give the file its name; if the block raised, remove it, unless checkpoints need it. Collective."""
        self._rows.close()
        try:
            if error is None:
                self._complete()
        except BaseException as raised:
            self._resources.__exit__(type(raised), raised, raised.__traceback__)
            raise
        self._resources.__exit__(kind, error, at)
        # A block that ended well, but never began its time loop, has completed nothing.
        if error is None and self.outcome is not None and self._checkpoints is not None:
            self._checkpoints.clear()

    def _complete(self) -> None:
        if self._loops and self.outcome is None:
            raise UsageError("the time loop was left before its end; call simulation.stop() instead of break")
        if self._series is None:
            return
        units = {"units": self._units} if self._units else {}
        self._series.table("step", np.array([step for step, _ in self._outputs], "i8"))
        self._series.table("time", np.array([at for _, at in self._outputs], "f8"), units)
        for name, column in self._rows.columns().items():
            self._series.table(f"diagnostics/{name}", column, units if name in ("time", "dt") else {})


def _without_compiling() -> float:
    return time.perf_counter() - compile_seconds()
