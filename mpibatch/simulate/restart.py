"""What a simulation is besides its fields, into checkpoints and back."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import RunError, UsageError
from mpibatch.io.write.commit import PART
from mpibatch.io.write.snapshot import Snapshot, damaged
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.checkpoint.checkpoint import Checkpoint
    from mpibatch.checkpoint.checkpoints import Checkpoints
    from mpibatch.fields.field import Field
    from mpibatch.random import Generator
    from mpibatch.simulate.diagnostics import DiagnosticRows
    from mpibatch.simulate.schedule import Clock

__all__ = ["Restored", "check_start", "collect", "restore"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restored:
    """What was restored besides the state: the outputs so far (step, time), and the file that they are in."""

    outputs: list[tuple[int, float]]
    snapshot: Snapshot | None


def check_start(checkpoints: Checkpoints | None, resume: bool, diagnostics: str | None, encrypts: bool) -> None:
    """Refuse to go on from nothing, to begin over checkpoints that nobody has given up, and plain text. Collective.

    `encrypts`: whether the output is to be encrypted; then nothing else may hold its values in plain.
    """
    if encrypts and diagnostics is not None:
        raise UsageError(
            f"{diagnostics} would keep in plain what encrypt is for; leave it out: the output has the rows"
        )
    if encrypts and checkpoints is not None and checkpoints.encrypt is None:
        raise UsageError("checkpoints would keep in plain what the output encrypts; give them encrypt=..., too")
    if checkpoints is None:
        if resume:
            raise UsageError("resume needs checkpoints, and the simulation has none; give their folder")
        return
    if not resume and (count := checkpoints.count()):
        raise UsageError(
            f"{count} checkpoints of an earlier run are in {checkpoints.path}; go on from them with --resume "
            "(resume=True), or remove them with --anew (checkpoints.clear())"
        )


def collect(
    clock: Clock,
    rows: DiagnosticRows,
    outputs: Sequence[tuple[int, float]],
    streams: Sequence[Generator],
    snapshot: Snapshot | None,
) -> dict[str, Any]:
    """Return what a checkpoint is to hold beside the state. Local. `snapshot` is rank 0's."""
    return {
        "clock": clock.to_extra(),
        "rows": rows.to_extra(),
        "outputs": outputs,
        "random": [stream.state for stream in streams],
        **(snapshot.to_extra() if snapshot is not None else {}),
    }


def restore(
    checkpoints: Checkpoints,
    output: str | None,
    state: Mapping[str, Field],
    clock: Clock,
    rows: DiagnosticRows,
    streams: Sequence[Generator],
) -> Restored | None:
    """Go on from the newest checkpoint that is whole and whose outputs still are; None if there is none. Collective."""
    refused, is_complete, target = [], False, os.path.realpath(output or "")
    for checkpoint in checkpoints.candidates():
        with agreed(checkpoints.comm, f"reading {checkpoint.path}"):
            snapshot = Snapshot.from_extra(checkpoint.extra)
        part = target + PART
        if snapshot is not None and (wrong := _damaged(checkpoints, part, snapshot)):
            # Killed when the output had its name, and the checkpoints were still there: then nothing is lost.
            is_complete = is_complete or not _damaged(checkpoints, target, snapshot)
            checkpoints.warn(f"{checkpoint.path} is not used: in {part}, {wrong}")
            refused.append(f"{checkpoint.path} (in {part}, {wrong})")
            continue
        checkpoint.restore(state)
        clock.go_on(checkpoint.extra["clock"])
        rows.go_on(checkpoint.extra["rows"])
        _go_on(streams, checkpoint)
        if checkpoints.comm.rank == 0:
            _log.info("going on from %s, t = %g", checkpoint.path, clock.time)
        return Restored([(int(step), float(time)) for step, time in checkpoint.extra["outputs"]], snapshot)
    # Not anew: that would remove what somebody may yet repair.
    count = checkpoints.count()
    if count and not is_complete:
        why = refused[0] if refused else "none is whole"
        raise RunError(
            f"{count} checkpoints are in {checkpoints.path}, but none can be resumed from: {why}; bring back what is "
            "missing, or begin again with --anew (checkpoints.clear())"
        )
    why = f"{target} is complete" if is_complete else f"there is no checkpoint in {checkpoints.path} to go on from"
    checkpoints.warn(f"{why}: starting anew")
    return None


def _damaged(checkpoints: Checkpoints, path: str, snapshot: Snapshot) -> str:
    names = [name for name, *_ in snapshot.datasets]
    return damaged(checkpoints.comm, path, snapshot.extents, snapshot.past, names)


def _go_on(streams: Sequence[Generator], checkpoint: Checkpoint) -> None:
    states = checkpoint.extra["random"]
    if len(states) != len(streams):
        raise UsageError(
            f"{checkpoint.path} has {len(states)} streams of random numbers, the program {len(streams)}; call "
            "simulation.random before simulation.steps, as often as before"
        )
    for stream, was in zip(streams, states, strict=True):
        stream.state = was
