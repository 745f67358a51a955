"""How far a streamed job has come: a small file beside what lies between passes, new every few seconds."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import RunError, UsageError, reason_of
from mpibatch.base.files import replacing
from mpibatch.base.trust.grants import make_folder
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.job.slabs.scans import Arrays
    from mpibatch.mpi import MPI

__all__ = ["SlabJournal", "State"]

NAME = "progress.npz"


@dataclass
class State:
    """What is known after some slabs; the same on all ranks, but for `digests`, which are rank 0's.

    Attributes
    ----------
    number, plane : the pass under way, and its first plane that is not done.
    numbers : what was measured, by step: thresholds, numbers of objects.
    scans : arrays of what is counted or was counted, by step and kind.
    digests : of values, by the names of their datasets; "" for the input.
    offsets : of the output's datasets, once it is laid out.
    content : the content digest of the output, once all its values are on disk; "" before.
    """

    number: int = 0
    plane: int = 0
    numbers: dict[str, dict[str, float]] = field(default_factory=dict)
    scans: dict[str, Arrays] = field(default_factory=dict)
    digests: dict[str, Any] = field(default_factory=dict)
    offsets: dict[str, int] | None = None
    content: str = ""


class SlabJournal:
    """The folder of a streamed job, which no other run uses meanwhile."""

    def __init__(self, comm: MPI.Intracomm, folder: str, identity: Mapping[str, Any]) -> None:
        self.comm, self.folder = comm, Path(folder)
        self._identity = json.dumps(identity, sort_keys=True, default=str)

    def begun(self, start: str) -> State:
        """Return what an earlier run has left, or a new state. Collective. Raises UsageError if it is another's."""
        state = State()
        with agreed(self.comm, f"looking for an earlier run in {self.folder}"):
            if self.comm.rank == 0:
                state = self._find(start)
        result: State = self.comm.bcast(state, root=0)
        if self.comm.rank:
            result.digests = {}
        return result

    def _find(self, start: str) -> State:
        path = self.folder / NAME
        if start == "anew":
            self._clear()
        is_there = path.exists()
        if is_there and start == "new":
            raise UsageError(
                f"{self.folder} holds what an earlier run has done; go on from there with --resume, or begin anew with "
                "--anew"
            )
        try:
            if not self.folder.is_dir():
                make_folder(self.folder)
        except OSError as error:
            raise RunError(f"the folder {self.folder} cannot be made: {reason_of(error)}") from error
        return self._read(path) if is_there else State()

    def _read(self, path: Path) -> State:
        try:
            with np.load(path, allow_pickle=False) as file:
                about = json.loads(file["about"].tobytes())
                arrays = {name: file[name] for name in file.files if name != "about"}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(f"{path} is damaged: {error}; begin anew with --anew") from error
        if about["identity"] != self._identity:
            raise UsageError(
                f"{self.folder} is of another job, input or version of mpibatch; begin anew with --anew, or give "
                "[stream] another path"
            )
        scans: dict[str, Arrays] = {key: {} for key in about["scans"]}
        digests = {}
        for name, array in arrays.items():
            kind, part, key = name.split("|", 2)
            if kind == "scan":
                scans[key][part] = array
            else:
                digests[key] = array
        return State(
            number=about["pass"],
            plane=about["plane"],
            numbers=about["numbers"],
            scans=scans,
            digests=digests,
            offsets=about["offsets"],
            content=about.get("content", ""),
        )

    def save(self, state: State) -> None:
        """Note how far the run has come; what lies in files before is on disk. Collective."""
        with agreed(self.comm, f"writing {self.folder / NAME}"):
            if self.comm.rank == 0:
                self._write(state)

    def _write(self, state: State) -> None:
        arrays = {
            f"scan|{part}|{key}": array for key, parts in state.scans.items() for part, array in parts.items()
        } | {f"digest||{key}": array for key, array in state.digests.items()}
        about = {
            "identity": self._identity, "pass": state.number, "plane": state.plane, "numbers": state.numbers,
            "scans": sorted(state.scans), "offsets": state.offsets, "content": state.content,
        }  # fmt: skip
        text = io.BytesIO()
        np.savez(text, about=np.frombuffer(json.dumps(about).encode(), "u1"), **arrays)
        try:
            with replacing(self.folder / NAME) as part:
                part.write_bytes(text.getvalue())
        except OSError as error:
            raise RunError(f"{self.folder / NAME} could not be written: {reason_of(error)}") from error

    def clear(self) -> None:
        """Remove the folder and what this job has left in it. Collective."""
        with agreed(self.comm, f"removing {self.folder}"):
            if self.comm.rank == 0:
                self._clear()

    def _clear(self) -> None:
        for path in [*self.folder.glob("step-[0-9][0-9]*.*"), *self.folder.glob(f"{NAME}*")]:
            path.unlink(missing_ok=True)
        try:
            self.folder.rmdir()
        except OSError:
            return  # there was none, or other things are in it
