"""Files of many formats, each rank its own box: the values of the field's own library on any number of ranks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile

import mpibatch as mb
from mpibatch.io.formats import raw_values
from mpibatch.mpi import MPI
from tests.support.cuts import cuts_of_three_axes
from tests.support.packaged import packaged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.mpi, pytest.mark.filterwarnings("ignore")]

COMM = MPI.COMM_WORLD


def check(path: object, right: np.ndarray, **options: Any) -> mb.Field:
    u = mb.load(path, **options)
    assert (u.shape, u.dtype) == (right.shape, right.dtype.newbyteorder("="))
    np.testing.assert_array_equal(u.owned, right[u.box.slices()])
    return u


def on_root(function: Callable[[], object]) -> None:
    if COMM.rank == 0:
        function()
    COMM.barrier()


def test_fits(shared_tmp: Path) -> None:
    fits = pytest.importorskip("astropy.io.fits", reason="astropy is not installed: FITS is NOT TESTED")
    plain, tiled, scaled = packaged("astropy", "tests/data/m13.fits", "m13_rice.fits", "data/scale.fits")
    for path, name in ((plain, "0"), (tiled, "1"), (scaled, "0")):
        with fits.open(path) as file:
            right = file[int(name)].data
        check(f"{path}::{name}", right)
        region = tuple(slice(n // 3, n - n // 4, 2) for n in right.shape)
        check(path, right[region], dataset=name, region=region)


def test_nifti(shared_tmp: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed: NIfTI is NOT TESTED")
    for path in packaged("nibabel", "data/anatomical.nii", "data/functional.nii", "data/standard.nii.gz"):
        right = np.asanyarray(nibabel.load(path).dataobj).T
        for cut in cuts_of_three_axes(right.shape, COMM.size) if right.ndim == 3 else [{}]:
            check(path, right, halo=1, **cut)
    (path,) = packaged("nibabel", "data/functional.nii")
    frame = np.asanyarray(nibabel.load(path).dataobj)[..., 3].T
    u = check(path, frame, frame=3)
    assert (u.grid.axes, u.grid.spacing, u.grid.units) == (("z", "y", "x"), (8.0, 4.0, 4.0), "mm")
    # In, and out again into HDF5
    mb.save(shared_tmp / "out.h5", u=u)
    again = check(shared_tmp / "out.h5", frame)
    assert (again.grid.axes, again.grid.spacing, again.grid.units) == (u.grid.axes, u.grid.spacing, u.grid.units)


def test_plain_bytes_and_no_more_than_a_ranks_own(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (24, 7, 6000)
    right = (np.arange(np.prod(shape)) % 60001).astype(">u2").reshape(shape)
    path = shared_tmp / "a.raw"
    on_root(lambda: path.write_bytes(b"head" + right.tobytes()))
    real, count = os.preadv, 0

    def counted(handle: int, buffers: Any, offset: int) -> int:
        nonlocal count
        nbytes = real(handle, buffers, offset)
        count += nbytes
        return nbytes

    monkeypatch.setattr(raw_values.os, "preadv", counted)
    about = {"dtype": "u2", "shape": shape, "offset": 4, "byteorder": "big"}
    u = check(path, right, raw=about, topology=(None, 1, 1))
    assert count == u.owned.nbytes
    count = 0
    u = check(path, right[5:20, 2:6], raw=about, region=np.s_[5:20, 2:6], topology=(None, 1, 1))
    assert count == u.owned.nbytes
    with pytest.raises(mb.UsageError, match="without shape"):
        mb.load(path, raw={"dtype": "u2"})
    with pytest.raises(mb.RunError, match="damaged or incomplete"):
        mb.load(path, raw={"dtype": "u2", "shape": (99, 99, 9999)})


def test_pieces(shared_tmp: Path) -> None:
    """Tiles, chunks and files: each rank its own."""
    right = (np.arange(8 * 40 * 50) % 251).astype("u2").reshape(8, 40, 50)

    def write() -> None:
        tiles: dict[str, Any] = {"tile": (16, 32), "compression": "zlib", "photometric": "minisblack"}
        tifffile.imwrite(shared_tmp / "a.tif", right, **tiles)
        tifffile.imwrite(shared_tmp / "one.tif", right[0], **tiles)
        for number, plane in enumerate(right):
            tifffile.imwrite(shared_tmp / f"slice_{number + 6}.tif", plane)
        with h5py.File(shared_tmp / "a.nxs", "w") as file:
            file["entry/definition"] = "NXtomo"
            file["entry/instrument/detector/data"] = right
            file["entry/instrument/detector/image_key"] = np.array([1, 0, 0, 2, 0, 1, 0, 0])

    on_root(write)
    region = np.s_[2:7, 3:, ::2]
    for name in ("a.tif", "slice_*.tif"):
        for cut in cuts_of_three_axes(right.shape, COMM.size):
            check(shared_tmp / name, right, halo=1, **cut)
        check(shared_tmp / name, right[region], region=region)
    check(shared_tmp / "one.tif", right[0])
    scan = right[[1, 2, 4, 6, 7]]
    check(shared_tmp / "a.nxs", scan)
    check(f"{shared_tmp}/a.nxs::flats", right[[0, 5]])
    check(shared_tmp / "a.nxs", scan[1:, 3:, ::2], region=np.s_[1:, 3:, ::2])
    on_root(lambda: tifffile.imwrite(shared_tmp / "slice_9.tif", right[0, :5]))
    with pytest.raises(mb.RunError, match=r"slice_9.tif' has shape"):
        mb.load(shared_tmp / "slice_*.tif")


def test_zarr(shared_tmp: Path) -> None:
    zarr = pytest.importorskip("zarr", reason="zarr is not installed: Zarr is NOT TESTED")
    right = (np.arange(2 * 8 * 20 * 30) % 251).astype("u2").reshape(2, 8, 20, 30)

    def write() -> None:
        group = zarr.open_group(shared_tmp / "a.zarr", mode="w")
        stored = group.create_array("0", shape=right.shape, chunks=(1, 2, 8, 8), shards=(1, 4, 16, 16), dtype="u2")
        stored[...] = right
        axes = [{"name": "c", "type": "channel"}, *({"name": name, "type": "space"} for name in "zyx")]
        scale = [{"type": "scale", "scale": [1, 3, 2, 1]}]
        image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}

    on_root(write)
    check(shared_tmp / "a.zarr", right.transpose(1, 2, 3, 0))
    for cut in cuts_of_three_axes(right.shape[1:], COMM.size):
        u = check(shared_tmp / "a.zarr", right[1], channel=1, level=0, halo=1, **cut)
        assert u.grid.spacing == (3, 2, 1)
    check(f"{shared_tmp}/a.zarr::channel=0", right[0, 2:7, 3:, ::2], region=np.s_[2:7, 3:, ::2])
    with pytest.raises(mb.UsageError, match="no level 1"):
        mb.load(shared_tmp / "a.zarr", level=1)
