"""Taking up jobs that another run began: whether they are complete, and which steps of a pipeline are."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mpibatch import __version__
from mpibatch.base.errors import RunError, UsageError
from mpibatch.base.timing import phase
from mpibatch.checkpoint import contents
from mpibatch.checkpoint.checkpoints import Checkpoints
from mpibatch.fields.field import Field
from mpibatch.fields.pencils import alike
from mpibatch.io.read.description import file_attributes
from mpibatch.io.read.inspector import is_safe_to_parse
from mpibatch.io.seal.verification import check
from mpibatch.io.vault.keyring import unlock
from mpibatch.io.write.provenance import input_digest
from mpibatch.job.file.arithmetic import EXPRESSION
from mpibatch.job.file.functions import parameters_of
from mpibatch.job.file.schema import INPUT, Checkpointing, Job, Step
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from collections.abc import Mapping, Set
    from types import TracebackType

    from mpibatch.fields.grid import Grid
    from mpibatch.job.execution.steps import Value

__all__ = ["FINGERPRINT", "Result", "Start", "StepFiles", "is_complete", "needed_steps", "opened"]

# Begin anew (refused where there are checkpoints), go on from them, or remove them first.
Start = Literal["new", "resume", "anew"]
# Attribute of an output: by what it was made, so that another start finds it complete.
FINGERPRINT = "job_fingerprint"
TABLE = "table"  # in place of a dtype, of a result that is no field

_log = logging.getLogger(__name__)


def opened(
    settings: Checkpointing | None, comm: MPI.Intracomm, start: Start, identity: Mapping[str, Any] | None = None
) -> Checkpoints | None:
    """Return the checkpoints that a job asks for. Collective. Raises UsageError if `start` needs them."""
    if settings is None:
        if start != "new":
            raise UsageError(f"--{start} needs a section [checkpoint], and the job has none; add one")
        return None
    checkpoints = Checkpoints(
        settings.path,
        comm=comm,
        every_steps=settings.every_steps,
        every_minutes=settings.every_minutes,
        keep=settings.keep,
        identity=identity,
        encrypt=settings.encrypt,
    )
    if start == "anew":
        checkpoints.clear()
    return checkpoints


def is_complete(comm: MPI.Intracomm, path: str, mark: str) -> bool:
    """Whether there is a whole output with this fingerprint. Collective.

    What HDF5 would parse is compared with the seal before HDF5 sees it, all other bytes only of an output that is ours.
    """
    known = False
    with agreed(comm, f"reading {path}"):
        if comm.rank == 0 and Path(path).exists():
            with suppress(RunError):
                unlock(path)
                is_safe = Path(path).is_dir() or is_safe_to_parse(path)
                known = is_safe and file_attributes(path).get(FINGERPRINT) == mark
    if not comm.bcast(known, root=0):
        return False
    try:
        check(path, comm)
    except RunError as error:
        if comm.rank == 0:
            _log.warning("%s", error)
        return False
    return True


def fingerprints(job: Job, comm: MPI.Intracomm, field: Field) -> dict[str, str]:
    """Return a digest for every result, of the input's values and all that was done to them. Collective."""
    grid = field.grid
    geometry = [grid.periodic, grid.spacing, grid.origin, grid.units, grid.axes]
    prints = {INPUT: _digest([input_digest(comm, field), field.components, geometry, __version__])}
    for step in job.steps:
        # With one input as ever: what earlier versions have left is still known.
        read: Any = [prints[name] for name in step.inputs] if len(step.inputs) > 1 else prints[step.input]
        read = [read, [*step.fields]] if step.fields else read
        read = [read, [*step.inputs]] if step.filter == EXPRESSION else read
        prints[step.name] = _digest([read, step.filter, resolved(step)])
    return prints


def resolved(step: Step) -> dict[str, str]:
    """Return all parameters of a step, defaults included, as text. Local."""
    given = dict(step.parameters)
    defaults = {p.name: str(p.default) for p in parameters_of(step.filter)}
    return defaults | {key: repr(value) for key, value in given.items()}


def _digest(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Result:
    """A step's result, and what the step took from the data."""

    value: Value
    measurements: Mapping[str, float]


def needed_steps(job: Job, known: Set[str]) -> frozenset[str]:
    """Return the steps whose results must be computed or, being `known`, be read. Local."""
    needed = {step.name for step in job.steps if step.save}
    for step in reversed(job.steps):
        if step.name in needed and step.name not in known:
            needed.update(step.inputs)
    return frozenset(needed - {INPUT})


class StepFiles:
    """A pipeline that leaves the results of its steps in files, whose names tell what they hold. A context manager.

    Attributes
    ----------
    mark : fingerprint of the whole job.
    known : names of the steps whose results are there, and whole.
    notes : lines for the reader.
    """

    def __init__(self, job: Job, comm: MPI.Intracomm, checkpoints: Checkpoints, source: Field, start: Start) -> None:
        self._comm, self._checkpoints, self._folder = comm, checkpoints, Path(checkpoints.path)
        self._prints = prints = fingerprints(job, comm, source)
        saved = {step.save: prints[step.name] for step in job.steps if step.save}
        self.mark = _digest([saved, {**asdict(job.output), "path": ""}])
        self._names = {
            step.name: f"step-{number + 1:02d}-{step.filter}-{self._named(step)[:16]}.h5"
            for number, step in enumerate(job.steps)
        }
        self._headers: dict[str, contents.Header] = {}
        self.known: frozenset[str] = frozenset()
        self.notes: tuple[str, ...] = ()
        if start == "anew":
            self.clear()

    def _named(self, step: Step) -> str:
        """A digest for the name of a step's file: of what the step is and of its input, or, encrypted, of the step."""
        if self._checkpoints.encrypt is None:
            return self._prints[step.name]
        return _digest([step.name, step.filter, resolved(step)])

    def find(self, start: Start) -> None:
        """Look for results of earlier runs. Collective. Raises UsageError if there should be none."""
        files: list[str] = []
        with agreed(self._comm, f"looking for results in {self._folder}"):
            if self._comm.rank == 0:
                files = [path.name for path in results_in(self._folder) if path.suffix == ".h5"]
        files = self._comm.bcast(files, root=0)
        if start == "new" and files:
            raise UsageError(
                f"{len(files)} results of an earlier run are in {self._folder}; go on from them with --resume, or "
                "remove them with --anew"
            )
        self.known = frozenset(name for name, file in self._names.items() if file in files and self._is_whole(name))
        if self.known:
            self.notes = (
                f"taken from an earlier run: {', '.join(name for name in self._names if name in self.known)}",
            )
        elif start == "resume":
            self._checkpoints.warn(f"there is no result in {self._folder} to go on from: starting anew")

    def _is_whole(self, name: str) -> bool:
        header = self._checkpoints.header_of(self._path(name))
        # An encrypted result does not tell by its name what it was made from.
        if header is None or header.get("print", self._prints[name]) != self._prints[name]:
            return False
        self._headers[name] = header
        return True

    def load(self, name: str, grid: Grid) -> Result:
        """Return the result of a known step, on a grid. Collective."""
        header = self._headers[name]
        with phase("io"):
            if header["dtype"] == TABLE:
                return Result(contents.restored_table(self._comm, self._path(name), "result"), header["found"])
            field = Field(alike(grid, header.get("shape", grid.shape)), header["dtype"], 0, header["components"])
            contents.restore(self._comm, self._path(name), header, {"result": field})
        return Result(field, header["found"])

    def finished(self, steps: int, live: Mapping[str, Result], ahead: Set[str]) -> None:
        """Save what is needed to go on after so many steps, where that is due; then remove the rest. Collective.

        `ahead` are the known steps that will be read later. Raises `Stopped` if a signal asked for the end.
        """
        if not self._checkpoints.due(steps):
            return
        with phase("io"):
            self._checkpoints.make_folder()
            for name, result in live.items():
                if name not in self._headers:
                    value = result.value
                    header = {
                        "dtype": value.dtype.str if isinstance(value, Field) else TABLE,
                        "components": value.components if isinstance(value, Field) else (),
                        "shape": value.grid.shape if isinstance(value, Field) else (),
                        "found": dict(result.measurements),
                        "print": self._prints[name],
                    }
                    encrypt = self._checkpoints.encrypt
                    contents.write(self._comm, self._path(name), header, {"result": value}, {}, encrypt)
                    self._headers[name] = {**header, "state": ["result"]}
            self._remove(keep={self._names[name] for name in live.keys() | ahead})
        self._checkpoints.restart()
        if self._checkpoints.stopping:
            self._checkpoints.stop(f"step {steps} of {len(self._names)}; its results are in {self._folder}")

    def clear(self) -> None:
        """Remove all results, and the folder if nothing else is in it. Collective."""
        self._remove(keep=set())
        self._checkpoints.clear()

    def __enter__(self) -> StepFiles:
        self._checkpoints.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._checkpoints.__exit__(kind, error, at)

    def _remove(self, keep: Set[str]) -> None:
        with agreed(self._comm, f"removing old results in {self._folder}"):
            if self._comm.rank == 0 and self._folder.is_dir():
                for path in results_in(self._folder):
                    if path.name not in keep:
                        path.unlink(missing_ok=True)
        self._headers = {name: header for name, header in self._headers.items() if self._names[name] in keep}

    def _path(self, name: str) -> str:
        return str(self._folder / self._names[name])


def results_in(folder: Path) -> list[Path]:
    """Return the files of results, and what killed runs left of them. Local."""
    digits = "[0-9a-f]" * 16
    return [path for end in ("", ".part") for path in folder.glob(f"step-[0-9][0-9]*-*-{digits}.h5{end}")]
