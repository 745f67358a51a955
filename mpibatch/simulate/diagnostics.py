"""Diagnostics: a few numbers at a time, as rows of a CSV file and as columns for the file of the fields."""

from __future__ import annotations

import csv
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import RunError, UsageError
from mpibatch.base.files import lock
from mpibatch.io.base.room import room_for
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DiagnosticRows"]

BASE = ("step", "time", "dt")


class DiagnosticRows:
    """A table that grows by a row at a time; `path`, if given, has its rows at once, so that one can look on."""

    def __init__(self, comm: MPI.Intracomm, path: str | None) -> None:
        self._comm, self._path = comm, path
        self._file: TextIO | None = None
        self._rows: list[tuple[Any, ...]] = []
        self.names: tuple[str, ...] = ()

    def add(self, step: int, time: float, dt: float, values: Mapping[str, Any]) -> None:
        """Add a row, the same on all ranks. Collective."""
        with agreed(self._comm, f"writing {self._path or 'diagnostics'}"):
            row = (step, time, dt, *(_number(name, value) for name, value in values.items()))
            if not self._rows:
                self._begin((*BASE, *values))
            elif self.names != (*BASE, *values):
                raise UsageError(
                    f"diagnostics began with {', '.join(self.names[3:])} and are now {', '.join(values)}; keep them"
                )
            self._append(row)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the values by name. Local."""
        return {name: np.array(column) for name, column in zip(self.names, zip(*self._rows, strict=True), strict=True)}

    def to_extra(self) -> npt.NDArray[np.uint8]:
        """Return all rows as text, for checkpoints. Local."""
        return np.frombuffer(json.dumps([self.names, *self._rows]).encode(), "u1")

    def go_on(self, extra: npt.NDArray[np.uint8]) -> None:
        """Go on after the rows that `to_extra` returned, and write the CSV file with them anew. Collective."""
        with agreed(self._comm, f"writing {self._path or 'diagnostics'}"):
            names, *rows = json.loads(extra.tobytes())
            if names:
                self._begin(tuple(names))
            for row in rows:
                self._append(tuple(row))

    def close(self) -> None:
        """Close the CSV file. Local."""
        if self._file is not None:
            # A failure was told when the row was written; what is left of it fails again here, on rank 0 alone.
            with suppress(OSError):
                self._file.close()

    def _append(self, row: tuple[Any, ...]) -> None:
        self._rows.append(row)
        if self._file is not None:
            # repr has the shortest digits that give the same float again.
            self._write([repr(value) for value in row])

    def _write(self, row: Sequence[str]) -> None:
        assert self._file is not None
        assert self._path is not None
        with room_for(self._path, self._file.tell() + sum(map(len, row)) + len(row)):
            csv.writer(self._file, lineterminator="\n").writerow(row)
            self._file.flush()

    def _begin(self, names: tuple[str, ...]) -> None:
        if len(set(names)) < len(names):
            raise UsageError(f"diagnostics may not be called {', '.join(BASE)}, which every row has; rename yours")
        self.names = names
        if self._path is None or self._comm.rank != 0:
            return
        folder = Path(self._path).parent
        if not folder.is_dir():
            raise RunError(f"cannot write {self._path}: there is no folder {folder}; create it, or write elsewhere")
        self._file = Path(self._path).open("a", encoding="utf-8", newline="")  # noqa: SIM115  open for the whole run
        if not lock(self._file.fileno(), wait=True):
            raise RunError(f"cannot write {self._path}: another run is writing it; give another name")
        self._file.truncate(0)
        self._write(names)


def _number(name: str, value: Any) -> int | float:
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, int | float):
        raise UsageError(f"the diagnostic {name!r} is {value!r}; give numbers: mpibatch.sum, mean, max, ... of a field")
    return int(value) if isinstance(value, int) else value
