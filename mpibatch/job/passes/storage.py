"""How the results of a streamed job are stored, and whether a rank has room to store them so. Pure, no MPI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mpibatch.io.base.names import normal_name
from mpibatch.job.passes.memory import check_chunks
from mpibatch.job.passes.traits import TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.job.file.schema import Job
    from mpibatch.job.passes.traits import Trait

__all__ = ["StoredDataset", "check_storage", "stored"]


@dataclass(frozen=True)
class StoredDataset:
    """A dataset of the output: of which step, and how it is laid out."""

    step: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    chunks: tuple[int, ...] | None
    compression: str | None


def stored(job: Job, shape: Sequence[int], traits: Mapping[str, Trait]) -> list[StoredDataset]:
    """Return what is saved of a volume of a shape, but tables. Local. UsageError if it cannot be stored as asked."""
    from mpibatch.io.chunks.codec import stored_as  # HDF5, which a login node may lack

    result = []
    for step in job.steps:
        trait = traits[step.name]
        if not step.save or trait.kind == TABLE:
            continue
        name, whole, dtype = normal_name(step.save), (*shape, *trait.components), np.dtype(trait.dtype)
        cut = stored_as(name, whole, dtype, len(trait.components), job.output.chunks, job.output.compression)
        result.append(StoredDataset(step.name, name, whole, dtype, *cut))
    return result


def check_storage(job: Job, shape: Sequence[int], traits: Mapping[str, Trait], ranks: int) -> None:
    """Raise UsageError if a rank has no room for its share of what is packed at once. Local."""
    assert job.stream is not None
    for each in stored(job, shape, traits):
        check_chunks(job.stream, each.name, each.shape, each.chunks, each.dtype.itemsize, ranks)
