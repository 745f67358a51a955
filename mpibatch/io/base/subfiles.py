"""Subfiles: the files, one for each node say, that hold the values of one front file, in a folder beside it.

``out.h5`` is the front, with everything but values; ``out.h5.subfiles/000003-<identity>.h5`` holds the fourth part of
the rows. A subfile is named after its own seal, which tells of every byte of it: so none is ever written anew under its
name, a front and its subfiles belong together or do not, and a front that is replaced stays whole until the very end.
"""

from __future__ import annotations

import os
import re
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = [
    "FOLDER", "LOCATOR", "MAGIC", "SUBFILES", "draft_name", "flaw", "folder_of", "identity_of", "is_subfile",
    "remove_others", "subfile_name",
]  # fmt: skip

FOLDER = ".subfiles"  # behind the name of the front
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


def flaw(folder: Path, name: str) -> str:
    """Return why a subfile is not the one that its front was written with, "" if it is. Local."""
    try:
        identity = identity_of(str(folder / name))
    except FileNotFoundError:
        return f"its subfile {name!r} is missing"
    except OSError as error:
        return f"its subfile {name!r} cannot be read ({error.strerror})"
    if not identity:
        return f"its subfile {name!r} was cut off, or changed"
    if identity != name[-3 - IDENTITY : -3]:
        return f"its subfile {name!r} was exchanged for another file"
    return ""


def remove_others(front: str, kept: Collection[str] = ()) -> None:
    """Remove what lies in the folder of a front's subfiles and is not among those `kept`, but nothing foreign. Local.

    What cannot be removed is in nobody's way: the next run tries it again.
    """
    folder = Path(folder_of(front))
    with suppress(OSError):
        for file in list(folder.iterdir()):
            if (_NAME.fullmatch(file.name) and file.name not in kept) or _DRAFT.fullmatch(file.name):
                file.unlink(missing_ok=True)
        if not kept:
            folder.rmdir()
