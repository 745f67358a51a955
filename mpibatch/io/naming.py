"""Paths, datasets within them, and names for datasets."""

from __future__ import annotations

import os
from collections.abc import Iterable

from mpibatch.errors import UsageError

__all__ = ["HAZARDS", "SEPARATOR", "PathLike", "check_tree", "no_dataset", "normal_name", "split_path", "whole_name"]

SEPARATOR = "::"
# What an HDF5 file may ask of its reader that is refused unless it is allowed by name (`formats.hazards`).
HAZARDS = (
    "external links", "external storage", "filter pipelines", "large chunks", "missing", "unknown filters",
    "virtual datasets",
)  # fmt: skip

PathLike = str | os.PathLike[str]


def split_path(path: PathLike, dataset: str | None = None) -> tuple[str, str | None]:
    """Return file and dataset from a path that may be ``file::dataset``. Local."""
    file, separator, inside = os.fspath(path).partition(SEPARATOR)
    if separator and dataset is not None:
        raise UsageError(f"{os.fspath(path)!r} names a dataset and so does dataset={dataset!r}; give one of them")
    if not file:
        raise UsageError(f"{os.fspath(path)!r} names no file; give FILE or FILE{SEPARATOR}DATASET")
    return file, (inside or None) if separator else dataset


def whole_name(file: str, dataset: str) -> str:
    """Return the name of a dataset for messages. Local."""
    return f"{file}{SEPARATOR}{dataset}" if dataset else file


def no_dataset(path: str, dataset: str | None, name: str) -> None:
    """Refuse the name of a dataset for a format that has none. Local."""
    if dataset:
        raise UsageError(
            f"dataset {dataset!r} of {path!r} was asked for, but {name} files have no datasets; leave it out"
        )


def normal_name(name: str) -> str:
    """Return the name of a dataset without outer slashes; UsageError if HDF5 cannot have it. Local."""
    parts = name.strip("/").split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise UsageError(f"a dataset was to be named {name!r}; give words with / between groups, such as 'step1/edges'")
    return "/".join(parts)


def check_tree(names: Iterable[str]) -> None:
    """Refuse names of which one would be both a dataset and a group. Local."""
    known = set(names)
    for name in known:
        for end in (at for at, letter in enumerate(name) if letter == "/"):
            if name[:end] in known:
                raise UsageError(
                    f"datasets {name[:end]!r} and {name!r} were to be saved, but one is a group of the other"
                )
