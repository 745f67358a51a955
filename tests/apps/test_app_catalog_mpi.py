"""Catalogues: to the bit those of one rank, though objects, meshes and apertures lie across the cuts."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.apps.catalog.catalogs import Settings, make_catalog
from mpibatch.apps.catalog.outputs import write_regions
from mpibatch.cli import _label_picture
from mpibatch.io.write.saver import save_table
from mpibatch.mpi import MPI
from tests.support.sky import simulated

pytestmark = pytest.mark.mpi

CASES = {
    "usual": ((150, 170), 40, Settings(mesh=32, apertures=(2.0, 30.0), gain=2.0)),
    "local": ((131, 64), 20, Settings(mesh=16, noise="local", kernel="gauss:2.5", contrast=0.0, clean=2.0)),
    "merged": ((90, 97), 60, Settings(mesh=8, threshold=0.4, kernel="none", contrast=1e-4, area=1, clean=1.0)),
    "one node": ((40, 50), 5, Settings(mesh=64, window=1, contrast=1.0)),
}


def whole(array, settings, comm=None):
    """The table and the map of a frame, whole."""
    grid = mb.Grid(array.shape, comm=comm)
    catalog = make_catalog(mb.scatter(array, grid), settings)
    return catalog, catalog.table.gather() | {"segments": mb.gather_all(catalog.segments)}


def test_a_catalogue_is_that_of_one_rank(mpi_tmp_path, monkeypatch):
    monkeypatch.setattr(_label_picture, "LONGEST", 60)  # so that a picture is of some of the pixels
    for name, (shape, count, settings) in CASES.items():
        array = simulated(shape, count)
        single, expected = whole(array, settings, MPI.COMM_SELF)
        catalog, result = whole(array, settings)
        assert expected["segments"].max() == len(expected["number"]) > 1, name
        for column, values in expected.items():
            np.testing.assert_array_equal(result[column].view("u1"), values.view("u1"), f"{name}: {column}")
        tables = partial(save_table, name="sources")
        for ending, write in ((".csv", tables), (".reg", write_regions), (".png", None)):
            files = mpi_tmp_path / f"one{MPI.COMM_WORLD.rank}{ending}", mpi_tmp_path / f"all{ending}"
            for each, file in zip((single, catalog), files, strict=True):
                if write is None:
                    _label_picture.draw(each.value, each.segments, str(file), is_upward=True)
                else:
                    write(each.table, str(file))
            MPI.COMM_WORLD.Barrier()
            assert files[0].read_bytes() == files[1].read_bytes(), name
            MPI.COMM_WORLD.Barrier()
