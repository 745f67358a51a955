"""Folders that may be replaced: stores of Zarr, and empty ones."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MARKS", "check_replaceable"]

MARKS = ("zarr.json", ".zgroup", ".zarray")  # one of these files is in every folder of Zarr


def check_replaceable(path: Path) -> None:
    """Refuse to put a store in the place of anything but a store. Local. RunError."""
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise RunError(f"cannot write {path}: it is a file, and Zarr is a folder; remove it, or give another name")
    if not any((path / name).is_file() for name in MARKS) and any(path.iterdir()):
        raise RunError(f"cannot write {path}: it is a folder, and not of Zarr; remove it, or give another name")
