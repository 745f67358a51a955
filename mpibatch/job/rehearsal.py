"""A pipeline's steps on a few cells: what the run would refuse is refused, and what the results are is known.

The functions are those of the run, in a process of its own: a plan starts no MPI, and may be made where none starts.
There the loops stay Python, so that nothing is compiled. No value of the input is read.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base import tally
from mpibatch.base.errors import MpibatchError, UsageError
from mpibatch.job.file.schema import INPUT, Job, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.job.execution.steps import Value

__all__ = ["Rehearsed", "Values", "rehearse", "rehearsed"]

CELLS = 4  # along each axis at most
LEVELS = 8  # different values, if there are so many cells
PATIENCE = 60.0  # seconds
# Variables by which launchers tell a process that it is one of several; a rehearsal is alone.
_LAUNCHERS = ("PMI", "OMPI_", "PRTE_", "PRRTE_", "SLURM_", "HYDRA", "HYDI", "MPI_LOCAL", "I_MPI_", "PALS_")


@dataclass(frozen=True)
class Values:
    """What a pipeline reads: the cells' global shape, the values of each cell, and their dtype."""

    name: str
    shape: tuple[int, ...]
    channels: tuple[int, ...]
    dtype: str
    periodic: tuple[bool, ...]

    @property
    def cell_bytes(self) -> int:
        """Bytes of a cell. Local."""
        return np.dtype(self.dtype).itemsize * math.prod(self.channels)


@dataclass(frozen=True)
class Rehearsed:
    """What a step's result is.

    Attributes
    ----------
    dtype, components : of a cell; of a table, its columns in words.
    reach : how far a step with halos reads around a cell along each axis, at most.
    """

    dtype: str
    components: tuple[int, ...]
    reach: tuple[int, ...]

    @property
    def words(self) -> str:
        """It, for the reader. Local."""
        return self.dtype + (f", {' × '.join(map(str, self.components))} values each" if self.components else "")


def rehearse(steps: Sequence[Step], values: Values) -> list[Rehearsed]:
    """Return what each step's result is. Local; starts MPI.

    Raises UsageError or RunError as the run of such an input would.
    """
    from mpibatch.fields.field import Field
    from mpibatch.fields.grid import Grid
    from mpibatch.job.execution.pipeline import apply
    from mpibatch.measure._engine.places import widened
    from mpibatch.mpi import MPI

    grid = Grid(_extents(steps, values), comm=MPI.COMM_SELF, periodic=values.periodic)
    source = Field(grid, values.dtype, 0, values.channels)
    # Neither constant nor large: some functions refuse the one, and others overflow. And without a period, which would
    # leave slopes that are all alike.
    levels = 2 if source.dtype.kind == "b" else LEVELS
    scattered = (np.arange(source.owned.size, dtype=np.int64) * 2654435761 >> 16) % levels
    source.owned[...] = scattered.reshape(source.owned.shape)
    results: dict[str, Value] = {INPUT: source}
    descriptions: list[Rehearsed] = []
    for number, step in enumerate(steps):
        try:
            with np.errstate(all="ignore"), widened(math.prod(values.shape)), tally.apart() as needs:
                value = apply(step, [results[name] for name in step.inputs]).value
        except MpibatchError as error:
            raise type(error)(f"step {number + 1} ({step.name}): {error}") from error
        results[step.name] = value
        # One exchange after the other: what they reach adds up.
        reach = tuple(
            max(sum(times * need.widths[axis][side] for need, times in needs.items()) for side in (0, 1))
            for axis in range(grid.ndim)
        )
        if isinstance(value, Field):
            descriptions.append(Rehearsed(value.dtype.name, value.components, reach))
        else:
            descriptions.append(Rehearsed(f"a table of {', '.join(value)}", (), reach))
    return descriptions


def _extents(steps: Sequence[Step], values: Values) -> list[int]:
    """A few cells along each axis, all of them along one that is given coordinates."""
    shape = [min(CELLS, n) for n in values.shape]
    for step in steps:
        axis = step.parameters.get("axis", -1)
        if "coordinates" in step.parameters and -len(shape) <= axis < len(shape):
            shape[axis] = values.shape[axis]
    return shape


def rehearsed(job: Job, values: Values) -> tuple[list[Rehearsed], str]:
    """Return what each step's result will be, and "" or why it is not known. Local. Starts a process that starts MPI.

    Raises UsageError if a step refuses what it would be given.
    """
    request = json.dumps({"steps": [asdict(step) for step in job.steps], "values": asdict(values)})
    alone = {key: value for key, value in os.environ.items() if not key.startswith(_LAUNCHERS)}
    command = [sys.executable, "-m", "mpibatch.job.rehearsal"]
    try:
        done = subprocess.run(
            command, input=request, capture_output=True, text=True, timeout=PATIENCE, env=alone, check=False
        )
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError):
        return [], "the steps were not rehearsed: MPI does not start here, or they took too long"
    if "refused" in answer:
        raise UsageError(f"{job.source or 'the job'}: {answer['refused']}")
    return [Rehearsed(dtype, tuple(wide), tuple(reach)) for dtype, wide, reach in answer["results"]], ""


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    steps = [Step(**{**step, "others": tuple(step["others"])}) for step in request["steps"]]
    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in request["values"].items()
    }
    try:
        results = rehearse(steps, Values(**given))
        return {"results": [(result.dtype, result.components, result.reach) for result in results]}
    except MpibatchError as error:
        return {"refused": str(error)}


if __name__ == "__main__":
    from mpibatch.base.compiled import interpret

    interpret()
    print(json.dumps(_answer(json.load(sys.stdin))), flush=True)
