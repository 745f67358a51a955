"""Files of ours in the hands of other programs' readers, which find the data where their conventions say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from mpibatch.io import describe, digest, file_attributes, read_slice
from mpibatch.io.conventions import netcdf, openpmd
from mpibatch.io.formats import inspect
from mpibatch.io.write.layout import Dataset, complete, create, slices

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# They warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")

TIMES, STEPS = np.array([0.0, 0.5, 1.5]), np.array([0, 10, 15])
ORIGIN, SPACING = (1.0, 2.0, 3.0), (0.5, 1.0, 2.0)
CELLS = (4, 5, 6)
LINES = {axis: ORIGIN[n] + SPACING[n] * np.arange(CELLS[n]) for n, axis in enumerate("zyx")}

VOLUME = {
    "c": np.arange(120, dtype="c8").reshape(CELLS) * (1 + 2j),
    "flow/v.w": np.arange(360, dtype="f8").reshape(*CELLS, 3),
    "mask": np.arange(120).reshape(CELLS) % 3 == 0,
    "tensor": np.arange(1080, dtype="f4").reshape(*CELLS, 3, 3),
    "u": np.arange(120, dtype="f4").reshape(CELLS),
}
PICTURE = {
    "gray": np.arange(30, dtype="u2").reshape(5, 6),
    "mask": np.arange(30).reshape(5, 6) > 7,
    "rgb": np.arange(90, dtype="u1").reshape(5, 6, 3),
}
SERIES = {"q": np.arange(720, dtype="f8").reshape(3, *CELLS, 2), "w": np.arange(360, dtype="f4").reshape(3, *CELLS)}


def geometry(axes: str, timed: bool = False) -> dict[str, Any]:
    front = (0.0,) * timed
    return {
        "grid_axes": ["t"] * timed + list(axes),
        "grid_origin": np.array(front + ORIGIN[-len(axes) :]),
        "grid_periodic": np.zeros(timed + len(axes), "i1"),
        "grid_spacing": np.array((1.0,) * timed + SPACING[-len(axes) :]),
        "grid_units": "mm",
    }


def fill(path: Path, place: int, values: np.ndarray) -> None:
    with path.open("rb+") as file:
        file.seek(place)
        file.write(np.ascontiguousarray(values).tobytes())


def static(
    path: Path, values: Mapping[str, np.ndarray], axes: Mapping[str, str] | str = "zyx", attrs: Any = None
) -> Path:
    """What the direct driver does, on one rank and without MPI."""
    names = sorted(values)
    letters = {name: axes if isinstance(axes, str) else axes[name] for name in names}
    plans = [Dataset(n, values[n].shape, values[n].dtype.str, geometry(letters[n])) for n in names]
    for plan, place in zip(plans, create(str(path), plans, attrs or {}), strict=True):
        fill(path, place, values[plan.name])
    return path


def timed(path: Path, values: Mapping[str, np.ndarray], axes: str = "zyx", tables: bool = True) -> Path:
    """The same for a series."""
    names, count = sorted(values), len(next(iter(values.values())))
    about = geometry(axes, timed=True)
    plans = [
        Dataset(n, (0, *values[n].shape[1:]), values[n].dtype.str, about, (1, *values[n].shape[1:])) for n in names
    ]
    create(str(path), plans, {})
    for name, places in zip(names, slices(str(path), names, 0, count + 2), strict=True):
        for n in range(count):
            fill(path, places[n][0], values[name][n])
    rows = np.arange(5.0)
    extra = {"time": TIMES, "step": STEPS, "diagnostics/time": rows, "diagnostics/mass": rows}
    small = [(Dataset(n, v.shape, v.dtype.str), v) for n, v in sorted(extra.items())] if tables else []
    complete(str(path), names, count, small)
    return path


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return static(tmp_path_factory.mktemp("volume") / "volume.h5", VOLUME, attrs={"job": "text"})


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return static(tmp_path_factory.mktemp("picture") / "picture.h5", PICTURE, "yx")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return timed(tmp_path_factory.mktemp("series") / "series.h5", SERIES)


# --- VTK and ParaView -------------------------------------------------------------------------------------------


def vtk_image(path: Path, step: int = 0) -> tuple[Any, dict[str, np.ndarray]]:
    """The image and its point data, at one of the times."""
    hdf = pytest.importorskip("vtkmodules.vtkIOHDF", reason="vtk is not installed: ParaView's files are NOT TESTED")
    from vtkmodules.util.numpy_support import vtk_to_numpy

    reader, errors = hdf.vtkHDFReader(), []
    reader.AddObserver("ErrorEvent", lambda *_: errors.append("error"))
    reader.SetFileName(str(path))
    reader.SetStep(step)
    reader.Update()
    assert not errors
    image = reader.GetOutput()
    data = image.GetPointData()
    arrays = [data.GetArray(n) for n in range(data.GetNumberOfArrays())]
    if reader.GetNumberOfSteps() > 1:
        assert reader.GetTimeValue() == TIMES[step]
    return image, {a.GetName(): vtk_to_numpy(a) for a in arrays}


def test_vtk_reads_a_volume(volume: Path) -> None:
    image, arrays = vtk_image(volume)
    assert image.GetDimensions() == CELLS[::-1]
    assert image.GetSpacing() == SPACING[::-1]
    assert image.GetOrigin() == ORIGIN[::-1]
    assert sorted(arrays) == ["flow_v_w", "mask", "tensor", "u"]
    np.testing.assert_array_equal(arrays["u"], VOLUME["u"].ravel())
    np.testing.assert_array_equal(arrays["flow_v_w"], VOLUME["flow/v.w"].reshape(-1, 3))
    np.testing.assert_array_equal(arrays["tensor"].reshape(-1), VOLUME["tensor"].reshape(-1))
    np.testing.assert_array_equal(arrays["mask"], VOLUME["mask"].ravel())
    assert image.GetPointData().GetScalars().GetName() == "u"


def test_vtk_reads_a_picture(picture: Path, tmp_path: Path) -> None:
    image, arrays = vtk_image(picture)
    assert (image.GetDimensions(), image.GetSpacing()) == ((6, 5, 1), (2.0, 1.0, 1.0))
    np.testing.assert_array_equal(arrays["gray"], PICTURE["gray"].ravel())
    np.testing.assert_array_equal(arrays["rgb"], PICTURE["rgb"].reshape(-1, 3))
    # Volumes of one plane, and lines
    thin = np.arange(24, dtype="f4").reshape(4, 1, 6)
    image, arrays = vtk_image(static(tmp_path / "thin.h5", {"u": thin}))
    assert image.GetDimensions() == (6, 1, 4)
    np.testing.assert_array_equal(arrays["u"], thin.ravel())
    image, arrays = vtk_image(static(tmp_path / "line.h5", {"u": thin[0, 0]}, "x"))
    np.testing.assert_array_equal(arrays["u"], thin[0, 0])


def test_vtk_reads_a_series(series: Path, tmp_path: Path) -> None:
    flat = timed(tmp_path / "flat.h5", {"w": SERIES["w"][:, 0]}, "yx")
    for step in range(3):
        image, arrays = vtk_image(series, step)
        assert image.GetDimensions() == CELLS[::-1]
        np.testing.assert_array_equal(arrays["w"], SERIES["w"][step].ravel())
        np.testing.assert_array_equal(arrays["q"], SERIES["q"][step].reshape(-1, 2))
        np.testing.assert_array_equal(vtk_image(flat, step)[1]["w"], SERIES["w"][step, 0].ravel())


# --- netCDF and xarray ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [None, "h5netcdf", "netcdf4"])
def test_xarray(volume: Path, picture: Path, series: Path, engine: Any) -> None:
    xarray = pytest.importorskip("xarray", reason="xarray is not installed: its view of files is NOT TESTED")
    if engine:
        pytest.importorskip({"netcdf4": "netCDF4"}.get(engine, engine), reason=f"{engine} is not installed")
    with xarray.open_dataset(volume, engine=engine) as data:
        assert data["u"].dims == ("z", "y", "x")
        np.testing.assert_array_equal(data["u"], VOLUME["u"])
        np.testing.assert_array_equal(data["mask"], VOLUME["mask"])
        np.testing.assert_array_equal(data["tensor"], VOLUME["tensor"])
        for axis, line in LINES.items():
            np.testing.assert_array_equal(data.coords[axis], line)
            assert (data[axis].attrs["units"], data[axis].attrs["axis"]) == ("mm", axis.upper())
        assert data["u"].sel(z=1.5, x=13).shape == (5,)
    with xarray.open_dataset(volume, group="flow", engine=engine) as data:
        np.testing.assert_array_equal(data["v.w"], VOLUME["flow/v.w"])
    with xarray.open_dataset(picture, engine=engine) as data:
        assert data["rgb"].dims == ("y", "x", "component")
        np.testing.assert_array_equal(data["rgb"], PICTURE["rgb"])
    with xarray.open_dataset(series, engine=engine) as data:
        assert data["w"].dims == ("time", "z", "y", "x")
        np.testing.assert_array_equal(data["w"].sel(time=0.5), SERIES["w"][1])
        np.testing.assert_array_equal(data["step"], STEPS)
        np.testing.assert_array_equal(data.coords["time"], TIMES)
    with xarray.open_dataset(series, group="diagnostics", engine=engine) as data:
        assert data["mass"].dims == ("time",)


def test_netcdf(volume: Path, series: Path, tmp_path: Path) -> None:
    library = pytest.importorskip("netCDF4", reason="netCDF4 is not installed: its view of files is NOT TESTED")
    with library.Dataset(volume) as data:
        assert data["u"].dimensions == ("z", "y", "x")
        assert data["flow"]["v.w"].dimensions == ("z", "y", "x", "component")
        assert data.Conventions.startswith("CF-")
        assert list(data["u"].grid_periodic) == [0, 0, 0]
        np.testing.assert_array_equal(data["u"][1], VOLUME["u"][1])
    copy = shutil.copy(series, tmp_path / "more.h5")
    with library.Dataset(copy, "a") as data:
        data.createVariable("new", "f4", ("time",))[:] = [1, 2, 3]
    with h5py.File(copy) as file:
        np.testing.assert_array_equal(file["new"], [1, 2, 3])
        np.testing.assert_array_equal(file["w"], SERIES["w"])


# --- NeXus and openPMD ------------------------------------------------------------------------------------------


def test_nexus(volume: Path, picture: Path, series: Path) -> None:
    nexus = pytest.importorskip(
        "nexusformat.nexus", reason="nexusformat is not installed: NeXus readers are NOT TESTED"
    )
    tree = nexus.nxload(str(volume))
    assert tree.get_default().nxpath == "/entry/data"
    plot = tree["entry/data"]
    np.testing.assert_array_equal(plot["u"], VOLUME["u"])
    assert [axis.nxname for axis in plot.nxaxes] == ["z", "y", "x"]
    np.testing.assert_array_equal(plot.nxaxes[2], LINES["x"])
    assert (plot.attrs["signal"], list(plot.attrs["auxiliary_signals"])) == ("u", ["c", "mask"])
    assert {tree[f"entry/data_{n}"].attrs["signal"] for n in (2, 3)} == {"flow_v_w", "tensor"}
    np.testing.assert_array_equal(nexus.nxload(str(picture))["entry/data"].nxsignal, PICTURE["gray"])
    plot = nexus.nxload(str(series))["entry/data"]
    assert list(plot.attrs["axes"]) == ["time", "z", "y", "x"]
    np.testing.assert_array_equal(plot.nxaxes[0], TIMES)
    np.testing.assert_array_equal(plot.nxsignal, SERIES["w"])


def meshes(path: Path) -> dict[tuple[int, str, str], tuple[Any, np.ndarray]]:
    library = pytest.importorskip("openpmd_api", reason="openpmd-api is not installed: openPMD is NOT TESTED")
    run = library.Series(str(path), library.Access.read_only)
    found = {}
    for number, iteration in run.iterations.items():
        for name, mesh in iteration.meshes.items():
            for part, component in mesh.items():
                values = component.load_chunk()
                run.flush()
                about = (mesh.axis_labels, mesh.grid_spacing, mesh.grid_global_offset, mesh.grid_unit_SI)
                found[number, name, part.strip("\v")] = (iteration.time, *about), values
    return found


def test_openpmd(volume: Path, series: Path) -> None:
    found = meshes(volume)
    assert {name for _, name, _ in found} == {"c", "flow_v_w", "mask", "u"}
    about, values = found[0, "u", "Scalar"]
    assert about == (0.0, ["z", "y", "x"], list(SPACING), list(ORIGIN), 1e-3)
    np.testing.assert_array_equal(values, VOLUME["u"])
    np.testing.assert_array_equal(found[0, "c", "Scalar"][1], VOLUME["c"])
    np.testing.assert_array_equal(found[0, "mask", "Scalar"][1], VOLUME["mask"])
    np.testing.assert_array_equal(found[0, "flow_v_w", "2"][1], VOLUME["flow/v.w"][..., 2])
    found = meshes(series)
    assert len(found) == 9
    for n, step in enumerate(STEPS):
        about, values = found[step, "w", "Scalar"]
        assert about[0] == TIMES[n]
        np.testing.assert_array_equal(values, SERIES["w"][n])
        np.testing.assert_array_equal(found[step, "q", "1"][1], SERIES["q"][n, ..., 1])


def test_openpmd_validator(volume: Path, picture: Path, series: Path) -> None:
    pytest.importorskip("openpmd_validator", reason="openpmd-validator is not installed: NOT TESTED")
    for path in (volume, picture, series):
        command = [sys.executable, "-m", "openpmd_validator.check_h5", "-i", str(path)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert "Result: 0 Errors" in done.stdout, done.stdout + done.stderr


# --- tools ------------------------------------------------------------------------------------------------------


def tool(name: str, *words: object) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on the PATH: NOT TESTED with it (Debian: hdf5-tools, netcdf-bin)")
    done = subprocess.run([found, *map(str, words)], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_h5dump(volume: Path, series: Path) -> None:
    assert tool("h5dump", "-H", volume).count("HARDLINK") >= len(VOLUME)
    assert "(0): 0, 0.5, 1.5" in tool("h5dump", "-d", "/time", series)


def test_ncdump(volume: Path, series: Path) -> None:
    assert "float u(z, y, x) ;" in tool("ncdump", "-h", volume)
    text = tool("ncdump", series)
    assert "float w(time, z, y, x) ;" in text
    assert " time = 0, 0.5, 1.5 ;" in text


# --- what our own readers see -----------------------------------------------------------------------------------


def test_views_are_not_listed(volume: Path, series: Path) -> None:
    assert [info.name for info in describe(volume)] == sorted(VOLUME)
    tables = ["diagnostics/mass", "diagnostics/time", "q", "step", "time", "w"]
    assert [info.name for info in describe(series)] == tables
    assert sorted(file_attributes(volume)) == ["job", "mpibatch_layout"]
    assert set(describe(volume)[-1].attrs) == set(geometry("zyx"))
    # But they can be read by name.
    np.testing.assert_array_equal(read_slice(volume, "x"), LINES["x"])
    assert digest(volume, "VTKHDF/PointData/u") == digest(volume, "u") == digest(volume, "data/0/meshes/u")


def test_the_only_dataset_is_found(tmp_path: Path) -> None:
    assert inspect(str(static(tmp_path / "a.h5", {"u": VOLUME["u"]}))).dataset == "u"


def test_data_are_stored_once(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((64, 64, 64))
    path = static(tmp_path / "a.h5", {"u": values, "mask": values > 0.5})
    assert path.stat().st_size < values.nbytes + values.size + 32768
    path = timed(tmp_path / "b.h5", {"u": np.stack([values] * 3)})
    assert path.stat().st_size < 5 * values.nbytes + 65536  # room was made for two more
    with h5py.File(path) as file:
        assert file["VTKHDF/PointData/u"] == file["u"] == file["entry/data/u"]
        assert file["data/10/meshes/u"].is_virtual


def test_equal_data_give_equal_bytes(tmp_path: Path) -> None:
    for make, values in ((static, VOLUME), (timed, SERIES)):
        first, second = (make(tmp_path / f"{make.__name__}{n}.h5", values) for n in range(2))
        assert first.read_bytes() == second.read_bytes()


# --- where conventions and users meet ---------------------------------------------------------------------------


def test_the_users_names_go_before(tmp_path: Path) -> None:
    volume, plane = VOLUME["u"], PICTURE["gray"]
    values = {"VTKHDF": volume, "data/raw": plane, "entry": plane, "x": plane}
    axes = {"VTKHDF": "zyx", "data/raw": "yx", "entry": "yx", "x": "yx"}
    path = static(tmp_path / "a.h5", values, axes, {"Conventions": "mine", "default": "x"})
    assert [info.name for info in describe(path)] == sorted(values)
    with h5py.File(path) as file:
        assert set(file) == {"VTKHDF", "data", "entry", "x", "x_2", "y", "z"}
        assert (file.attrs["Conventions"], file.attrs["default"], "openPMD" in file.attrs) == ("mine", "x", False)
        np.testing.assert_array_equal(file["x"], plane)
        assert file["x"].dims[1][0] == file["x_2"]


def test_axes_that_differ_get_scales_of_their_own(tmp_path: Path) -> None:
    small, large = np.zeros((3, 4)), np.ones((5, 4))
    pair = np.zeros((3, 4, 2, 2))
    path = static(tmp_path / "a.h5", {"a/u": small, "a_u": large, "b": small, "p": pair}, "yx")
    with h5py.File(path) as file:
        for name, scales in {"a/u": "y x", "a_u": "y_2 x", "b": "y x", "p": "y x component component_2"}.items():
            assert [axis[0] for axis in file[name].dims] == [file[scale] for scale in scales.split()]
        # Names that are one without their slashes; and only the largest grid is an image
        assert list(file["VTKHDF/PointData"]) == ["a_u_2"]
        assert set(file["data/0/meshes"]) == {"a_u", "a_u_2", "b"}


def test_awkward_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netcdf, "COORDINATES", 10)
    long = np.ones((3, 11))
    values = {"empty": np.zeros((4, 0)), "long": long, "one": np.zeros((1, 1)), "50%": long > 0}
    path = static(tmp_path / "a.h5", values, "yx")
    with h5py.File(path) as file:
        assert not file["empty"].dims[0]
        # An axis with more cells than that has a dimension without coordinates, which takes no room.
        assert file["long"].dims[1][0].id.get_storage_size() == 0
        assert list(file["entry/data"].attrs["axes"]) == ["y", "."]
        assert file["VTKHDF/PointData/_50_"][...].all()
    assert [info.name for info in describe(path)] == sorted(values)
    # Nothing that VTK could show
    with h5py.File(static(tmp_path / "b.h5", {"c": VOLUME["c"]})) as file:
        assert "VTKHDF" not in file


def test_a_series_without_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(timed(tmp_path / "a.h5", SERIES, tables=False)) as file:
        assert list(file["data"]) == ["0", "1", "2"]
        np.testing.assert_array_equal(file["VTKHDF/Steps/Values"], [0, 1, 2])
        assert file["VTKHDF/Steps"].attrs["NSteps"] == 3
        assert list(file["entry/data"].attrs["axes"]) == [".", "z", "y", "x"]
    monkeypatch.setattr(openpmd, "MOST", 8)
    with h5py.File(timed(tmp_path / "b.h5", SERIES)) as file:
        assert "data" not in file
        assert "openPMD" not in file.attrs
