"""The other files that a TIFF says its planes lie in: which of them are not there, and which are somewhere else."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from mpibatch.base.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["check_companions", "check_planes"]

_ALLOWED = 'or give allow="missing" to have its planes as fill values'


def check_companions(path: str, file: Any, allow: Sequence[str]) -> None:
    """Refuse companions of an OME-TIFF that lie elsewhere or are not there, unless allowed, before one is opened.

    Local.
    """
    if not file.is_ome:
        return
    folder = _plain(path).parent
    for name in _names(file):
        if _leaves(name) and "external storage" not in allow:
            raise UsageError(
                f"cannot read {path!r}: some of its planes lie in {name!r}, outside its folder; put the files "
                'into one folder under plain names, or give allow=("external storage",) if you trust it'
            )
        companion = folder / name
        if companion.exists() and not companion.is_file():
            raise RunError(f"cannot read {path!r}: its part {str(companion)!r} is not a file; put the file there")
        if not companion.exists() and "missing" not in allow:
            raise RunError(
                f"cannot read {path!r}: its part {str(companion)!r} is missing; put the file there, {_ALLOWED}"
            )


def check_planes(path: str, series: Any, allow: Sequence[str]) -> None:
    """Refuse a series without some of its planes, or with planes from elsewhere, unless allowed. Local."""
    pages = list(series.pages)
    missing = sum(page is None for page in pages)
    if missing and "missing" not in allow:
        raise RunError(
            f"cannot read {path!r}: {missing} of its {len(pages)} planes are missing; copy all files of the "
            f"data set anew, {_ALLOWED}"
        )
    if "external storage" in allow:
        return
    folder = _plain(path).parent
    for place in {page.parent.filehandle.path for page in pages if page is not None}:
        if not _plain(place).is_relative_to(folder):
            raise UsageError(
                f"cannot read {path!r}: some of its planes lie in {place!r}, outside its folder; put the files "
                'into one folder, or give allow=("external storage",) if you trust it'
            )


def _plain(path: str) -> Path:
    """The path from the root, without dots; links stay what they are, since the user has laid them."""
    return Path(os.path.normpath(Path(path).absolute()))


def _names(file: Any) -> Iterator[str]:
    """Names of the files of planes, but for the file itself."""
    try:
        root = ET.fromstring(file.ome_metadata)
    except (ET.ParseError, TypeError):
        return
    own = root.attrib.get("UUID")
    seen = set()
    for element in root.iter():
        if element.tag.rpartition("}")[2] != "UUID":
            continue
        name = element.attrib.get("FileName", "")
        # A file that was renamed still has its own UUID.
        is_own = element.text == own if own else name.lower() == file.filename.lower()
        if name and not is_own and name not in seen:
            seen.add(name)
            yield name


def _leaves(name: str) -> bool:
    """Whether a name leads out of the folder."""
    return any(path.is_absolute() or ".." in path.parts for path in (PurePosixPath(name), PureWindowsPath(name)))
