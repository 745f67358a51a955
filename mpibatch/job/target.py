"""What can be known of an output before anything is computed."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError
from mpibatch.base.trust import grants
from mpibatch.io.base.names import foreign_format
from mpibatch.io.base.stores import check_replaceable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mpibatch.mpi import MPI

__all__ = ["check_target", "permitted"]


@contextmanager
def permitted(comm: MPI.Intracomm, permissions: Mapping[str, str]) -> Iterator[None]:
    """Let all that a job writes within the block have the permissions of its output. Collective. UsageError."""
    if not permissions:
        yield
        return
    from mpibatch.mpi import agreed  # late: what else is here is asked where there is no MPI

    with agreed(comm, "the permissions of the output"):
        given = grants.checked(**permissions)
    with grants.granted(given):
        yield


def check_target(path: Path) -> None:
    """Refuse now what would otherwise fail after the last step. Local."""
    folder = path.parent
    if str(foreign_format(str(path))).endswith("Zarr"):
        check_replaceable(path)
    elif path.is_dir():
        raise RunError(f"the output {str(path)!r} is a folder; give the name of a file")
    if not folder.is_dir():
        raise RunError(f"the output's folder {str(folder)!r} does not exist; make it, or write elsewhere")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RunError(f"the output's folder {str(folder)!r} is not writable; allow it, or write elsewhere")
