"""Fields written as OME-TIFF by all ranks: tifffile reads the values, and the bytes know no ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.io.write.tiff import writer
from mpibatch.mpi import MPI
from tests.io.test_flat_out_mpi import DTYPES, GEOMETRY, field, values
from tests.io.test_io_mpi import refused
from tests.support.cuts import cuts_of_three_axes

if TYPE_CHECKING:
    from pathlib import Path

tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed: TIFF is NOT TESTED")
pytestmark = [pytest.mark.mpi, pytest.mark.filterwarnings("ignore")]

COMM = MPI.COMM_WORLD
SHAPE = (5, 7, 9)


def test_tifffile_reads_the_values(shared_tmp: Path) -> None:
    cuts = cuts_of_three_axes(SHAPE, COMM.size)
    for number, dtype in enumerate(DTYPES):
        whole, path = values(dtype), shared_tmp / "a.ome.tif"
        if dtype in ("i8", "u8"):
            refused(mb.UsageError, f"OME-TIFF has no {np.dtype(dtype)}", mb.save, path, u=field(whole))
            continue
        mb.save(path, u=field(whole, **cuts[number % len(cuts)]), compression="gzip" if number % 2 else None)
        if COMM.rank == 0:
            with tifffile.TiffFile(path) as file:
                assert (file.is_ome, file.is_bigtiff, file.series[0].axes) == (True, True, "ZYX")
                about = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
                assert (about["PhysicalSizeX"], about["PhysicalSizeZ"], about["PhysicalSizeXUnit"]) == (0.5, 2, "mm")
                read = file.asarray()
                right = whole.view("u1") if dtype == "?" else whole
                assert (read.dtype, read.tobytes()) == (right.dtype, right.tobytes())
        COMM.barrier()
        if dtype not in ("u2", "f4"):  # what load looks into, it looks into by a process of its own
            continue
        read = mb.load(path)
        assert (read.grid.spacing, read.grid.origin, read.grid.units) == tuple(GEOMETRY.values())
        np.testing.assert_array_equal(mb.gather_all(read), whole)


@pytest.mark.parametrize("packed", [None, "gzip:9"])
def test_planes_channels_tiles_and_levels(
    packed: str | None, shared_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "TILE", 16)
    rng, path, other = np.random.default_rng(5), shared_tmp / "a.tiff", shared_tmp / "alone.tiff"
    whole = rng.integers(0, 60000, (2, 3, 40, 55, 2), "u2")
    options: dict[str, Any] = {"pyramid": 2, "compression": packed}
    grid = {"shape": whole.shape[:4], "spacing": (0.5, 3, 1, 1), "units": "um"}
    u = mb.scatter(whole if COMM.rank == 0 else None, mb.Grid(**grid))
    mb.save(path, {"cells & <dots>": u}, **options)
    if COMM.rank == 0:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            assert (series.axes, len(file.pages), file.pages[0].tile) == ("TZCYX", 12, (16, 16))
            np.testing.assert_array_equal(series.asarray(), whole.transpose(0, 1, 4, 2, 3))
            assert [level.shape[-2:] for level in series.levels] == [(40, 55), (20, 28), (10, 14)]
            means = whole[..., :54, :].reshape(2, 3, 20, 2, 27, 2, 2).astype("f8").mean(axis=(3, 5))
            np.testing.assert_array_equal(series.levels[1].asarray()[..., :27], np.rint(means).transpose(0, 1, 4, 2, 3))
            assert tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Name"] == "cells & <dots>"
        alone = mb.scatter(whole, mb.Grid(**grid, comm=MPI.COMM_SELF))
        mb.save(other, {"cells & <dots>": alone}, **options)
        assert other.read_bytes() == path.read_bytes()
    COMM.barrier()
    read = mb.load(path)
    np.testing.assert_array_equal(mb.gather_all(read), whole)
    assert (read.grid.axes, read.grid.spacing) == (("t", "z", "y", "x"), (0.5, 3, 1, 1))


def test_what_ome_tiff_has_no_place_for_is_refused(shared_tmp: Path) -> None:
    u, path = field(values("f8")), shared_tmp / "a.tif"
    refused(mb.UsageError, "hold one field", mb.save, path, a=u, b=u)
    refused(mb.UsageError, "no place for them", mb.save, path, a=u, attrs={"x": 1})
    refused(mb.UsageError, "with chunks", mb.save, path, a=u, chunks="auto")
    refused(mb.UsageError, "unknown to TIFF", mb.save, path, a=u, compression="zstd")
    refused(mb.UsageError, "a time first", mb.save, path, a=mb.Grid(9).zeros())
    refused(mb.UsageError, "OME-TIFF has no float16", mb.save, path, a=u.astype("f2"))
    refused(mb.RunError, "no folder", mb.save, shared_tmp / "b" / "a.tif", a=u)
    assert not list(shared_tmp.iterdir())
