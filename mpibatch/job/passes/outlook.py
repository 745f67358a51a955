"""What a streamed job will do, in words and numbers: its passes, what they read and write, and memory. Pure, no MPI."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.base.units import bytes_text, plural
from mpibatch.job.file.schema import INPUT
from mpibatch.job.passes.memory import heights_of, rank_bytes
from mpibatch.job.passes.schedule import SlabPass, passes_of
from mpibatch.job.passes.storage import check_storage
from mpibatch.job.passes.traits import Trait, traits_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.job.file.schema import Job
    from mpibatch.job.rehearsal import Rehearsed, Values

__all__ = ["Outlook", "outlooks"]

_COUNTED = {
    "extremes": "extremes for {}", "counts": "the histogram for {}", "components": "the components of {}",
    "spans": "the sizes of numbers for {}", "rows": "the rows of {}",
}  # fmt: skip


@dataclass(frozen=True)
class Outlook:
    """A pass, as it will be.

    Attributes
    ----------
    slab_pass : what it does.
    height, slabs : planes of a slab, and how many slabs there are.
    read, written : bytes, of all ranks; `read` with the planes around slabs, read again.
    memory : bytes of a rank, as far as they are planned; `held` of them are for what waits for later passes.
    """

    slab_pass: SlabPass
    height: int
    slabs: int
    read: int
    written: int
    memory: int
    held: int = 0

    @property
    def words(self) -> str:
        """It in a line. Local."""
        todo = self.slab_pass
        does = [f"computes {', '.join(todo.computes)}"] if todo.computes else []
        does += [f"counts {', '.join(_COUNTED[kind].format(name) for kind, name in todo.scans)}"] if todo.scans else []
        where = " in memory" if self.held else ""
        does += [f"keeps {', '.join(todo.stores)}{where}"] if todo.stores else []
        does += [f"saves {', '.join(todo.writes)}"] if todo.writes else []
        around = f" and {sum(todo.reach)} around" if any(todo.reach) else ""
        return (
            f"{plural(self.slabs, 'slab')} of {plural(self.height, 'plane')}{around}, "
            f"{bytes_text(self.read)} read, {bytes_text(self.written)} written, {bytes_text(self.memory)} on a rank: "
            f"reads {', '.join(todo.loads)}, {'; '.join(does)}"
        )


def outlooks(job: Job, rehearsed: Sequence[Rehearsed], values: Values, ranks: int) -> list[Outlook]:
    """Return the passes of a streamed job. Local. UsageError if the memory allowed is too little."""
    assert job.stream is not None
    traits = traits_of(job, rehearsed, values)
    check_storage(job, values.shape, traits, ranks)
    result, passes = [], passes_of(job.steps, traits)
    heights = heights_of(job.stream, passes, values, traits, job.grid.get("topology"), ranks)
    for slab_pass, height in zip(passes, heights.slabs, strict=True):
        slabs = -(-values.shape[0] // height)
        kept = 0 if heights.held else sum(traits[name].waiting_bytes for name in slab_pass.keeps)
        written = kept + sum(traits[name].cell_bytes for name in slab_pass.writes)
        result.append(
            Outlook(
                slab_pass=slab_pass,
                height=height,
                slabs=slabs,
                read=_read(slab_pass, height, values, traits),
                written=written * math.prod(values.shape),
                memory=heights.held + rank_bytes(height, slab_pass, values, traits, ranks),
                held=heights.held,
            )
        )
    return result


def _read(slab_pass: SlabPass, height: int, values: Values, traits: Mapping[str, Trait]) -> int:
    cells = sum(values.cell_bytes if name == INPUT else traits[name].waiting_bytes for name in slab_pass.loads)
    planes, (low, high) = 0, slab_pass.reach
    for start in range(0, values.shape[0], height):
        first = max(0, start - low) // slab_pass.period * slab_pass.period
        planes += min(start + height + high, values.shape[0]) - first
    return cells * planes * math.prod(values.shape[1:])
