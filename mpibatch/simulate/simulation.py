"""One run of a program, as its users see it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError
from mpibatch.fields.grid import Grid
from mpibatch.mpi import MPI, private
from mpibatch.mpi.failure import Leaving
from mpibatch.random import Generator
from mpibatch.simulate import restart
from mpibatch.simulate.diagnostics import DiagnosticRows
from mpibatch.simulate.loop import Now, Outcome, passes
from mpibatch.simulate.output_file import OutputFile
from mpibatch.simulate.plans import LoopPlan, RunPlan
from mpibatch.simulate.progress import Progress
from mpibatch.simulate.schedule import CHECK_EVERY, Clock, Every, Schedule
from mpibatch.simulate.stillness import Stillness

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from mpibatch.checkpoint.checkpoints import Checkpoints
    from mpibatch.io.base.names import PathLike
    from mpibatch.simulate.plans import Attributes, Diagnostics, Output, Report, State, StepLength, Unpack

__all__ = ["Simulation"]


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
        `topology` (ranks along each axis) and `sizes` (cells of every block) for `grid`.
    attrs : mapping of str to object, optional
        Attributes of the HDF5 file.
    report : callable, optional
        Called on this rank with (steps made, steps in all, label) before the first pass and after every one.
    record : bool, default False
        Whether the HDF5 file tells of this run: date, hosts, decomposition, driver, seconds.
    encrypt : str or path-like, optional
        A file with recipients, who alone can read the output, as in `save`. Checkpoints must be encrypted, too.
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
        The same on every rank, if the numbers are not valid, or for checkpoints that are there and not to be resumed.

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
        encrypt: PathLike | None = None,
        checkpoints: Checkpoints | None = None,
        resume: bool = False,
    ) -> None:
        written = Every(every, every_steps)
        row_cadence = Every(diagnostics_every, diagnostics_every_steps)
        row_cadence = written if row_cadence == Every() else row_cadence
        self.schedule = schedule or Schedule(until, steps, written, row_cadence, check_every)
        self.comm = private(comm)
        self.outcome: Outcome | None = None
        self._plan = RunPlan(
            schedule=self.schedule,
            comm=self.comm,
            output=output,
            attrs=dict(attrs or {}),
            record=record,
            encrypt=encrypt,
            layout=dict(layout or {}),
            report=report,
            checkpoints=checkpoints,
            resume=resume,
        )
        self._resources = ExitStack()
        self._progress = Progress(
            Clock(self.schedule),
            DiagnosticRows(self.comm, diagnostics),
            OutputFile(self._plan, self._resources),
            Stillness(self.comm),
        )
        self._is_entered = self._is_begun = False
        self._time_units = ""
        if checkpoints is not None:
            checkpoints.identity = {**self.schedule.identity(), "output": output is not None, **checkpoints.identity}
        restart.check_start(checkpoints, resume, diagnostics, encrypts=encrypt is not None)

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
        return self._progress.clock.time

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
        return self._progress.clock.step

    def grid(self, shape: Any, **geometry: Any) -> Grid:
        """Return a Grid on the run's communicator, with the topology that the job asks for.

        Parameters
        ----------
        shape : int or sequence of int
            Cells along each of 1 to 4 axes.
        **geometry : object
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
        return Grid(shape, comm=self.comm, **{**self._plan.layout, **geometry})

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
        self._progress.streams.append(Generator(seed))
        return self._progress.streams[-1]

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
        self._progress.why_stopped = why

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
        pack: Output | None = None,
        unpack: Unpack | None = None,
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
        pack : callable, optional
            A function of the state that returns what goes into checkpoints, by name, where that is not what the program
            steps on: particles, say. Default: all of `state`.
        unpack : callable, optional
            A function of what `pack` returned, called once a checkpoint's values are in it, before the first pass: it
            makes the state of them.

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
        if self._is_begun:
            raise UsageError("steps() was called twice in one simulation; make another Simulation for another run")
        self._is_begun = True
        if self._plan.needs_block and not self._is_entered:
            raise UsageError("steps() was called outside of the simulation's with block, which completes the output")
        self._time_units = time_units
        loop = LoopPlan(
            dt=dt, outputs=output or dict, diagnostics=diagnostics, max_steps=max_steps, align_every=align_every,
            attrs=attrs, pack=pack or dict, unpack=unpack,
        )  # fmt: skip
        self.outcome = yield from passes(self._plan, loop, self._progress, state)

    def __enter__(self) -> Simulation:
        self._is_entered = True
        self._resources.enter_context(Leaving(self.comm))
        if self._plan.checkpoints is not None:
            self._resources.enter_context(self._plan.checkpoints)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give the file its name; if the block raised, remove it, unless checkpoints need it. Collective."""
        self._progress.rows.close()
        try:
            if error is None:
                self._complete()
        except BaseException as raised:
            self._resources.__exit__(type(raised), raised, raised.__traceback__)
            raise
        self._resources.__exit__(kind, error, at)
        # A block that ended well, but never began its time loop, has completed nothing.
        if error is None and self.outcome is not None and self._plan.checkpoints is not None:
            self._plan.checkpoints.clear()

    def _complete(self) -> None:
        if self._is_begun and self.outcome is None:
            raise UsageError("the time loop was left before its end; call simulation.stop() instead of break")
        self._progress.file.complete(self._progress.rows, self._time_units)
