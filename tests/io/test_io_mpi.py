"""Load and save on all ranks: the same values and the same bytes on any number of them, and together in failure."""

from __future__ import annotations

import enum
import errno
import hashlib
import os
import resource
import signal
import subprocess
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np
import PIL.Image
import pytest
import tifffile

import mpibatch as mb
from mpibatch.io import describe, digest, file_attributes
from mpibatch.io.formats.pieces.segments import Segments
from mpibatch.io.write import shared_file
from mpibatch.mpi import MPI
from tests.support.cuts import cuts_of_three_axes

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.mpi

SHAPE = (7, 5, 4)
CUTS = cuts_of_three_axes(SHAPE, MPI.COMM_WORLD.size)
RNG = np.random.default_rng(5)
DTYPES = ["?", "u1", "i2", "u4", "i8", "f2", "f4", "f8", "c8", "c16"]


def values(shape: tuple[int, ...] = SHAPE, dtype: str = "f8") -> np.ndarray:
    """Numbers that differ between neighbors in every byte, the same on all ranks."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.arange(count, dtype="u8") * 2654435761 >> 7 & 0x3F
    if dtype == "?":
        return (raw & 1).astype("?").reshape(shape)
    return raw.astype("u1").view(dtype).reshape(shape)


def field(array: np.ndarray, halo: Any = 0, **cut: Any) -> Any:
    grid = mb.Grid(SHAPE, **cut)
    u = grid.full(99, array.dtype, halo, array.shape[3:])
    u.owned[...] = array[grid.box.slices()]
    return u


def check(u: Any, array: np.ndarray) -> None:
    assert u.dtype == array.dtype
    assert u.shape == array.shape
    np.testing.assert_array_equal(u.owned, array[u.box.slices()])


def on_root(function: Any, *args: Any) -> None:
    """Let rank 0 write a file, and the others wait for it."""
    if MPI.COMM_WORLD.rank == 0:
        function(*args)
    MPI.COMM_WORLD.Barrier()


def listing(folder: Path) -> list[str]:
    MPI.COMM_WORLD.Barrier()
    names = sorted(path.name for path in folder.iterdir())
    MPI.COMM_WORLD.Barrier()
    return names


# --- what is written is read again ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip_over_dtypes(shared_tmp: Path, dtype: str) -> None:
    array = values(dtype=dtype)
    mb.save(shared_tmp / "a.h5", u=field(array, halo=1))
    check(mb.load(shared_tmp / "a.h5", "u", halo=2), array)
    with h5py.File(shared_tmp / "a.h5") as file:
        assert file["u"].dtype == array.dtype
        np.testing.assert_array_equal(file["u"][...], array)


@pytest.mark.parametrize(
    ("halo", "components"),
    [(0, ()), (2, ()), (((1, 0), (0, 3), (2, 2)), (3,)), (0, (2, 2)), (((0, 0), (1, 1), (0, 0)), (3,))],
)
def test_round_trip_over_decompositions(shared_tmp: Path, halo: Any, components: tuple[int, ...]) -> None:
    array = values((*SHAPE, *components), "i4")
    for number, cut in enumerate(CUTS):
        path = shared_tmp / f"{number}.h5"
        u = field(array, halo, **cut)
        mb.save(path, u=u)
        check(mb.load(path, grid=u.grid, halo=halo), array)
        check(mb.load(path, halo=1, topology=(None, 1, 1)), array)
        if u.halo != ((0, 0),) * 3 and u.box.size:
            assert u.padded.reshape(-1)[0] == 99 or u.halo[0][0] == 0  # halos are neither read nor written
    MPI.COMM_WORLD.Barrier()
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in shared_tmp.iterdir()}) == 1


@pytest.mark.parametrize("shape", [(13,), (6, 9), (3, 4, 5, 2)])
def test_round_trip_over_dimensions(shared_tmp: Path, shape: tuple[int, ...]) -> None:
    array = values(shape, "u2")
    grid = mb.Grid(shape)
    mb.save(shared_tmp / "a.h5", u=mb.scatter(array, grid, halo=1))
    check(mb.load(shared_tmp / "a.h5"), array)


def test_lowered_limits(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = values((*SHAPE, 2), "i4")
    for limit in (1, 24, 100, 1001):  # bytes: below a cell, parts of rows, rows, planes
        monkeypatch.setattr(shared_file, "ROUND_BYTES", limit)
        for number, cut in enumerate(CUTS[-1:] if limit < 100 else CUTS):
            path = shared_tmp / f"{limit}-{number}.h5"
            mb.save(path, u=field(array, (limit + number) % 2, **cut))
    MPI.COMM_WORLD.Barrier()
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in shared_tmp.iterdir()}) == 1
    check(mb.load(path), array)


def test_the_same_file_on_any_ranks(shared_tmp: Path) -> None:
    """A rank alone writes the bytes that all write together."""
    array = values(dtype="f4")

    def save(path: Path, comm: Any) -> None:
        grid = mb.Grid(SHAPE, comm=comm, spacing=(1, 2, 0.5), units="mm", periodic=(True, False, True))
        u = grid.empty("f4", halo=1)
        u.owned[...] = array[grid.box.slices()]
        colors = grid.full(7, "u1", components=(3,))
        mb.save(path, {"g/mask": u > 1, "u": u}, colors=colors, attrs={"job": "x" * 70000, "numbers": [1, 2]})

    save(shared_tmp / "all.h5", None)
    save(shared_tmp / f"{MPI.COMM_WORLD.rank}.h5", MPI.COMM_SELF)
    MPI.COMM_WORLD.Barrier()
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in shared_tmp.iterdir()}) == 1
    assert digest(shared_tmp / "all.h5", "u") == hashlib.sha256(b"<f4 (7, 5, 4)\n" + array.tobytes()).hexdigest()


def test_geometry_and_attributes(shared_tmp: Path) -> None:
    path = shared_tmp / "a.h5"
    grid = mb.Grid(SHAPE, spacing=(1, 2, 0.1), origin=(5, 0, -1), units="µm", axes=("t", "y", "x"), periodic=(0, 1, 0))
    other = mb.Grid((4, 6))
    mb.save(
        path,
        {"a/u": grid.zeros(components=(2,)), "v": other.zeros("u1")},
        attrs={"job": "text", "threshold": np.float64(0.25), "names": ["a", "b"]},
        dataset_attrs={"a/u": {"units": "K"}},
    )
    u = mb.load(path, "a/u")
    for name in ("shape", "spacing", "origin", "units", "axes", "periodic"):
        assert getattr(u.grid, name) == getattr(grid, name)
    assert u.components == (2,)
    assert mb.load(f"{path}::a/u", spacing=3, units="cm").grid.spacing == (3.0, 3.0, 3.0)
    # More axes for the grid than were saved: its geometry no longer fits.
    assert mb.load(path, "a/u", components=0).grid.spacing == (1.0,) * 4
    first = describe(path)[0]
    assert (first.name, first.attrs["units"], first.attrs["grid_units"]) == ("a/u", "K", "µm")
    attributes = file_attributes(path)
    assert (attributes["job"], attributes["threshold"], attributes["names"]) == ("text", 0.25, ["a", "b"])


class Level(enum.IntEnum):
    HIGH = 3


class Kind(enum.StrEnum):
    RAW = "raw data"


class Old(str, enum.Enum):  # noqa: UP042
    NAME = "its value"


class Span(NamedTuple):
    first: int
    last: int


def test_attributes_of_classes_that_are_numbers_and_text(shared_tmp: Path) -> None:
    path = shared_tmp / "a.h5"
    given = {
        "level": Level.HIGH, "kind": Kind.RAW, "old": Old.NAME, "span": Span(2, 5), "queue": deque([1, 2]),
        "kinds": [Kind.RAW, "b"], "levels": (Level.HIGH, 4), "texts": np.array(["a", "bc"]), "masked": np.ma.array([7]),
    }  # fmt: skip
    u = field(values())
    table = mb.regionprops_table(mb.label(u > 3)[0])
    table.attrs["kind"] = Kind.RAW
    mb.save(path, {Kind.RAW: u, "t": table}, attrs=given, dataset_attrs={"raw data": given, "t": {"level": Level.HIGH}})
    with h5py.File(path) as file:
        for owner in (file, file["raw data"]):
            stored = {name: np.asarray(owner.attrs[name]).tolist() for name in given}
            assert stored == {
                "level": 3, "kind": "raw data", "old": "its value", "span": [2, 5], "queue": [1, 2],
                "kinds": ["raw data", "b"], "levels": [3, 4], "texts": ["a", "bc"], "masked": [7],
            }  # fmt: skip
        assert (file["t"].attrs["kind"], file["t"].attrs["level"]) == ("raw data", 3)
    for value in ([1, "a"], {"a": 1}, None):
        refused(mb.UsageError, "give a number", mb.save, path, u=u, attrs={"a": value})


# --- other formats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [">u2", "<f4", ">i8"])
def test_formats_by_box(shared_tmp: Path, dtype: str) -> None:
    array = values(dtype="u2").astype(dtype)
    native = array.astype(array.dtype.newbyteorder("="))
    on_root(np.save, shared_tmp / "c.npy", array)
    on_root(np.save, shared_tmp / "fortran.npy", np.asfortranarray(array))
    on_root(lambda: tifffile.imwrite(shared_tmp / "plain.tif", array, photometric="minisblack"))
    on_root(lambda: tifffile.imwrite(shared_tmp / "zip.tif", array, photometric="minisblack", compression="zlib"))
    on_root(lambda: tifffile.imwrite(shared_tmp / "one.tif", array[0], photometric="minisblack", compression="zlib"))

    def chunked() -> None:
        with h5py.File(shared_tmp / "chunked.h5", "w") as file:
            file.create_dataset("x", data=array, chunks=(2, 3, 4), compression="gzip")

    on_root(chunked)
    for name in ("c.npy", "fortran.npy", "plain.tif", "zip.tif", "chunked.h5"):
        for cut in CUTS:
            check(mb.load(shared_tmp / name, halo=1, **cut), native)
    check(mb.load(shared_tmp / "one.tif"), native[0])


def test_pictures(shared_tmp: Path) -> None:
    colors = values((9, 8, 3), "u1")
    on_root(lambda: PIL.Image.fromarray(colors).save(shared_tmp / "a.png"))
    on_root(lambda: PIL.Image.fromarray(colors).save(shared_tmp / "a.jpg"))
    on_root(lambda: tifffile.imwrite(shared_tmp / "a.tif", colors, photometric="rgb"))
    on_root(np.save, shared_tmp / "a.npy", colors)
    for name in ("a.png", "a.tif"):
        u = mb.load(shared_tmp / name, halo=1)
        check(u, colors)
        assert u.components == (3,)
    assert mb.load(shared_tmp / "a.jpg").shape == (9, 8, 3)
    assert mb.load(shared_tmp / "a.png", components=0).grid.shape == (9, 8, 3)
    assert mb.load(shared_tmp / "a.npy").components == ()
    u = mb.load(shared_tmp / "a.npy", components=1)
    assert u.components == (3,)
    check(u, colors)


def test_formats_are_read_by_box_alone(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank reads no page of a stack that others own."""
    options: dict[str, Any] = {"photometric": "minisblack", "compression": "zlib", "metadata": None}
    on_root(lambda: tifffile.imwrite(shared_tmp / "a.tif", values(dtype="u1"), **options))
    decoded: list[int] = []
    original = Segments.values

    def counted(segments: Segments, number: int) -> np.ndarray:
        decoded.append(number)
        return original(segments, number)

    monkeypatch.setattr(Segments, "values", counted)
    u = mb.load(shared_tmp / "a.tif", topology=(None, 1, 1))
    assert len(decoded) == u.box.shape[0]  # each page is one strip


# --- what fails fails for all ------------------------------------------------------------------------------------


def refused(kind: type[Exception], words: str, function: Any, *args: Any, **options: Any) -> None:
    """The call raises on every rank, with the same message but for the rank that had the trouble."""
    with pytest.raises(kind, match=words) as caught:
        function(*args, **options)
    texts = MPI.COMM_WORLD.allgather(str(caught.value))
    assert len(set(texts)) == 1


def test_load_refuses(shared_tmp: Path) -> None:
    path = shared_tmp / "a.h5"
    mb.save(path, {"raw": field(values()), "g/b": field(values())})
    refused(mb.RunError, "no such file", mb.load, shared_tmp / "b.h5")
    refused(mb.UsageError, "did you mean 'raw'", mb.load, path, "rwa")
    refused(mb.UsageError, "has 2 datasets: g/b, raw", mb.load, path)
    refused(mb.UsageError, "first axes", mb.load, path, "raw", grid=mb.Grid((7, 4)))
    refused(mb.UsageError, "components", mb.load, path, "raw", components=3)
    refused(mb.UsageError, "components", mb.load, path, "raw", components="all")
    refused(mb.UsageError, "grid= and spacing=", mb.load, path, "raw", grid=mb.Grid(SHAPE), spacing=2)
    on_root(lambda: os.truncate(path, path.stat().st_size // 2))
    refused(mb.RunError, "damaged", mb.load, path, "raw")


def test_load_when_one_rank_cannot_read(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mpibatch.io.read import loader

    def unreadable(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    mb.save(shared_tmp / "a.h5", u=field(values()))
    if MPI.COMM_WORLD.rank == MPI.COMM_WORLD.size - 1:
        monkeypatch.setattr(loader, "read", unreadable)
    refused(mb.RunError, "Input/output error", mb.load, shared_tmp / "a.h5")


@pytest.mark.parametrize("when", ["inspect_safely", "_read"])
def test_a_file_that_is_replaced_while_it_is_read(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """By one of the same layout, after rank 0 has looked into it: some ranks might read the old one, some the new."""
    from mpibatch.io.read import loader

    path, other = shared_tmp / "a.h5", shared_tmp / "b.h5"
    mb.save(path, u=field(values()))
    mb.save(other, u=field(values() + 1))
    before = getattr(loader, when)

    def replacing(*arguments: Any, **options: Any) -> Any:
        found = before(*arguments, **options)
        if MPI.COMM_WORLD.rank == 0:
            other.replace(path)
        return found

    monkeypatch.setattr(loader, when, replacing)
    refused(mb.RunError, "was replaced, or written to, while it was read", mb.load, path)
    monkeypatch.undo()
    np.testing.assert_array_equal(mb.gather_all(mb.load(path)), values() + 1)


def test_save_refuses(shared_tmp: Path) -> None:
    path, u = shared_tmp / "a.h5", field(values())
    refused(mb.UsageError, "without any field", mb.save, path)
    refused(mb.UsageError, "scatter", mb.save, path, u=u, v=values())
    refused(mb.UsageError, "the first would be dataset and group", mb.save, path, {"a": u, "a/b": u})
    refused(mb.UsageError, "twice", mb.save, path, {"u": u}, u=u)
    refused(mb.UsageError, "the same", mb.save, path, {"u": u, "/u": u})
    refused(mb.UsageError, "is not a dataset name", mb.save, path, {"a/../b": u})
    refused(mb.UsageError, "give a number", mb.save, path, u=u, attrs={"a": {"b": 1}})
    refused(mb.UsageError, "are reserved", mb.save, path, u=u, dataset_attrs={"u": {"grid_units": "m"}})
    refused(mb.UsageError, "only", mb.save, path, u=u, dataset_attrs={"v": {}})
    refused(mb.UsageError, "file alone", mb.save, f"{path}::u", u=u)
    refused(mb.UsageError, "other machines may be unable", mb.save, path, u=u.astype("g"))
    refused(mb.UsageError, "another communicator", mb.save, path, u=u, v=mb.Grid(SHAPE, comm=MPI.COMM_SELF).zeros())
    refused(mb.RunError, "no folder", mb.save, shared_tmp / "none" / "a.h5", u=u)
    refused(mb.RunError, "not a regular file", mb.save, shared_tmp, u=u)
    assert listing(shared_tmp) == []


@pytest.mark.mpi(min_size=2)
def test_ranks_that_save_different_things(shared_tmp: Path) -> None:
    rank = MPI.COMM_WORLD.rank
    refused(mb.UsageError, "different datasets", mb.save, shared_tmp / "a.h5", {f"u{rank}": field(values())})
    assert listing(shared_tmp) == []


def test_overwriting(shared_tmp: Path) -> None:
    path = shared_tmp / "a.h5"
    mb.save(path, u=field(values()))
    refused(mb.RunError, "it exists", mb.save, path, v=field(values()), overwrite=False)
    assert [info.name for info in describe(path)] == ["u"]
    MPI.COMM_WORLD.Barrier()
    on_root(lambda: (shared_tmp / "link.h5").symlink_to(path))
    mb.save(shared_tmp / "link.h5", v=field(values()))
    assert [info.name for info in describe(path)] == ["v"]
    assert listing(shared_tmp) == ["a.h5", "link.h5"]


def test_leftovers_are_replaced_and_links_not_followed(shared_tmp: Path) -> None:
    on_root((shared_tmp / "precious").write_text, "kept")
    on_root(lambda: (shared_tmp / "a.h5.part").symlink_to(shared_tmp / "precious"))
    mb.save(shared_tmp / "a.h5", u=field(values()))
    assert (shared_tmp / "precious").read_text() == "kept"
    assert listing(shared_tmp) == ["a.h5", "precious"]


def test_a_write_that_fails_on_one_rank(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, u = shared_tmp / "a.h5", field(values())
    mb.save(path, u=u)
    before = path.read_bytes()
    original = shared_file._write_part

    def failing(*args: Any) -> int:
        original(*args)
        raise OSError(errno.ENOSPC, "No space left on device")

    if MPI.COMM_WORLD.rank == MPI.COMM_WORLD.size - 1:
        monkeypatch.setattr(shared_file, "_write_part", failing)
    refused(mb.RunError, "No space left", mb.save, path, u=u, driver="direct")
    assert path.read_bytes() == before
    assert listing(shared_tmp) == ["a.h5"]


def test_another_run_takes_the_name_over(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, original = shared_tmp / "a.h5", shared_file.write

    def write(comm: Any, part: str, *args: Any) -> Any:
        extents = original(comm, part, *args)
        if comm.rank == 0:
            Path(part).unlink()
            Path(part).write_text("another run's")
        comm.Barrier()
        return extents

    monkeypatch.setattr(shared_file, "write", write)
    refused(mb.RunError, "another run took", mb.save, path, u=field(values()), driver="direct")
    assert listing(shared_tmp) == ["a.h5.part"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)


@pytest.mark.parametrize("axis", [0, 2])
def test_a_file_size_limit_of_one_rank(shared_tmp: Path, axis: int) -> None:
    """MPI-IO itself fails on rank 1, in contiguous and in collected writes; with one rank, the layout fails."""
    shape = [16, 16, 16]
    shape[axis] *= 16
    u = mb.Grid(shape, topology=[MPI.COMM_WORLD.size if a == axis else 1 for a in range(3)]).zeros()
    if MPI.COMM_WORLD.rank == min(1, MPI.COMM_WORLD.size - 1):
        with largest_file(8192):
            refused(mb.RunError, "a.h5", mb.save, shared_tmp / "a.h5", u=u)
    else:
        refused(mb.RunError, "a.h5", mb.save, shared_tmp / "a.h5", u=u)
    assert listing(shared_tmp) == []


def test_a_full_file_system(shared_tmp: Path) -> None:
    comm = MPI.COMM_WORLD
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(shared_tmp)]
    mounted = comm.bcast(comm.rank == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0)
    if not mounted:
        pytest.skip("needs the right to mount a tmpfs (root)")
    try:
        mb.save(shared_tmp / "small.h5", u=mb.Grid((50, 100)).zeros())
        refused(
            mb.RunError, r"needs \d+ bytes.* only \d+ free", mb.save, shared_tmp / "a.h5", u=mb.Grid((500, 100)).zeros()
        )
        assert listing(shared_tmp) == ["small.h5"]
        # Reserving is only a convenience: without it the writes themselves fail, again for all.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shared_file, "_reserve", lambda path: None)
            for topology in ((None, 1), (1, None)):
                u = mb.Grid((500, 100), topology=topology).full(1)
                refused(mb.RunError, "a.h5", mb.save, shared_tmp / "a.h5", u=u)
        assert listing(shared_tmp) == ["small.h5"]
        assert [info.name for info in describe(shared_tmp / "small.h5")] == ["u"]
    finally:
        comm.Barrier()
        if comm.rank == 0:
            subprocess.run(["umount", str(shared_tmp)], check=True)
        comm.Barrier()


def test_axes_of_a_tiff(shared_tmp: Path) -> None:
    stack = np.random.default_rng(3).integers(0, 256, (2, 3, 4, 6, 5), "u1")  # TZCYX
    about = {"axes": "TZCYX", "spacing": 2.5, "unit": "um", "finterval": 0.5}
    path, planar, plain = (shared_tmp / name for name in ("i.tif", "p.tif", "q.tif"))
    on_root(lambda: tifffile.imwrite(path, stack, imagej=True, metadata=about, resolution=(4, 2)))
    turned: dict[str, Any] = {"extratags": [(274, 3, 1, 6, True)], "compression": "zlib"}
    colors = stack[0, :, 0]
    on_root(lambda: tifffile.imwrite(planar, colors, photometric="rgb", planarconfig="separate", **turned))
    on_root(lambda: tifffile.imwrite(plain, stack[0], photometric="minisblack", compression="zlib"))

    check(mb.load(path, frame=1, channel=-1), stack[1, :, 3])
    u = mb.load(path, frame=0, region=np.s_[1:, ::2])
    assert (u.grid.axes, u.grid.units, u.grid.spacing) == (("z", "y", "x"), "um", (2.5, 1.0, 0.25))
    check(u, stack[0, 1:, :, ::2].transpose(0, 2, 3, 1))
    u = mb.load(f"{path}::channel=2")
    assert (u.grid.axes, u.grid.spacing) == (("t", "z", "y", "x"), (0.5, 2.5, 0.5, 0.25))
    check(u, stack[:, :, 2])
    check(mb.load(planar), np.rot90(colors.transpose(1, 2, 0), -1))
    with pytest.raises(mb.UsageError, match="say what they are"):
        mb.load(plain)
    check(mb.load(plain, axes=("c", "z", "y", "x")), stack[0])
    with pytest.raises(mb.UsageError, match="the output is HDF5, not"):
        mb.save(shared_tmp / "out.png", u=u)
