"""Subfiles: the files, one for each node say, that hold the values of one front file, in a folder beside it.

``out.h5`` is the front, with everything but values; ``out.h5.subfiles/000003-<identity>.h5`` holds the fourth part of
the rows. A subfile is named after its own seal, which tells of every byte of it: so none is ever written anew under its
name, a front and its subfiles belong together or do not, and a front that is replaced stays whole until the very end.

The folder may hold subfiles of other fronts, which had this name once. So only those are removed that the seal of the
front that is replaced tells of, and drafts. A new front of the same values has the same subfiles as a renamed one: what
two may have is marked, by an empty file beside it, and stays for good. So do those of a run that was killed in the
moment in which names are given: nobody can tell them from a renamed front's.
"""

from __future__ import annotations

import os
import re
import struct
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.files import flush_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = [
    "FOLDER", "LOCATOR", "MAGIC", "SUBFILES", "draft_name", "flaw", "folder_of", "front_of", "identity_of",
    "is_subfile", "missing", "named", "place_of", "remove", "subfile_name",
]  # fmt: skip

FOLDER = ".subfiles"  # behind the name of the front
SHARED = ".shared"  # behind the name of a subfile that is that of several fronts
SUBFILES = "mpibatch_subfiles"  # the attribute of a front that tells how the values are stored, as JSON

# The end of a sealed file: where its manifest begins, its length, and its SHA-256 (see `mpibatch.io.seal.seal`).
MAGIC = b"mpibatch seal\r\n\x1a"
LOCATOR = struct.Struct("<16sQQ32s")

IDENTITY = 32  # hexadecimal digits of the hash that are in the name
_NAME = re.compile(rf"\d{{6}}-[0-9a-f]{{{IDENTITY}}}\.h5")
_DRAFT = re.compile(r"\d{6}\.new(\.part)?")


def folder_of(front: str) -> str:
    """Return the folder of a front's subfiles. Local."""
    return front + FOLDER


def front_of(path: str) -> str:
    """Return the front of a draft, by its name; of any other file the path itself. Local."""
    folder, _, name = path.rpartition("/")
    return folder.removesuffix(FOLDER) if _DRAFT.fullmatch(name) and folder.endswith(FOLDER) else path


def draft_name(number: int) -> str:
    """Return the name of a subfile whose identity is not known yet. Local."""
    return f"{number:06d}.new"


def subfile_name(number: int, identity: str) -> str:
    """Return the name of a subfile in its folder. Local."""
    return f"{number:06d}-{identity}.h5"


def is_subfile(name: str) -> bool:
    """Whether a file name, as a virtual dataset tells it, is that of a subfile in a folder beside the front. Local."""
    folder, slash, file = name.partition("/")
    return bool(slash) and len(folder) > len(FOLDER) and folder.endswith(FOLDER) and _NAME.fullmatch(file) is not None


def identity_of(path: str) -> str:
    """Return what tells a sealed file from all others, "" without a seal. Local. Reads its last bytes. OSError."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - LOCATOR.size))
        tail = file.read(LOCATOR.size)
    if len(tail) < LOCATOR.size or not tail.startswith(MAGIC):
        return ""
    _, begin, length, sha256 = LOCATOR.unpack(tail)
    return sha256.hex()[:IDENTITY] if begin + length + LOCATOR.size == size else ""


def place_of(front: str, name: str) -> Path:
    """Return where HDF5 finds a subfile: the first place where it can read it, else the last one. Local.

    Beside the front, as it was named; in the working directory; beside what that name is a link to.
    """
    beside = Path(os.path.realpath(front)).parent / name
    return next((place for place in (Path(front).parent / name, Path(name)) if os.access(place, os.R_OK)), beside)


def missing(name: str) -> str:
    """Return what `flaw` says of a subfile that is not there. Local."""
    return f"its subfile {name!r} is missing"


def flaw(front: str, name: str) -> str:
    """Return why a subfile is not the one that its front was written with, "" if it is. Local."""
    try:
        identity = identity_of(str(place_of(front, name)))
    except FileNotFoundError:
        return missing(name)
    except OSError as error:
        return f"its subfile {name!r} cannot be read ({error.strerror})"
    if not identity:
        return f"its subfile {name!r} was cut off, or changed"
    if identity != name[-3 - IDENTITY : -3]:
        return f"its subfile {name!r} was exchanged for another file"
    return ""


@contextmanager
def named(front: str, names: Collection[str], own: Collection[str]) -> Iterator[None]:
    """Give drafts their names; take those away again that are new if the block raises. Local. OSError.

    `own`: the subfiles of the front that is replaced. Others of these names belong to another front, too.
    """
    folder = Path(folder_of(front))
    new = [name for name in names if not (folder / name).exists()]
    try:
        for name in names:
            if name not in new and name not in own:
                (folder / (name + SHARED)).touch()
            (folder / draft_name(int(name[:6]))).replace(folder / name)
        if names:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                flush_folder(handle)
            finally:
                os.close(handle)
        yield
    except BaseException:
        remove(front, new)
        raise


def remove(front: str, names: Collection[str] = ()) -> None:
    """Remove subfiles of these names, unless another front has them, and drafts; and the folder, once empty. Local.

    What cannot be removed is in nobody's way.
    """
    folder = Path(folder_of(front))
    with suppress(OSError):
        for file in list(folder.iterdir()):
            is_left = file.name in names and not (folder / (file.name + SHARED)).exists()
            if is_left or _DRAFT.fullmatch(file.name):
                file.unlink(missing_ok=True)
        folder.rmdir()
