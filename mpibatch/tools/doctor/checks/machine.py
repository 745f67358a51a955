"""What this host, and the limits set on this process, allow: /dev/shm, ulimits."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.units import bytes_text
from mpibatch.tools.doctor.finding import Finding, error, fine, warning

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_limits", "check_shared_memory"]

GIBI, MEBI = 1 << 30, 1 << 20
UNLIMITED = resource.RLIM_INFINITY


def check_shared_memory(ranks: int, folder: Path = Path("/dev/shm")) -> list[Finding]:
    """Look at /dev/shm, through which ranks on one host talk. Local. `ranks` are those on this host."""
    check = "shared memory"
    remount = f"mount -o remount,size=2g {folder} (root); in a container: docker run --shm-size=2g"
    try:
        about = os.statvfs(folder)
    except OSError as failure:
        message = f"{folder} cannot be used: {failure.strerror}; ranks on one host talk through it"
        return [error(check, message, f"mount -t tmpfs tmpfs {folder} (root)")]
    free, total = about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize
    message = f"{folder}: {bytes_text(free)} free of {bytes_text(total)}"
    if not os.access(folder, os.W_OK):
        return [
            error(check, f"{folder} cannot be written to; ranks on one host talk through it", f"chmod 1777 {folder}")
        ]
    # MPICH and Open MPI take 4 to 16 MiB a rank. Without room they end by a bus error (SIGBUS), or fall back to TCP.
    if free < 16 * MEBI * ranks:
        clean = f"; or remove what was left: ls -l {folder}" if total > 2 * free else ""
        small = f"{message}; MPI takes up to 16 MiB for each of {ranks} ranks"
        return [(error if free < 4 * MEBI * ranks else warning)(check, small, remount + clean)]
    return [fine(check, message)]


def check_limits(limits: Mapping[str, int] | None = None) -> list[Finding]:
    """Look at the limits of this process (ulimit). Local."""
    allowed = _limits() if limits is None else limits
    findings = []
    files = allowed["nofile"]
    if files != UNLIMITED and files < 1024:
        level = error if files < 64 else warning
        message = f"{files} open files are allowed (ulimit -n); MPI opens one or more for each other rank"
        findings.append(level("limits", message, "ulimit -n 4096, before mpiexec or in the batch script"))
    if allowed["fsize"] != UNLIMITED:
        message = f"files may have no more than {bytes_text(allowed['fsize'])} (ulimit -f); larger outputs will fail"
        level = error if allowed["fsize"] < MEBI else warning
        findings.append(level("limits", message, "ulimit -f unlimited"))
    if allowed["as"] != UNLIMITED:
        message = (
            f"a process may have no more than {bytes_text(allowed['as'])} of addresses (ulimit -v); MPI and numba "
            "reserve more than they use"
        )
        level = error if allowed["as"] < GIBI else warning
        findings.append(level("limits", message, "ulimit -v unlimited"))
    if allowed["stack"] != UNLIMITED and allowed["stack"] < MEBI:
        message = f"the stack may have no more than {bytes_text(allowed['stack'])} (ulimit -s); compiled code may crash"
        findings.append(warning("limits", message, "ulimit -s 8192"))
    if allowed["nproc"] != UNLIMITED and allowed["nproc"] < 256:
        message = f"{allowed['nproc']} processes and threads are allowed (ulimit -u)"
        findings.append(warning("limits", message, "ulimit -u 4096"))
    if allowed["memlock"] != UNLIMITED and allowed["memlock"] < GIBI and Path("/sys/class/infiniband").is_dir():
        memory = bytes_text(allowed["memlock"])
        message = f"{memory} of memory may be locked (ulimit -l), but this host has InfiniBand, which locks"
        findings.append(warning("limits", message, "ulimit -l unlimited; under Slurm: PropagateResourceLimitsExcept"))
    shown = "unlimited" if files == UNLIMITED else str(files)
    return findings or [fine("limits", f"{shown} open files, files and memory of any size")]


def _limits() -> dict[str, int]:
    names = ("nofile", "fsize", "as", "stack", "nproc", "memlock")
    return {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[0] for name in names}
