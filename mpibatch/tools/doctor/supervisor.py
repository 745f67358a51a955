"""Runs the probe process on this rank and reads its reports until it ends, crashes or takes too long.

The launcher's connection (PMI) is inherited by the probe process, and kept open here: if that dies, the launcher
does not learn of it before this process ends, and so does not kill the ranks that are about to report.
"""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.tools.doctor.finding import Finding, error, gist

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ProbeReport", "Rendezvous", "run_probe"]

REPORTING = 30.0  # seconds; rank 0 first ends what still can be tried, each with a limit of its own


@dataclass
class ProbeReport:
    """What a probe process has reported.

    Attributes
    ----------
    modules : of libraries that it could import, their own version, and their file.
    failure : how it ended, if not as it should; `is_late`: it ran out of time.
    is_whole : it came to its end.
    """

    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    modules: dict[str, tuple[str, str]] = field(default_factory=dict)
    failure: Finding | None = None
    is_late: bool = False
    is_whole: bool = False


class _Ended(BaseException):
    """The launcher ends this rank."""


def run_probe(
    mode: str, arguments: Sequence[str], patience: float, somebody_failed: Callable[[], bool] = lambda: False
) -> ProbeReport:
    """Run the probe process and return its report. Local, though the probe processes are one world.

    `patience` is per step, in seconds; a step that needs other ranks ends early once `somebody_failed` among them.
    """
    report = ProbeReport()
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    # In memory: no folder may be fit for temporary files.
    with open(os.memfd_create("probe-output"), "w+b") as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mpibatch.tools.doctor.probe_process", mode, str(writing), *arguments],
            # The launcher's own connections must reach the probe process.
            close_fds=False, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )  # fmt: skip
        os.close(writing)
        step = _ProbeStep("Python", "starting Python", patience, is_alone=True)
        before = signal.signal(signal.SIGTERM, _raise_ended)
        try:
            late = _listen(reading, step, report, patience, somebody_failed)
        except _Ended:
            late = "the launcher ended the job meanwhile"
        finally:
            signal.signal(signal.SIGTERM, before)
            os.close(reading)
            _end(process, 0.0 if late else 1.0)
        if late or not report.is_whole:
            report.is_late = bool(late)
            report.failure = _failure(step, late, process.returncode or 0, _read_gist(errors))
    return report


def _end(process: subprocess.Popen[bytes], patience: float) -> None:
    """Wait for the end of a probe process that has reported all; kill it if that takes long."""
    for seconds in (patience, 1.0):
        try:
            process.wait(seconds)
            return
        except subprocess.TimeoutExpired:
            process.kill()
    # It hangs in the kernel, on a file server: not even a kill reaches it there.


def _raise_ended(number: int, frame: Any) -> None:
    raise _Ended


@dataclass
class _ProbeStep:
    check: str
    doing: str
    limit: float
    is_alone: bool


def _listen(
    descriptor: int, step: _ProbeStep, report: ProbeReport, patience: float, somebody_failed: Callable[[], bool]
) -> str:
    """Read reports until the process ends; return why it was given up, "" if it was not."""
    rest, since = b"", time.monotonic()
    while True:
        if not select.select([descriptor], [], [], 0.2)[0]:
            waited = time.monotonic() - since
            if waited > step.limit:
                return f"took longer than {step.limit:g} s"
            if waited > 1.0 and not step.is_alone and somebody_failed():
                return "waited for another rank"
            continue
        got = os.read(descriptor, 1 << 16)
        if not got:
            return ""
        *lines, rest = (rest + got).split(b"\n")
        since = time.monotonic()
        for line in map(json.loads, lines):
            if "begin" in line:
                step.check, step.doing, step.limit = line["begin"], line["doing"], patience * line["times"]
                step.is_alone = line["is_alone"]
            elif "finding" in line:
                report.findings.append(Finding(**line["finding"]))
            elif "fact" in line:
                report.modules |= {name: tuple(origin) for name, origin in line["fact"].pop("modules", {}).items()}
                report.facts |= line["fact"]
            report.is_whole |= "end" in line


def _read_gist(errors: Any) -> str:
    errors.seek(0)
    return gist(errors.read().decode(errors="replace"))


def _failure(step: _ProbeStep, late: str, code: int, output: str) -> Finding:
    how = f"exit code {code}" if code >= 0 else _signal(-code)
    message = f"{step.doing} {late or f'ended the process: {how}'}{f': {output}' if output else ''}"
    return error(step.check, message, _advice(step.check, code, bool(late), output))


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _advice(check: str, code: int, late: bool, output: str) -> str:
    if "unsupported PMI version PMIx" in output:
        return "this MPI is MPICH: use its own mpiexec, or srun --mpi=pmi2"
    if "srun" in output and "PMI" in output:
        return "this Open MPI needs srun --mpi=pmix, or its own mpiexec"
    if code == -signal.SIGBUS and check == "MPI starts":
        return "MPI found no room in /dev/shm: see shared memory"
    if check in ("h5py", "numpy", "numba"):
        return f"python -c 'import {check}'   then: pip install --force-reinstall {check}"
    if check == "MPI starts":
        more = "; a start that takes long on many ranks: --patience 60" if late else ""
        return f"mpiexec of the same MPI: see mpiexec, and shared memory{more}"
    if check in ("folder", "locking", "shared folder", "locks between ranks", "MPI-IO", "parallel HDF5"):
        return "give another --folder; one that hangs is often a file server that does not answer"
    return "mpibatch doctor --verbose; with another --patience, if the machine is only slow"


class Rendezvous:
    """A folder in which the ranks of one host leave their failures, where MPI cannot carry them.

    They are known by their common parent, the launcher's process on that host.
    """

    def __init__(self, rank: int) -> None:
        self._rank = rank
        try:
            base = tempfile.gettempdir()
        except OSError:
            base = "/tmp"
        self._folder = Path(base) / f"mpibatch-doctor-{os.getuid()}-{os.getppid()}"
        self._mine = self._folder / f"{rank}.json"

    def somebody_failed(self) -> bool:
        """Whether another rank of this host has left a failure. Local."""
        return any(path != self._mine for path in self._folder.glob("*.json"))

    def leave(self, report: ProbeReport) -> None:
        """Leave this rank's failure for the others. Local."""
        if report.failure is None or not self._is_ours():
            return
        with suppress(OSError):
            part = self._mine.with_suffix(".part")
            part.write_text(json.dumps({"late": report.is_late, "finding": asdict(report.failure)}))
            part.replace(self._mine)

    def _is_ours(self) -> bool:
        """Whether the folder is there, and nobody else's."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            about = self._folder.lstat()
            return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o077
        except OSError:
            return False

    def wait(self, patience: float) -> bool:
        """Wait until rank 0 has reported what this rank has left; return whether it did. Local.

        `patience` is for rank 0 to show that it is on this host, and in trouble too; it then needs some time itself.
        """
        begin, rank_0 = time.monotonic(), self._folder / "0.json"
        while time.monotonic() - begin < patience + (REPORTING if rank_0.exists() else 0):
            if not self._mine.exists():
                return True
            time.sleep(0.05)
        time.sleep(0.2)  # it may be about to remove all
        if not self._mine.exists():
            return True
        with suppress(OSError):
            self._mine.unlink()
            self._folder.rmdir()
        return False

    def collect(self, ranks: int, patience: float) -> dict[int, tuple[bool, Finding]]:
        """Return, by rank, whether it was late and its failure, of those that come within `patience` s. Local."""
        failures: dict[int, tuple[bool, Finding]] = {}
        until = time.monotonic() + patience
        while True:
            for path in self._folder.glob("*.json"):
                with suppress(OSError, ValueError, TypeError, KeyError):
                    record = json.loads(path.read_text())
                    failures[int(path.stem)] = (record["late"], Finding(**record["finding"]))
            if len(failures) == ranks or time.monotonic() > until:
                return failures
            time.sleep(0.05)

    def close(self) -> None:
        """Let the others go. Local; for rank 0, after its report."""
        if self._folder.is_dir() and self._is_ours():
            for path in self._folder.iterdir():
                with suppress(OSError):
                    path.unlink()
            with suppress(OSError):
                self._folder.rmdir()
