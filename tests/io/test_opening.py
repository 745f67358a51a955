"""mpibatch.open: lazy arrays without MPI."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.base.errors import RunError, UsageError
from mpibatch.io.formats import Array, Selection, Source, read
from mpibatch.io.read import lazy_array
from mpibatch.io.read.indices import chosen
from tests.io.test_readers import CELLS, LINES, SERIES, TIMES, VOLUME, static, timed

if TYPE_CHECKING:
    from pathlib import Path

# Nothing of MPI is loaded, wherever it is looked for, and a preview reads what it shows and no more.
PROGRAM = """
import sys
sys.modules["mpi4py"] = None
import mpibatch
with mpibatch.open(sys.argv[1]) as file:
    print(sorted(file), float(file["u"][1:, ::2, -1].sum()))
"""


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return static(tmp_path_factory.mktemp("volume") / "volume.h5", VOLUME, attrs={"job": "text"})


def test_a_file_is_a_mapping(volume: Path) -> None:
    with mb.open(volume) as file:
        assert list(file) == sorted(VOLUME)
        assert (len(file), "u" in file, "x" in file, file.get("nothing")) == (5, True, False, None)
        assert (file.times, file.attrs["job"]) == (None, "text")
        u, v = file["u"], file["/flow/v.w"]
        assert (u.shape, u.dtype, u.ndim, u.size, u.nbytes, len(u)) == (CELLS, np.dtype("f4"), 3, 120, 480, 4)
        assert u.grid is not None
        assert (u.grid.axes, u.grid.spacing, u.grid.units, u.attrs) == (("z", "y", "x"), (0.5, 1.0, 2.0), "mm", {})
        assert (v.components, v.grid) == (1, u.grid)
        assert list(u.coords) == ["z", "y", "x"]
        np.testing.assert_array_equal(u.coords["x"], LINES["x"])
        np.testing.assert_array_equal(np.asarray(v), VOLUME["flow/v.w"])
        np.testing.assert_array_equal(np.add(u, 1, dtype="f8"), VOLUME["u"] + 1.0)
        for plane, expected in zip(u, VOLUME["u"], strict=True):
            np.testing.assert_array_equal(plane, expected)
        assert file["mask"].dtype == bool
        assert isinstance(u[1, 2, 3], np.float32)
    assert mb.open(f"{volume}::u").array()[3, 4, 5] == VOLUME["u"][3, 4, 5]


def test_a_series_has_times(tmp_path: Path) -> None:
    file = mb.open(timed(tmp_path / "a.h5", SERIES))
    w = file["w"]
    assert w.grid is not None
    assert (w.grid.axes, w.grid.shape, file["q"].components) == (("z", "y", "x"), CELLS, 1)
    np.testing.assert_array_equal(file.times, TIMES)
    np.testing.assert_array_equal(w.times, TIMES)
    np.testing.assert_array_equal(w.coords["time"], TIMES)
    np.testing.assert_array_equal(w[-1, ::2, ..., ::-2], SERIES["w"][-1, ::2, ..., ::-2])
    assert file["step"].times is None
    np.testing.assert_array_equal(mb.open(f"{tmp_path / 'a.h5'}::w").array().times, TIMES)
    assert mb.open(timed(tmp_path / "b.h5", SERIES, tables=False))["w"].times is None


part = st.one_of(
    st.integers(-4, 3), st.builds(slice, *[st.none() | st.integers(-7, 7)] * 2, st.sampled_from([None, 1, 3, -1, -2]))
)


@settings(derandomize=True, deadline=None, database=None, max_examples=200)
@given(st.lists(part, max_size=3), st.none() | st.integers(0, 3))
def test_indices_are_numpys(parts: list[Any], dots: int | None) -> None:
    array = np.arange(120).reshape(4, 5, 6)
    if dots is not None:
        parts.insert(dots, Ellipsis)
    wanted = chosen("a", array.shape, tuple(parts))
    assert all(s.step > 0 for s in wanted.selection)
    read = array[wanted.selection]
    assert read.shape == wanted.shape
    np.testing.assert_array_equal(wanted.of(read), array[tuple(parts)])


def test_what_cannot_be_had(volume: Path) -> None:
    file = mb.open(volume)
    with pytest.raises(KeyError) as unknown:
        file["nothing"]
    assert "has no dataset 'nothing'" in str(unknown.value)
    assert isinstance(unknown.value, UsageError)
    for index in (4, (0, 0, 0, 0), None, [0, 1], True, "u", (Ellipsis, Ellipsis), 1.0):
        with pytest.raises(UsageError):
            file["u"][index]
    with pytest.raises(UsageError, match="has 5 datasets; name one"):
        file.array()
    with pytest.raises(UsageError, match="axis 'w'"):
        file["u"].grid.coordinates("w")
    with pytest.raises(ValueError, match="copy"):
        np.array(file["u"], copy=False)
    file.close()
    with pytest.raises(UsageError, match="was closed"):
        file["u"]
    with pytest.raises(RunError, match="no such file"):
        mb.open("nothing.h5")


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    u = mb.open(static(tmp_path / "a.h5", {"u": VOLUME["u"]}))["u"]
    static(tmp_path / "b.h5", {"u": VOLUME["u"][::-1]}).replace(tmp_path / "a.h5")
    with pytest.raises(RunError, match="has changed"):
        u[0]


def test_hostile_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"12345678")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("out", (8,), "u1", external=[(str(tmp_path / "secret"), 0, 8)])
        file["far"] = h5py.ExternalLink("b.h5", "u")
        file["good"] = np.arange(3)
    found = mb.open(tmp_path / "a.h5")
    assert sorted(found) == ["good", "out"]
    with pytest.raises(UsageError, match="external storage"):
        found["out"]
    assert bytes(mb.open(tmp_path / "a.h5", allow=["external storage"])["out"][...]) == b"12345678"
    (tmp_path / "b.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:700])
    with pytest.raises(RunError):
        mb.open(tmp_path / "b.h5")


def test_other_formats(tmp_path: Path) -> None:
    array = VOLUME["u"].astype("u2")
    np.save(tmp_path / "a.npy", array)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", compression="zlib")
    for name in ("a.npy", "a.tif"):
        lazy = mb.open(tmp_path / name).array()
        assert (lazy.grid, lazy.times, lazy.coords) == (None, None, {})
        np.testing.assert_array_equal(lazy[1:3, ::2, ::-1], array[1:3, ::2, ::-1])


def test_a_preview_reads_only_its_cells(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counted(source: Source, selection: Selection, out: Array, at: Selection) -> None:
        sizes.append(out.size)
        read(source, selection, out, at)

    monkeypatch.setattr(lazy_array, "read", counted)
    u = mb.open(volume)["u"]
    assert sizes == []
    u[::2, ::2, ::2]
    assert sizes == [2 * 3 * 3]


def test_no_mpi_is_needed(volume: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(volume)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{sorted(VOLUME)} {float(VOLUME['u'][1:, ::2, -1].sum())}\n", done.stderr
