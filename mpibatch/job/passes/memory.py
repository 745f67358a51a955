"""How many planes a slab has, so that a pass over it fits into the memory of a rank. Pure, no MPI."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError
from mpibatch.base.host import allowed_memory
from mpibatch.base.units import bytes_of, bytes_text
from mpibatch.job.file.schema import INPUT
from mpibatch.job.passes.schedule import COMPONENTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.job.file.stream import Streaming
    from mpibatch.job.passes.schedule import SlabPass
    from mpibatch.job.passes.traits import Trait
    from mpibatch.job.rehearsal import Values

__all__ = ["Heights", "allowed", "check_chunks", "height_of", "heights_of", "rank_bytes"]

DEFAULT = 1 << 30
PROCESS = 320 << 20  # of a rank before it reads anything: Python, MPI, loops
WORK = 24  # bytes of a value: a copy or two in double precision, and what surrounds a block
LABELS = 10  # bytes of a cell whose components are looked for


def allowed(settings: Streaming) -> int:
    """Return the bytes that a rank may take, for all that it does. Local. UsageError."""
    amount = bytes_of(settings.memory) if settings.memory else allowed_memory()
    return DEFAULT if amount is None else amount


def _plane_bytes(slab_pass: SlabPass, values: Values, traits: Mapping[str, Trait], ranks: int) -> int:
    """Bytes of a rank for each plane that is in memory."""
    names = {*slab_pass.loads, *slab_pass.computes}
    sizes = [values.cell_bytes if name == INPUT else traits[name].cell_bytes for name in names]
    widest = max(math.prod(values.channels) if name == INPUT else math.prod(traits[name].components) for name in names)
    each = sum(sizes) + WORK * widest + LABELS * any(kind == COMPONENTS for kind, _ in slab_pass.scans)
    return -(-each * math.prod(values.shape[1:]) // ranks)


def rank_bytes(height: int, slab_pass: SlabPass, values: Values, traits: Mapping[str, Trait], ranks: int) -> int:
    """Return the bytes that a rank takes for slabs of so many planes, as far as they are planned. Local."""
    planes = min(height + sum(slab_pass.reach) + slab_pass.period - 1, values.shape[0])
    return PROCESS + planes * _plane_bytes(slab_pass, values, traits, ranks)


def height_of(
    settings: Streaming, slab_pass: SlabPass, values: Values, traits: Mapping[str, Trait], ranks: int, held: int = 0
) -> int:
    """Return how many planes a slab of a pass has. Local. UsageError if there is no room for one.

    `held`: bytes of a rank that are not for slabs.
    """
    if settings.slab is not None:
        return min(settings.slab, values.shape[0])
    limit, each = allowed(settings) - held, _plane_bytes(slab_pass, values, traits, ranks)
    planes = (limit - PROCESS) // each
    if planes >= values.shape[0]:
        return values.shape[0]
    height = planes - sum(slab_pass.reach) - (slab_pass.period - 1)
    if height < 1:
        needed = rank_bytes(1, slab_pass, values, traits, ranks)
        raise UsageError(
            f"[stream]: a slab of one plane, with the {sum(slab_pass.reach)} planes that steps read around it, needs "
            f"{bytes_text(needed)} on each of {ranks} ranks, and {bytes_text(limit)} are allowed; allow more (memory "
            "= ...), or start more ranks"
        )
    return int(height)


@dataclass(frozen=True)
class Heights:
    """How the passes of a job use a rank's memory.

    Attributes
    ----------
    slabs : planes of a slab, for each pass.
    held : bytes of what waits in memory between passes; 0: it waits in files.
    """

    slabs: tuple[int, ...]
    held: int = 0


def heights_of(
    settings: Streaming, passes: Sequence[SlabPass], values: Values, traits: Mapping[str, Trait],
    topology: Sequence[int | None] | None, ranks: int,
) -> Heights:  # fmt: skip
    """Return how high slabs are, and whether results wait in memory for later passes. Local. UsageError: no room.

    They do where slabs stay half as high with that, or three times as high as what is read around them, so that reading
    that again costs less than files would. Ranks have whole columns of planes then, so that what a rank keeps of slabs
    of one height is what it needs for those of another.
    """

    def slabs(held: int) -> tuple[int, ...]:
        return tuple(height_of(settings, slab_pass, values, traits, ranks, held) for slab_pass in passes)

    usual = slabs(0)
    kept = {name for slab_pass in passes for name in slab_pass.keeps}
    rows = math.prod(values.shape[1:]) * sum(traits[name].waiting_bytes for name in kept)
    held = values.shape[0] * -(-rows // ranks)
    is_by_columns = len(values.shape) > 1 and (topology is None or topology[0] == 1)
    if not held or not is_by_columns or PROCESS + 2 * held > allowed(settings):
        return Heights(usual)
    if settings.slab is not None:
        pairs = zip(usual, passes, strict=True)
        needed = held + max(rank_bytes(height, slab_pass, values, traits, ranks) for height, slab_pass in pairs)
        return Heights(usual, held if needed <= allowed(settings) else 0)
    try:
        lower = slabs(held)
    except UsageError:
        return Heights(usual)
    around = [3 * sum(slab_pass.reach) + slab_pass.period for slab_pass in passes]
    is_fine = all(low >= min(high / 2, least) for low, high, least in zip(lower, usual, around, strict=True))
    return Heights(lower, held) if is_fine else Heights(usual)


def check_chunks(
    settings: Streaming, name: str, shape: Sequence[int], chunks: Sequence[int] | None, itemsize: int, ranks: int
) -> None:
    """Raise UsageError if a rank has no room for its share of a row of chunks, which is packed at once. Local."""
    if chunks is None or settings.slab is not None:
        return
    planes, limit = min(chunks[0], shape[0]), allowed(settings)
    share = -(-planes * math.prod(shape[1:]) * itemsize // ranks)
    needed = PROCESS + share + 2 * math.prod(chunks) * itemsize  # a chunk, and what it is packed to
    if needed > limit:
        raise UsageError(
            f"[output] chunks: {name!r} is packed {planes} planes at a time, the thickness of its chunks, which needs "
            f"{bytes_text(needed)} on each of {ranks} ranks, and {bytes_text(limit)} are allowed; give thinner chunks, "
            "allow more (memory = ...), or start more ranks"
        )
