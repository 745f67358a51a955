"""HDF5 by agreement: scans of NXtomo and DXchange, images of Imaris, histograms of NeXus, netCDF."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.errors import UsageError
from mpibatch.io import read_slice
from mpibatch.io.formats import inspect
from tests.support.packaged import packaged

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(19)
IMAGES = RNG.integers(0, 60000, (14, 6, 5), "u2")
KEYS = np.array([2, 2, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3])


def nxtomo(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry1/tomo_entry")
        entry = file.create_group("scan")
        entry["definition"] = "NXtomo"
        detector = entry.create_group("instrument/detector")
        detector.create_dataset("data", data=IMAGES, chunks=(1, 6, 5), compression="gzip")
        detector["image_key"] = KEYS
        for axis, size in (("x", 0.5), ("y", 0.75)):
            detector[f"{axis}_pixel_size"] = size
            detector[f"{axis}_pixel_size"].attrs["units"] = "mm"
        angles = np.zeros(14)
        angles[KEYS == 0] = 3 + 30 * np.arange(7)
        entry["sample/rotation_angle"] = angles
    return path


def test_scans_of_nxtomo(tmp_path: Path) -> None:
    path = nxtomo(tmp_path / "a.nxs")
    for name, key in {"projections": 0, "flats": 1, "darks": 2}.items():
        right = IMAGES[key == KEYS]
        np.testing.assert_array_equal(read_slice(path, name), right)
        np.testing.assert_array_equal(read_slice(path, name, np.s_[1::2, 2:5]), right[1::2, 2:5])
    np.testing.assert_array_equal(read_slice(path, "angles"), 3 + 30.0 * np.arange(7))
    np.testing.assert_array_equal(read_slice(path, "scan/instrument/detector/data"), IMAGES)
    u = mb.load(path)
    np.testing.assert_array_equal(mb.gather_all(u), IMAGES[KEYS == 0])
    assert (u.grid.axes, u.grid.spacing, u.grid.origin) == (("angle", "y", "x"), (30, 0.75, 0.5), (3, 0, 0))
    assert u.grid.units == "mm"
    with h5py.File(path, "a") as file:
        file["scan/instrument/detector/image_key"][...] = 0
    np.testing.assert_array_equal(read_slice(path, "projections"), IMAGES)
    with pytest.raises(UsageError, match="it has no flats"):
        inspect(str(path), "flats")


def test_scans_of_dxchange(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"], file["exchange/data_white"] = IMAGES[:9], IMAGES[9:12]
        file["exchange/theta"] = 20.0 * np.arange(9)
    np.testing.assert_array_equal(read_slice(tmp_path / "a.h5", None), IMAGES[:9])
    np.testing.assert_array_equal(read_slice(tmp_path / "a.h5", "flats"), IMAGES[9:12])
    assert inspect(str(tmp_path / "a.h5")).grid["spacing"] == (20, 1, 1)
    with pytest.raises(UsageError, match="has no darks"):
        inspect(str(tmp_path / "a.h5"), "darks")


def test_images_of_imaris(tmp_path: Path) -> None:
    def letters(text: object) -> np.ndarray:
        return np.array(list(str(text)), "S1")

    with h5py.File(tmp_path / "a.ims", "w") as file:
        file.attrs["ImarisDataSet"] = letters("ImarisDataSet")
        image = file.create_group("DataSetInfo/Image")
        for n, most in enumerate((10.0, 6.0, 8.0)):
            image.attrs[f"ExtMin{n}"], image.attrs[f"ExtMax{n}"] = letters(0.0), letters(most)
        image.attrs["Unit"] = letters("um")
        for level in range(2):
            for channel in range(2):
                group = file.create_group(f"DataSet/ResolutionLevel {level}/TimePoint 0/Channel {channel}")
                shape = (8 >> level, 6 >> level, 5)
                for axis, length in zip("ZYX", shape, strict=True):
                    group.attrs[f"ImageSize{axis}"] = letters(length)
                stored = np.zeros((8, 8, 8), "u2")
                stored[tuple(map(slice, shape))] = IMAGES[: shape[0], : shape[1]] + channel + 10 * level
                group.create_dataset("Data", data=stored, chunks=(4, 4, 4), compression="gzip")
    np.testing.assert_array_equal(read_slice(tmp_path / "a.ims", "channel=1"), IMAGES[:8] + 1)
    np.testing.assert_array_equal(read_slice(tmp_path / "a.ims", "level=1,channel=0"), IMAGES[:4, :3] + 10)
    u = mb.load(tmp_path / "a.ims", channel=0, region=np.s_[2:4])
    np.testing.assert_array_equal(mb.gather_all(u), IMAGES[2:4])
    assert (u.grid.spacing, u.grid.origin, u.grid.units) == ((1.0, 1.0, 2.0), (2.0, 0.0, 0.0), "um")
    with pytest.raises(UsageError, match=r"has 2 of Channel .*channel=0 to 1"):
        inspect(str(tmp_path / "a.ims"))
    with pytest.raises(UsageError, match="another level"):
        inspect(str(tmp_path / "a.ims"), "level=2,channel=0")


def test_a_histogram_of_nexus() -> None:
    (path,) = packaged("nexusformat", "examples/chopper.nxs")
    with h5py.File(path) as file:
        right = file["entry/data/data"][...]
    np.testing.assert_array_equal(read_slice(path, None), right)
    np.testing.assert_array_equal(mb.gather_all(mb.load(path)), right)


def test_edges_of_bins_become_the_places_of_cells(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        file.attrs["default"] = "data"
        data = file.create_group("data")
        data.attrs.update({"NX_class": "NXdata", "signal": "counts", "axes": ["y", "x"]})
        data["counts"], data["y"], data["x"] = np.ones((6, 5)), 2.0 * np.arange(7), 0.5 * np.arange(5)
    grid = inspect(str(tmp_path / "a.nxs")).grid
    assert (grid["origin"], grid["spacing"]) == ((1.0, 0.0), (2.0, 0.5))
