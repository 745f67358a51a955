"""What `save` and `series` add to files for other readers: links to the data, and the same bytes on any ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.io import describe
from mpibatch.io.write.series import series
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.mpi


def fields(comm: MPI.Intracomm) -> dict[str, mb.Field]:
    grid = mb.Grid((7, 6, 5), comm=comm, spacing=0.5, units="mm")
    u = grid.from_function(lambda z, y, x: 100 * z + 10 * y + x)
    v = grid.from_function(lambda z, y, x: np.stack(np.broadcast_arrays(z, y, x), -1), "f4", components=(3,))
    return {"u": u, "flow/v": v, "mask": u > 100}


def write(folder: Path, comm: MPI.Intracomm) -> list[Path]:
    paths = [folder / f"{kind}{comm.size}.h5" for kind in ("static", "series")]
    given = fields(comm)
    mb.save(paths[0], given)
    with series(paths[1], given) as target:
        for _ in range(3):
            target.append(given)
        target.table("time", np.array([0.0, 0.5, 1.5]))
    return paths


def test_readers_find_the_data(shared_tmp: Path) -> None:
    static, timed = write(shared_tmp, MPI.COMM_WORLD)
    with h5py.File(static) as file:
        assert file["VTKHDF/PointData/u"] == file["entry/data/u"] == file["u"]
        np.testing.assert_array_equal(file["data/0/meshes/flow_v/2"], file["flow/v"][..., 2])
        np.testing.assert_array_equal(file["u"].dims[0][0], 0.5 * np.arange(7))
        assert file["VTKHDF/PointData/mask"].dtype == "u1"
    with h5py.File(timed) as file:
        assert [axis[0] for axis in file["u"].dims] == [file[name] for name in ("time", "z", "y", "x")]
        np.testing.assert_array_equal(file["data/2/meshes/u"], file["u"][2])
    assert [info.name for info in describe(static)] == ["flow/v", "mask", "u"]
    with mb.open(timed) as opened:
        assert opened["u"][-1, 6, 5, 4] == fields(MPI.COMM_SELF)["u"].owned[6, 5, 4]


def test_bytes_do_not_depend_on_ranks(shared_tmp: Path) -> None:
    whole = write(shared_tmp, MPI.COMM_WORLD)
    if MPI.COMM_WORLD.rank == 0 and MPI.COMM_WORLD.size > 1:
        for mine, theirs in zip(whole, write(shared_tmp, MPI.COMM_SELF), strict=True):
            assert mine.read_bytes() == theirs.read_bytes()
