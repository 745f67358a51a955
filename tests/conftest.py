"""Options, fixtures and requirements common to all tests. How they are run: scripts/test.sh.

Tests marked `mpi` run on every rank of an mpiexec (`--with-mpi`); all others run once, without MPI.
"""

from __future__ import annotations

import atexit
import gc
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import hypothesis
import pytest

from mpibatch.testing import Lockstep, Watchdog
from scripts._runner.setups import SHARES, patience

# No test adds to the history of whoever runs them.
os.environ.setdefault("MPIBATCH_HISTORY", "0")
# A line that a rank prints must be one write, or the launcher mixes it with another rank's.
os.environ.pop("PYTHONUNBUFFERED", None)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Completed: TypeAlias = subprocess.CompletedProcess[str]

FULL_RANKS = 2
LOG_HANDLERS = logging.getLogger("mpibatch").handlers[:]  # before any command
LOCKSTEP: pytest.StashKey[Lockstep] = pytest.StashKey()
TALLY: pytest.StashKey[Tally] = pytest.StashKey()


def _parallel_hdf5() -> bool:
    import h5py

    return bool(h5py.get_config().mpi)


# Marker: (can this machine run it, what to install if not).
REQUIREMENTS: dict[str, tuple[Callable[[], bool], str]] = {
    "mpio": (_parallel_hdf5, "h5py built with parallel HDF5 (pip install --no-binary=h5py h5py, with HDF5_MPI=ON)"),
    "slurm": (lambda: shutil.which("slurmctld") is not None, "Slurm (Debian: slurmctld slurmd slurm-client munge)"),
    "browser": (lambda: any(map(shutil.which, ("chromium", "chrome"))), "a headless browser (Debian: chromium)"),
}


class Tally:
    """Counts outcomes by test and seconds by file, for the runner, which adds up several runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, str] = {}
        self._reasons: dict[str, str] = {}
        self._seconds: dict[str, float] = {}
        self.too_few_ranks: dict[str, int] = {}

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._outcomes[f"collecting {report.nodeid}"] = "failed"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = report.nodeid.partition("::")[0]
        self._seconds[file] = self._seconds.get(file, 0.0) + report.duration
        before = self._outcomes.get(report.nodeid, "passed")
        if report.failed:
            self._outcomes[report.nodeid] = "failed"
        elif report.skipped and not hasattr(report, "wasxfail"):
            self._outcomes[report.nodeid] = "skipped"
            self._reasons[report.nodeid] = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else "")
        else:
            self._outcomes[report.nodeid] = before

    def pytest_sessionfinish(self) -> None:
        told = {"outcomes": self._outcomes, "reasons": self._reasons, "seconds": self._seconds}
        self._path.write_text(json.dumps(told | {"too_few_ranks": self.too_few_ranks}))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mpibatch")
    group.addoption(
        "--test-limit", type=float, default=300.0, metavar="SECONDS", help="end the run if a test takes longer"
    )
    group.addoption("--scratch", type=Path, metavar="DIR", help="put stack traces and temporary folders here")
    group.addoption("--share", type=_share, metavar="K/N", help="of the cases of tests run share K, from 0, of 2 or 4")
    group.addoption("--tally", type=Path, metavar="FILE", help="write the outcomes to FILE (rank 0)")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Start watchdog and MPI before pytest's own plugins are configured."""
    scratch: Path | None = config.getoption("--scratch")
    watchdog = Watchdog(scratch, config.getoption("--test-limit"))
    config.pluginmanager.register(watchdog)
    rank = 0
    if config.getoption("--with-mpi"):
        lockstep = config.stash[LOCKSTEP] = Lockstep(watchdog)
        config.pluginmanager.register(lockstep)
        rank = lockstep.comm.rank
        _same_draws_on_all_ranks()
    if scratch:
        config.option.basetemp = str(scratch / f"tmp-{rank}")
    tally: Path | None = config.getoption("--tally")
    if tally and rank == 0:
        config.stash[TALLY] = Tally(tally)
        config.pluginmanager.register(config.stash[TALLY])


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let rank 0 alone report; `Lockstep` tells it about the others."""
    if LOCKSTEP in config.stash and config.stash[LOCKSTEP].comm.rank:
        config.pluginmanager.unregister(name="terminalreporter")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with a reason, what this machine cannot run; leave to larger runs what needs more ranks."""
    for name, (is_met, what) in REQUIREMENTS.items():
        marked = [item for item in items if item.get_closest_marker(name)]
        if marked and not is_met():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=f"needs {what}"))
    needed = {item: max([1, *(mark.kwargs.get("min_size", 1) for mark in item.iter_markers("mpi"))]) for item in items}
    _keep_share(config, items, needed)
    if LOCKSTEP not in config.stash:
        return
    size = config.stash[LOCKSTEP].comm.size
    _, shares = config.getoption("--share") or (0, 1)
    _fewer_examples(items, min(1.0, (FULL_RANKS / size) ** 2) / shares, seed=size if shares > 1 else None)
    small = [item for item in items if needed[item] > size]
    items[:] = [item for item in items if needed[item] <= size]
    config.hook.pytest_deselected(items=small)
    if TALLY in config.stash:
        config.stash[TALLY].too_few_ranks.update({item.nodeid: needed[item] for item in small})


def pytest_collection_finish() -> None:
    """Spare Python the search for garbage among what was imported and collected, which stays, and when it ends."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.freeze)


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Commands that a test, or a fixture, runs in this process send the log to its standard error, which ends."""
    _reset_log()
    yield
    _reset_log()


def _reset_log() -> None:
    log = logging.getLogger("mpibatch")
    log.handlers[:], log.propagate = LOG_HANDLERS, True
    log.setLevel(logging.NOTSET)


@pytest.fixture
def shared_tmp(request: pytest.FixtureRequest) -> Iterator[Path]:
    """One empty folder, the same on all ranks (`tmp_path` is another one on each); removed at the end."""
    lockstep = request.config.stash.get(LOCKSTEP, None)
    scratch: Path | None = request.config.getoption("--scratch")
    if lockstep is None or lockstep.comm.rank == 0:
        folder = tempfile.mkdtemp(prefix="shared-", dir=scratch)
    if lockstep is None:
        yield Path(folder)
    else:
        folder = lockstep.comm.bcast(folder if lockstep.comm.rank == 0 else "")
        yield Path(folder)
        lockstep.meet()  # nobody may still be reading
    if lockstep is None or lockstep.comm.rank == 0:
        shutil.rmtree(folder)


class Launch(Protocol):
    def __call__(self, ranks: int, *arguments: str, timeout: float = 60.0, **options: Any) -> Completed: ...


@pytest.fixture
def launch() -> Launch:
    """Run ``python ARGUMENTS`` on `ranks` ranks (0: without mpiexec), for tests that are not themselves under MPI.

    Further options are subprocess's. Output is text. What takes longer than `timeout` seconds is ended, and fails.
    """

    def run(ranks: int, *arguments: str, timeout: float = 60.0, **options: Any) -> Completed:
        own = str(Path(sys.executable).parent / "mpiexec")
        start = [*shlex.split(os.environ.get("MPIBATCH_MPIEXEC", own)), "-n", str(ranks)] if ranks else []
        pipe = subprocess.PIPE
        settings = {"text": True, "stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe} | options
        settings["env"] = {**settings.get("env", os.environ), **patience(ranks)}
        process = subprocess.Popen([*start, sys.executable, *arguments], **settings)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.terminate()  # mpiexec passes it on to the ranks
            out, err = process.communicate(timeout=timeout)
            pytest.fail(f"{arguments} on {ranks} ranks took longer than {timeout:g} s\n{out}\n{err}")
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


def _same_draws_on_all_ranks() -> None:
    # hypothesis also draws constants that it finds in whichever local modules are loaded by then. These differ
    # between ranks (rank 0 alone may have imported a reader), and one other draw is one deadlock.
    from hypothesis.internal.conjecture import providers

    if not hasattr(providers, "is_local_module_file"):
        raise pytest.UsageError(
            f"hypothesis {hypothesis.__version__} finds its constants in another way than this conftest turns off; "
            "look for _get_local_constants in it and adapt _same_draws_on_all_ranks"
        )
    providers.is_local_module_file = lambda path: False

    # No shrinking: an example that fails on one rank alone must end the test, not start other examples there.
    hypothesis.settings.register_profile("mpi", phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate))
    hypothesis.settings.load_profile("mpi")


def _share(text: str) -> tuple[int, int]:
    share, _, shares = text.partition("/")
    return int(share), int(shares)


def _keep_share(config: pytest.Config, items: list[pytest.Item], needed: dict[pytest.Item, int]) -> None:
    given: tuple[int, int] | None = config.getoption("--share")
    if given is None:
        return
    share, shares = given
    # The most ranks on which any quarter runs: a case that needs more runs wherever it can.
    most = min(max(ranks for ranks, (one, of) in SHARES.items() if each % of == one) for each in range(4))
    counts: dict[str, int] = defaultdict(int)
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        name, bracket, _ = item.nodeid.partition("[")
        if not bracket:  # a test of one case: one of its file's
            name = name.partition("::")[0]
        # Not by turns: of two values of the last parameter each half would then have one. By this parity (the sequence
        # of Thue and Morse) both are in both, as are four, and most of any number. A quarter holds numbers that are
        # all even, or all odd: those of 4 and of 6 ranks are one of either.
        number = counts[name]
        quarter = number.bit_count() % 2 + 2 * ((number >> 1).bit_count() % 2)
        is_mine = quarter % shares == share or needed[item] > most or _depends_on_ranks(item) or _draws(item)
        counts[name] += 1
        (kept if is_mine else left_out).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


def _depends_on_ranks(item: pytest.Item) -> bool:
    """Whether a test's cases are others on other numbers of ranks: then none of them runs anywhere else."""
    callspec = getattr(item, "callspec", None)
    return callspec is not None and "topology" in callspec.params


def _draws(item: pytest.Item) -> bool:
    """Whether a test draws examples: on each number of ranks it does, a share of them, and others on each."""
    return bool(hypothesis.is_hypothesis_test(getattr(item, "obj", None)))


def _fewer_examples(items: list[pytest.Item], share: float, seed: int | None) -> None:
    # Every example makes each rank compute the answer for the whole array: with more ranks than cores, that is most of
    # the time, and an example takes as much longer as there are more ranks. Without a seed those that are drawn are the
    # first of the same ones on any number of ranks.
    tests = [getattr(item, "obj", None) for item in items if _draws(item)]
    # Of a method this is the function that all its instances share, as items with other parameters do.
    functions: set[Any] = {getattr(test, "__func__", test) for test in tests}
    for function in functions:
        given = getattr(function, "_hypothesis_internal_use_settings", None)
        if share < 1 and isinstance(given, hypothesis.settings):
            fewer = hypothesis.settings(given, max_examples=max(1, round(given.max_examples * share)))
            function._hypothesis_internal_use_settings = fewer
        if seed is not None:
            hypothesis.seed(seed)(function)


# No deadline, no health check by the clock and no database: nothing may depend on the time or on earlier runs.
hypothesis.settings.register_profile(
    "steady",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=(hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture),
)
hypothesis.settings.load_profile("steady")
