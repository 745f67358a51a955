"""Zarr and OME-Zarr against zarr-python: chunks, shards, levels, axes, sizes; damaged and hostile stores."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.errors import RunError, UsageError
from mpibatch.io import describe, read_slice
from mpibatch.io.formats import inspect

if TYPE_CHECKING:
    from pathlib import Path

zarr = pytest.importorskip("zarr", reason="zarr is not installed: Zarr is NOT TESTED")
pytestmark = pytest.mark.filterwarnings("ignore")

RNG = np.random.default_rng(13)
VOLUME = RNG.integers(0, 60000, (2, 8, 20, 30), "u2")
AXES = [
    {"name": "c", "type": "channel"},
    {"name": "z", "type": "space", "unit": "micrometer"},
    {"name": "y", "type": "space", "unit": "micrometer"},
    {"name": "x", "type": "space", "unit": "micrometer"},
]


def ome(path: Path, version: int) -> Path:
    """Two levels of an image, and labels of it."""
    group = zarr.open_group(path, mode="w", zarr_format=version)
    more: dict[str, Any] = {"shards": (1, 4, 20, 20)} if version == 3 else {}
    for level, step in enumerate((1, 2)):
        array = np.ascontiguousarray(VOLUME[..., ::step, ::step])
        stored = group.create_array(str(level), shape=array.shape, dtype="u2", chunks=(1, 2, 10, 10), **more)
        stored[...] = array
    scales = [
        {
            "path": str(level),
            "coordinateTransformations": [{"type": "scale", "scale": [1, 2.0, 0.5 * step, 0.25 * step]}],
        }
        for level, step in enumerate((1, 2))
    ]
    scales[0]["coordinateTransformations"].append({"type": "translation", "translation": [0, 3, 4, 5]})
    image = {"axes": AXES, "datasets": scales, "name": "cells"}
    group.attrs.update(
        {"ome": {"version": "0.5", "multiscales": [image]}} if version == 3 else {"multiscales": [image]}
    )
    labels = group.create_group("labels").create_array("nuclei", shape=(8, 20, 30), chunks=(4, 9, 9), dtype="i4")
    labels[...] = VOLUME[0] > 30000
    return path


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr(tmp_path: Path, version: int) -> None:
    path = ome(tmp_path / "a.zarr", version)
    right = VOLUME.transpose(1, 2, 3, 0)
    assert [(info.name, info.shape) for info in describe(path)] == [
        ("level=0", (8, 20, 30, 2)), ("level=1", (8, 10, 15, 2)), ("labels/nuclei", (8, 20, 30)),
    ]  # fmt: skip
    np.testing.assert_array_equal(read_slice(path, None), right)
    np.testing.assert_array_equal(read_slice(path, None, np.s_[2:7:2, 9:12, ::3]), right[2:7:2, 9:12, ::3])
    np.testing.assert_array_equal(read_slice(path, "level=1,channel=1"), VOLUME[1, :, ::2, ::2])
    np.testing.assert_array_equal(read_slice(path, "labels/nuclei"), VOLUME[0] > 30000)
    grid = inspect(str(path)).grid
    assert (grid["axes"], grid["spacing"], grid["origin"]) == (("z", "y", "x"), (2, 0.5, 0.25), (3, 4, 5))
    assert describe(path)[0].chunks == ((4, 20, 20, 1) if version == 3 else (2, 10, 10, 1))
    assert (grid["units"], inspect(str(path), "level=1").grid["spacing"]) == ("um", (2, 1, 0.5))
    u = mb.load(path, level=1, channel=0, region=np.s_[1:3])
    np.testing.assert_array_equal(mb.gather_all(u), VOLUME[0, 1:3, ::2, ::2])
    assert (u.grid.origin, u.grid.units) == ((2, 0, 0), "um")
    for name, words in {
        "level=2": "no level 2; give level=0 to 1", "labels/nucleus": "labels/nuclei",
        "channel=2": "give channel=0 to 1",
        "series=1": "has 1 images", "../a.zarr": "no array or image",
    }.items():  # fmt: skip
        with pytest.raises(UsageError, match=words):
            inspect(str(path), name)


def test_plain_arrays(tmp_path: Path) -> None:
    for version in (2, 3):
        for code in ("?", "u1", "i2", "f4", "f8", "c8"):
            array = RNG.integers(0, 2, (9, 7)).astype(code)
            path = tmp_path / f"{version}{code[:1].replace('?', 'b')}{code[1:]}.zarr"
            names: dict[str, Any] = {"dimension_names": ["row", "column"]} if version == 3 else {}
            stored = zarr.create_array(
                path, shape=(9, 7), chunks=(4, 3), dtype=code, zarr_format=version, fill_value=1, **names
            )
            stored[2:] = array[2:]
            array[:2] = 1  # never written
            np.testing.assert_array_equal(read_slice(path, None), array)
            source = inspect(str(path))
            assert (source.dtype, source.storage.chunks) == (array.dtype.str, (4, 3))
            assert source.grid.get("axes", ()) == (("row", "column") if names else ())
    group = zarr.open_group(tmp_path / "g.zarr", mode="w")
    for name in ("a", "b/c"):
        group.create_array(name, shape=(3, 4), chunks=(3, 4), dtype="f4")
    assert [info.name for info in describe(tmp_path / "g.zarr")] == ["a", "b/c"]
    with pytest.raises(UsageError, match="2 arrays: a, b/c; name one"):
        inspect(str(tmp_path / "g.zarr"))


def test_damaged_stores(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.zarr", 3)
    about = path / "zarr.json"
    text = about.read_text()
    for old, new, words in (
        ('"path": "0"', '"path": "../../etc"', "lies at"),
        ('"datasets"', '"datesets"', "datasets"),
        ('"scale": [', '"scale": [7, ', "5 numbers for 4 axes"),
        ("{", "", "cannot be read as Zarr"),
    ):
        assert old in text
        about.write_text(text.replace(old, new, 1))
        with pytest.raises(RunError, match=words):
            inspect(str(path))
    about.write_text(text)
    content = (path / "0" / "zarr.json").read_text()
    for _ in range(100):
        damaged = bytearray(content.encode())
        damaged[RNG.integers(0, len(damaged))] = RNG.integers(32, 127)
        (path / "0" / "zarr.json").write_bytes(damaged)
        try:
            if np.prod(inspect(str(path), "0").shape, dtype=object) < 1 << 20:
                read_slice(path, "0", np.s_[:1])
        except (RunError, UsageError):
            pass
    (path / "0" / "zarr.json").write_text(content.replace('"chunk_shape": [', '"chunk_shape": [9999999, ', 1))
    with pytest.raises(RunError, match="chunks of"):
        inspect(str(path))
    huge = json.loads(content)
    huge["chunk_grid"]["configuration"]["chunk_shape"] = [1, 1, 1, 1 << 40]
    (path / "0" / "zarr.json").write_text(json.dumps(huge))
    with pytest.raises(UsageError, match="bytes each"):
        inspect(str(path))
    (path / "0" / "zarr.json").write_text(content)
    chunk = next(file for file in sorted((path / "0" / "c").rglob("*")) if file.is_file())
    chunk.write_bytes(chunk.read_bytes()[:50])
    with pytest.raises(RunError, match="damaged"):
        read_slice(path, None)
    about.write_text(json.dumps({"zarr_format": 3, "node_type": "group"}))
    with pytest.raises(UsageError, match="name one"):
        inspect(str(path))
