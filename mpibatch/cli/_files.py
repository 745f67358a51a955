"""The files of a command line: those that a name with * and ? stands for, and those that would be written over."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, UsageError
from mpibatch.io.base.names import split_path, user_path

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["check_targets", "fitting_files"]


def fitting_files(pattern: str, *, takes_folders: bool = False) -> list[Path]:
    """Return the files whose names fit, in order. RunError if there are none.

    Local, and for rank 0 alone: another rank may be shown other files, and many that look are too much for a server.
    """
    pattern = user_path(pattern)
    root = Path(Path(pattern).anchor)
    paths = sorted(path for path in root.glob(str(Path(pattern).relative_to(root))) if takes_folders or path.is_file())
    if not paths:
        raise RunError(f"there is no file {pattern}; give names with * and ?, in quotes")
    return paths


def check_targets(
    targets: Iterable[tuple[str | None, str]],
    sources: Iterable[str | None],
    remedy: str = "give files different names",
) -> None:
    """Refuse now what would be written twice, over what is read, or into no folder. Local. UsageError, RunError.

    targets: files, and what writes them. sources: files, FILE::DATASET, or names with * and ?. None and "" are no file.
    """
    read = [_whole(split_path(source)[0]) for source in sources if source]
    files, patterns = set(read), [path for path in read if set(path) & set("*?")]
    writers: dict[str, str] = {}
    for target, writer in targets:
        if not target:
            continue
        path = _whole(user_path(target))
        if not Path(path).parent.is_dir():
            raise RunError(f"cannot write {target}: there is no such folder; make it first")
        if path in files or any(PurePath(path).match(pattern) for pattern in patterns):
            raise UsageError(f"{target} is read, and would be written over; give another name")
        if path in writers:
            raise UsageError(f"{writers[path]} and {writer} would both write {target}; {remedy}")
        writers[path] = writer


def _whole(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100  # which looks at no file: there may be many
