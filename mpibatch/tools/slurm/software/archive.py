"""An environment as one archive: sent to each node's own disk, in place of thousands of small files on a shared one.

It holds what a virtual environment holds, and mpibatch where that is installed from a checkout. The Python that the
environment was made with is not in it: nodes must have it under the same path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, UsageError, reason_of
from mpibatch.base.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["is_squashfs", "pack"]

_SQUASHFS = (".sqfs", ".squashfs")

# What no run reads.
_LEFT_OUT = {".git", ".cache", ".mypy_cache", ".ruff_cache", ".pytest_cache", "share/man"}


def pack(target: Path, prefix: Path | None = None) -> tuple[int, int]:
    """Write the environment of this Python into one archive; return its files and bytes. Local. RunError, UsageError.

    The ending of its name tells its kind: .tar, or .sqfs and .squashfs, which is compressed. The same files give the
    same order; of names, users are left out.
    """
    root = Path(sys.prefix) if prefix is None else prefix
    if not (root / "pyvenv.cfg").exists():
        raise UsageError(
            f"{root} is no virtual environment, and cannot be moved as a whole; make one (python -m venv), install "
            "mpibatch there, and pack with its mpibatch"
        )
    if target.suffix not in (".tar", *_SQUASHFS):
        raise UsageError(f"{str(target)!r} is packed as tar or squashfs; give a name that ends in .tar or .sqfs")
    package = Path(__file__).resolve().parents[3]
    site = next(root.glob("lib/python*/site-packages"), root / "site-packages").relative_to(root)
    count = 0
    try:
        with replacing(target) as part, _opened(part, squashed=is_squashfs(target)) as archive:
            places = [(root, Path())]
            if not package.is_relative_to(root):
                places.append((package, site / package.name))
            for place, inside in places:
                for path in _files(place, target):
                    archive.add(path, inside / path.relative_to(place), recursive=False, filter=_anonymous)
                    count += 1
    except OSError as error:
        raise RunError(f"cannot write the archive {str(target)!r}: {reason_of(error)}") from error
    return count, target.stat().st_size


def is_squashfs(target: Path | str) -> bool:
    """Return whether the name is that of a squashfs. Local."""
    return Path(target).suffix in _SQUASHFS


@contextmanager
def _opened(part: Path, *, squashed: bool) -> Iterator[tarfile.TarFile]:
    if not squashed:
        with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
            yield archive
        return
    if shutil.which("mksquashfs") is None:
        raise RunError("mksquashfs is not on the PATH; install squashfs-tools (4.5 or newer), or pack a .tar")
    options = ["-tar", "-noappend", "-all-root", "-mkfs-time", "0", "-no-progress", "-quiet"]
    # Five times as fast as zstd's default level, and nearly as small.
    options += ["-comp", "zstd", "-Xcompression-level", "3"]
    command = ["mksquashfs", "-", str(part), *options]
    # Into a file: of a pipe that nobody reads meanwhile, many warnings would be the end.
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors) as squash,
    ):
        assert squash.stdin is not None
        try:
            with tarfile.open(fileobj=squash.stdin, mode="w|", format=tarfile.PAX_FORMAT) as archive:
                yield archive
        except BrokenPipeError:
            pass  # it has said why
        with suppress(BrokenPipeError):
            squash.stdin.close()
        squash.wait()
        errors.seek(0)
        words = errors.read().decode(errors="replace").strip().splitlines()
    if squash.returncode:
        raise RunError(f"mksquashfs fails: {words[-1] if words else squash.returncode}; it must be 4.5 or newer")


def _files(root: Path, target: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in _LEFT_OUT)
        place = Path(folder)
        links = [name for name in names if (place / name).is_symlink()]
        for name in sorted([*files, *links]):
            if (place / name).resolve() != target.resolve() and not name.endswith(".part"):
                yield place / name


def _anonymous(about: tarfile.TarInfo) -> tarfile.TarInfo:
    about.uid = about.gid = 0
    about.uname = about.gname = ""
    return about
