"""Chunks without MPI: their shapes, filters by name, reading where values lie, hazards, and damaged files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import PIL.Image
import pytest
import tifffile

from mpibatch.base.errors import MpibatchError, RunError, UsageError
from mpibatch.domain import Box
from mpibatch.io import describe
from mpibatch.io.chunks.codec import Packer
from mpibatch.io.chunks.compression import Filter, filters_of, normal_compression
from mpibatch.io.chunks.grid import CHUNK_BYTES, ChunkGrid, chosen_chunks, usual_chunks
from mpibatch.io.chunks.inflation import can_inflate, inflate
from mpibatch.io.formats import inspect, raw_values, read
from mpibatch.io.read import inspector

ARRAY = np.arange(7 * 5 * 6, dtype="i4").reshape(7, 5, 6)


# --- shapes and names -----------------------------------------------------------------------------------------


def test_chunks_are_numbered_in_order() -> None:
    grid = ChunkGrid((7, 5), (3, 2))
    assert (grid.counts, grid.total) == ((3, 3), 9)
    assert [grid.start(n) for n in (0, 1, 3, 8)] == [(0, 0), (0, 2), (3, 0), (6, 4)]
    assert grid.box(8) == Box((6, 4), (7, 5))
    held = np.zeros((7, 5), int)
    for number in range(grid.total):
        held[grid.box(number).slices()] += number
    np.testing.assert_array_equal(held, np.arange(9).reshape(3, 3).repeat(3, 0)[:7].repeat(2, 1)[:, :5])
    assert grid.meeting(Box((2, 1), (4, 3))).tolist() == [0, 1, 3, 4]
    assert grid.meeting(Box((2, 1), (2, 3))).size == 0
    assert grid.repeats([[(0, 7)], [(0, 5)]]) == 1.0
    assert grid.repeats([[(0, 7)], [(0, 1), (1, 3), (3, 5), (5, 5)]]) == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    ("shape", "itemsize", "components", "expected"),
    [
        ((512, 512, 512), 4, 0, (64, 64, 64)),
        ((512, 512, 512), 8, 0, (47, 52, 52)),
        ((10, 4096, 4096), 4, 0, (10, 158, 164)),
        ((100, 100), 4, 0, (100, 100)),
        ((1 << 30,), 1, 0, (1 << 20,)),
        ((4000, 6000, 3), 1, 1, (572, 600, 3)),
        ((1, 1), 8, 0, (1, 1)),
        ((5, 5, 1 << 22), 1, 2, (1, 5, 1 << 22)),
    ],
)
def test_usual_chunks(shape: Any, itemsize: int, components: int, expected: Any) -> None:
    found = usual_chunks(shape, itemsize, components)
    assert found == expected
    if components < 2:
        assert np.prod(found) * itemsize <= CHUNK_BYTES * 1.3


def test_chosen_chunks() -> None:
    assert chosen_chunks("u", (4, 400), (10, 100, 3), 4, 1) == (4, 100, 3)
    assert chosen_chunks("u", [4, 400, 1], (10, 100, 3), 4, 1) == (4, 100, 1)
    with pytest.raises(UsageError, match="4 GiB"):
        chosen_chunks("u", (1 << 16, 1 << 16), (1 << 16, 1 << 16), 1, 0)


def test_compression_by_name() -> None:
    pairs = [("gzip", "gzip:4"), ("gzip:9", "gzip:9"), ("lz4", "lz4"), (None, None), ("", None)]
    assert all(normal_compression(given) == normal for given, normal in pairs)
    assert filters_of("gzip:2", 4) == (Filter(2, (4,)), Filter(1, (2,)))
    assert filters_of("zstd", 1) == (Filter(32015, (3,)),)
    assert filters_of(None, 4) == ()
    for wrong in ("zip", "gzip:x", "zstd:0", "lz4:1"):
        with pytest.raises(UsageError):
            normal_compression(wrong)


@pytest.mark.parametrize("filters", [(Filter(1, (4,)),), (Filter(2, (8,)), Filter(1, (1,))), ()])
def test_packed_and_inflated(filters: tuple[Filter, ...]) -> None:
    block = np.arange(60.0).reshape(3, 4, 5)
    assert can_inflate(filters, 8)
    with Packer("f8", block.shape, filters) as packer:
        for scale in (1, 2):
            mask, data = packer.pack(scale * block)
            np.testing.assert_array_equal(inflate(block.dtype, block.shape, filters, mask, data), scale * block)
        with pytest.raises(RunError, match="damaged"):
            inflate(block.dtype, block.shape, filters, mask, data[:-1])


def test_a_bomb_is_not_unfolded() -> None:
    for many in (0, 99, 101, 50_000_000):
        with pytest.raises(RunError, match="damaged"):
            inflate(np.dtype("u1"), (100,), (Filter(1, (4,)),), 0, zlib.compress(bytes(many), 9))


# --- reading where values lie -----------------------------------------------------------------------------------


SELECTIONS = [
    np.s_[0:7, 0:5, 0:6], np.s_[2:5, 0:5, 0:6], np.s_[1:6, 2:4, 3:6], np.s_[0:7:3, 1:5:2, 0:6:4],
    np.s_[6:7, 4:5, 0:6:5], np.s_[0:7:2, 0:5, 0:6], np.s_[1:7, 2:5:2, 0:6], np.s_[3:3, 0:5, 0:6],
]  # fmt: skip


@pytest.mark.parametrize("limits", [(8 << 20, 32 << 10), (100, 8), (1, 1 << 20), (1, 1)])
@pytest.mark.parametrize("kind", ["contiguous", "chunks", "gzip", "fletcher", "sparse", "big"])
def test_any_part_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, limits: tuple[int, int]) -> None:
    monkeypatch.setattr(raw_values, "BLOCK", limits[0])
    monkeypatch.setattr(raw_values, "NARROW", limits[1])
    kinds: dict[str, dict[str, Any]] = {
        "contiguous": {}, "chunks": {"chunks": (3, 2, 4)}, "gzip": {"chunks": (3, 2, 4), "compression": "gzip"},
        "fletcher": {"chunks": (2, 5, 6), "fletcher32": True, "shuffle": True}, "big": {"chunks": (3, 2, 4)},
        "sparse": {"chunks": (3, 2, 4), "fillvalue": 9},
    }  # fmt: skip
    expected = ARRAY.copy()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("u", ARRAY.shape, ">i4" if kind == "big" else "i4", **kinds[kind])
        if kind == "sparse":
            dataset[:3, :, :4] = ARRAY[:3, :, :4]
            expected[3:], expected[:, :, 4:] = 9, 9
        else:
            dataset[...] = ARRAY
    source = inspect(str(tmp_path / "a.h5"))
    assert source.storage is not None
    for selection in SELECTIONS:
        part = expected[selection]
        out = np.full((part.shape[0] + 1, *part.shape[1:]), -1, "i4")
        read(source, selection, out, (slice(1, None), slice(None), slice(None)))
        np.testing.assert_array_equal(out[1:], part)
        assert (out[0] == -1).all()


def test_what_only_hdf5_can_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        layout = h5py.VirtualLayout(ARRAY.shape, "i4")
        layout[...] = h5py.VirtualSource(".", "u", ARRAY.shape)
        file["u"] = ARRAY
        file.create_virtual_dataset("v", layout)
        file["soft"] = h5py.SoftLink("/v")
    with h5py.File(tmp_path / "block.h5", "w", userblock_size=512) as file:
        file["u"] = ARRAY
    for name in (f"{tmp_path}/a.h5::v", f"{tmp_path}/a.h5::soft", f"{tmp_path}/block.h5"):
        source = inspect(name)
        out = np.empty(ARRAY.shape, "i4")
        read(source, SELECTIONS[0], out, SELECTIONS[0])
        np.testing.assert_array_equal(out, ARRAY)
        assert source.storage is None


# --- hazards ----------------------------------------------------------------------------------------------------


def leave(file: Any, name: str) -> None:
    """Add a dataset, or a link, of the kind that its name says."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    space = h5py.h5s.create_simple((8, 8), (h5py.h5s.UNLIMITED, 8))
    if name == "external links":
        file[name] = h5py.ExternalLink("other.h5", "/u")
    elif name == "external storage":
        file.create_dataset(name, (4,), "u1", external=[("secret", 0, 4)])
    elif name == "virtual datasets":
        layout = h5py.VirtualLayout((4,), "u1")
        layout[...] = h5py.VirtualSource("other.h5", "u", (4,))
        file.create_virtual_dataset(name, layout)
    elif name == "virtual datasets, hidden":
        leave(file, "virtual datasets")
        layout = h5py.VirtualLayout((4,), "u1")
        layout[...] = h5py.VirtualSource(".", "virtual datasets", (4,))
        file.create_virtual_dataset(name, layout)
    else:
        plan.set_chunk((1 << 28, 8) if name == "large chunks" else (4, 4))
        if name == "filter pipelines":
            plan.set_deflate(9)
            plan.set_deflate(9)
        elif name == "unknown filters":
            plan.set_filter(50000, h5py.h5z.FLAG_OPTIONAL, (1,))
        h5py.h5d.create(file.id, name.encode(), h5py.h5t.STD_U8LE, space, plan)


HAZARDS = [
    "external links", "external storage", "virtual datasets", "virtual datasets, hidden", "large chunks",
    "filter pipelines", "unknown filters",
]  # fmt: skip


@pytest.mark.parametrize("name", HAZARDS)
def test_hazards_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret").write_bytes(b"abcd")
    with h5py.File("other.h5", "w") as file:
        file["u"] = np.frombuffer(b"abcd", "u1")
    with h5py.File("a.h5", "w") as file:
        leave(file, name)
    hazard = name.split(",")[0]
    with pytest.raises(UsageError, match=rf'cannot read .*a\.h5::{name}: .*allow=\("{hazard}",\)'):
        inspect("a.h5", name)
    assert "abcd" not in str(describe("a.h5"))
    source = inspect("a.h5", name, (hazard,))
    if hazard.startswith(("ext", "virt")):
        out = np.zeros(4, "u1")
        read(source, np.s_[0:4,], out, np.s_[0:4,])
        assert out.tobytes() == b"abcd"


def test_a_filter_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((4,))
        plan.set_filter(32000, h5py.h5z.FLAG_OPTIONAL, (1,))
        h5py.h5d.create(file.id, b"u", h5py.h5t.STD_U8LE, h5py.h5s.create_simple((4,)), plan)
        file["u"][...] = 1
    source = inspect(str(tmp_path / "a.h5"))
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: code < 100)
    with pytest.raises(UsageError, match=r"lzf \(number 32000\).*pip install"):
        read(source, np.s_[0:4,], np.empty(4, "u1"), np.s_[0:4,])


# --- damage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", r"crashed \(11\)"),
        ("time.sleep(60)", "did not end within 1 s"),
        ("sys.exit('out of luck')", "out of luck"),
    ],
)
def test_a_crash_of_the_library_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, words: str
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = ARRAY
    child = "import os, signal, sys, time; sys.stdin.read(); signal.alarm(1); "
    with monkeypatch.context() as patch:
        patch.setattr(inspector, "_CHILD", child + end)
        patch.setattr(inspector, "LIMIT", 1)
        with pytest.raises(RunError, match=f"a.h5.*{words}"):
            inspector.inspect_safely(str(tmp_path / "a.h5"), None)
    assert inspector.inspect_safely(str(tmp_path / "a.h5"), None) == inspect(str(tmp_path / "a.h5"))
    with pytest.raises(UsageError, match="did you mean 'u'"):
        inspector.inspect_safely(str(tmp_path / "a.h5"), "uu")


def bases(folder: Path) -> list[Path]:
    """Small files of every format that is read."""
    array = np.arange(600, dtype="u2").reshape(10, 12, 5) % 50
    for version in ("earliest", "v110"):
        for packed in (None, "gzip"):
            with h5py.File(folder / f"{version}-{packed}.h5", "w", libver=(version, "v110")) as file:
                file.create_dataset("g/u", data=array, compression=packed, chunks=(4, 4, 5) if packed else None)
                file["g/u"].attrs.update({"grid_axes": ["z", "y", "x"], "grid_units": "mm", "n": np.arange(3.0)})
                file["soft"] = h5py.SoftLink("/g/u")
    np.save(folder / "a.npy", array)
    tifffile.imwrite(folder / "plain.tif", array, photometric="minisblack")
    tifffile.imwrite(folder / "packed.tif", array, photometric="minisblack", compression="zlib")
    PIL.Image.fromarray(array[0].astype("u1")).save(folder / "a.png")
    PIL.Image.fromarray(array[0].astype("u1")).save(folder / "a.jpg")
    return sorted(folder.iterdir())


def mutated(raw: bytes, rng: np.random.Generator) -> bytes:
    data, kind = bytearray(raw), rng.integers(5)
    if kind == 0:
        return bytes(data[: rng.integers(len(data))])
    if kind == 1:
        return bytes(data[:8] + rng.bytes(len(data) - 8))
    for _ in range(rng.integers(1, 8)):
        at = int(rng.integers(8, len(data)))
        data[at] = (data[at] ^ 1 << rng.integers(8), rng.integers(256), 255)[kind - 2]
    return bytes(data)


def survey(folder: str, count: int) -> None:
    """Read mutations, each in a fork of its own, and print what was wrong: `file number: how it ended`."""
    for path in bases(Path(folder)):
        raw = path.read_bytes()
        for number in range(count):
            victim = path.with_name("victim" + path.suffix)
            victim.write_bytes(mutated(raw, np.random.default_rng([number, len(raw)])))
            child = os.fork()
            if not child:
                signal.alarm(10)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                os._exit(_attempt(str(victim)))
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            # Crashes and endless loops of HDF5 itself are what `apart` is for.
            if code and not (code < 0 and path.suffix == ".h5"):
                print(f"{path.name} {number}: {code}")


def _attempt(path: str) -> int:
    name = "g/u" if path.endswith(".h5") else None
    done = 0
    for look in (lambda: describe(path), lambda: _read_all(path, name)):
        try:
            look()
        except MpibatchError:
            done += 1
        except BaseException as error:
            print(f"{path}: {type(error).__name__}: {error}", flush=True)
            return 9
    return 0


def _read_all(path: str, name: str | None) -> None:
    source = inspect(path, name)
    if np.prod([float(n) for n in source.shape]) < 1e8:
        everything = tuple(slice(0, n) for n in source.shape)
        read(source, everything, np.empty(source.shape, source.dtype), everything)


def test_damaged_files_are_errors(tmp_path: Path) -> None:
    """In a process of its own: forks of one that has threads may hang."""
    code = "import sys, warnings; warnings.simplefilter('ignore')\n"
    code += "from tests.io.test_chunked import survey; survey(sys.argv[1], 24)"
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True, check=False, timeout=100
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
