"""A pytest plugin: tests of programs that use mpibatch, on several ranks, in step, without hangs.

    mpiexec -n 3 python -m pytest -p mpibatch.testing
    pytest_plugins = ["mpibatch.testing"]        # the same, in the conftest.py beside pyproject.toml

Under mpiexec every rank runs every test. A test that fails on one rank alone would leave the others waiting for it in
this test or, unnoticed, in the next one. So the ranks meet after each test and compare outcomes: what fails on one
rank fails on all, with that rank's words, and rank 0 alone reports. A rank that does not get there in time
(``--mpi-limit``, seconds for one test, default 60) writes down where it is, and what has failed so far, and ends the
run. Calls that differ between ranks are errors, as if ``MPIBATCH_CHECK=1``. Without mpiexec, or on one rank, the
plugin does nothing.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import re
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, TextIO

import pytest

from mpibatch.base.processes.launch import launched

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

__all__ = ["Lockstep", "Watchdog"]

STUCK = 70  # exit status of a process that its watchdog ended
GRACE_SECONDS = 8.0  # from "stuck" to the end by our own hand: the runner needs less to ask all ranks for their stacks
BETWEEN_SECONDS = 60.0  # limit for what is no test: starting and ending MPI, agreeing on what was collected
SLOW_FACTOR = 5  # how much longer a test marked `slow` may take
LIMIT = 60.0  # seconds for one test
_MUTED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the plugin. Local."""
    group = parser.getgroup("mpibatch")
    group.addoption(
        "--mpi-limit", type=float, default=LIMIT, metavar="SECONDS",
        help="under mpiexec: end the run, with all stacks, if a test takes longer (default: %(default)g; of those "
        f"marked slow: {SLOW_FACTOR} times as long)",
    )  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Begin to keep the ranks in step, if there are several. Collective."""
    if launched()[1] == 1:
        return
    os.environ.setdefault("MPIBATCH_CHECK", "1")
    watchdog = Watchdog(None, config.getoption("--mpi-limit"))
    lockstep = Lockstep(watchdog)
    config.pluginmanager.register(watchdog)
    config.pluginmanager.register(lockstep)
    config.stash[_MUTED] = lockstep.comm.rank > 0


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let rank 0 alone report: it is told of the others. Local."""
    if config.stash.get(_MUTED, False):
        config.pluginmanager.unregister(name="terminalreporter")


class Watchdog:
    """Ends the run when a test takes too long, with the stacks of all threads of every rank.

    Under the runner each process has a trace file in `scratch`: its failures so far, what it is doing, and its stacks
    once the runner sends SIGUSR1. faulthandler serves that signal even while the process is inside a library that holds
    the GIL. Without a runner the stacks go to stderr.

    Parameters
    ----------
    scratch : pathlib.Path or None
        The runner's folder for trace files; None: stderr.
    seconds : float
        The limit of a test; of those marked slow, 5 times as long.

    Attributes
    ----------
    rank : str
        The words by which this rank is named in what is written.

    Notes
    -----
    Local. A thread looks at the clock 4 times a second. faulthandler's own timer is not used: cancelling it, after
    every test, can deadlock under load. Making one takes SIGUSR1 over, so that the example is not run.

    Examples
    --------
    >>> from mpibatch.testing import Watchdog
    >>> watchdog = Watchdog(None, seconds=60.0)  # doctest: +SKIP
    >>> config.pluginmanager.register(watchdog)  # doctest: +SKIP
    """

    def __init__(self, scratch: Path | None, seconds: float) -> None:
        self._scratch = scratch
        # Opened now, before pytest captures stderr for the first test.
        self._file: TextIO = (scratch / f"trace-{os.getpid()}").open("w") if scratch else os.fdopen(os.dup(2), "w")
        self._seconds = seconds
        self._failures = ""
        self._label = "starting"
        self._deadline = math.inf
        self.rank = ""
        faulthandler.register(signal.SIGUSR1, file=self._file, all_threads=True)
        threading.Thread(target=self._watch, name="test watchdog", daemon=True).start()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        slow = item.get_closest_marker("slow") is not None
        with self.watching(item.nodeid, self._seconds * (SLOW_FACTOR if slow else 1)):
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:  # pytest itself shows failures at the end of the run, which may never come
            self._failures += f"failed: {report.nodeid}, {report.when}\n{report.longreprtext}\n\n"
            self._write_trace()

    @contextlib.contextmanager
    def watching(self, activity: str, seconds: float) -> Iterator[None]:
        """End the process if the block takes longer than some seconds.

        Parameters
        ----------
        activity : str
            What the block does, for what is written of it.
        seconds : float
            Its limit.

        Yields
        ------
        None
            Nothing: it is a context manager, for a ``with`` statement.

        Notes
        -----
        Local. The exit status is 70, some seconds after the stacks were written, so that a runner can ask all ranks for
        theirs.

        Examples
        --------
        >>> from mpibatch.testing import Watchdog
        >>> watchdog = Watchdog(None, seconds=60.0)  # doctest: +SKIP
        >>> with watchdog.watching("starting MPI", seconds=5.0):  # doctest: +SKIP
        ...     from mpibatch.mpi import MPI
        """
        self._label = f"{activity}, limit {seconds:g} s"
        self._write_trace()
        self._deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline = math.inf

    def _write_trace(self) -> None:
        if self._scratch:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(f"{self.rank}\n{self._failures}now: {self._label}\n")
            self._file.flush()

    def _watch(self) -> None:
        while time.monotonic() < self._deadline:
            time.sleep(0.25)
        if self._scratch:
            (self._scratch / "stuck").touch()
        else:
            self._file.write(f"\n{self._failures}{self.rank}: stuck in {self._label}\n")
            self._file.flush()
            faulthandler.dump_traceback(file=self._file, all_threads=True)
        time.sleep(GRACE_SECONDS)
        os._exit(STUCK)


class Lockstep:
    """Makes the ranks collect the same tests, and agree on the outcome of each.

    Parameters
    ----------
    watchdog : Watchdog
        Watches over what is no test: starting and ending MPI, and agreeing on what was collected.

    Attributes
    ----------
    comm : mpi4py.MPI.Intracomm
        Its own duplicate of COMM_WORLD.

    Notes
    -----
    Collective, and so is every hook. After each test the ranks meet, and exchange outcomes and the words of failures.
    ``-p mpibatch.testing`` makes one under mpiexec; since it would not do without pytest, the example is not run.

    Examples
    --------
    >>> from mpibatch.testing import Lockstep, Watchdog
    >>> lockstep = Lockstep(Watchdog(None, seconds=60.0))  # doctest: +SKIP
    >>> config.pluginmanager.register(lockstep)  # doctest: +SKIP
    """

    def __init__(self, watchdog: Watchdog) -> None:
        with watchdog.watching("starting MPI", BETWEEN_SECONDS):
            # Late: this starts MPI.
            from mpibatch.mpi import MPI
            from mpibatch.mpi.values.communicator import plain

            self.comm = plain(MPI.COMM_WORLD.Dup())
        self._watchdog = watchdog
        self._outcome, self._text = "passed", ""
        self._elsewhere: list[str] = []
        watchdog.rank = f"rank {self.comm.rank} of {self.comm.size}"

    def meet(self) -> None:
        """Wait for all ranks, politely: a spinning one would take the core of one that still computes.

        Notes
        -----
        Collective: a barrier, asked for at most every millisecond.

        Examples
        --------
        >>> from mpibatch.testing import Lockstep, Watchdog
        >>> lockstep = Lockstep(Watchdog(None, seconds=60.0))  # doctest: +SKIP
        >>> lockstep.meet()  # doctest: +SKIP
        """
        request, pause = self.comm.Ibarrier(), 0.0
        while not request.Test():
            time.sleep(pause)
            pause = min(pause + 1e-5, 1e-3)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._text += f"{report.nodeid}: {report.longreprtext}\n"

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        with self._watchdog.watching("collecting tests", BETWEEN_SECONDS):
            self.meet()
            collected = self.comm.allgather(([item.nodeid for item in session.items], self._text))
        if all(theirs == collected[0] for theirs in collected):
            return
        lines = ["the ranks collected different tests:"]
        for rank, (names, errors) in enumerate(collected):
            alone = sorted(set(names) ^ set(collected[0][0]))[:3]
            lines.append(
                f"rank {rank}: {len(names)} tests; not on both it and rank 0: {alone}; errors: {errors or 'none'}"
            )
        pytest.exit("\n".join(lines), returncode=pytest.ExitCode.INTERNAL_ERROR)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        self._outcome, self._text = "passed", ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed(report.longreprtext + "".join(f"\n-- {name} --\n{text}" for name, text in report.sections))
        elif report.skipped and not hasattr(report, "wasxfail"):
            self._outcome = "skipped"

    def _failed(self, text: str) -> None:
        self._outcome = "failed"
        self._text += text.rstrip() + "\n"

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        # Outermost, so that all fixtures are torn down, and whatever they communicate is done.
        error: BaseException | None = None
        try:
            yield
        except (Exception, pytest.fail.Exception) as caught:
            error = caught
            self._failed(f"in teardown: {type(caught).__name__}: {caught}")
        self.meet()
        outcomes = self.comm.allgather((self._outcome, self._text))
        differ = [rank for rank, (outcome, _) in enumerate(outcomes) if outcome != self._outcome]
        if self._outcome == "failed":
            gists = {_gist(self._text)}
            for rank, (outcome, text) in enumerate(outcomes):
                if outcome == "failed" and _gist(text) not in gists:
                    gists.add(_gist(text))
                    self._elsewhere.append(f"--- {item.nodeid}, rank {rank} ---\n{text}")
        if error is not None:
            raise error
        if differ and self._outcome != "failed":
            texts = "\n".join(f"rank {rank} {outcomes[rank][0]}:\n{outcomes[rank][1]}" for rank in differ)
            pytest.fail(f"rank {self.comm.rank} {self._outcome}, but\n{texts}", pytrace=False)
        return None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._elsewhere:
            terminalreporter.section("the same tests' failures on other ranks")
            terminalreporter.write("\n".join(self._elsewhere) + "\n")

    def pytest_unconfigure(self) -> None:
        with self._watchdog.watching("ending MPI", BETWEEN_SECONDS):
            self.meet()
            self.comm.Free()
        sys.stdout.flush()


def _gist(failure: str) -> str:
    """What distinguishes a failure: pytest's lines of explanation, without addresses."""
    return re.sub(r"0x[0-9a-f]+", "", "\n".join(re.findall("^E .*", failure, re.MULTILINE)) or failure)
