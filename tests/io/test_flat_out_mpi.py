"""Fields written as FITS, NIfTI and npy by all ranks: other programs read the values, and the bytes know no ranks."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.job import parse, run
from mpibatch.mpi import MPI
from tests.io.test_io_mpi import refused
from tests.support.cuts import cuts_of_three_axes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.mpi, pytest.mark.filterwarnings("ignore")]

COMM = MPI.COMM_WORLD
SHAPE = (5, 7, 9)
GEOMETRY: dict[str, Any] = {"spacing": (2.0, 1.0, 0.5), "origin": (-1.0, 2.0, 3.0), "units": "mm"}
DTYPES = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "c16")


def values(dtype: str) -> np.ndarray:
    """Both ends of a type's range, and noise."""
    kind = np.dtype(dtype)
    rng = np.random.default_rng(3)
    if kind.kind in "iu":
        ends = np.iinfo(kind)
        whole = rng.integers(ends.min, ends.max, SHAPE, kind, endpoint=True)
        whole[0, 0, :2] = ends.min, ends.max
        return whole
    if kind.kind == "b":
        return rng.random(SHAPE) < 0.5
    whole = rng.standard_normal(SHAPE).astype(kind) + (1j if kind.kind == "c" else 0)
    whole[0, 0, :3] = np.nan, np.inf, -0.0
    return whole.astype(kind)


def field(whole: np.ndarray, **cut: Any) -> mb.Field:
    grid = mb.Grid(whole.shape, **GEOMETRY, **cut)
    u = grid.empty(whole.dtype, halo=1)
    u.owned[...] = whole[grid.box.slices()]
    return u


def theirs(path: Path) -> np.ndarray:
    """What the field's own library reads."""
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".nii":
        nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed: NIfTI is NOT TESTED")
        image = nibabel.load(path)
        np.testing.assert_array_equal(image.affine, [[0.5, 0, 0, 3], [0, 1, 0, 2], [0, 0, 2, -1], [0, 0, 0, 1]])
        return np.asarray(image.dataobj).T
    fits = pytest.importorskip("astropy.io.fits", reason="astropy is not installed: FITS is NOT TESTED")
    with fits.open(path) as file:
        file.verify("exception")
        assert (file[0].header["OBJECT"], file[0].header["EXPTIME"]) == ("it's M13", 1.5)
        return np.array(file[0].data)


def same_bits(read: np.ndarray, right: np.ndarray) -> None:
    right = right.view("u1") if right.dtype == bool and read.dtype != bool else right
    assert read.shape == right.shape
    assert read.astype(right.dtype).tobytes() == right.tobytes()


@pytest.mark.parametrize("suffix", [".fits", ".nii", ".npy"])
def test_other_programs_read_the_values(suffix: str, shared_tmp: Path) -> None:
    path = shared_tmp / f"u{suffix}"
    attrs = {"object": "it's M13", "exptime": 1.5} if suffix == ".fits" else {}
    cuts = cuts_of_three_axes(SHAPE, COMM.size)
    for number, dtype in enumerate(DTYPES):
        whole = values(dtype)
        if suffix == ".fits" and whole.dtype.kind == "c":
            refused(mb.UsageError, "FITS has no complex", mb.save, path, u=field(whole))
            continue
        mb.save(path, u=field(whole, **cuts[number % len(cuts)]), attrs=attrs)
        if COMM.rank == 0:
            same_bits(theirs(path), whole)
        COMM.barrier()
        read = mb.load(path)
        same_bits(mb.gather_all(read), whole)
        if suffix != ".npy":
            assert (read.grid.spacing, read.grid.origin, read.grid.units) == tuple(GEOMETRY.values())


def test_several_fields_are_extensions_of_one_fits_file(shared_tmp: Path) -> None:
    path = shared_tmp / "many.fits"
    image, counts = field(values("f4")), field(values("u2"))
    mb.save(path, {"sky/image": image, "counts": counts}, attrs={"observer": "A"})
    data = path.read_bytes()
    assert data[data.index(b"XTENSION") :][:20] == b"XTENSION= 'IMAGE   '"
    for name, u in (("sky/image", image), ("counts", counts)):
        np.testing.assert_array_equal(mb.load(path, name).owned, mb.load(path, name, grid=u.grid).owned)
        assert mb.load(path, name, grid=u.grid).owned.tobytes() == u.owned.tobytes()


def test_the_bytes_know_no_ranks(shared_tmp: Path) -> None:
    alone = mb.Grid(SHAPE, comm=MPI.COMM_SELF, **GEOMETRY)
    whole = values("i2")
    for suffix in (".fits", ".nii", ".npy"):
        path, other = shared_tmp / f"all{suffix}", shared_tmp / f"one{suffix}"
        mb.save(path, u=field(whole))
        if COMM.rank == 0:
            u = alone.empty("i2")
            u.owned[...] = whole
            mb.save(other, u=u)
            texts = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (path, other)]
            assert texts[0] == texts[1]
        COMM.barrier()


def test_a_job_writes_the_format_that_its_output_names(shared_tmp: Path) -> None:
    source = values("i2")
    mb.save(shared_tmp / "in.nii", u=field(source))
    text = '[input]\npath = "{0}/in.nii"\n[[step]]\nfilter = "maximum_filter"\nsize = 3\n[output]\npath = "{0}/{1}"\n'
    right = mb.gather_all(mb.filters.maximum_filter(field(source), size=3))
    for name in ("out.nii", "out.fits"):
        run(parse(text.format(shared_tmp, name)))
        read = mb.load(shared_tmp / name)
        np.testing.assert_array_equal(mb.gather_all(read), right)
        assert read.grid.spacing == GEOMETRY["spacing"]
    more = text.format(shared_tmp, "out.nii") + 'compression = "gzip"\n[checkpoint]\n'
    with pytest.raises(mb.UsageError, match="compression: NIfTI files have none") as caught:
        parse(
            more.replace("size = 3", 'size = 3\nsave = "a"\n[[step]]\nfilter = "minimum_filter"\nsize = 3\nsave = "b"')
        )
    assert "hold one field, and 2 results" in str(caught.value)
    assert "[checkpoint] needs an output in HDF5" in str(caught.value)


def test_what_a_format_has_no_place_for_is_refused(shared_tmp: Path) -> None:
    u = field(values("f8"))
    nii, fits = shared_tmp / "a.nii", shared_tmp / "a.fits"
    refused(mb.UsageError, "hold one field", mb.save, nii, a=u, b=u)
    refused(mb.UsageError, "no place for them", mb.save, nii, a=u, attrs={"x": 1})
    refused(mb.UsageError, "with record", mb.save, nii, a=u, record=True)
    refused(mb.UsageError, "with chunks", mb.save, nii, a=u, chunks="auto")
    refused(mb.UsageError, "with compression", mb.save, nii, a=u, compression="gzip")
    refused(mb.UsageError, "cannot be a keyword", mb.save, fits, a=u, attrs={"NAXIS1": 3})
    refused(mb.UsageError, "give a finite number", mb.save, fits, a=u, attrs={"x": float("nan")})
    refused(mb.UsageError, "68 characters", mb.save, fits, a=u, attrs={"x": "y" * 70})
    refused(mb.UsageError, "has components", mb.save, fits, a=u.grid.zeros("f4", components=(3,)))
    refused(mb.UsageError, "no float16", mb.save, fits, a=u.astype("f2"))
    refused(mb.RunError, "no folder", mb.save, shared_tmp / "b" / "a.fits", a=u)
    assert not list(shared_tmp.iterdir())
    if COMM.size > 1:
        for suffix in (".fits", ".nii", ".npy", ".ome.tif"):
            other = u.astype("f4") if COMM.rank else u
            refused(mb.UsageError, "f8|f4", mb.save, shared_tmp / f"b{suffix}", a=other)
        refused(mb.UsageError, "f8|x", mb.save, fits, a=u, attrs={"x": COMM.rank})
        for suffix in (".ome.tif", ".zarr", ".ome.zarr"):
            how = {"compression": "gzip:1" if COMM.rank else "gzip:9"}
            refused(mb.UsageError, "gzip", mb.save, shared_tmp / f"b{suffix}", a=u, **how)
            if suffix.startswith(".ome"):
                refused(mb.UsageError, "levels", mb.save, shared_tmp / f"b{suffix}", a=u, pyramid=1 + COMM.rank)
        assert not list(shared_tmp.iterdir())
    mb.save(fits, a=u)
    refused(mb.RunError, "it exists", mb.save, fits, a=u, overwrite=False)
