"""Catalogs: to the bit those of one rank, though objects, meshes and apertures lie across the cuts."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.apps.catalog import photometry, wings
from mpibatch.apps.catalog.catalogs import Settings, make_catalog
from mpibatch.apps.catalog.outputs import write_regions
from mpibatch.base.host import LIMIT_VARIABLE
from mpibatch.cli import _label_picture
from mpibatch.io.write.saver import save_table
from mpibatch.mpi import MPI
from mpibatch.mpi.routes import forward
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


def test_a_catalog_is_that_of_one_rank(mpi_tmp_path, monkeypatch):
    monkeypatch.setattr(_label_picture, "LONGEST", 60)  # so that a picture is of some of the pixels
    monkeypatch.setattr(photometry, "PORTION", 2000)  # of cut-outs: one source's, or a few
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


def test_what_is_too_large_for_memory_is_refused(monkeypatch):
    """An object of half of the frame, or circles of all of it that are on other ranks: on all, with what to do."""
    monkeypatch.setenv(LIMIT_VARIABLE, "2M")
    array = simulated((150, 170), 10)
    if MPI.COMM_WORLD.size > 1:
        with pytest.raises(mb.UsageError, match=r"photometry needs .* smaller --apertures"):
            whole(array, Settings(mesh=32, apertures=(1e6,)))
    with pytest.raises(mb.UsageError, match=r"deblending needs .* higher --threshold"):
        whole(array, Settings(mesh=32, kernel="none", threshold=0.05))
    assert whole(array, Settings(mesh=32))[0].table.rows > 5


def test_only_large_sources_go_far(monkeypatch):
    """Whatever is in another's wings is dropped, as if all pairs were looked at; and small ones stay at home."""
    rng, shape, count, beta = np.random.default_rng(5), (160, 160), 80, 1.0
    first = np.sort(rng.choice(shape[0] * shape[1], count, replace=False))
    y, x = np.divmod(first, shape[1])
    a = rng.uniform(0.1, 0.4, count)
    a[3] = 90.0  # a trail, fainter than some and brighter than others
    light = rng.uniform(0, 1, count)
    light[3], light[5] = 0.5, light[6]
    figures = np.column_stack([light, x, y, a, a**2, a**2, 0 * a, light, 1 / a**2, 0.002 * rng.uniform(0.1, 1, count)])
    figures[3, -1] = 1e-6
    expected = np.ones(count, bool)
    for k in range(count):
        d2 = (x - x[k]) ** 2 + (y - y[k]) ** 2
        brighter = (light > light[k]) | ((light == light[k]) & (first > first[k]))
        height = light / (1 + d2 / a**4)
        expected[k] = not (brighter & (d2 <= 100 * (a + a[k]) ** 2) & (height > figures[k, -1])).any()
    assert not expected[3]
    assert 10 < np.count_nonzero(expected) < count - 10
    sent = []

    def noted(comm, to, rows):
        sent.append(len(rows))
        return forward(comm, to, rows)

    monkeypatch.setattr(wings, "forward", noted)
    grid = mb.Grid(shape)
    mine = ((np.column_stack([y, x]) >= grid.box.start) & (np.column_stack([y, x]) < grid.box.stop)).all(axis=1)
    kept = wings.are_sources(grid, first[mine], figures[mine], beta)
    np.testing.assert_array_equal(kept, expected[mine])
    assert grid.comm.allreduce(sent[0]) < 1.5 * count + grid.size
