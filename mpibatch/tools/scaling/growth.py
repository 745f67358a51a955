"""Weak studies: a job that grows with the ranks, so that each rank has as many cells as the job has on one.

The grid grows along the axes that its ranks are laid out on: on 2 ranks one axis is doubled. A simulation gets another
`shape`, and a `length` that leaves the cells as large as they were, so that its steps stay as long; it makes as many
steps. The input of a pipeline is tiled, every second tile mirrored: it has no seams, and nothing in it is new.
"""

from __future__ import annotations

import json
import logging
import math
import os
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from mpibatch.base.errors import UsageError
from mpibatch.domain.decomposition import choose_topology
from mpibatch.job.document.checks import slices
from mpibatch.job.file.schema import Job
from mpibatch.job.file.simulation import SimulationJob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.io.formats import Source

__all__ = ["DATASET", "check", "factors_of", "grow", "input_of", "prepare", "settings"]

DATASET = "values"  # of the grown inputs
BLOCK = 16 << 20  # bytes of a grown input that are in memory at a time
CLOSE = 1e-12  # relative, of cells that are as large as before
TRIES = 8

_log = logging.getLogger(__name__)


def check(job: Job | SimulationJob) -> None:
    """Raise UsageError if the job cannot grow with the ranks. Local."""
    if "sizes" in job.grid:
        raise UsageError("[grid] sizes fixes the cells of each rank's block, but a weak study grows; leave it out")
    if isinstance(job, Job):
        return
    if not isinstance(getattr(job.parameters, "shape", None), tuple):
        raise UsageError(
            f"the program {job.program.name!r} has no weak study: it has no parameter `shape` that "
            "could grow; make a strong study, or give the program one"
        )
    if job.schedule.steps is None:
        raise UsageError(
            "a weak study makes the same number of steps on any ranks, but the job has only an end in time; give it "
            "one, as with: --set simulation.steps=200"
        )


def settings(job: Job | SimulationJob, ranks: int, inputs: Path) -> list[str]:
    """Return the settings that make the job the one for so many ranks. Local."""
    if isinstance(job, SimulationJob):
        return _of_simulation(job, ranks)
    source, part = _source(job)
    if _is_as_it_is(job, ranks, part):
        return []
    changes = {
        "input.path": str(input_of(inputs, ranks)),
        "input.dataset": DATASET,
        "input.components": len(source.shape) - len(part),
        **({"input.region": ":"} if job.input.region is not None else {}),
    }
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in changes.items()]


def input_of(inputs: Path, ranks: int) -> Path:
    """Return the file of a pipeline's grown input. Local."""
    return inputs / f"r{ranks:05d}.h5"


def prepare(job: Job | SimulationJob, ranks: int, inputs: Path) -> Path | None:
    """Make the input for so many ranks, if it needs one that is not there; return it. Local. RunError: no room."""
    if isinstance(job, SimulationJob):
        return None
    source, part = _source(job)
    path = input_of(inputs, ranks)
    if _is_as_it_is(job, ranks, part):
        return None
    # A complete file has its name; but what it was made from may have changed since.
    if not path.exists() or path.stat().st_mtime_ns <= Path(source.path).stat().st_mtime_ns:
        inputs.mkdir(exist_ok=True)
        grow(source, part, factors_of(tuple(map(len, part)), ranks, job.grid.get("topology")), path)
    return path


def factors_of(shape: tuple[int, ...], ranks: int, topology: Sequence[int | None] | None = None) -> tuple[int, ...]:
    """Return how many times longer each axis of a grid becomes, such that its ranks are laid out just so. Local.

    Each rank then has the cells of `shape`. Where layout and growth do not meet, the number of cells is still right.
    """
    factors = choose_topology(shape, ranks, topology)
    for _ in range(TRIES):
        chosen = choose_topology([n * f for n, f in zip(shape, factors, strict=True)], ranks, topology)
        if chosen == factors:
            break
        factors = chosen
    return factors


def grow(source: Source, part: Sequence[range], factors: Sequence[int], path: Path) -> None:
    """Write an HDF5 file with the tiled cells of a source, in blocks. Local. The file is complete or not there."""
    import numpy as np

    from mpibatch.io.base.geometry import to_attributes
    from mpibatch.io.base.room import room_for
    from mpibatch.io.formats import read
    from mpibatch.io.read.region import moved
    from mpibatch.io.seal.seal import append
    from mpibatch.io.write.layout import Dataset, create

    cells, components = tuple(map(len, part)), source.shape[len(part) :]
    grown = tuple(n * f for n, f in zip(cells, factors, strict=True))
    known = source.grid if len(source.grid.get("axes", ())) == len(part) else None
    attrs = to_attributes(cast("Any", SimpleNamespace(**moved(dict(known), part, source.shape)))) if known else {}
    dtype = np.dtype(source.dtype)
    row = dtype.itemsize * math.prod(grown[1:]) * math.prod(components)
    behind = tuple(slice(0, n) for n in components)
    whole = None
    if not source.boxwise:  # all of it is decoded anyway
        everything = tuple(slice(0, n) for n in source.shape)
        whole = np.empty(source.shape, dtype)
        read(source, everything, whole, everything)
    temporary = path.with_name(f"{path.name}.part")
    total = row * grown[0]
    rows = max(1, BLOCK // row)
    with room_for(str(temporary), least=total, more=total):
        (offset,) = create(str(temporary), [Dataset(DATASET, (*grown, *components), source.dtype, attrs)], {})
        with temporary.open("r+b") as file:
            for low in range(0, cells[0], rows):
                high = min(low + rows, cells[0])
                chosen = (part[0][low:high], *part[1:])
                region = (*(slice(r.start, r.stop, r.step) for r in chosen), *behind)
                if whole is not None:
                    block = np.ascontiguousarray(whole[region])
                else:
                    block = np.empty((high - low, *cells[1:], *components), dtype)
                    read(source, region, block, tuple(slice(0, n) for n in block.shape))
                for axis, factor in enumerate(factors[1:], 1):
                    mirrored = np.flip(block, axis)
                    block = np.concatenate([mirrored if tile % 2 else block for tile in range(factor)], axis)
                for tile in range(factors[0]):
                    first = tile * cells[0] + (cells[0] - high if tile % 2 else low)
                    file.seek(offset + first * row)
                    file.write(np.ascontiguousarray(block[::-1] if tile % 2 else block).data)
            file.flush()
            os.fsync(file.fileno())
        append(str(temporary))
        temporary.replace(path)


def _source(job: Job) -> tuple[Source, tuple[range, ...]]:
    """The input, and the indices that are read along each axis of the grid."""
    from mpibatch.io.read.region import chosen_region
    from mpibatch.job.plan import source_of

    source = source_of(job)
    count = source.components if job.input.components is None else job.input.components
    if not 0 <= count < len(source.shape):
        raise UsageError(
            f"[input] components = {count}, but {source.name} has {len(source.shape)} axes; leave 1 or more"
        )
    region = slices(job.input.region) if job.input.region else None
    return source, chosen_region(source.name, source.shape[: len(source.shape) - count], region)


def _is_as_it_is(job: Job, ranks: int, part: Sequence[range]) -> bool:
    return math.prod(factors_of(tuple(map(len, part)), ranks, job.grid.get("topology"))) == 1


def _of_simulation(job: SimulationJob, ranks: int) -> list[str]:
    shape: tuple[int, ...] = job.parameters.shape
    factors = factors_of(shape, ranks, job.grid.get("topology"))
    if math.prod(factors) == 1:
        return []
    grown = [n * f for n, f in zip(shape, factors, strict=True)]
    changes = [f"simulation.shape={json.dumps(grown)}"]
    length = _length(job, grown, factors)
    if length is not None:
        changes.append(f"simulation.length={json.dumps(length)}")
    return changes


def _length(job: SimulationJob, grown: list[int], factors: Sequence[int]) -> float | list[float] | None:
    """The `length` with which cells stay as large as they were; None if the program has none that does so."""
    before = job.parameters
    length = getattr(before, "length", None)
    if length is None:
        return None
    lengths = length if isinstance(length, tuple) else (length,) * len(grown)
    longer = [extent * factor for extent, factor in zip(lengths, factors, strict=True)]
    given = {
        field.name: list(value) if isinstance(value, tuple) else value
        for field in fields(before)
        if (value := getattr(before, field.name)) != field.default
    }
    # Of each axis; or one number, which stands for the longest axis where not for all.
    for candidate in (longer, lengths[0] * max(grown) / max(before.shape)):
        parameters = {**given, "shape": grown, "length": candidate}
        if not any(job.program.problems(parameters)) and _same_cells(before, job.program.parameters(parameters)):
            return candidate
    _log.warning("no `length` of %s leaves its cells as large as they are: steps may become shorter", job.program.name)
    return None


def _same_cells(before: Any, after: Any) -> bool:
    """Whether the spacing, as far as the program tells it, is that of before."""
    old, new = (getattr(parameters, "spacing", None) for parameters in (before, after))
    old, new = (tuple(value) if isinstance(value, tuple) else (value,) for value in (old, new))
    return len(old) == len(new) and all(
        a is None or math.isclose(a, b, rel_tol=CLOSE) for a, b in zip(old, new, strict=True)
    )
