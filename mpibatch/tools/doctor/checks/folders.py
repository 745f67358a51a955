"""Folders: what file system one is on, how much room it has, whether it can be written to and locks work."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.compiled import cache_folder
from mpibatch.base.errors import UsageError
from mpibatch.base.host import home
from mpibatch.base.units import bytes_text
from mpibatch.tools.doctor.checks.machine import GIBI, MEBI
from mpibatch.tools.doctor.finding import Finding, error, fine, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_cache", "check_folder", "check_locking", "file_system"]

NETWORK = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "afs")
PARALLEL = ("lustre", "gpfs", "beegfs", "ceph", "panfs", "pvfs2", "orangefs", "wekafs")


def file_system(folder: Path, mountinfo: str | None = None) -> tuple[str, str, str]:
    """Return type, mount point and options of the file system that a folder is on, "" where unknown. Local."""
    try:
        text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    except OSError:
        return "", "", ""
    best = ("", "", "")
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        words, behind = before.split(), after.split()
        if len(words) < 6 or len(behind) < 3:
            continue
        place = words[4].encode().decode("unicode_escape")
        # Of equal ones the last: what is mounted over another hides it.
        if Path(folder).is_relative_to(place) and len(place) >= len(best[1]):
            best = (behind[0], place, f"{words[5]},{behind[2]}")
    return best


def check_folder(folder: Path, mountinfo: str | None = None) -> list[Finding]:
    """Look at the folder that outputs go to: its file system, its room, and whether a file can be made. Local."""
    check = "folder"
    if not folder.is_dir():
        return [error(check, f"{folder} is not there, or no folder", f"mkdir -p {folder}, or give another --folder")]
    kind, place, options = file_system(folder, mountinfo)
    if failure := _try_to_write(folder):
        why = os.strerror(failure)
        if failure == errno.EROFS or "ro" in options.split(","):
            return [
                error(check, f"{folder} is read-only ({kind} on {place})", "give another --folder, and output path")
            ]
        if failure in (errno.ENOSPC, errno.EDQUOT):
            advice = f"make room: du -sh {folder}/*; quota -s; or give another --folder"
            return [error(check, f"{folder} is full ({kind} on {place}): {why}", advice)]
        if failure == errno.EFBIG:
            return [error(check, f"not even 64 KiB can be written in {folder}: {why}", "ulimit -f unlimited")]
        return [error(check, f"no file can be made in {folder}: {why}", f"ls -ld {folder}; give another --folder")]
    return _check_file_system(check, folder, kind, place)


def _check_file_system(check: str, folder: Path, kind: str, place: str) -> list[Finding]:
    about = os.statvfs(folder)
    free = about.f_bavail * about.f_frsize
    message = f"{folder}: {kind or 'unknown file system'} on {place}, {bytes_text(free)} free"
    if free < GIBI:
        advice = f"make room: du -sh {folder}/*; or give another --folder"
        return [(error if free < MEBI else warning)(check, message, advice)]
    if kind in NETWORK:
        advice = "write to the site's parallel file system (scratch) instead, if there is one"
        return [warning(check, f"{message}; ranks that write one file over {kind} wait for its locks", advice)]
    if kind == "lustre" and (stripes := _stripes(folder)) == "1":
        advice = f"lfs setstripe --stripe-count -1 {folder}"
        return [warning(check, f"{message}; files here lie on one server each (stripe count {stripes})", advice)]
    kept = {"tmpfs": "; in memory, gone after a restart", "overlay": "; gone with the container"}.get(kind, "")
    return [fine(check, message + kept)]


def _stripes(folder: Path) -> str:
    lfs = shutil.which("lfs")
    if lfs is None:
        return ""
    command = [lfs, "getstripe", "--stripe-count", "--directory", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _try_to_write(folder: Path) -> int:
    """The error number of making a file and writing 64 KiB to the disk, 0 if it works."""
    path = folder / f".mpibatch-doctor-{os.getpid()}"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            written = os.write(handle, bytes(1 << 16))
            os.fsync(handle)
            return 0 if written == 1 << 16 else errno.ENOSPC
        finally:
            os.close(handle)
    except OSError as failure:
        return failure.errno or errno.EIO
    finally:
        with suppress(OSError):
            path.unlink()


def check_locking(folder: Path, environment: Mapping[str, str]) -> list[Finding]:
    """Try both kinds of locks on a file in the folder. Local. HDF5 takes flock, MPI-IO fcntl."""
    check = "locking"
    setting = environment.get("HDF5_USE_FILE_LOCKING")
    if setting is not None and setting.upper() not in ("TRUE", "FALSE", "1", "0", "BEST_EFFORT"):
        message = f"HDF5_USE_FILE_LOCKING={setting} means nothing to HDF5"
        return [warning(check, message, "export HDF5_USE_FILE_LOCKING=FALSE, TRUE or BEST_EFFORT, or unset it")]
    failed = _failed_locks(folder)
    if failed is None:
        return [skipped(check, f"no file can be made in {folder}")]
    if not failed:
        note = f"; HDF5_USE_FILE_LOCKING={setting}" if setting else ""
        return [fine(check, f"flock and fcntl work in {folder}{note}")]
    if "fcntl" in failed:
        message = f"locks do not work in {folder} ({failed['fcntl']}); MPI-IO needs them to write between values"
        kind = file_system(folder)[0]
        advice = "mount -o flock (root)" if kind == "lustre" else "mount without nolock, or give another --folder"
        return [warning(check, message, advice)]
    if setting is not None and setting.upper() in ("FALSE", "0", "BEST_EFFORT"):
        return [
            fine(check, f"flock does not work in {folder}, and HDF5 is told to go without (by HDF5_USE_FILE_LOCKING)")
        ]
    message = f"flock does not work in {folder} ({failed['flock']}); mpibatch goes without, other HDF5 programs fail"
    return [warning(check, message, "export HDF5_USE_FILE_LOCKING=FALSE")]


def _failed_locks(folder: Path) -> dict[str, str] | None:
    """The kinds of locks that are refused, and why; None if no file can be made."""
    path = folder / f".mpibatch-doctor-lock-{os.getpid()}"
    failed = {}
    try:
        with open(path, "w") as file:
            for name, lock in (("flock", fcntl.flock), ("fcntl", fcntl.lockf)):
                try:
                    lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    lock(file, fcntl.LOCK_UN)
                except OSError as failure:
                    failed[name] = failure.strerror or str(failure)
    except OSError:
        return None
    finally:
        with suppress(OSError):
            path.unlink()
    return failed


def check_cache(environment: Mapping[str, str]) -> list[Finding]:
    """Look at the folder of compiled code. Local."""
    check = "compiled code"
    if environment.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        message = "NUMBA_DISABLE_JIT is set: kernels run as plain Python, some hundred times slower"
        return [error(check, message, "unset NUMBA_DISABLE_JIT")]
    named = environment.get("MPIBATCH_CACHE_DIR")
    preferred = Path(named) if named else Path(environment.get("XDG_CACHE_HOME") or home() / ".cache") / "mpibatch"
    try:
        folder = cache_folder()
    except UsageError as refusal:
        message, _, advice = str(refusal).rpartition("; ")
        return [error(check, message, advice)]
    if folder != preferred:
        message = f"{preferred} cannot be written to: compiled code is kept in {folder}, on each host by itself"
        return [
            warning(check, message, "export MPIBATCH_CACHE_DIR=… to a folder that all nodes see and you may write to")
        ]
    for inner in ("numba", "locks"):
        below = folder / inner
        if below.exists() and not _may_write(below):
            message = f"{below} cannot be written to: kernels are compiled anew in each run, or not at all"
            return [
                error(check, message, f"chmod -R u+rwX {folder}, or rm -r {folder}, or export MPIBATCH_CACHE_DIR=…")
            ]
    room = shutil.disk_usage(folder).free
    if room < 16 * MEBI:
        return [
            warning(check, f"{folder}: only {bytes_text(room)} free", "export MPIBATCH_CACHE_DIR=… to another disk")
        ]
    return [fine(check, f"kept in {folder}")]


def _may_write(folder: Path) -> bool:
    # Not os.access: for root it says yes, whatever a read-only file system will answer.
    try:
        probe = folder / f".mpibatch-doctor-{os.getpid()}"
        probe.touch()
        probe.unlink()
        return True
    except OSError:
        return False
