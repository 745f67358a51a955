"""Fields written as Zarr and OME-Zarr by all ranks: other libraries read the values, and the bytes know no ranks."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.io.chunks import grid as chunk_grid
from mpibatch.io.seal.folders import NAME
from mpibatch.job import parse, run
from mpibatch.mpi import MPI
from tests.io.test_flat_out_mpi import DTYPES, GEOMETRY, field, values
from tests.io.test_io_mpi import on_root, refused
from tests.support.cuts import cuts_of_three_axes

if TYPE_CHECKING:
    from pathlib import Path

zarr = pytest.importorskip("zarr", reason="zarr is not installed: Zarr is NOT TESTED")
pytestmark = [pytest.mark.mpi, pytest.mark.filterwarnings("ignore")]

COMM = MPI.COMM_WORLD
SHAPE = (5, 7, 9)
CHUNKS = {"g/f8": (2, 3, 2), "g/i2": (5, 7, 9), "g/u1": (100, 1, 4)}
PACKED = (None, "gzip", "zstd:1", "blosc")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards of several chunks, of fields that are small."""
    monkeypatch.setattr(chunk_grid, "SHARD_BYTES", 800)


def everything(folder: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return total.hexdigest()


def test_other_libraries_read_the_values(shared_tmp: Path) -> None:
    cuts = cuts_of_three_axes(SHAPE, COMM.size)
    wholes = {dtype: values(dtype) for dtype in (*DTYPES, "f2")}
    for number, packed in enumerate(PACKED):
        path = shared_tmp / f"{number}.zarr"
        kinds = wholes if packed is None else {dtype: wholes[dtype] for dtype in ("?", "i2", "f8")}
        fields = {f"g/{dtype.strip('?') or 'b1'}": field(w, **cuts[number % len(cuts)]) for dtype, w in kinds.items()}
        chunks = {name: lengths for name, lengths in CHUNKS.items() if name in fields}
        compression = {"g/f8": packed, "g/b1": packed}
        mb.save(path, fields, chunks=chunks, compression=compression, attrs={"sample": "A7"})
        if COMM.rank == 0:
            group = zarr.open_group(path, mode="r")
            assert (group.attrs["sample"], len(list(group["g"].members()))) == ("A7", len(kinds))
            for name, whole in zip(fields, kinds.values(), strict=True):
                assert group[name].dtype == whole.dtype
                assert group[name][:].tobytes() == whole.tobytes()
            assert group["g/f8"].shards != group["g/f8"].chunks == (2, 3, 2)
            assert group["g/f8"].metadata.dimension_names == ("z", "y", "x")
        if COMM.rank == 0 and packed is not None:
            alone = mb.Grid(SHAPE, comm=MPI.COMM_SELF, **GEOMETRY)
            mine = {name: alone.empty(u.dtype) for name, u in fields.items()}
            for u, whole in zip(mine.values(), kinds.values(), strict=True):
                u.owned[...] = whole
            other = shared_tmp / "alone.zarr"
            mb.save(other, mine, chunks=chunks, compression=compression, attrs={"sample": "A7"})
            assert everything(other) == everything(path)
        assert mb.io.verify(path).is_whole
        read = mb.load(path, "g/f8")
        assert (read.grid.spacing, read.grid.origin, read.grid.units) == tuple(GEOMETRY.values())
        assert mb.gather_all(read).tobytes() == wholes["f8"].tobytes()
    mb.save(shared_tmp / "same.h5", fields, chunks="auto")
    assert mb.io.verify(shared_tmp / "same.h5").content == mb.io.verify(path).content


def test_images_have_levels_channels_and_axes(shared_tmp: Path) -> None:
    path, rng = shared_tmp / "a.ome.zarr", np.random.default_rng(5)
    whole = rng.integers(0, 60000, (3, 5, 8, 7, 2), "u2")
    u = mb.scatter(whole if COMM.rank == 0 else None, mb.Grid(whole.shape[:4], spacing=(2, 1, 1, 0.5), units="µm"))
    mb.save(path, cells=u, pyramid=2, compression="zstd", dataset_attrs={"cells": {"stain": "DAPI"}})
    coarse = mb.gather_all(mb.load(path, level=1))
    if COMM.rank == 0:
        group = zarr.open_group(path, mode="r")
        image = group.attrs["ome"]["multiscales"][0]
        assert [axis["name"] for axis in image["axes"]] == ["t", "c", "z", "y", "x"]
        assert image["axes"][2] == {"name": "z", "type": "space", "unit": "micrometer"}
        assert image["datasets"][1]["coordinateTransformations"] == [
            {"type": "scale", "scale": [2, 1, 2, 2, 1]}, {"type": "translation", "translation": [0, 0, 0.5, 0.5, 0.25]},
        ]  # fmt: skip
        assert group.attrs["stain"] == "DAPI"
        np.testing.assert_array_equal(group["0"][:], whole.transpose(0, 4, 1, 2, 3))
        assert [name for name, _ in sorted(group.members())] == ["0", "1", "2"]
        np.testing.assert_array_equal(group["1"][:], coarse.transpose(0, 4, 1, 2, 3))
        # Whole blocks of two cells along z, y and x.
        means = whole[:, :4, :, :6].reshape(3, 2, 2, 4, 2, 3, 2, 2).astype("f8").mean(axis=(2, 4, 6))
        np.testing.assert_array_equal(coarse[:, :2, :, :3], np.rint(means))
    assert mb.io.verify(path).is_whole
    read = mb.load(path)
    assert (read.grid.spacing, read.grid.units, read.components) == (u.grid.spacing, "um", (2,))
    np.testing.assert_array_equal(mb.gather_all(read), whole)
    plane = field(values("f4")[0:1, 0:6]).astype("f4")
    mb.save(path, {"mask/a": plane, "raw": plane}, pyramid=1)
    np.testing.assert_array_equal(mb.load(path, "mask/a").owned, mb.load(path, "raw").owned)
    if COMM.rank == 0 and importlib.util.find_spec("ome_zarr_models"):
        _validated(path, "raw")


def _validated(path: Path, *images: str) -> None:
    """By the models of OME-Zarr."""
    v05 = importlib.import_module("ome_zarr_models.v05")
    for name in images:
        kind = v05.ImageLabel if name.startswith("labels/") else v05.Image
        kind.from_zarr(zarr.open_group(path / name, mode="r"))


def test_labels_lie_below_their_image_and_are_no_means(shared_tmp: Path) -> None:
    """As napari and its like look for them; coarser levels have some of the labels, and no others."""
    path = shared_tmp / "a.ome.zarr"
    numbers = np.random.default_rng(3).integers(0, 5, (7, 9, 10), "i4") * 1000
    u, raw = mb.scatter(numbers if COMM.rank == 0 else None, mb.Grid(numbers.shape)), field(values("f4"))
    mb.save(path, {"labels/cells": u, "raw": raw, "labels/cores": u}, pyramid=2)
    np.testing.assert_array_equal(mb.load(path).owned, raw.owned)  # the image, which is the root
    np.testing.assert_array_equal(mb.load(path, "raw").owned, raw.owned)
    np.testing.assert_array_equal(mb.gather_all(mb.load(path, "labels/cells")), numbers)
    for level in (1, 2):
        coarse = mb.gather_all(mb.load(path, "labels/cores", level=level))
        np.testing.assert_array_equal(coarse, numbers[:: 2**level, :: 2**level, :: 2**level])
    with pytest.raises(mb.UsageError, match="no array or image 'row'"):
        mb.load(path, "row")
    assert mb.io.verify(path).is_whole
    mb.save(shared_tmp / "b.ome.tif", labels=u, pyramid=1)
    np.testing.assert_array_equal(mb.gather_all(mb.load(shared_tmp / "b.ome.tif", level=1)), numbers[:, ::2, ::2])
    mb.save(shared_tmp / "c.ome.zarr", label=u)
    if COMM.rank == 0:
        group = zarr.open_group(path, mode="r")
        assert group.attrs["ome"]["multiscales"][0]["type"] == "mean"
        assert group["labels"].attrs["ome"] == {"version": "0.5", "labels": ["cells", "cores"]}
        about = group["labels/cells"].attrs["ome"]
        assert about["multiscales"][0]["type"] == "nearest"
        assert about["image-label"] == {"source": {"image": "../../"}}
        assert "image-label" in zarr.open_group(shared_tmp / "c.ome.zarr", mode="r").attrs["ome"]
        if importlib.util.find_spec("ome_zarr_models"):
            _validated(path, "", "labels/cells", "labels/cores")
    COMM.barrier()


@pytest.mark.parametrize("compression", [None, "zstd", "gzip"])
def test_tensorstore_reads_it(shared_tmp: Path, compression: str | None) -> None:
    tensorstore = pytest.importorskip("tensorstore", reason="tensorstore is not installed: its view is NOT TESTED")
    path = shared_tmp / "a.zarr"
    mb.save(path, u=field(values("f8")), v=field(values("i4")), chunks=(2, 3, 2), compression=compression)
    if COMM.rank == 0:
        for name, dtype in (("u", "f8"), ("v", "i4")):
            place = {"driver": "file", "path": str(path / name)}
            store = tensorstore.open({"driver": "zarr3", "kvstore": place}).result()
            np.testing.assert_array_equal(store[1:5].read().result(), values(dtype)[1:5])
            assert list(store.domain.labels) == ["z", "y", "x"]
    COMM.barrier()


def test_damage_is_named(shared_tmp: Path) -> None:
    path = shared_tmp / "a.zarr"
    mb.save(path, u=field(values("f8")), v=field(values("i4")), chunks=(2, 3, 2))
    shards = sorted((path / "u" / "c").rglob("[0-9]"))
    files = [file for file in shards if file.is_file()]

    def spoil() -> None:
        data = bytearray(files[-1].read_bytes())
        data[5] ^= 1
        files[-1].write_bytes(data)
        files[0].unlink()
        os.truncate(files[1], 10)
        text = json.loads((path / "v" / "zarr.json").read_text())
        (path / "v" / "zarr.json").write_text(json.dumps(text))

    COMM.barrier()
    on_root(spoil)
    report = mb.io.verify(path)
    assert [part.dataset for part in report.broken] == ["", "u", "u", "u"]
    assert report.broken[0].description == "metadata, zarr.json, u/zarr.json, v/zarr.json"
    assert report.broken[1].description.startswith("u[0:")
    on_root((path / "u" / NAME).unlink)
    assert (mb.io.verify(path).is_whole, mb.io.verify(path).is_foreign) == (False, False)
    on_root((path / "zarr.json").unlink)
    refused(mb.RunError, "nor a folder of Zarr", mb.io.verify, path)


def test_a_folder_is_complete_or_as_it_was(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mpibatch.io.write.zarr import folder, store

    path, u = shared_tmp / "a.zarr", field(values("f4"))
    on_root((shared_tmp / "a.zarr.part").mkdir)  # what a killed run left
    on_root(lambda: (shared_tmp / "a.zarr.part" / "left").write_text("x"))
    mb.save(path, u=u)
    first = everything(path)
    assert [entry.name for entry in shared_tmp.iterdir()] == ["a.zarr"]

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_at", full if COMM.rank == COMM.size - 1 else store.write_at)
    refused(mb.RunError, "No space left", mb.save, path, u=u, v=u, chunks=(2, 3, 2))
    monkeypatch.undo()
    assert ([entry.name for entry in shared_tmp.iterdir()], everything(path)) == (["a.zarr"], first)
    COMM.barrier()
    for way in ("exchanged", "moved aside"):
        if way == "moved aside":
            monkeypatch.setattr(folder, "_renamed", lambda *_: False)
            on_root((shared_tmp / "a.zarr.old").mkdir)  # somebody's copy
        mb.save(path, **{way.replace(" ", "_"): u})
        kept = {"moved aside": {"a.zarr.old"}}.get(way, set())
        assert {entry.name for entry in shared_tmp.iterdir()} == {"a.zarr"} | kept
        assert mb.io.verify(path).datasets == (way.replace(" ", "_"),)
        COMM.barrier()


def test_what_a_store_cannot_have_is_refused(shared_tmp: Path) -> None:
    u, path = field(values("f8")), shared_tmp / "a.zarr"
    line = mb.Grid(9).zeros()
    table = mb.regionprops_table(mb.label(u > 0)[0], properties=("label",))
    on_root((shared_tmp / "mine.zarr").mkdir)
    on_root(lambda: (shared_tmp / "mine.zarr" / "thesis.tex").write_text("x"))
    on_root(lambda: (shared_tmp / "file.zarr").write_text("x"))
    before = sorted(entry.name for entry in shared_tmp.iterdir())
    for kind, words, name, options in (
        (mb.UsageError, "unknown to Zarr", "a.zarr", {"u": u, "compression": "lz4"}),
        (mb.UsageError, "give 'auto', or 3 whole numbers", "a.zarr", {"u": u, "chunks": (2, 2)}),
        (mb.UsageError, "give 'auto', or 3 whole numbers", "a.zarr", {"u": u, "chunks": (0, 2, 2)}),
        (mb.UsageError, "chunks was given for", "a.zarr", {"u": u, "chunks": {"v": "auto"}}),
        (mb.UsageError, "with driver, record", "a.zarr", {"u": u, "driver": "direct", "record": True}),
        (mb.UsageError, "only OME-Zarr and OME-TIFF have levels", "a.zarr", {"u": u, "pyramid": 2}),
        (mb.UsageError, "only OME-Zarr and OME-TIFF have levels", "a.h5", {"u": u, "pyramid": 2}),
        (mb.UsageError, "0 to 10", "a.ome.zarr", {"u": u, "pyramid": 11}),
        (mb.UsageError, "two or three axes of space", "a.ome.zarr", {"u": line}),
        (mb.UsageError, "it is a table", "a.zarr", {"u": table}),
        (mb.UsageError, "an attribute 'ome'", "a.ome.zarr", {"u": u, "attrs": {"ome": "x"}}),
        (mb.UsageError, "give each once", "a.ome.zarr", {"u": u, "attrs": {"x": 1}, "dataset_attrs": {"u": {"x": 2}}}),
        (mb.UsageError, "reserved", "a.zarr", {"u": u, "dataset_attrs": {"u": {"mpibatch_layout": 7}}}),
        (mb.UsageError, "names for itself", "a.zarr", {"zarr.json": u}),
        (mb.UsageError, "reserved", "a.zarr", {"u": u, "attrs": {"mpibatch_layout": 7}}),
        (mb.RunError, "no folder", "b/a.zarr", {"u": u}),
        (mb.RunError, "it is a file, and Zarr is a folder", "file.zarr", {"u": u}),
        (mb.RunError, "not of Zarr", "mine.zarr", {"u": u}),
    ):
        refused(kind, words, mb.save, shared_tmp / name, **options)
    assert sorted(entry.name for entry in shared_tmp.iterdir()) == before
    mb.save(path, u=u, empty=line.grid.zeros("f4", components=(0,)))
    refused(mb.RunError, "it exists", mb.save, path, u=u, overwrite=False)
    if COMM.rank == 0:
        assert zarr.open_group(path, mode="r")["empty"].shape == (9, 0)


def test_a_job_writes_and_finds_a_store(shared_tmp: Path) -> None:
    source = values("u2")
    mb.save(shared_tmp / "in.h5", u=field(source))
    text = (
        '[input]\npath = "{0}/in.h5"\n[[step]]\nfilter = "maximum_filter"\nsize = 3\n[output]\npath = "{0}/{1}"\n'
        'compression = "zstd"\n'
    )
    right = mb.gather_all(mb.filters.maximum_filter(field(source), size=3))
    job = parse(text.format(shared_tmp, "out.ome.zarr") + "pyramid = 1\n[checkpoint]\n")
    run(job)
    np.testing.assert_array_equal(mb.gather_all(mb.load(shared_tmp / "out.ome.zarr")), right)
    assert "maximum_filter" in mb.io.file_attributes(shared_tmp / "out.ome.zarr")["job"]
    assert run(job, start="resume").was_complete
    with pytest.raises(mb.UsageError, match="0 to 10"):
        parse(text.format(shared_tmp, "out.ome.zarr") + "pyramid = 11\n")
    for more, words in (
        ("pyramid = 1\n", "pyramid: Zarr files have none"),
        ('driver = "mpio"\n', "driver: Zarr files"),
    ):
        with pytest.raises(mb.UsageError, match=words):
            parse(text.format(shared_tmp, "out.zarr") + more)
