"""Paths, datasets within them, and names for datasets.

One rule for every path that a user gives, in Python, on the command line or in a job file: ``~`` and ``~name`` at its
beginning, and ``$NAME`` or ``${NAME}`` anywhere, stand for what a shell makes of them, unless a file has that name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "HAZARDS", "PART", "RESUMABLE", "SEPARATOR", "PathLike", "check_suffix", "check_tree", "foreign_format",
    "is_labels", "no_dataset", "normal_name", "output_path", "split_path", "user_path", "user_place", "whole_name",
]  # fmt: skip

SEPARATOR = "::"
PART = ".part"  # behind the name of a file that is being written
RESUMABLE = "user.mpibatch.resumable"  # attribute of such a file that another run may go on with, where there are any
# What a file may ask of its reader that is refused unless it is allowed by name (`formats.hazards`). "missing": fill
# values in place of what other files should hold and do not.
HAZARDS = (
    "external links", "external storage", "filter pipelines", "large chunks", "missing", "unknown filters",
    "virtual datasets",
)  # fmt: skip

# What others write under these names we do not; HDF5 under them would be opened by nothing.
_FOREIGN = (
    ".avi", ".bmp", ".bz2", ".csv", ".dcm", ".fits", ".fit", ".gif", ".gz", ".jp2", ".jpeg", ".jpg", ".json", ".mat",
    ".mp4", ".mrc", ".nii", ".npy", ".npz", ".nrrd", ".parquet", ".pdf", ".pgm", ".png", ".ppm", ".svg", ".tif",
    ".tiff", ".toml", ".tsv", ".txt", ".vti", ".vtk", ".vtu", ".webp", ".xlsx", ".xml", ".zarr", ".zip",
)  # fmt: skip
# Formats that `mpibatch.save` writes, too. Of two endings that fit, the first counts.
_WRITTEN = {
    ".ome.zarr": "OME-Zarr", ".zarr": "Zarr", ".tif": "OME-TIFF", ".tiff": "OME-TIFF", ".fits": "FITS", ".fit": "FITS",
    ".nii": "NIfTI", ".npy": "npy",
}  # fmt: skip
_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")

PathLike = str | os.PathLike[str]


def user_path(path: PathLike) -> str:
    """Return the path that a user means. Local.

    Raises UsageError if no file can have this name, or a variable or home in it is not known; RunError if the path
    is relative to a working folder that is no longer there.
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        raise UsageError(f"the path {text!r} is of type bytes; give text")
    if "\0" in text:
        raise UsageError(f"the path {text!r} has a NUL character, which no file name can have; leave it out")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the path {text!r} is not UTF-8 (character {error.start}), which HDF5 and messages need; rename the file "
            "or its folder"
        ) from None
    if (text.startswith("~") or "$" in text) and not os.path.lexists(text):
        text = _expanded(text)
    if text and not text.startswith("/"):
        try:
            Path.cwd()
        except OSError:
            raise RunError(
                f"{text!r} is relative to the working folder, which was removed; cd to another, or give the path from /"
            ) from None
    return text


def _expanded(text: str) -> str:
    path = os.path.expandvars(text)
    if unknown := _VARIABLE.search(path):
        raise UsageError(f"the path {text!r} has the variable {unknown[0]}, which is not set; set it, or write it out")
    if text.startswith("~"):
        path = os.path.expanduser(path)  # noqa: PTH111, which raises where there is no such home
        if path.startswith("~"):
            user = text.partition("/")[0]
            raise UsageError(f"the path {text!r} begins with {user}, but no such home is known here; write it out")
    return path


def user_place(text: str) -> str:
    """Return ``FILE`` or ``FILE::DATASET`` with the path that a user means. Local. Raises as `user_path` does."""
    file, dataset = split_path(text)
    return file if dataset is None else whole_name(file, dataset)


def output_path(path: PathLike) -> str:
    """Return the path of an HDF5 file to be written. Local. UsageError if it names a dataset, or another format."""
    text = user_path(path)
    if SEPARATOR in text:
        raise UsageError(f"cannot write {text!r}: give the file alone, and datasets as name=field")
    check_suffix(text)
    return text


def foreign_format(path: str) -> str | None:
    """Return the format, other than HDF5, that a file of this name is written in; None for HDF5. Local."""
    name = Path(path).name.lower()
    return next((kind for ending, kind in _WRITTEN.items() if name.endswith(ending)), None)


def check_suffix(path: str) -> None:
    """Refuse to write HDF5 under the name of another format. Local. UsageError."""
    suffix = Path(path).suffix
    if suffix.lower() in _FOREIGN:
        raise UsageError(
            f"cannot write {path!r}: the output is HDF5, not {suffix}; give a name such as "
            f"{str(Path(path).with_suffix('.h5'))!r}"
        )


def split_path(path: PathLike, dataset: str | None = None) -> tuple[str, str | None]:
    """Return file and dataset from a path that may be ``file::dataset``. Local.

    A file whose own name is all of that goes before.
    """
    text = os.fspath(path)
    if isinstance(text, str) and SEPARATOR in text and os.path.lexists(text):
        return user_path(text), dataset
    file, separator, inside = text.partition(SEPARATOR) if isinstance(text, str) else (text, "", "")
    if separator and dataset is not None:
        raise UsageError(f"{text!r} names a dataset and so does dataset={dataset!r}; give one of them")
    if not file:
        raise UsageError(f"{text!r} names no file; give FILE or FILE{SEPARATOR}DATASET")
    return user_path(file), (inside or None) if separator else dataset


def whole_name(file: str, dataset: str) -> str:
    """Return the name of a dataset for messages. Local."""
    return f"{file}{SEPARATOR}{dataset}" if dataset else file


def no_dataset(path: str, dataset: str | None, name: str) -> None:
    """Refuse the name of a dataset for a format that has none. Local."""
    if dataset:
        raise UsageError(f"cannot read dataset {dataset!r} of {path!r}: {name} files have no datasets; leave it out")


def normal_name(name: str) -> str:
    """Return the name of a dataset without outer slashes; UsageError if HDF5 cannot have it. Local."""
    parts = name.strip("/").split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise UsageError(f"{name!r} is not a dataset name; give words with / between groups, such as 'step1/edges'")
    return "/".join(parts)


def check_tree(names: Iterable[str]) -> None:
    """Refuse names of which one would be both a dataset and a group. Local."""
    known = set(names)
    for name in known:
        for end in (at for at, letter in enumerate(name) if letter == "/"):
            if name[:end] in known:
                raise UsageError(
                    f"cannot save both {name[:end]!r} and {name!r}: the first would be dataset and group; rename one"
                )


def is_labels(name: str) -> bool:
    """Return whether a dataset is one of labels by its name: "label", "labels", "labels/nuclei". Local."""
    return name.strip("/").split("/")[0] in ("label", "labels")
