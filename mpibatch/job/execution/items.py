"""The items of a batch of jobs, and the running of one of them."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import re
import sys
import time
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import mpibatch.io as io
from mpibatch.base.errors import RunError, UsageError, reason_of
from mpibatch.base.log import logger
from mpibatch.io.base.names import SEPARATOR, split_path, user_path
from mpibatch.io.read.csv_columns import csv_columns
from mpibatch.job.execution.pipeline import run
from mpibatch.job.execution.simulation import simulate
from mpibatch.job.file.batch import BatchJob, Values, cell_value, of_grid, of_paths, of_rows
from mpibatch.job.file.schema import Job
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mpibatch.mpi import MPI

__all__ = ["STDIN", "ItemRun", "costs", "items_of", "log_of"]

STDIN = "-"
ITEMS = "items.json"  # in the journal: those that standard input told of


def items_of(batch: BatchJob, comm: MPI.Intracomm, given: Sequence[str] = ()) -> list[Values]:
    """Return the items of a batch, the same on all ranks. Collective: rank 0 looks for them.

    `given` are paths in place of those of [batch]; "-" stands for the lines of standard input.
    """
    source = batch.settings.get("items")
    if not given and isinstance(source, str) and SEPARATOR in source:
        rows: list[Values] = _rows_of_file(source, comm)
    else:
        rows = []
        with agreed(comm, f"looking for the items of {batch.source}"):
            if comm.rank == 0:
                rows = _listed(batch, list(given))
        rows = comm.bcast(rows, root=0)
    with agreed(comm, f"checking the items of {batch.source}"):
        rows = [batch.named(values) for values in rows]
        _check_outputs(batch, rows)
        if rows:
            batch.job_of(rows[0])  # what is wrong with all of them shows now
    return rows


def _listed(batch: BatchJob, given: list[str]) -> list[Values]:
    """What rank 0 finds."""
    kept = Path(batch.journal) / ITEMS
    source = batch.settings.get("items")
    if given == [STDIN]:
        return of_paths([line for line in sys.stdin.read().splitlines() if line.strip()])
    if given:
        return of_paths(given)
    if batch.grid:
        return of_grid(batch.grid)
    if isinstance(source, list):
        return of_paths(source)
    if isinstance(source, str):
        return _rows_of_csv(source) if source.endswith(".csv") else _matches(source)
    if kept.exists():
        return of_paths(_lines_of(kept))
    raise UsageError(
        f'{batch.source}: [batch] does not say what the items are; give items = "scans/*.h5", a table.csv, or a '
        "[batch.grid], or pipe their names to it: find scans | mpibatch batch JOB.toml -"
    )


def _lines_of(kept: Path) -> list[str]:
    """The lines of standard input that a journal has kept. RunError."""
    try:
        return [str(line) for line in json.loads(kept.read_text(encoding="utf-8"))["items"]]
    except (ValueError, KeyError, TypeError):
        raise RunError(
            f"{kept} cannot be read, which tells what the items are; pipe their names to mpibatch batch JOB.toml - "
            "once more, and it is written anew"
        ) from None


def _matches(pattern: str) -> list[Values]:
    paths = sorted(glob.glob(user_path(pattern), recursive=True))  # noqa: PTH207  # that of a Path takes no absolute one
    if not paths and not glob.has_magic(pattern):
        raise RunError(f"the items {pattern!r} are not there; check the path")
    return of_paths(paths)


def _rows_of_csv(path: str) -> list[Values]:
    columns = csv_columns(user_path(path))
    return of_rows({name: [cell_value(text) for text in column] for name, column in columns.items()})


def _rows_of_file(path: str, comm: MPI.Intracomm) -> list[Values]:
    file, dataset = split_path(path)
    table = io.load(file, dataset, comm=comm)
    if not hasattr(table, "gather") or not hasattr(table, "rows"):
        raise UsageError(f"the items {path!r} are an array; name a table, or a file with a row for each item (.csv)")
    return of_rows({name: values.tolist() for name, values in table.gather().items()})


def _check_outputs(batch: BatchJob, rows: Sequence[Values]) -> None:
    """Refuse items that would write the same file. Local."""
    writers: dict[str, Values] = {}
    for values in rows:
        path = os.path.normpath(batch.output_of(values))
        if path in writers:
            raise UsageError(
                f"{batch.source}: items {writers[path]['number']} and {values['number']} would both write {path!r}; "
                'give each a name of its own: [output] path = "out/{name}.h5"'
            )
        writers[path] = values


def costs(batch: BatchJob, rows: Sequence[Values]) -> list[float] | None:
    """Return the cost hints that [batch] longest_first asks for: "size" of files, or a column. Local. UsageError."""
    key = batch.settings.get("longest_first")
    if key is None:
        return None
    if key == "size":
        return [_size(str(values["item"])) for values in rows]
    if rows and key not in rows[0]:
        raise UsageError(f'{batch.source}: [batch] longest_first = {key!r}; expected "size", or a column of numbers')
    for number, values in enumerate(rows):
        if not isinstance(values[key], int | float):
            raise UsageError(
                f"{batch.source}: [batch] longest_first = {key!r}, which is {values[key]!r} of item {number} "
                f"({values['name']}); give each item a number"
            )
    return [float(values[key]) for values in rows]


def _size(path: str) -> float:
    try:
        return float(Path(split_path(path)[0]).stat().st_size)
    except OSError:  # the item itself will tell
        return 0.0


class ItemRun:
    """Runs the job of an item, on the ranks of a team.

    `identity` tells what it depends on beside the item, and `journal_notes` what the journal keeps, once it is this
    batch's: `lines` of standard input, for runs without them, such as one of those that failed.
    """

    def __init__(self, batch: BatchJob, lines: Sequence[str] | None = None) -> None:
        self._batch = batch
        self.journal_notes = {} if lines is None else {ITEMS: {"items": list(lines)}}
        document = json.dumps(batch.document, sort_keys=True, default=str)
        self.identity = {"job": hashlib.blake2b(document.encode(), digest_size=8).hexdigest(), "program text": ""}

    def __call__(self, values: Values, comm: MPI.Intracomm) -> dict[str, float]:
        """Run it, and return the numbers that its steps took from the data. Collective over `comm`."""
        is_logged = comm.rank == 0 and self._batch.has_logs
        with _logged(log_of(self._batch, values) if is_logged else None):
            job = self._batch.job_of(values)
            with agreed(comm, f"writing for {values['name']}"):
                if comm.rank == 0 and "{" in str(self._batch.document.get("output")):
                    _make_folder(job.output.path if isinstance(job, Job) else job.output)
            summary = run(job, comm, tells=True) if isinstance(job, Job) else simulate(job, comm)
            return _numbers({saved.dataset: saved.measured for saved in summary.saved})


def _make_folder(path: str) -> None:
    with suppress(OSError):  # writing will tell
        Path(path).parent.mkdir(parents=True, exist_ok=True)


def _numbers(measured: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {
        f"{dataset.replace('/', '.')}.{key}": value
        for dataset, values in sorted(measured.items())
        for key, value in sorted(values.items())
    }


def log_of(batch: BatchJob, values: Values) -> Path:
    """Return the path of an item's log. Local."""
    plain = re.sub(r"[^\w.=,+-]", "_", str(values["name"])).encode()[:80].decode(errors="ignore")
    return Path(batch.journal) / "logs" / f"{values['number']:06d}-{plain}.log"


@contextmanager
def _logged(path: Path | None) -> Iterator[None]:
    """Write what the library tells, and how the block ends, to an item's log. Local."""
    if path is None:
        yield
        return
    root, began = logger(), time.perf_counter()
    level, before = root.level, [(handler, handler.level) for handler in root.handlers]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:  # of this rank alone; the item does without
        root.warning("cannot write the log %s: %s", path, reason_of(error))
        yield
        return
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for other, _ in before:
        other.setLevel(max(other.level, level))
    root.setLevel(min(level or logging.INFO, logging.INFO))
    root.addHandler(handler)
    try:
        yield
        root.info("done in %.3f s", time.perf_counter() - began)
    except BaseException:
        root.info("failed after %.3f s:\n%s", time.perf_counter() - began, traceback.format_exc())
        raise
    finally:
        root.removeHandler(handler)
        handler.close()
        root.setLevel(level)
        for other, old in before:
            other.setLevel(old)
