"""Cells: to the bit those of one rank, though they lie across the cuts; and fields on any ranks."""

from __future__ import annotations

from pathlib import Path

import pytest

import mpibatch as mb
from mpibatch.apps.cells import __main__ as program
from mpibatch.apps.cells import fields
from mpibatch.apps.cells.fields import COUNTS, Request, analyze_fields, analyzed, items_of
from mpibatch.apps.cells.illumination import gain_of, median_of
from mpibatch.apps.cells.segmentation import Settings
from mpibatch.apps.cells.tables import merged, save_named
from mpibatch.base.errors import RunError
from mpibatch.io.write.saver import save_table
from mpibatch.mpi import MPI, private
from tests.support.nuclei import field_of_view, flipped_copies
from tests.support.packaged import packaged

pytestmark = pytest.mark.mpi

WORLD = MPI.COMM_WORLD


def saved(path, array):
    """Write an array by one rank."""
    if WORLD.rank == 0:
        mb.save(path, image=mb.scatter(array, mb.Grid(array.shape, comm=MPI.COMM_SELF)))
    WORLD.Barrier()


def of_one_and_all(folder, name, write):
    """The bytes of files that a function writes on one rank, and on all: it takes a communicator and a stem."""
    if WORLD.rank == 0:
        write(MPI.COMM_SELF, str(folder / f"one-{name}"))
    files = write(private(), str(folder / f"all-{name}"))
    WORLD.Barrier()
    paths = [Path(file) for file in files]
    return [[path.with_name(path.name.replace("all", who, 1)).read_bytes() for path in paths] for who in ("one", "all")]


def check_slide(folder, name, array, settings, *, picture):
    """Labels and table, and with `picture` that, too, of one rank and of all have the same bytes; return the table."""
    source = folder / f"{name}.npy"
    saved(source, array)

    def write(comm, stem):
        files = [f"{stem}.ome.tif", f"{stem}.png" if picture else "", f"{stem}.csv"]
        (item,) = items_of([str(source)], "", *files[:2])
        table, _ = analyzed(item, Request(settings, None, ()), None, comm)
        save_table(table, files[2], "cells")
        return filter(None, files)

    single, every = of_one_and_all(folder, name, write)
    assert single == every, name
    return single[-1]


def test_a_slide_is_that_of_one_rank(mpi_tmp_path):
    mosaic = flipped_copies(field_of_view((50, 46), 12, seed=2), 2)
    cases = {
        "usual": (field_of_view((90, 100), 30), Settings()),
        "mosaic": (mosaic, Settings(background="tophat:15", clear_border=True, distance=7)),
        "volume": (field_of_view((10, 26, 28), 10), Settings(block=0, fraction=0.8)),
    }
    for name, (array, settings) in cases.items():
        table = check_slide(mpi_tmp_path, name, array, settings, picture=array.ndim == 2)
        assert table.count(b"\n") > 3, name


def test_a_mosaic_of_photographed_nuclei_is_that_of_one_rank(mpi_tmp_path):
    """16 copies of StarDist's image; on one rank the labels are those of scikit-image, as other tests hold."""
    (path,) = packaged("stardist", "images/img2d.tif")
    image = mb.gather_all(mb.load(path, comm=MPI.COMM_SELF))
    table = check_slide(mpi_tmp_path, "nuclei", flipped_copies(image, 4), Settings(), picture=False)
    assert table.count(b"\n") == 1928 + 1


def test_rank_0_alone_looks_for_fields(mpi_tmp_path, monkeypatch):
    for n in range(2):
        saved(mpi_tmp_path / f"f{n}.npy", field_of_view((40, 44), 3, seed=n))

    def unseen(*arguments, **options):
        raise RunError("this rank sees no files")

    if WORLD.rank:
        monkeypatch.setattr(fields, "fitting_files", unseen)
    table = mpi_tmp_path / "t.csv"
    assert program._execute(program.parser().parse_args([f"{mpi_tmp_path}/f*.npy", "--table", str(table)])) == 0
    assert table.read_text().count("f1.npy") > 0


def test_fields_are_those_of_one_rank(mpi_tmp_path):
    for n in range(5):
        saved(mpi_tmp_path / f"f{n}.npy", field_of_view((40, 44 + (n == 3)), 3 + n, seed=n))
    images = [str(mpi_tmp_path / name) for name in ("f*.npy", "missing.npy")]

    def write(comm, stem):
        items = items_of(images, "", "", "")
        names = [item.image for item in items]
        gain = mb.gather_all(gain_of(median_of(names, None, 3.0, comm), "median"))
        batch = analyze_fields(items, Request(Settings(small=9), None, ()), gain, comm)
        assert [failure.item for failure in batch.failed] == [3, 5]
        columns, numbers = merged(batch, comm, COUNTS)
        files = [f"{stem}{ending}" for ending in (".csv", ".h5", ".parquet")]
        for file in files:
            assert save_named(file, comm, "cells", columns, numbers, names) > 5
        return files

    single, every = of_one_and_all(mpi_tmp_path, "fields", write)
    assert single == every
