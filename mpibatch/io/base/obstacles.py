"""Why something cannot be written under a name: what is in the way, in the words of files and of folders alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, reason_of
from mpibatch.io.base.names import PART

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_free", "check_parent", "forbidden", "is_written", "taken_over", "unshared"]


def check_parent(target: Path) -> None:
    """Refuse a target whose folder is not there. Local. RunError."""
    if not target.parent.is_dir():
        raise RunError(f"cannot write {target}: there is no folder {target.parent}; create it, or write elsewhere")


def check_free(target: Path, *, overwrite: bool) -> None:
    """Refuse a target that is there and must stay. Local. RunError."""
    if not overwrite and target.exists():
        raise RunError(f"cannot write {target} with overwrite=False: it exists; remove it, or give another name")


def forbidden(target: Path, error: OSError) -> RunError:
    """Return the error that tells of a folder in which nothing can be made. Local."""
    return RunError(f"cannot write {target}: {target.parent} does not allow it: {reason_of(error)}")


def is_written(target: Path) -> RunError:
    """Return the error that tells of another run at work. Local."""
    return RunError(
        f"cannot write {target}: another run is writing it (and holds {target.name}{PART}); wait for its end, or give "
        "another name"
    )


def unshared(path: object, host: str) -> RunError:
    """Return the error that tells of a folder that rank 0 has made and a node does not see. Local."""
    return RunError(f"{path} was made by rank 0, but on {host} it is not there; write to a folder that all nodes share")


def taken_over(target: Path, name: str) -> RunError:
    """Return the error that tells of another run that has taken a name. Local."""
    return RunError(f"{target} was written, but another run took over {name}; let one run at a time write there")
