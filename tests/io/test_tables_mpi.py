"""Tables in files: the same bytes on any ranks, the same rows again, and together in failure."""

from __future__ import annotations

import csv
import hashlib
import math
import sys
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pyarrow.parquet
import pytest

import mpibatch as mb
from mpibatch.io import describe
from mpibatch.io.write.tables import csv_text, parquet
from mpibatch.measure import RegionTable
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.mpi
WORLD = MPI.COMM_WORLD
DTYPES = {"label": "i8", "area": "f8", "centroid-0": "f4", "mask": "?", "small": "u1"}


def shares(rows: int, comm: Any, seed: int) -> list[int]:
    """Where each rank's rows begin, and the end: uneven, and some ranks with none."""
    rng = np.random.default_rng(seed)
    return [0, *sorted(rng.integers(0, rows + 1, comm.size - 1).tolist()), rows]


def columns_of(rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(rows)
    whole = {name: (rng.random(rows) * 200).astype(dtype) for name, dtype in DTYPES.items()}
    whole["area"][::3] = [math.nan, math.inf, -0.0, 1e300, 0.1][rows % 5]
    return whole


def table_of(rows: int, comm: Any, seed: int = 0) -> RegionTable:
    ends = shares(rows, comm, seed)
    part = slice(ends[comm.rank], ends[comm.rank + 1])
    columns = {name: column[part] for name, column in columns_of(rows).items()}
    return RegionTable(comm, columns, {"spacing": (1.0, 2.0), "of": "é"})


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("rows", [0, 1, 7, 1000])
def test_the_bytes_do_not_depend_on_ranks(mpi_tmp_path: Path, rows: int) -> None:
    files = []
    for name, comm in (("all", WORLD), ("alone", MPI.COMM_SELF)):
        folder = mpi_tmp_path / (name if comm is WORLD else f"{name}-{WORLD.rank}")
        if comm.rank == 0:
            folder.mkdir()
        comm.Barrier()
        table = table_of(rows, comm, rows)
        u = mb.Grid((4, 6), comm=comm).from_function(lambda y, x: y + x)
        mb.save(folder / "t.h5", {"sub/regions": table}, u=u, dataset_attrs={"sub/regions": {"objects": rows}})
        table.to_csv(folder / "t.csv")
        table.to_parquet(folder / "t.parquet")
        comm.Barrier()
        files.append([digest(folder / f"t.{end}") for end in ("h5", "csv", "parquet")])
        assert not mb.io.verify(folder / "t.h5", comm).broken
    assert files[0] == files[1]


@pytest.mark.parametrize("rows", [0, 1, 7, 1000])
def test_what_is_saved_is_read_again(mpi_tmp_path: Path, rows: int) -> None:
    table, whole = table_of(rows, WORLD), columns_of(rows)
    path = mpi_tmp_path / "t.h5"
    mb.save(path, table=table)
    again = mb.load(path)
    assert isinstance(again, RegionTable)
    assert (again.rows, again.attrs, list(again)) == (rows, {"of": "é", "spacing": [1.0, 2.0]}, list(DTYPES))
    assert max(WORLD.allgather(len(again["label"]))) == -(-rows // WORLD.size)
    for name, column in again.gather().items():
        assert column.dtype == np.dtype(DTYPES[name])
        np.testing.assert_array_equal(column, whole[name])
    with h5py.File(path) as file:  # as others see it
        assert list(file["table"].attrs["table_columns"]) == list(DTYPES)
        np.testing.assert_array_equal(file["table/area"][:], whole["area"])
    columns = mb.open(path).table()
    assert list(columns) == list(DTYPES)
    for name, lazy in columns.items():
        assert (lazy.shape, lazy.dtype) == ((rows,), np.dtype(DTYPES[name]))
        np.testing.assert_array_equal(lazy[:], whole[name])
    with pytest.raises(mb.UsageError, match="did you mean 'table'"):
        mb.open(path).table("tabel")
    assert {info.name for info in describe(f"{path}::table")} == {f"table/{name}" for name in DTYPES}


@pytest.mark.parametrize("rows", [0, 5])
def test_a_table_of_one_column_and_what_it_tells_come_back(mpi_tmp_path: Path, rows: int) -> None:
    part = slice(rows * WORLD.rank // WORLD.size, rows * (WORLD.rank + 1) // WORLD.size)
    attrs = {"long": list(range(100)), "limits": [-math.inf, 0.5], "name": "é"}
    mb.save(mpi_tmp_path / "t.h5", t=RegionTable(WORLD, {"label": np.arange(rows)[part]}, attrs))
    again = mb.load(mpi_tmp_path / "t.h5")
    assert isinstance(again, RegionTable)
    assert (again.rows, again.attrs) == (rows, attrs)
    np.testing.assert_array_equal(again.gather()["label"], np.arange(rows))


def test_text_and_parquet_have_all_digits(mpi_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_text, "ROWS", 3)
    monkeypatch.setattr(parquet, "GROUP", 5)
    whole = columns_of(23)
    table = table_of(23, WORLD, 5)
    table.to_csv(mpi_tmp_path / "t.csv")
    table.to_parquet(mpi_tmp_path / "t.parquet")
    WORLD.Barrier()
    with (mpi_tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    file_of = pyarrow.parquet.ParquetFile(mpi_tmp_path / "t.parquet")
    assert [file_of.metadata.row_group(n).num_rows for n in range(5)] == [5, 5, 5, 5, 3]
    stored = file_of.read().to_pydict()
    for name, dtype in DTYPES.items():
        texts = [row[name] for row in rows]
        read = [text == "True" for text in texts] if dtype == "?" else texts
        np.testing.assert_array_equal(np.array(read).astype(dtype), whole[name])
        np.testing.assert_array_equal(np.array(stored[name], dtype), whole[name])


def test_a_table_of_regions_tells_of_its_grid(mpi_tmp_path: Path) -> None:
    grid = mb.Grid((9, 8), spacing=0.5, units="mm")
    labels, n = mb.label(grid.from_function(lambda y, x: (y % 3 > 0) & (x % 4 > 0)))
    table = mb.regionprops_table(labels, properties=("label", "centroid"), spacing=0.5)
    mb.save(mpi_tmp_path / "t.h5", table=table, labels=labels)
    again = mb.load(mpi_tmp_path / "t.h5", "table")
    assert again.rows == n
    assert [again.attrs[name] for name in ("grid_units", "spacing", "grid_axes")] == ["mm", [0.5, 0.5], ["y", "x"]]


def test_refusals(mpi_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, grid = table_of(7, WORLD), mb.Grid((4, 6))
    mb.save(mpi_tmp_path / "t.h5", table=table, u=grid.zeros())
    for name, column, message in (
        ("text", np.array(["a"] * 3), "give numbers of one axis"),
        ("a/b", np.zeros(3), "name it without /"),
        ("flat", np.zeros((3, 2)), "2 axes"),
    ):
        with pytest.raises(mb.UsageError, match=message):
            mb.save(mpi_tmp_path / "bad.h5", table=RegionTable(WORLD, {name: column}))
    with pytest.raises(mb.UsageError, match="no columns"):
        mb.save(mpi_tmp_path / "bad.h5", table=RegionTable(WORLD, {}))
    with pytest.raises(mb.UsageError, match="the first would be dataset and group"):
        mb.save(mpi_tmp_path / "bad.h5", {"table/area": grid.zeros(), "table/area/x": grid.zeros(), "table": table})
    with pytest.raises(mb.UsageError, match="table/area twice"):
        mb.save(mpi_tmp_path / "bad.h5", {"table/area": grid.zeros(), "table": table})
    with pytest.raises(mb.UsageError, match="with components="):
        mb.load(mpi_tmp_path / "t.h5", "table", components=1)
    with pytest.raises(mb.UsageError, match="another communicator"):
        mb.save(mpi_tmp_path / "bad.h5", u=grid.zeros(), table=table_of(3, MPI.COMM_SELF))
    with pytest.raises(mb.UsageError, match=" with halo="):
        mb.load(mpi_tmp_path / "t.h5", "table", halo=1)
    with pytest.raises(mb.UsageError, match=r"name a column, as in .*table/label"):
        mb.io.read_slice(mpi_tmp_path / "t.h5", "table")
    with pytest.raises(mb.RunError, match="no folder"):
        table.to_csv(mpi_tmp_path / "nowhere" / "t.csv")
    with pytest.raises(mb.RunError, match="overwrite=False"):
        table.to_csv(mpi_tmp_path / "t.h5", overwrite=False)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(mb.UsageError, match=r"pip install 'mpibatch\[parquet\]'"):
        table.to_parquet(mpi_tmp_path / "t.parquet")
    WORLD.Barrier()
    assert sorted(path.name for path in mpi_tmp_path.iterdir()) == ["t.h5"]


def test_columns_that_lie_scattered_or_are_of_rare_types(mpi_tmp_path: Path) -> None:
    """On a rank with one row they do not."""
    count = 1 if WORLD.rank == 0 else 4
    for dtype in ("f2", ">i4", ">f8", "u8", "?"):
        table = RegionTable(WORLD, {"a": np.arange(2 * count).astype(dtype)[::2]})
        whole = np.concatenate([np.arange(0, 2 * n, 2) for n in WORLD.allgather(count)]).astype(dtype)
        column = table.gather()["a"]
        assert column.dtype == whole.dtype
        np.testing.assert_array_equal(column, whole)
        table.to_csv(mpi_tmp_path / "t.csv")
        if dtype == "f2":
            table.to_parquet(mpi_tmp_path / "t.parquet")
            WORLD.Barrier()
            stored = pyarrow.parquet.read_table(mpi_tmp_path / "t.parquet")
            np.testing.assert_array_equal(stored["a"].to_numpy(), whole)
        WORLD.Barrier()


def test_what_pyarrow_refuses_leaves_no_rank_behind(mpi_tmp_path: Path) -> None:
    """Columns so long that a rank cannot get rid of them unless they are received."""
    swapped = RegionTable(WORLD, {"a": np.arange(40000, dtype=">f8")})
    with pytest.raises(mb.RunError, match=r"(?i)swapped"):
        swapped.to_parquet(mpi_tmp_path / "t.parquet")
    assert not list(mpi_tmp_path.iterdir())
    WORLD.Barrier()
    RegionTable(WORLD, {"a": np.full(3, WORLD.rank)}).to_parquet(mpi_tmp_path / "t.parquet")
    WORLD.Barrier()
    stored = pyarrow.parquet.read_table(mpi_tmp_path / "t.parquet")["a"].to_pylist()
    assert stored == np.repeat(np.arange(WORLD.size), 3).tolist()


def test_columns_of_other_lengths_on_one_rank() -> None:
    longer = 1 if WORLD.rank == WORLD.size - 1 else 0
    with pytest.raises(mb.UsageError, match="on 1 of the ranks these are not equally long"):
        RegionTable(WORLD, {"a": np.zeros(3), "b": np.zeros(3 + longer)})


@pytest.mark.mpi(min_size=2)
def test_ranks_with_other_columns() -> None:
    """They are found out when the table is made: later they would send one another other numbers of bytes."""
    is_last = WORLD.rank == WORLD.size - 1
    a, b = np.zeros(3), np.zeros(3, "i8")
    for mine, others in (
        ({}, {"a": a}),
        ({"b": b, "a": a}, {"a": a, "b": b}),
        ({"a": b}, {"a": a}),
        ({"a": a[:0].astype("f4")}, {"a": a}),
    ):
        with pytest.raises(mb.UsageError, match="ranks differ"):
            RegionTable(WORLD, mine if is_last else others)
    for bad in (np.zeros((3, 2)), np.array([None] * 3), np.array(["x"] * 3)):
        with pytest.raises(mb.UsageError, match=r"ranks differ|numbers of one axis"):
            RegionTable(WORLD, {"a": bad if is_last else a})


def test_fits_tables(shared_tmp: Path) -> None:
    fits = pytest.importorskip("astropy.io.fits", reason="astropy is not installed: FITS is NOT TESTED")
    comm, rng = MPI.COMM_WORLD, np.random.default_rng(2)
    bits = rng.integers(0, 256, (11, 16), "u1")
    kinds = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "c16")
    whole = {f"col-{kind.strip('?')}": _column(bits, kind) for kind in kinds}
    cut = 11 * comm.rank // comm.size, 11 * (comm.rank + 1) // comm.size
    table = RegionTable(comm, {name: column[slice(*cut)] for name, column in whole.items()})
    u = mb.Grid((3, 4)).from_function(lambda y, x: y + x)
    mb.save(shared_tmp / "a.fits", {"table": table, "image": u}, attrs={"object": "M13"})
    table.to_fits(shared_tmp / "cells.part1")
    alone = RegionTable(MPI.COMM_SELF, whole)
    if comm.rank == 0:
        alone.to_fits(shared_tmp / "alone.part1")
        first, second = ((shared_tmp / f"{name}.part1").read_bytes() for name in ("cells", "alone"))
        assert first.replace(b"cells", b"alone") == second
        with fits.open(shared_tmp / "a.fits") as file:
            file.verify("exception")
            assert (file[0].header["OBJECT"], [unit.name for unit in file]) == ("M13", ["PRIMARY", "image", "table"])
            for name, column in whole.items():
                read = file["TABLE"].data[name]
                assert read.astype(column.dtype).tobytes() == column.tobytes(), name
    comm.barrier()
    with pytest.raises(mb.UsageError, match="FITS has no float16"):
        RegionTable(comm, {"x": np.zeros(3, "f2")}).to_fits(shared_tmp / "b.fits")
    with pytest.raises(mb.UsageError, match="NIfTI has no tables"):
        mb.save(shared_tmp / "b.nii", table=table)
    RegionTable(comm, {"x": np.zeros(0)}).to_fits(shared_tmp / "empty.fits")
    if comm.rank == 0:
        assert len(fits.getdata(shared_tmp / "empty.fits")) == 0


def _column(bits: np.ndarray, kind: str) -> np.ndarray:
    if kind == "?":
        return bits[:, 0] > 100
    if np.dtype(kind).kind in "fc":
        return bits[:, 0].astype(kind) / 7
    return np.ascontiguousarray(bits[:, : np.dtype(kind).itemsize]).view(kind)[:, 0]
