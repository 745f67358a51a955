"""Cells: to the bit those of one rank, though they lie across the cuts; and fields on any ranks."""

from __future__ import annotations

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.apps.cells.fields import COUNTS, Request, analyse_fields, analysed, items_of
from mpibatch.apps.cells.illumination import gain_of, median_of
from mpibatch.apps.cells.segmentation import Settings
from mpibatch.apps.cells.tables import merged, save_named
from mpibatch.io.write.saver import save_table
from mpibatch.mpi import MPI, private
from tests.support.nuclei import field_of_view

pytestmark = pytest.mark.mpi

WORLD = MPI.COMM_WORLD


def saved(path, array):
    """Write an array on one rank."""
    if WORLD.rank == 0:
        mb.save(path, image=mb.scatter(array, mb.Grid(array.shape, comm=MPI.COMM_SELF)))
    WORLD.Barrier()


def mosaic():
    array = field_of_view((60, 50), 15, seed=2)
    row = np.hstack([array, array[:, ::-1]])
    return np.vstack([row, row[::-1]])


def test_a_slide_is_that_of_one_rank(mpi_tmp_path):
    cases = {
        "usual": (field_of_view((120, 130), 40), Settings()),
        "mosaic": (mosaic(), Settings(background="tophat:15", clear_border=True, distance=7)),
        "volume": (field_of_view((12, 30, 32), 12), Settings(block=0, fraction=0.8)),
    }
    for name, (array, settings) in cases.items():
        source, request = mpi_tmp_path / f"{name}.npy", Request(settings, None, ())
        saved(source, array)
        written = []
        picture = "" if array.ndim == 3 else ".png"
        for comm, stem in ((MPI.COMM_SELF, f"{name}-one{WORLD.rank}"), (private(), f"{name}-all")):
            files = [mpi_tmp_path / f"{stem}{ending}" for ending in (".ome.tif", picture, ".csv") if ending]
            targets = [str(file) for file in files[:-1]] + [""] * (not picture)
            (item,) = items_of([str(source)], "", *targets)
            table, _ = analysed(item, request, None, comm)
            save_table(table, str(files[-1]), "cells")
            WORLD.Barrier()
            written.append([file.read_bytes() for file in files])
        assert written[0][-1].count(b"\n") > 3, name
        assert written[0] == written[1], name


def test_fields_are_those_of_one_rank(mpi_tmp_path):
    for n in range(5):
        saved(mpi_tmp_path / f"f{n}.npy", field_of_view((40, 44 + (n == 3)), 3 + n, seed=n))
    images = [str(mpi_tmp_path / name) for name in ("f*.npy", "missing.npy")]
    written = []
    for comm, stem in ((MPI.COMM_SELF, f"one{WORLD.rank}"), (private(), "all")):
        items = items_of(images, "", "", "")
        names = [item.image for item in items]
        gain = mb.gather_all(gain_of(median_of(names, None, 3.0, comm), "median"))
        batch = analyse_fields(items, Request(Settings(small=9), None, ()), gain, comm)
        assert [failure.item for failure in batch.failed] == [3, 5]
        columns, numbers = merged(batch, comm, COUNTS)
        files = [mpi_tmp_path / f"{stem}{ending}" for ending in (".csv", ".h5", ".parquet")]
        for file in files:
            assert save_named(str(file), comm, "cells", columns, numbers, names) > 5
        WORLD.Barrier()
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1]
