"""The process on each rank that imports the libraries, starts MPI and makes the tests that need all ranks.

Run as ``python -m mpibatch.tools.doctor.probe_process``. It writes one JSON object a line to the file descriptor that
it was given:
``begin`` (what it is about to do, and which check that is), ``finding``, ``fact``; the last is ``end``. It may crash or
hang in anything that it does: whoever reads knows in what.

The libraries are imported by name, each for itself, rather than through the package's own doors: these take them to be
whole, and the door to mpi4py starts MPI.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.tools.doctor.checks.faults import Software, check_faults
from mpibatch.tools.doctor.checks.folders import check_cache, check_folder, check_locking, file_system
from mpibatch.tools.doctor.checks.launchers import family_of
from mpibatch.tools.doctor.checks.libraries import check_h5py, check_mpi, check_one_mpi, mapped, mpi_import_advice
from mpibatch.tools.doctor.finding import Finding, error, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["DIED", "main"]

DIED = "!"  # before the name of a library: importing it ended an earlier probe process


class Reporter:
    """The pipe to the process that reports."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.bad: list[Finding] = []  # what is not well, so far

    def send(self, **record: Any) -> None:
        """Write one line. Local."""
        # A reader that is gone has ended; so will this process.
        with suppress(OSError):
            os.write(self._descriptor, json.dumps(record).encode() + b"\n")

    def begin(self, check: str, doing: str, times: float = 1.0, *, is_alone: bool = False) -> None:
        """Announce the next step; `times`: how many times the usual patience it may take. Local.

        One that `is_alone` needs no other rank: it is not given up because another has failed.
        """
        self.send(begin=check, doing=doing, times=times, is_alone=is_alone)

    def report(self, findings: list[Finding]) -> None:
        """Send findings. Local."""
        self.bad += [finding for finding in findings if finding.level in ("error", "warning")]
        for finding in findings:
            self.send(finding=asdict(finding))


def main(arguments: list[str]) -> int:
    """Examine this rank, or what is around it. Collective, as far as it comes, in the mode "rank"."""
    mode, descriptor, *rest = arguments
    # Helpers that an MPI library starts must not hold it open.
    os.set_inheritable(int(descriptor), False)
    reporter = Reporter(int(descriptor))
    (_examine_rank if mode == "rank" else _examine_folders)(reporter, *rest)
    reporter.send(end=True)
    return 0


def _examine_folders(reporter: Reporter, folder: str, token: str) -> None:
    """Look at folders, after all else: a file server that does not answer must not hold up whoever reports."""
    reporter.begin("folder", f"looking into {folder}")
    for leftover in Path(folder).glob(f".mpibatch-doctor-{token}-*"):
        with suppress(OSError):
            leftover.unlink()
    reporter.begin("folder", f"writing a file in {folder}")
    reporter.report(check_folder(Path(folder)))
    reporter.begin("locking", f"locking a file in {folder}")
    reporter.report(check_locking(Path(folder), os.environ))
    reporter.begin("compiled code", "looking at the folder of compiled code")
    reporter.report(check_cache(os.environ))


def _examine_rank(reporter: Reporter, folder: str, token: str, launched: str, patience: str, *libraries: str) -> None:
    """`launched`: how many ranks the launcher says there are; `libraries`: those to import besides mpi4py."""
    mpi = _import_mpi(reporter)
    if mpi is None:
        return
    h5py = _import_h5py(reporter, mapped()) if "h5py" in libraries else None
    for name in libraries:
        if name.startswith(DIED):
            reporter.bad.append(error(name[1:], f"importing {name[1:]} ends Python", f"python -c 'import {name[1:]}'"))
        elif name != "h5py":
            _import_other(reporter, name)
    library = mpi.Get_library_version()
    reporter.begin("MPI starts", "starting MPI (MPI_Init)", times=2)
    # As the package's own door does: of Open MPI's file layers the one that reports failures.
    os.environ.setdefault("OMPI_MCA_io_ompio_priority", "1")
    mpi.Init_thread(mpi.THREAD_MULTIPLE)
    world = mpi.COMM_WORLD
    reporter.send(fact={"world": world.size})
    if world.rank == 0:
        reporter.report(check_mpi(library, next(iter(mapped()), ""), mpi.Query_thread()))
    if int(launched) in (0, world.size):
        _together(reporter, mpi, library, (Path(folder), token, float(patience)), h5py)
    reporter.begin("MPI ends", "ending MPI (MPI_Finalize)")
    mpi.Finalize()


def _import_mpi(reporter: Reporter) -> Any:
    """mpi4py's module, with MPI not started yet; None if it cannot be imported."""
    reporter.begin("MPI library", "importing mpi4py", is_alone=True)
    try:
        package: Any = importlib.import_module("mpi4py")
        package.rc.initialize = package.rc.finalize = False
        mpi = importlib.import_module("mpi4py.MPI")
        library = mpi.Get_library_version()
    except Exception as failure:
        advice = mpi_import_advice(str(failure), os.environ)
        reporter.report([error("MPI library", f"mpi4py cannot be used: {one_line(str(failure), 200)}", advice)])
        return None
    path = next(iter(mapped()), "")
    reporter.send(fact={"library": library, "library_path": path, "modules": {"mpi4py": _module("mpi4py")}})
    return mpi


def _module(name: str) -> tuple[str, str]:
    module = sys.modules[name]
    return str(getattr(module, "__version__", "")), str(getattr(module, "__file__", ""))


def _import_h5py(reporter: Reporter, before: list[str]) -> Mapping[str, object] | None:
    """h5py's versions; None if it cannot be imported. MPI has not been started: a wrong one does no harm."""
    reporter.begin("h5py", "importing h5py", is_alone=True)
    try:
        h5py: Any = importlib.import_module("h5py")
        built = getattr(h5py.version, "hdf5_built_version_tuple", None)
        facts = {
            "h5py": h5py.__version__,
            "hdf5": h5py.version.hdf5_version,
            "hdf5_built": ".".join(map(str, built[:3])) if built else "",
            "parallel": bool(h5py.get_config().mpi),
        }
    except Exception as failure:
        text = one_line(f"{type(failure).__name__}: {failure}", 200)
        advice = "pip install --force-reinstall h5py"
        if "libhdf5" in text or "libmpi" in text:
            advice = "load the module of the HDF5 that h5py was built with, or pip install --force-reinstall h5py"
        reporter.report([error("h5py", f"h5py cannot be imported: {text}", advice)])
        return None
    reporter.send(fact={"h5py": facts, "modules": {"h5py": _module("h5py")}})
    reporter.report([*check_h5py(facts), *check_one_mpi(before, mapped())])
    return facts


def _import_other(reporter: Reporter, name: str) -> None:
    reporter.begin(name, f"importing {name}", is_alone=True)
    try:
        importlib.import_module(name)
    except Exception as failure:
        text = one_line(f"{type(failure).__name__}: {failure}", 200)
        reporter.report([error(name, f"{name} cannot be imported: {text}", f"pip install --force-reinstall {name}")])
    else:
        reporter.send(fact={"modules": {name: _module(name)}})


def _together(
    reporter: Reporter, mpi: Any, library: str, where: tuple[Path, str, float], h5py: Mapping[str, object] | None
) -> None:
    """Make the tests that need one world."""
    from mpibatch.mpi.values.communicator import plain
    from mpibatch.tools.doctor.checks import fetches, placement, storage

    # Errors are to be reported, not to end all ranks.
    for communicator in (mpi.COMM_WORLD, mpi.COMM_SELF):
        communicator.Set_errhandler(mpi.ERRORS_RETURN)
    comm = plain(mpi.COMM_WORLD.Split(0, mpi.COMM_WORLD.rank))
    comm.Set_errhandler(mpi.ERRORS_RETURN)

    def make(check: str, doing: str, work: Callable[[], list[Finding]]) -> None:
        reporter.begin(check, doing)
        try:
            findings = work()
        except mpi.Exception as failure:
            findings = [error(check, f"{doing}: {one_line(str(failure))}", "try with another MPI library")]
        reporter.report(findings)

    make("messages", "sending messages around", lambda: storage.check_messages(comm))
    make("fetches", "fetching from a rank that computes", lambda: fetches.check_fetches(mpi, comm, os.uname().nodename))
    reporter.begin("ranks alike", "comparing the ranks")
    _report_others(reporter, comm)
    software = {"MPI library": library.split("\0")[0].split("\n")[0], **_versions()}
    ranks = comm.gather(placement.about_me(comm.rank, software))
    if comm.rank == 0:
        for check in (
            placement.check_alike, placement.check_cores, placement.check_binding, placement.check_memory,
        ):  # fmt: skip
            reporter.report(check(ranks))
        reporter.send(fact={"hosts": sorted({about.host for about in ranks}), "cpu": ranks[0].cpu})
    # Rank 0's: outputs are where its path leads to.
    folder, token, patience = comm.bcast(where)
    if comm.size > 1:
        make(
            "shared folder",
            f"looking for rank 0's file in {folder}",
            lambda: storage.check_shared(comm, folder, token, min(5.0, patience / 2)),
        )
        make(
            "locks between ranks",
            f"locking a file in {folder}",
            lambda: storage.check_shared_locks(comm, folder, token),
        )
    make("MPI-IO", f"writing a file in {folder} by MPI-IO", lambda: storage.check_mpi_io(mpi, comm, folder, token))
    # One rank may know that HDF5 would crash: it is on another MPI library.
    if comm.bcast(bool(h5py and h5py["parallel"] and not any(finding.check == "one MPI" for finding in reporter.bad))):
        doing = f"writing a file in {folder} by parallel HDF5"
        make("parallel HDF5", doing, lambda: storage.check_parallel_hdf5(comm, folder, token))
    reporter.begin("known faults", "comparing versions with the table of known faults")
    ompio = _is_ompio(mpi, library)
    comm.Barrier()
    comm.Free()
    if mpi.COMM_WORLD.rank == 0:
        family, version = family_of(library)
        loaded = Software(
            openmpi=version if family == "openmpi" else "",
            mpich=version if family == "mpich" else "",
            hdf5=str(h5py["hdf5"]) if h5py else "",
            has_parallel_hdf5=bool(h5py and h5py["parallel"]),
            is_ompio=ompio,
            file_system=file_system(folder)[0],
        )
        reporter.report(check_faults(loaded))


def _report_others(reporter: Reporter, comm: Any) -> None:
    """Have rank 0 report the problems of other hosts that it does not have itself."""
    reports = comm.gather((os.uname().nodename, reporter.bad))
    if comm.rank == 0:
        known = {finding.check for finding in reporter.bad}
        reporter.report(
            [
                replace(x, message=f"on {host}: {x.message}")
                for host, bad in reports
                for x in bad
                if x.check not in known
            ]
        )


def _versions() -> dict[str, str]:
    versions = {}
    for name in ("numpy", "numba", "h5py", "mpi4py", "mpibatch"):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _is_ompio(mpi: Any, library: str) -> bool:
    """Whether Open MPI's own file layer serves: it calls success what a disk that is always full has refused."""
    if family_of(library)[0] != "openmpi":
        return False
    from mpibatch.mpi.files import tells_failures

    return not tells_failures()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BaseException as failure:
        # Nothing may end the world here: a hook for uncaught exceptions would, and nobody could report.
        sys.stderr.write(f"{type(failure).__name__}: {failure}\n")
        sys.stderr.flush()
        os._exit(1)
    # Otherwise the usual way: MPICH takes leave of its launcher only when the process ends.
