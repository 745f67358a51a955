"""HDF5 files that others packed: every filter of h5py and hdf5plugin, read as h5py reads it.

Each filter has a file of many small datasets: all dtypes in both byte orders, with chunks cut by the edge, chunks that
were never written, fill values, chunks at the edge left unfiltered, and chunks that left out a filter.
"""

from __future__ import annotations

import ctypes
import itertools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.io.chunks.codec import visit_chunks
from mpibatch.io.formats import hdf5, inspect, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHAPE, CHUNKS = (13, 40, 37), (8, 32, 33)
DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]
# Chunks without their filters where the edge cuts them: HDF5 knows it, h5py does not.
DONT_FILTER_PARTIAL_CHUNKS = 2

h5py_filters: dict[str, dict[str, Any]] = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "shuffle": {"shuffle": True},
    "shuffle-gzip": {"shuffle": True, "compression": "gzip"},
    "fletcher32": {"fletcher32": True},
    "shuffle-gzip-fletcher32": {"shuffle": True, "compression": "gzip", "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "shuffle-lzf": {"shuffle": True, "compression": "lzf"},
    "szip-nn": {"compression": "szip", "compression_opts": ("nn", 8)},
    "shuffle-szip-ec": {"shuffle": True, "compression": "szip", "compression_opts": ("ec", 16)},
    "scaleoffset": {"scaleoffset": 3},
    "blosc-zstd": dict(hdf5plugin.Blosc(cname="zstd", shuffle=hdf5plugin.Blosc.BITSHUFFLE)),
    "blosc-lz4": dict(hdf5plugin.Blosc(cname="lz4")),
    "blosc2": dict(hdf5plugin.Blosc2(cname="zstd", filters=hdf5plugin.Blosc2.SHUFFLE)),
    "bitshuffle": dict(hdf5plugin.Bitshuffle(cname="none")),
    "bitshuffle-lz4": dict(hdf5plugin.Bitshuffle(cname="lz4")),
    "bitshuffle-zstd": dict(hdf5plugin.Bitshuffle(cname="zstd")),
    "bzip2": dict(hdf5plugin.BZip2()),
    "fcidecomp": dict(hdf5plugin.FciDecomp()),
    "lz4": dict(hdf5plugin.LZ4(nbytes=64)),
    "sz": dict(hdf5plugin.SZ(absolute=0.5)),
    "sz3": dict(hdf5plugin.SZ3(absolute=0.5)),
    "sperr": dict(hdf5plugin.Sperr(rate=8)),
    "zfp": dict(hdf5plugin.Zfp(reversible=True)),
    "zstd": dict(hdf5plugin.Zstd(clevel=5)),
}


def values(dtype: str) -> np.ndarray:
    kind = np.dtype(dtype).kind
    smooth = np.add.outer(np.add.outer(np.arange(13) * 3, np.arange(40)), np.arange(37) % 11)
    if kind == "b":
        return smooth % 3 == 0
    if kind == "c":
        return (smooth + 1j * smooth[::-1]).astype(dtype)
    return (smooth % 101).astype(dtype)


def with_unfiltered_edges(options: dict[str, Any], dtype: str) -> Any:
    """Return a plan in which chunks at the edge are stored as they are; h5py's own functions would undo this."""
    library = next(Path(h5py.__file__).parent.parent.glob("h5py.libs/libhdf5-*.so*"), None)
    if library is None:
        pytest.skip("needs h5py's own copy of the HDF5 library")
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk(CHUNKS)
    call = ctypes.CDLL(str(library)).H5Pset_chunk_opts
    call.argtypes = [ctypes.c_int64, ctypes.c_uint]
    assert call(plan.id, DONT_FILTER_PARTIAL_CHUNKS) == 0
    if "scaleoffset" in options:
        is_float = np.dtype(dtype).kind == "f"
        plan.set_scaleoffset(h5py.h5z.SO_FLOAT_DSCALE if is_float else h5py.h5z.SO_INT, options["scaleoffset"])
    if "shuffle" in options:
        plan.set_shuffle()
    match options.get("compression"):
        case "gzip":
            plan.set_deflate(4)
        case "lzf":
            plan.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL)
        case "szip":
            kind, pixels = options["compression_opts"]
            plan.set_szip({"ec": 4, "nn": 32}[kind], pixels)
        case int(code):
            plan.set_filter(code, h5py.h5z.FLAG_OPTIONAL, options["compression_opts"])
    if "fletcher32" in options:
        plan.set_fletcher32()
    return plan


def make(file: Any, name: str, dtype: str, options: dict[str, Any], fill: bool, plain_edges: bool) -> bool:
    """Write a dataset, of which the last chunks along the second axis are never written; False: no such filter."""
    value = np.ones((), dtype)[()] * (1 if np.dtype(dtype).kind == "b" else 77)
    try:
        if plain_edges:
            plan = with_unfiltered_edges(options, dtype)
            plan.set_fill_value(np.asarray(value, dtype))
            type_, space = h5py.h5t.py_create(np.dtype(dtype), logical=True), h5py.h5s.create_simple(SHAPE)
            dataset = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), type_, space, plan))
        else:
            options = {**options, "fillvalue": value} if fill else options
            dataset = file.create_dataset(name, SHAPE, np.dtype(dtype), chunks=CHUNKS, **options)
        dataset[:, :32] = values(dtype)[:, :32].astype(dtype)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError):
        if name in file:
            del file[name]
        return False  # this filter does not take these values
    return True


# Their writers end the process on what they cannot pack.
FLOATS_ONLY = ("sz", "sz3", "sperr")


def cases(kind: str) -> Iterator[tuple[str, str, bool, bool]]:
    lossy = kind in FLOATS_ONLY
    for dtype, order in itertools.product(("f4", "f8") if lossy else DTYPES, "<" if lossy else "<>"):
        if order == ">" and np.dtype(dtype).itemsize == 1:
            continue
        for fill, plain_edges in ((False, False), (True, False), (True, True)):
            yield f"{dtype}{order}{fill:d}{plain_edges:d}", order + dtype, fill, plain_edges


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("packed")

    def file_of(kind: str) -> Path:
        path = folder / f"{kind}.h5"
        with h5py.File(path, "w", libver="latest") as file:
            made = [make(file, n, t, h5py_filters[kind], *how) for n, t, *how in cases(kind)]
            assert sum(made) >= 6, f"{kind} packs hardly anything: this test is none"
            if kind in ("gzip", "shuffle-gzip", "shuffle-gzip-fletcher32"):
                leave_out_filters(file)
        return path

    return file_of


def leave_out_filters(file: Any) -> None:
    """Store chunks that say that they went past all filters."""
    for name in ("i4<00", "f8>00", "u2<10"):
        dataset = file[name]
        raw = np.full(CHUNKS, 5, dataset.dtype)
        dataset.id.write_direct_chunk((8, 0, 0), raw.tobytes(), filter_mask=0b111)


@pytest.mark.parametrize("kind", h5py_filters)
def test_every_filter_is_read_as_h5py_reads_it(kind: str, packed: Callable[[str], Path]) -> None:
    path = packed(kind)
    plain = 0
    with h5py.File(path) as file:
        lazy = mb.open(path)
        for name, dataset in file.items():
            whole = dataset[...]
            native = whole.astype(whole.dtype.newbyteorder("="))
            source = inspect(str(path), name)
            plain += source.storage is not None and source.storage.is_plain
            for selection in (np.s_[0:13, 0:40, 0:37], np.s_[3:11:2, 5:39, 30:36]):
                expected: Any = np.ascontiguousarray(native[selection])
                got = np.empty(expected.shape, source.dtype)
                read(source, selection, got, tuple(slice(0, n) for n in got.shape))
                assert got.tobytes() == expected.tobytes(), (name, selection)
            assert lazy[name][2, ::7].tobytes() == native[2, ::7].tobytes(), name
            if source.storage is not None:
                with hdf5.chunks_of(source) as chunks:
                    for number in range(chunks.grid.total):
                        box = chunks.grid.box(number)
                        block = chunks.values(number)[box.slices(box.start)].astype(native.dtype)
                        assert block.tobytes() == np.ascontiguousarray(native[box.slices()]).tobytes(), (name, number)
    # Our own reading is for what was proved, and is not lost where it holds.
    assert (plain > 0) == (kind in ("none", "gzip", "shuffle-gzip"))


def test_chunks_at_the_edge_are_told_from_filtered_ones(packed: Callable[[str], Path]) -> None:
    path = str(packed("shuffle-gzip"))
    assert inspect(path, "i4<10").storage.is_plain
    assert not inspect(path, "i4<11").storage.is_plain


def test_masks_are_in_the_files(packed: Callable[[str], Path]) -> None:
    with h5py.File(packed("shuffle-gzip-fletcher32")) as file:
        masks: list[int] = []
        visit_chunks(file["i4<00"], lambda info: masks.append(info.filter_mask))
        assert 0b111 in masks


def test_plugins_are_loaded_when_they_are_needed(packed: Callable[[str], Path]) -> None:
    """In a process that has not loaded them: not for a plain file, and in time for a packed one."""
    program = (
        "import sys, mpibatch\n"
        "mpibatch.open(sys.argv[1])['i4<00'][0, 0, :3]\n"
        "assert 'hdf5plugin' not in sys.modules\n"
        "print(mpibatch.open(sys.argv[2])['i4<00'][0, 0, :3].tolist())"
    )
    command = [sys.executable, "-c", program, str(packed("gzip")), str(packed("bitshuffle-lz4"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{values('i4')[0, 0, :3].tolist()}\n"
