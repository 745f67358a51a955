"""Files over several of Lustre's servers: set before the first byte is written, or never. Without MPI."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path

from mpibatch.base.log import logger
from mpibatch.io.write.storage.file_system import file_system
from mpibatch.io.write.storage.settings import given_stripes

__all__ = ["advice", "make_striped", "stripe_count"]

SECONDS = 30  # for Lustre's own program


def make_striped(path: Path) -> bool:
    """Make an empty file with the stripes that were asked for, where it is on Lustre; else False. Local. UsageError.

    Nothing must lie there before. A file that cannot be made so is left to the caller, who makes it, or is told why
    not, in the ordinary way.
    """
    stripes = given_stripes()
    if stripes is None or file_system(path.parent) != "lustre":
        return False
    size = ["--stripe-size", stripes.size] if stripes.size else []
    answer = _lfs("setstripe", "--stripe-count", str(stripes.count), *size, str(path))
    if answer is None:
        # It may have made the file before it failed, or was too slow: the caller would take it for another run's.
        with suppress(OSError):
            path.unlink(missing_ok=True)
        logger("io").warning("%s: stripes %s could not be set; it lies as its folder says", path, stripes)
        return False
    logger("io").info("%s: stripes %s", path, stripes)
    return path.is_file()


def stripe_count(place: Path, kind: str) -> int:
    """Return over how many servers a file lies, or new files in a folder will; 0: nobody knows. Local. UsageError."""
    if kind != "lustre":
        return 0
    if place.is_file():  # as it was made, whatever was asked for
        return _count(str(place), place.stat().st_ino)
    stripes = given_stripes()
    return max(0, stripes.count) if stripes is not None else _count(str(place))


@cache
def _count(place: str, inode: int = -1) -> int:
    """What Lustre says of a folder, or of a file, which may be replaced by another."""
    text = _lfs("getstripe", "--stripe-count", *(["--directory"] if inode < 0 else []), place)
    return int(text) if text is not None and text.isdecimal() else 0


def advice(path: str) -> str:
    """Return advice for a folder on Lustre whose files would lie on one server alone, else "". Local."""
    folder = Path(path).resolve().parent
    if given_stripes() is not None or file_system(folder) != "lustre":
        return ""
    if _lfs("getstripe", "--stripe-count", "--directory", str(folder)) != "1":
        return ""
    return (
        f"files in {folder} lie on one Lustre server each; for large ones: lfs setstripe --stripe-count -1 {folder}, "
        "or [output] stripes = -1"
    )


def _lfs(*arguments: str) -> str | None:
    """What Lustre's own program prints; None if it is not there, or fails."""
    program = shutil.which("lfs")
    if program is None:
        return None
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
