"""What a time series under way needs to be taken up again: how long it was, and every byte that is not a value.

A file of HDF5 that was being written may lack anything that says where its values lie. But between two calls its bytes
are those of a whole file, and all but the values are few: they are kept, to be put back over whatever a killed run
left. The values need no copy: they lie where they lay, and digests tell whether they still do.
"""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import RunError
from mpibatch.base.files import read_at
from mpibatch.io.seal.digests import of_bytes
from mpibatch.io.seal.extent import Extent
from mpibatch.io.seal.manifest import VERSION
from mpibatch.io.vault.cipher import SEGMENT, TAG
from mpibatch.io.vault.images import image_of
from mpibatch.io.vault.past import Past
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mpibatch.io.write.layout import Dataset

__all__ = ["Snapshot", "bytes_outside", "damaged", "put_back"]

Places = list[list[list[int]]]  # of each dataset, each time, the bytes at which the chunks begin


@dataclass(frozen=True)
class Snapshot:
    """A series as it lies on disk: `length` times written, `places` set aside, `size` bytes in all.

    Attributes
    ----------
    outside : the bytes outside of all places, in order, compressed.
    extents : of the values written, with their digests.
    past : of an encrypted series what opens its blocks; None: it is plain.
    """

    length: int
    size: int
    datasets: tuple[tuple[str, tuple[int, ...], str], ...]  # name, chunk, dtype
    places: Places
    outside: bytes
    extents: tuple[Extent, ...]
    past: Past | None = None

    def to_extra(self) -> dict[str, Any]:
        """Return it as what a checkpoint can hold. Local."""
        flat = [place for times in self.places for chunks in times for place in chunks]
        names = [name for name, *_ in self.datasets]
        table = [[names.index(e.dataset), e.offset, e.nbytes, e.first, e.per_digest] for e in self.extents]
        about = {"version": VERSION, "length": self.length, "size": self.size, "datasets": self.datasets}
        sealed: dict[str, Any] = {}
        if self.past is not None:
            about |= {"secrets": [secret.hex() for secret in self.past.secrets], "about": self.past.about}
            sealed = {
                "series_blocks": np.array([e.block for e in self.extents], "i8"),
                "series_tags": np.frombuffer(b"".join(e.tags for e in self.extents), "u1"),
            }
        return {
            "series": about,
            **sealed,
            "series_counts": np.array([[len(times), len(times[0]) if times else 0] for times in self.places], "i8"),
            "series_places": np.array(flat, "i8"),
            "series_outside": np.frombuffer(self.outside, "u1"),
            "series_extents": np.array(table, "i8"),
            "series_digests": np.concatenate([np.empty(0, np.uint64), *(e.digests for e in self.extents)]),
        }

    @staticmethod
    def from_extra(extra: Mapping[str, Any]) -> Snapshot | None:
        """Return what `to_extra` gave to a checkpoint; None if there was no series. Local.

        RunError if another version did, whose digests are others: on all ranks, as they have the same `extra`.
        """
        if "series" not in extra:
            return None
        if extra["series"].get("version") != VERSION:
            raise RunError(
                "what a checkpoint holds of the output was written by another version; begin again with --anew"
            )
        about, places = extra["series"], iter(extra["series_places"].tolist())
        nested = [
            [[next(places) for _ in range(parts)] for _ in range(times)] for times, parts in extra["series_counts"]
        ]
        datasets = tuple((name, tuple(chunk), dtype) for name, chunk, dtype in about["datasets"])
        past = Past(tuple(map(bytes.fromhex, about["secrets"])), tuple(about["about"])) if "secrets" in about else None
        sealed = _sealed(extra) if past is not None else repeat({})
        extents, low = [], 0
        for number, offset, nbytes, first, per_digest in extra["series_extents"].reshape(-1, 5).tolist():
            high = low + -(-nbytes // per_digest)
            digests = extra["series_digests"][low:high]
            extents.append(
                Extent(
                    dataset=datasets[number][0],
                    offset=offset,
                    nbytes=nbytes,
                    first=first,
                    per_digest=per_digest,
                    digests=digests,
                    **next(sealed),
                )
            )
            low = high
        outside = extra["series_outside"].tobytes()
        return Snapshot(
            length=about["length"],
            size=about["size"],
            datasets=datasets,
            places=nested,
            outside=outside,
            extents=tuple(extents),
            past=past,
        )


def _sealed(extra: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Of every extent the block and its tags."""
    low, tags = 0, extra["series_tags"].tobytes()
    sizes = extra["series_extents"].reshape(-1, 5)[:, 2].tolist()
    for block, nbytes in zip(extra["series_blocks"].tolist(), sizes, strict=True):
        high = low + TAG * -(-nbytes // SEGMENT)
        yield {"block": block, "tags": tags[low:high]}
        low = high


def bytes_outside(path: str, datasets: Sequence[Dataset], places: Places) -> tuple[int, bytes]:
    """Return the file's size, and its bytes outside of all places, compressed. Local."""
    with image_of(path) as image:
        size = image.size
        pieces = [image.read(high - low, low) for low, high in _gaps(_chunk_bytes(datasets), places, size)]
    return size, zlib.compress(b"".join(pieces), 1)


def put_back(path: str, snapshot: Snapshot) -> None:
    """Give a file its size and the bytes outside of all places again. Local."""
    sizes = [math.prod(chunk) * np.dtype(dtype).itemsize for _, chunk, dtype in snapshot.datasets]
    gaps = list(_gaps(sizes, snapshot.places, snapshot.size))
    outside = memoryview(zlib.decompress(snapshot.outside))
    if len(outside) != sum(high - low for low, high in gaps):
        raise RunError(f"the saved state of {path} contradicts itself; start anew")
    with image_of(path, os.O_RDWR) as image:
        image.truncate(snapshot.size)
        done = 0
        for low, high in gaps:
            image.write(outside[done : done + high - low], low)
            done += high - low


def damaged(
    comm: MPI.Intracomm, path: str, extents: Sequence[Extent], past: Past | None = None, names: Sequence[str] = ()
) -> str:
    """Return, in words, which values are no longer in a file as they were written; "" if all are. Collective.

    past : what opens encrypted ones, of datasets with these names; their numbers begin at 1.
    """
    hits: list[tuple[int, str]] = []
    with agreed(comm, f"reading {path}"):
        try:
            with open(path, "rb") as file:
                for number, extent in enumerate(extents):
                    if not _is_whole(file.fileno(), extent, comm.rank, comm.size, past, names):
                        hits.append((number, f"values of {extent.dataset!r} from byte {extent.offset} on have changed"))
        except FileNotFoundError:
            hits.append((-1, "there is no such file"))
    first: tuple[int, str] = comm.allreduce(min(hits, default=(len(extents), "")), op=MPI.MIN)
    return first[1]


def _is_whole(handle: int, extent: Extent, rank: int, ranks: int, past: Past | None, names: Sequence[str]) -> bool:
    """Whether the digests of one rank's share of an extent are as noted, or, encrypted, its tags."""
    if past is not None:
        return past.opens(handle, extent, 1 + names.index(extent.dataset), rank, ranks)
    size = extent.per_digest
    for number in range(rank, len(extent.digests), ranks):
        low = number * size
        data = read_at(handle, min(size, extent.nbytes - low), extent.offset + low)
        # Bytes that are missing would count as zeros.
        if len(data) != min(size, extent.nbytes - low):
            return False
        if list(of_bytes(data, extent.first + low, size)) != [extent.digests[number]]:
            return False
    return True


def _chunk_bytes(datasets: Sequence[Dataset]) -> list[int]:
    return [math.prod(dataset.chunks or ()) * np.dtype(dataset.dtype).itemsize for dataset in datasets]


def _gaps(sizes: Sequence[int], places: Places, end: int) -> Iterator[tuple[int, int]]:
    """The ranges of bytes between the chunks."""
    low = 0
    taken = sorted(
        (place, size) for size, times in zip(sizes, places, strict=True) for chunks in times for place in chunks
    )
    for place, size in taken:
        if place > low:
            yield low, min(place, end)
        low = place + size
    if low < end:
        yield low, end
