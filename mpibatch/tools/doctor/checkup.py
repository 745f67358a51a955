"""All checks, in order, on however many ranks: what rank 0 reports, and what the others leave to it."""

from __future__ import annotations

import os
import secrets
import sys
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mpibatch.base.host import cpu_model
from mpibatch.tools.doctor.checks import folders, launchers, machine, slurm, variables, versions
from mpibatch.tools.doctor.finding import Finding, one_line, skipped, warning
from mpibatch.tools.doctor.leftovers import check_leftovers
from mpibatch.tools.doctor.probe_process import DIED
from mpibatch.tools.doctor.supervisor import ProbeReport, Rendezvous, run_probe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["ORDER", "PATIENCE", "Checkup", "examine", "is_first_of_host"]

PATIENCE = 10.0  # seconds for a step; what is well takes a tenth of one

# As they are shown. What is not found in the end could not be tried.
ORDER = (
    "packages", "numpy", "numba", "h5py", "MPI library", "one MPI", "known faults", "mpiexec", "launcher", "Python",
    "MPI starts", "MPI threads", "messages", "fetches", "ranks alike", "cores", "binding", "memory", "shared memory",
    "leftovers", "limits", "folder", "shared folder", "locking", "locks between ranks", "MPI-IO", "parallel HDF5",
    "compiled code", "variables", "Slurm", "MPI ends",
)  # fmt: skip
_BY_ALL = ("messages", "fetches", "ranks alike", "cores", "binding", "memory", "MPI-IO", "known faults")
_BY_SEVERAL = ("shared folder", "locks between ranks")
LIBRARIES = ("numpy", "numba", "h5py")

# The number of a rank on its host, and how many there are, as launchers pass them.
_LOCAL_RANKS = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")
_LOCAL_SIZES = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")


@dataclass
class Checkup:
    """All findings. `rendezvous` is closed after the report: ranks whose probe process died wait for that."""

    rank: int
    ranks: int
    findings: list[Finding] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    rendezvous: Rendezvous | None = None
    failure: Finding | None = None  # on ranks other than 0: how their own probe process ended, if not as it should
    is_reported: bool = False  # whether rank 0 took note of that


def examine(folder: Path, patience: float = PATIENCE) -> Checkup:
    """Make all checks. Collective in that all ranks must call it, but it ends even if they do not."""
    begin = time.monotonic()
    rank, ranks = launchers.started()
    rendezvous = Rendezvous(rank)
    token = secrets.token_hex(4)
    folder = folder.absolute()
    local = _read_number(_LOCAL_RANKS)
    libraries = LIBRARIES if not rank or local == 0 else ()
    arguments = [str(folder), token, str(ranks), str(patience)]
    report = run_probe("rank", [*arguments, *libraries], patience, rendezvous.somebody_failed)
    if report.failure is not None and report.failure.check in libraries:
        report = _without(report, report.failure, arguments, patience, rendezvous)
    if report.failure is not None:
        rendezvous.leave(report)
    ranks = ranks or int(report.facts.get("world", 1))
    checkup = Checkup(rank, ranks, rendezvous=rendezvous)
    if rank:
        # Rank 0 may be on another host, and never learn of it; or still be waiting.
        if report.failure is not None:
            checkup.failure, checkup.is_reported = report.failure, rendezvous.wait(3 * patience)
        return checkup
    findings = [*report.findings, *_failures(report, rendezvous, ranks)]
    library = str(report.facts.get("library", ""))
    around = run_probe("folders", [str(folder), token], patience)
    findings += [*around.findings, *([around.failure] if around.failure else [])]
    findings += _around(report, ranks, library, folder)
    bad = {finding.check for finding in findings if finding.level == "error"}
    if "launcher" in bad:
        # That is the cause; what MPI prints about it helps nobody.
        findings = [finding for finding in findings if finding.check != "MPI starts"]
    if "one MPI" in bad:
        # Which of the two is to stay decides which mpiexec is the right one.
        first = "first see one MPI, above"
        findings = [
            replace(finding, advice=first) if finding.check in ("mpiexec", "launcher") else finding
            for finding in findings
        ]
    findings += _not_tried(findings, report, ranks)
    checkup.findings = sorted(findings, key=lambda finding: ORDER.index(finding.check))
    checkup.environment = _environment(folder, report, library)
    checkup.seconds = time.monotonic() - begin
    return checkup


def is_first_of_host() -> bool:
    """Return whether this rank is the first on its host, as far as its launcher tells. Local."""
    return not _read_number(_LOCAL_RANKS)


def _read_number(names: tuple[str, ...]) -> int | None:
    values = [os.environ.get(name, "") for name in names]
    return next((int(value) for value in values if value.isdecimal()), None)


def _without(
    report: ProbeReport, failure: Finding, arguments: list[str], patience: float, rendezvous: Rendezvous
) -> ProbeReport:
    """Probe again without the library that crashed it: MPI had not been started yet, so that all ranks can go on."""
    others = [f"{DIED}{name}" if name == failure.check else name for name in LIBRARIES]
    again = run_probe("rank", [*arguments, *others], patience, rendezvous.somebody_failed)
    again.findings = [finding for finding in again.findings if finding.check != failure.check] + [failure]
    return again


def _failures(report: ProbeReport, rendezvous: Rendezvous, ranks: int) -> list[Finding]:
    """Rank 0's own failure, and those of others; those that only waited are left out if others tell the cause."""
    if report.failure is None:
        return []
    by_rank = {0: (report.is_late, report.failure)} | (rendezvous.collect(ranks, 1.5) if ranks > 1 else {})
    conclusive = {rank: failure for rank, (late, failure) in by_rank.items() if not late}
    chosen = conclusive or {rank: failure for rank, (_, failure) in by_rank.items()}
    same: dict[tuple[str, str], list[int]] = {}
    for rank, failure in sorted(chosen.items()):
        same.setdefault((failure.check, failure.message.partition(": ")[0]), []).append(rank)
    result = []
    for who in same.values():
        failure = chosen[who[0]]
        where = "" if len(who) == ranks else f"rank{'s' * (len(who) > 1)} {', '.join(map(str, who[:8]))}: "
        result.append(Finding(failure.check, failure.level, where + failure.message, failure.advice))
    return result


def _around(report: ProbeReport, ranks: int, library: str, folder: Path) -> list[Finding]:
    """Make the checks that need no MPI, and those of the launcher."""
    started_by, world = launchers.starter(), int(report.facts.get("world", 0))
    checks: dict[str, Callable[[], list[Finding]]] = {
        "packages": lambda: versions.check_packages(report.modules),
        "shared memory": lambda: machine.check_shared_memory(_read_number(_LOCAL_SIZES) or ranks),
        "leftovers": lambda: check_leftovers(folder),
        "limits": machine.check_limits,
        "variables": lambda: variables.check_variables(os.environ, library),
        "Slurm": lambda: slurm.check_slurm(os.environ, world, library),
    }
    if library:
        checks["mpiexec"] = lambda: launchers.check_path(library, started_by)
        checks["launcher"] = lambda: launchers.check_world(ranks, world, library, started_by)
        if ranks == 1 and not started_by:
            checks["launcher"] = lambda: launchers.try_two(library)
    findings = []
    for name, check in checks.items():
        try:
            findings += check()
        except Exception as failure:
            # An unforeseen error in one check must not take the others with it.
            message = f"could not be checked: {type(failure).__name__}: {one_line(str(failure))}"
            findings.append(warning(name, message, "report it to the developers, with the output of --json"))
    return findings


def _not_tried(findings: list[Finding], report: ProbeReport, ranks: int) -> list[Finding]:
    made = {finding.check for finding in findings}
    missing = [name for name in (*_BY_ALL, *(_BY_SEVERAL if ranks > 1 else ())) if name not in made]
    if "library" not in report.facts:
        why = "needs an MPI library"
    elif "world" not in report.facts:
        why = "MPI did not start"
    else:
        why = "needs one world of all ranks" if report.is_whole else "the ranks did not get that far"
    return [skipped(name, f"not tried: {why}") for name in missing]


def _environment(folder: Path, report: ProbeReport, library: str) -> dict[str, Any]:
    """Describe where a report was made."""
    family, version = launchers.family_of(library)
    kind, place, _ = folders.file_system(folder)
    facts: Mapping[str, Any] = report.facts
    return {
        "python": sys.version.split()[0],
        "executable": sys.executable,
        "versions": {name: versions.installed(name) for name in ("mpibatch", *(versions.requirements() or {}))},
        "mpi": {"family": family, "version": version, "library": facts.get("library_path", "")},
        "hdf5": facts.get("h5py", {}),
        "launcher": launchers.starter(),
        "world": facts.get("world", 0),
        "hosts": facts.get("hosts", [os.uname().nodename]),
        "cpu": facts.get("cpu", cpu_model()),
        "system": f"{os.uname().sysname} {os.uname().release}",
        "folder": {"path": str(folder), "file_system": kind, "mounted_on": place},
        "slurm_job": os.environ.get("SLURM_JOB_ID", ""),
    }
