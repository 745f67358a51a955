"""Files that others wrote: which axis is which, what is missing, what the file says of its values."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.errors import MpibatchError, RunError
from mpibatch.io.formats import inspect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def whole(path: object, dataset: str | None = None, allow: Any = ()) -> np.ndarray:
    """Return all values as a reader gets them, in parts."""
    from mpibatch.io.formats import read

    source = inspect(str(path), dataset, allow)
    values = np.empty(source.shape, source.dtype)
    for row in range(source.shape[0]):
        selection = (slice(row, row + 1, 1), *(slice(0, n, 1) for n in source.shape[1:]))
        read(source, selection, values, selection)
    return values


# --- what is missing ----------------------------------------------------------------------------------------------


def virtual(path: Path, source: str, dataset: str = "u") -> None:
    with h5py.File(path, "w", libver="latest") as file:
        layout = h5py.VirtualLayout((4, 6), "i4")
        layout[:2] = h5py.VirtualSource(source, dataset, (2, 6), "i4")
        file.create_virtual_dataset("v", layout, fillvalue=-1)
        file["inner"] = np.ones((2, 6), "i4")


@pytest.mark.parametrize(
    ("source", "dataset", "allow", "words"),
    [
        ("gone.h5", "u", ("virtual datasets",), "'gone.h5' with its values is missing"),
        ("there.h5", "nothing", ("virtual datasets",), "dataset 'nothing' of 'there.h5' with its values is missing"),
        (".", "nothing", (), "dataset 'nothing' with its values is missing"),
        ("chain.h5", "v", ("virtual datasets",), "'gone.h5' with its values is missing"),
    ],
)
def test_virtual_datasets_without_their_source(
    tmp_path: Path, source: str, dataset: str, allow: tuple[str, ...], words: str
) -> None:
    with h5py.File(tmp_path / "there.h5", "w") as file:
        file["u"] = np.ones((2, 6), "i4")
    virtual(tmp_path / "chain.h5", "gone.h5")
    virtual(tmp_path / "a.h5", source, dataset)
    with pytest.raises(RunError, match=words):
        inspect(str(tmp_path / "a.h5"), "v", allow)
    assert (whole(tmp_path / "a.h5", "v", (*allow, "missing")) == -1).any()


def test_virtual_datasets_with_their_source(tmp_path: Path) -> None:
    virtual(tmp_path / "a.h5", ".", "inner")
    assert whole(tmp_path / "a.h5", "v").tolist() == [[1] * 6] * 2 + [[-1] * 6] * 2


@pytest.mark.parametrize(("nbytes", "words"), [(None, "is missing"), (40, "ends at byte 40 instead of 96")])
def test_values_in_a_file_that_is_gone_or_short(tmp_path: Path, nbytes: int | None, words: str) -> None:
    raw = tmp_path / "values.raw"
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("e", (4, 6), "i4", external=[(str(raw), 0, h5py.h5f.UNLIMITED)])
    if nbytes is not None:
        raw.write_bytes(bytes(nbytes))
    with pytest.raises(RunError, match=words):
        inspect(str(tmp_path / "a.h5"), "e", ("external storage",))
    raw.write_bytes(np.arange(24, dtype="i4").tobytes())
    assert whole(tmp_path / "a.h5", "e", ("external storage",))[3, 5] == 23


# --- what HDF5 files of others say ----------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("r", "i"), ("real", "imag"), ("re", "im"), ("Real", "Imag")])
@pytest.mark.parametrize("part", ["<f4", ">f8"])
def test_pairs_are_complex_numbers(tmp_path: Path, names: tuple[str, str], part: str) -> None:
    pairs = np.zeros((5, 4), [(name, part) for name in names])
    pairs[names[0]], pairs[names[1]] = np.arange(20).reshape(5, 4), 7
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["z"] = pairs
    values = whole(tmp_path / "a.h5")
    assert values.dtype == np.dtype("c8" if part == "<f4" else "c16")
    np.testing.assert_array_equal(values, np.arange(20).reshape(5, 4) + 7j)


def test_arrays_in_cells_are_components(tmp_path: Path) -> None:
    vectors = np.arange(60, dtype="f4").reshape(5, 4, 3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("w", (5, 4), np.dtype((np.float32, (3,))))[...] = vectors
    source = inspect(str(tmp_path / "a.h5"))
    assert (source.shape, source.components) == ((5, 4, 3), 1)
    np.testing.assert_array_equal(whole(tmp_path / "a.h5"), vectors)
    np.testing.assert_array_equal(mb.gather_all(mb.load(tmp_path / "a.h5")), vectors)


def test_what_nexus_shows_is_read_with_its_axes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs["default"] = "data"
        data = entry.create_group("data")
        data.attrs.update({"NX_class": "NXdata", "signal": "counts", "axes": ["y", "x"]})
        data["counts"] = np.ones((6, 5))
        data["y"], data["x"] = 10 + 2.0 * np.arange(6), 0.5 * np.arange(5)
        for name in ("y", "x"):
            data[name].attrs["units"] = "mm"
        entry["other"] = np.zeros(3)
    u = mb.load(tmp_path / "a.nxs")
    assert (u.grid.axes, u.grid.spacing, u.grid.origin, u.grid.units) == (("y", "x"), (2.0, 0.5), (10.0, 0.0), "mm")


def test_netcdf_axes_are_taken_and_scaling_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    netCDF4 = pytest.importorskip("netCDF4")
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        for name, length, step in (("lat", 6, 0.5), ("lon", 5, 0.25)):
            file.createDimension(name, length)
            file.createVariable(name, "f8", (name,))[:] = step * np.arange(length)
            file[name].units = "degrees"
        file.createVariable("t2m", "i2", ("lat", "lon"), fill_value=-999)
        file["t2m"].scale_factor = 0.1
        file["t2m"][:] = 3.0
    with caplog.at_level("WARNING", "mpibatch"):
        u = mb.load(tmp_path / "a.nc", "t2m")
    assert (u.grid.axes, u.grid.spacing, u.grid.units) == (("lat", "lon"), (0.5, 0.25), "degrees")
    assert "scale_factor = 0.1" in caplog.text
    assert "not applied" in caplog.text
    assert u.dtype == np.int16


def family(folder: Path) -> str:
    with h5py.File(folder / "f-%05d.h5", "w", driver="family", memb_size=4096) as file:
        file["u"] = np.arange(5000.0)
    return "f-00000.h5"


def split(folder: Path) -> str:
    with h5py.File(folder / "s", "w", driver="split") as file:
        file["u"] = np.arange(5000.0)
    return "s-m.h5"


def dangling(folder: Path) -> str:
    with h5py.File(folder / "d.h5", "w") as file:
        file["u"], file["other"] = h5py.SoftLink("/nothing"), np.ones(3)
    return "d.h5::u"


def gone_link(folder: Path) -> str:
    with h5py.File(folder / "e.h5", "w") as file:
        file["u"] = h5py.ExternalLink("nowhere.h5", "/x")
    return "e.h5::u"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (family, "driver family; the next is 'f-00001.h5'"),
        (split, "driver split"),
        (dangling, "link to 'nothing', which does not exist"),
        (gone_link, "link to '/x' of the file 'nowhere.h5'"),
    ],
)
def test_sound_files_are_not_called_damaged(tmp_path: Path, make: Callable[[Path], str], words: str) -> None:
    name = make(tmp_path)
    with pytest.raises(MpibatchError, match=words) as raised:
        inspect(f"{tmp_path}/{name}", None, ("external links",))
    assert "damaged" not in str(raised.value)


WRITER = """
import sys, h5py
file = h5py.File(sys.argv[1], "w", libver="latest")
file.create_dataset("u", data=[1.0, 2.0], maxshape=(None,), chunks=(2,))
if sys.argv[2] == "swmr":
    file.swmr_mode = True
file.flush()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("how", "words"), [("swmr", "SWMR"), ("plain", "open for writing and locked")])
def test_files_that_are_being_written(tmp_path: Path, how: str, words: str) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "a.h5"), how]
    environment = {**os.environ, "HDF5_USE_FILE_LOCKING": "TRUE"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(RunError, match=words) as raised:
            inspect(str(tmp_path / "a.h5"))
        assert "damaged" not in str(raised.value)
        writer.communicate()


def test_the_child_tells_all_that_was_found(tmp_path: Path) -> None:
    """What a process of its own looks into arrives as what was looked at here."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = np.ones((4, 5), [("real", "f8"), ("imag", "f8")])
        file["u"].attrs["scale_factor"] = 2.0
    from mpibatch.io.read.inspector import inspect_safely

    assert inspect_safely(str(tmp_path / "a.h5"), None) == inspect(str(tmp_path / "a.h5"))
    assert json.dumps(inspect(str(tmp_path / "a.h5")).notes)
