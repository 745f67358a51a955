"""A rank's work on a batch: take an item, run it, note what became of it, until there is none left."""

from __future__ import annotations

import inspect
import time
import traceback
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import MpibatchError, RunError, Stopped
from mpibatch.base.progress.heartbeat import beat, idle, name_step
from mpibatch.batch.log import Failure
from mpibatch.batch.payloads import encoded
from mpibatch.mpi import MPI, agreed
from mpibatch.mpi.counter import Counter
from mpibatch.mpi.teams import Team

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mpibatch.batch.log import Log
    from mpibatch.batch.schedule import Ints, TeamPhase

__all__ = ["BatchWork", "Call"]

STOPPED = "stopped"  # in place of an error's words


@dataclass(frozen=True)
class Call:
    """How an item's function is called: with the item, and what it has parameters for."""

    function: Callable[..., Any]
    seed: int
    takes: frozenset[str]

    @classmethod
    def of(cls, function: Callable[..., Any], seed: int) -> Call:
        """Look at the function's parameters. Local."""
        try:
            names = frozenset(inspect.signature(function).parameters)
        except (TypeError, ValueError):  # of some built-in functions nothing is known
            names = frozenset()
        return cls(function, seed, names & {"comm", "rng"})

    def __call__(self, number: int, item: Any, comm: MPI.Intracomm) -> Any:
        """Call the function. Collective over the team's `comm`, if the function is."""
        given: dict[str, Any] = {}
        if "comm" in self.takes:
            given["comm"] = comm
        if "rng" in self.takes:  # anew for each attempt, and whoever runs it
            given["rng"] = np.random.Generator(np.random.Philox(key=np.array([self.seed, number], np.uint64)))
        return self.function(item, **given)


@dataclass
class BatchWork:
    """What all ranks do together; `run` it once for each phase.

    Attributes
    ----------
    failures : of all ranks, in this run.
    busy : seconds that this rank spent within items.
    """

    comm: MPI.Intracomm
    call: Call
    items: Sequence[Any]
    names: Callable[[int], str]
    log: Log
    retries: int
    max_failures: int | None
    is_stopping: Callable[[], bool]
    report: Callable[[int], None]
    failures: int = 0
    busy: float = 0.0
    stopped: bool = False
    _before: int = field(default=0, init=False)

    def run(self, phase: TeamPhase) -> None:
        """Work on the items of a phase. Collective. RunError, on all ranks, if one cannot keep its journal."""
        if self.stopped:
            return
        ended, error = np.zeros(2, np.int64), None
        with ExitStack() as wait:
            with Team.of(self.comm, phase.size, phase.most) as team:
                if team.leaders is not None:
                    with Counter(team.leaders, len(phase.items), phase.costs) as counter:
                        error = self._lead(team, counter, phase, ended)
                        wait.enter_context(idle())
                else:
                    self._follow(team)
                    wait.enter_context(idle())
            with agreed(self.comm, "keeping the journal of a batch"):
                if error is not None:
                    raise error
        self.comm.Allreduce(MPI.IN_PLACE, ended, op=MPI.SUM)
        self.failures += int(ended[0])
        self.stopped = bool(ended[1])
        self._before += len(phase.items)

    def _lead(self, team: Team, counter: Counter, phase: TeamPhase, ended: Ints) -> Exception | None:
        """Take items, and run them with the team. Returns what keeps this rank from going on."""
        assert team.comm is not None
        error: Exception | None = None
        try:
            while (number := counter.take()) >= 0:
                self.report(self._before + number)
                item = int(phase.items[number])
                self._name(item)
                self.log.start(item)  # which may fail, and then its team does not begin
                _tell(team.comm, item)
                outcome = self._try(team, item)
                is_last = self.is_stopping() or outcome is None
                if outcome is None:
                    self.log.interrupted(item)
                elif isinstance(outcome, bytes):
                    self.log.done(item, outcome)
                else:
                    self.log.failed(outcome)
                    ended[0] += 1
                    count = counter.count() + self.failures
                    is_last = is_last or (self.max_failures is not None and count > self.max_failures)
                if is_last:
                    ended[1] = 1
                    counter.stop()
        except Exception as caught:  # of the journal: a full disk
            error = caught
            counter.stop()
        _tell(team.comm, -1)
        return error

    def _follow(self, team: Team) -> None:
        """Run the items that the team's leader takes; a rank without a team has nothing to do."""
        if team.comm is not None:
            while (item := _tell(team.comm, -1)) >= 0:
                beat()
                self._name(item)
                self._try(team, item)

    def _name(self, item: int) -> None:
        """Note for a supervisor which item is under way."""
        name_step(f"item {item} ({self.names(item)})")

    def _try(self, team: Team, item: int) -> bytes | Failure | None:
        """Run an item, several times if it fails; all ranks of the team agree on what came out.

        None: it left for a signal that asked the run to stop, with a checkpoint of its own.
        """
        assert team.comm is not None and team.work is not None  # noqa: PT018
        words = ""
        for attempt in range(1, self.retries + 2):
            payload, error = b"", ""
            began = time.perf_counter()
            try:
                result = self.call(item, self.items[item], team.work)
                payload = encoded(result) if team.comm.rank == 0 else b""
            except Stopped:
                error = STOPPED
            except (Exception, SystemExit) as caught:
                error = _words_of(caught)
            self.busy += time.perf_counter() - began
            is_raised = team.comm.size > 1 and bool(error) and error != STOPPED
            if is_raised:  # the others may wait for this rank in something collective, until the run is ended
                with suppress(RunError):
                    self.log.raised(item, self._failure(item, error, attempt))
            words = _agreed_error(team.comm, error)
            if is_raised:
                with suppress(RunError):
                    self.log.raised(item, None)
            if not words:
                return payload
            if words == STOPPED:
                return None
        return self._failure(item, words, self.retries + 1)

    def _failure(self, item: int, words: str, attempts: int) -> Failure:
        line, _, trace = words.partition("\n")
        return Failure(item, self.names(item), line, trace, attempts)


def _words_of(error: BaseException) -> str:
    """What went wrong in a line, and below it the traceback, without where it passes through here."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    kind = "" if isinstance(error, MpibatchError) else type(error).__name__
    text = " ".join(str(error).split())
    line = ": ".join(filter(None, (kind, text))) or "it failed"
    return "\n".join([line, "".join(traceback.format_exception(error.with_traceback(trace)))])


def _tell(team: MPI.Intracomm, item: int) -> int:
    """Pass the leader's item on to its team. Collective over the team."""
    if team.size == 1:
        return item
    number = np.array([item], np.int64)
    team.Bcast(number, root=0)
    return int(number[0])


def _agreed_error(team: MPI.Intracomm, error: str) -> str:
    """Return the text of the lowest rank that has one, on all ranks. Collective over the team."""
    if team.size == 1:
        return error
    first = np.array([team.rank if error else team.size], np.int64)
    team.Allreduce(MPI.IN_PLACE, first, op=MPI.MIN)
    if first[0] == team.size:
        return ""
    text: str = team.bcast(error, root=int(first[0]))
    return text
