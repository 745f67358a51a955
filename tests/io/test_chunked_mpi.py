"""Chunks and compression on any number of ranks: the same bytes, the same values, shared work."""

from __future__ import annotations

import contextlib
import hashlib
import resource
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.domain import Box
from mpibatch.io.chunks import shares
from mpibatch.io.chunks.grid import ChunkGrid
from mpibatch.io.read import loader
from mpibatch.io.seal.digests import of_bytes
from mpibatch.io.write import chunks
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.mpi

SHAPE = (9, 11, 13)
WORLD = MPI.COMM_WORLD


def values(dtype: str = "f4", components: tuple[int, ...] = ()) -> np.ndarray:
    """Numbers that pack well, and differ between neighbors."""
    index = np.arange(int(np.prod((*SHAPE, *components))))
    return (index % 97 % 2 if dtype == "?" else index % 97).astype(dtype).reshape(*SHAPE, *components)


def cuts() -> list[dict[str, Any]]:
    ranks = WORLD.size
    found: list[dict[str, Any]] = [{"topology": (1,) * axis + (ranks,) + (1,) * (2 - axis)} for axis in range(3)]
    return [*found, {"sizes": [None, [0] * (ranks - 1) + [11], None], "topology": (1, ranks, 1)}]


def field(array: np.ndarray, halo: Any = 0, comm: Any = None, **cut: Any) -> Any:
    grid = mb.Grid(SHAPE, comm=comm, **cut)
    u = grid.full(1, array.dtype, halo, array.shape[3:])
    u.owned[...] = array[grid.box.slices()]
    return u


def digests(folder: Path) -> set[bytes]:
    WORLD.Barrier()
    found = {hashlib.sha256(path.read_bytes()).digest() for path in folder.iterdir()}
    WORLD.Barrier()
    return found


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "f4", "f8", "c16"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_round_trip(shared_tmp: Path, dtype: str, compression: str | None) -> None:
    array = values(dtype, (2,) if dtype == "u1" else ())
    mb.save(shared_tmp / "a.h5", u=field(array, halo=1), chunks=(4, 5, 6), compression=compression)
    with h5py.File(shared_tmp / "a.h5") as file:
        np.testing.assert_array_equal(file["u"][...], array)
        assert file["u"].dtype == array.dtype
        assert file["u"].chunks[:3] == (4, 5, 6)
        assert file["u"].compression == compression
    for cut in cuts():
        u = mb.load(shared_tmp / "a.h5", "u", halo=1, **cut)
        np.testing.assert_array_equal(u.owned, array[u.box.slices()])


@pytest.mark.parametrize("name", ["zstd:3", "lz4", "blosc2"])
def test_filters_of_the_plugin(shared_tmp: Path, name: str) -> None:
    pytest.importorskip("hdf5plugin", reason="needs hdf5plugin (the extra 'compression')")
    array = values("f8")
    mb.save(shared_tmp / "a.h5", u=field(array), compression=name)
    u = mb.load(shared_tmp / "a.h5")
    np.testing.assert_array_equal(u.owned, array[u.box.slices()])
    with h5py.File(shared_tmp / "a.h5") as file:
        np.testing.assert_array_equal(file["u"][...], array)
        assert file["u"].id.get_storage_size() < array.nbytes // 2


@pytest.mark.parametrize("compression", [None, "gzip:6"])
def test_the_same_file_on_any_ranks(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch, compression: str | None) -> None:
    array = values()
    for number, cut in enumerate(cuts()):
        # From one chunk a round to all at once.
        for module, name in ((shares, "ROUND_BYTES"), (chunks, "CACHED_BYTES")):
            monkeypatch.setattr(module, name, (1, 900, 1 << 20)[number % 3])
        u = field(array, number % 2, **cut)
        mb.save(shared_tmp / f"{number}.h5", u=u, v=u, chunks={"u": (4, 5, 6), "v": "auto"}, compression=compression)
    if WORLD.rank == 0:
        u = field(array, comm=MPI.COMM_SELF)
        mb.save(shared_tmp / "alone.h5", u=u, v=u, chunks={"u": (4, 5, 6), "v": "auto"}, compression=compression)
    assert len(digests(shared_tmp)) == 1


def test_speeds_are_of_packing_and_not_of_waiting(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, seconds = [0.0], []
    agreed, speeds = chunks.agreed, chunks._speeds

    @contextlib.contextmanager
    def waiting(*args: Any) -> Iterator[None]:
        with agreed(*args):
            yield
        now[0] += 1

    def noting(*args: Any) -> list[float]:
        seconds.append(args[-1])
        return speeds(*args)

    monkeypatch.setattr(chunks, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(chunks, "agreed", waiting)
    monkeypatch.setattr(chunks, "_speeds", noting)
    mb.save(shared_tmp / "a.h5", u=field(values()), chunks=(4, 5, 6), compression="gzip")
    assert now[0]
    assert seconds
    assert not any(seconds)


def test_chunks_are_those_that_hdf5_would_store(shared_tmp: Path) -> None:
    array = values()
    # A chunk that packs badly.
    array[:4, :5] = np.frombuffer(np.random.default_rng(1).bytes(4 * 5 * 13 * 4), "i4").reshape(4, 5, 13)
    mb.save(shared_tmp / "ours.h5", u=field(array), chunks=(4, 5, 6), compression="gzip:5")
    if WORLD.rank == 0:
        with h5py.File(shared_tmp / "theirs.h5", "w") as file:
            file.create_dataset("u", data=array, chunks=(4, 5, 6), shuffle=True, compression=5)
        with h5py.File(shared_tmp / "theirs.h5") as one, h5py.File(shared_tmp / "ours.h5") as other:
            grid = ChunkGrid(SHAPE, (4, 5, 6))
            for start in map(grid.start, range(grid.total)):
                assert one["u"].id.read_direct_chunk(start) == other["u"].id.read_direct_chunk(start)
    WORLD.Barrier()


def test_extents_tell_where_chunks_lie(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    for name in ("write_packed", "write_plain"):
        monkeypatch.setattr(f"mpibatch.io.write.shared_file.{name}", _noting(found, getattr(chunks, name)))
    array = values()
    mb.save(shared_tmp / "a.h5", p=field(array), q=field(array), chunks=(4, 5, 6), compression={"p": "gzip"})
    assert bool(found) == (WORLD.rank == 0)
    raw = (shared_tmp / "a.h5").read_bytes()
    assert len(found) in (0, 2 * ChunkGrid(SHAPE, (4, 5, 6)).total)
    for extent in found:
        data = raw[extent.offset : extent.offset + extent.nbytes]
        np.testing.assert_array_equal(of_bytes(data, extent.first, extent.per_digest), extent.digests)
        start, stop = extent.cells
        if extent.dataset == "q":
            block = np.frombuffer(data, "f4").reshape(4, 5, 6)
            cells = Box(start, stop)
            np.testing.assert_array_equal(block[cells.slices(start)], array[cells.slices()])
    WORLD.Barrier()


def _noting(found: list[Any], write: Any) -> Any:
    def noted(*args: Any) -> Any:
        extents = write(*args)
        found.extend(extents)
        return extents

    return noted


@pytest.mark.parametrize("repeats", [0.0, 1e9])
def test_unpacked_by_each_or_by_one(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch, repeats: float) -> None:
    monkeypatch.setattr(loader, "REPEATS", repeats)
    monkeypatch.setattr(shares, "ROUND_BYTES", 2000)
    array = values(">i4", (3,))
    if WORLD.rank == 0:
        with h5py.File(shared_tmp / "a.h5", "w") as file:
            options: dict[str, Any] = {"shuffle": True, "compression": "gzip"}
            file.create_dataset("u", data=array, chunks=(3, 11, 13, 2), fletcher32=True, **options)
            file.create_dataset("v", SHAPE, "i2", chunks=(4, 4, 4), fillvalue=7, **options)[:5] = 3
            # Of detectors; its parameters in the file are not those with which it is set.
            file.create_dataset("w", data=array, chunks=(4, 11, 13, 3), compression=32008, compression_opts=(0, 2))
    WORLD.Barrier()
    sparse = np.where(np.arange(9)[:, None, None] < 5, 3, 7) * np.ones(SHAPE, "i2")
    for cut in cuts():
        u = mb.load(shared_tmp / "a.h5", "u", halo=2, components=1, **cut)
        np.testing.assert_array_equal(u.owned, array[u.box.slices()])
        v = mb.load(shared_tmp / "a.h5", "v", **cut)
        np.testing.assert_array_equal(v.owned, sparse[v.box.slices()])
        w = mb.load(shared_tmp / "a.h5", "w", components=1, **cut)
        np.testing.assert_array_equal(w.owned, array[w.box.slices()])
    WORLD.Barrier()


REGIONS = [np.s_[2:7], np.s_[:, 3:, ::5], np.s_[1::2, ::3, 4:5], np.s_[-1:, :-2, ::13]]


@pytest.mark.parametrize("region", REGIONS, ids=range(len(REGIONS)))
@pytest.mark.parametrize("chunks", [None, (4, 5, 6)])
def test_a_region(shared_tmp: Path, region: Any, chunks: Any) -> None:
    array = values("i4", (2,))
    grid = mb.Grid(SHAPE, spacing=(1, 2, 0.5), origin=(10, 0, -1), periodic=True, units="mm")
    u = grid.empty("i4", components=(2,))
    u.owned[...] = array[grid.box.slices()]
    mb.save(shared_tmp / "a.h5", u=u, chunks=chunks)
    part = mb.load(shared_tmp / "a.h5", region=region, halo=1)
    np.testing.assert_array_equal(part.owned, array[region][part.box.slices()])
    again = mb.load(shared_tmp / "a.h5", region=region, grid=part.grid)
    np.testing.assert_array_equal(again.owned, part.owned)
    lines = [np.arange(n) * s + o for n, s, o in zip(SHAPE, grid.spacing, grid.origin, strict=True)]
    slices = region if isinstance(region, tuple) else (region,)
    for line, one, axis in zip(lines, (*slices, *[slice(None)] * 3), range(3), strict=False):
        cells = line[one]
        assert part.grid.origin[axis] == cells[0]
        assert part.grid.spacing[axis] == grid.spacing[axis] * (one.step or 1)
        assert part.grid.periodic[axis] == (one in (slice(None), slice(None, None, 13)))
    WORLD.Barrier()


def test_a_region_with_a_margin_is_the_inside_of_the_full_run(shared_tmp: Path) -> None:
    array = values("f8")
    mb.save(shared_tmp / "a.h5", u=field(array), compression="gzip", chunks=(4, 4, 4))
    whole = mb.gather_all(mb.filters.gaussian_filter(mb.load(shared_tmp / "a.h5"), 0.5))
    part = mb.gather_all(mb.filters.gaussian_filter(mb.load(shared_tmp / "a.h5", region=np.s_[1:9, 2:, :10]), 0.5))
    np.testing.assert_array_equal(part[2:-2, 2:, :-2], whole[1:9, 2:, :10][2:-2, 2:, :-2])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"region": np.s_[3:3]}, "at least one cell"),
        ({"region": np.s_[::-1]}, "steps >= 1"),
        ({"region": np.s_[2]}, "slices"),
        ({"region": np.s_[:, :, :, :]}, "at most 3 slices"),
        ({"allow": ("eternal links",)}, "did you mean 'external links'"),
    ],
)
def test_what_load_refuses(shared_tmp: Path, options: dict[str, Any], words: str) -> None:
    mb.save(shared_tmp / "a.h5", u=field(values()))
    with pytest.raises(mb.UsageError, match=words):
        mb.load(shared_tmp / "a.h5", **options)
    WORLD.Barrier()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"compression": "gzpi"}, "did you mean 'gzip'"),
        ({"compression": "gzip:11"}, "levels 0 to 9"),
        ({"compression": "lz4:3"}, "no levels"),
        ({"compression": {"w": "gzip"}}, "only \\['u'\\] are saved"),
        ({"chunks": (4, 4)}, "3 whole numbers"),
        ({"chunks": (4, 4, 0)}, "3 whole numbers"),
        ({"chunks": (4, 4, 1.5)}, "3 whole numbers"),
        ({"chunks": "near"}, "'auto'"),
    ],
)
def test_what_save_refuses(shared_tmp: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(mb.UsageError, match=words):
        mb.save(shared_tmp / "a.h5", u=field(values()), **options)
    assert not any(shared_tmp.iterdir())
    WORLD.Barrier()


@pytest.mark.parametrize("shape", [(1 << 31, 1 << 31, 1 << 31), (1 << 62, 3), (1 << 45,)])
def test_absurd_shapes(shared_tmp: Path, shape: tuple[int, ...]) -> None:
    if WORLD.rank == 0:
        with h5py.File(shared_tmp / "a.h5", "w") as file, contextlib.suppress(ValueError):
            file.create_dataset("u", shape, "f8", chunks=(1,) * len(shape))
    WORLD.Barrier()
    with pytest.raises(mb.MpibatchError, match=r"a\.h5.*(bytes of memory|damaged|it has none)"):
        mb.load(shared_tmp / "a.h5")
    WORLD.Barrier()


@pytest.mark.parametrize("limit", [3_000, 100_000])
def test_a_file_that_may_not_grow(shared_tmp: Path, limit: int) -> None:
    """The limit is hit while chunks are written, or already while the file is laid out."""
    grid = mb.Grid((200, 100, 100))
    u = grid.from_function(lambda z, y, x: (z * 7919 + y * 104729 + x * 1299709) % 65521, "f4")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(mb.RunError, match=r"a\.h5"):
            mb.save(shared_tmp / "a.h5", u=u, compression="gzip:1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    WORLD.Barrier()
    assert not any(shared_tmp.iterdir())
    WORLD.Barrier()
    # And the library is none the worse for it.
    mb.save(shared_tmp / "a.h5", u=u, compression="gzip:1")
    assert mb.sum(mb.load(shared_tmp / "a.h5") - u) == 0
