"""Flat arrays behind headers, real files and made ones, against the libraries of their fields."""

from __future__ import annotations

import gzip
import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mpibatch.base.errors import RunError, UsageError
from mpibatch.io import describe, read_slice
from mpibatch.io.formats import inspect, raw_values
from tests.support.packaged import packaged

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries, on files that are odd on purpose

RNG = np.random.default_rng(11)
equal = np.testing.assert_array_equal


def check(path: object, dataset: str | None, right: np.ndarray) -> None:
    """All values and a part of them, in the library's dtype."""
    values = read_slice(str(path), dataset)
    equal(values, right)
    assert values.dtype == right.dtype.newbyteorder("=")
    part = tuple(slice(n // 4, n - n // 5, 1 + axis % 2) for axis, n in enumerate(right.shape))
    equal(read_slice(str(path), dataset, part), right[part])


# --- FITS ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "tests/data/m13.fits", "m13_rice.fits", "m13_gzip.fits", "m13_hcomp.fits", "m13_plio.fits",
        "compressed_with_nan.fits", "data/scale.fits", "data/blank.fits", "data/arange.fits", "data/test0.fits",
        "compressed_float_bzero.fits",
        "data/o4sp040b0_raw.fits", "data/comp.fits", "data/fixed-1890.fits",
    ],
)  # fmt: skip
def test_fits_is_astropys(name: str) -> None:
    fits = pytest.importorskip("astropy.io.fits", reason="astropy is not installed: FITS is NOT TESTED")
    (path,) = packaged("astropy", name)
    with fits.open(path) as file:
        images = {str(n): unit.data for n, unit in enumerate(file) if unit.is_image and unit.data is not None}
    assert images
    assert len(describe(path)) == len(images)
    for number, right in images.items():
        check(path, number, right)


def test_fits_of_every_kind(tmp_path: Path) -> None:
    fits = pytest.importorskip("astropy.io.fits", reason="astropy is not installed: FITS is NOT TESTED")
    units = [fits.PrimaryHDU()]
    for code in ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"):
        array = RNG.integers(0, 256, (4, 6, 5 * np.dtype(code).itemsize), "u1").view(code)
        units.append(fits.ImageHDU(np.nan_to_num(array), name=code.upper()))
    scaled = fits.ImageHDU(RNG.integers(-99, 99, (5, 4), "i2"), name="SCALED")
    units += [scaled, fits.ImageHDU(np.ones((2, 3), "f4"), name="SCALED", ver=2)]
    fits.HDUList(units).writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", mode="update", do_not_scale_image_data=True) as file:
        file["SCALED"].header.update({"BSCALE": 0.1, "BZERO": 7.3, "BLANK": int(file["SCALED"].data[1, 2])})
    with fits.open(tmp_path / "a.fits") as file:
        assert np.isnan(file["SCALED"].data[1, 2])
        for unit in file[1:-1]:
            check(tmp_path / "a.fits", unit.name, unit.data)
        check(tmp_path / "a.fits", "SCALED,2", file[-1].data)
    infos = {info.name: info for info in describe(tmp_path / "a.fits")}
    assert (infos["U2"].dtype, infos["U2"].shape, infos["I1"].dtype) == ("uint16", (4, 6, 5), "int8")
    assert "SCALED,2" in infos
    with pytest.raises(UsageError, match=r"12 images: U1, I1.*name one"):
        inspect(str(tmp_path / "a.fits"))
    with pytest.raises(UsageError, match=r"no image 'U3'.*U2"):
        inspect(str(tmp_path / "a.fits"), "U3")
    with pytest.raises(UsageError, match="not an image"):
        inspect(str(tmp_path / "a.fits"), "0")


def test_fits_cells_have_sizes_where_axes_are_even(tmp_path: Path) -> None:
    fits = pytest.importorskip("astropy.io.fits", reason="astropy is not installed: FITS is NOT TESTED")
    header = {"CDELT1": 0.5, "CDELT2": 2.0, "CRVAL1": 10.0, "CRPIX1": 3.0, "CUNIT1": "mm", "CUNIT2": "mm"}
    fits.PrimaryHDU(np.ones((4, 6)), fits.Header(header)).writeto(tmp_path / "a.fits")
    grid = inspect(str(tmp_path / "a.fits")).grid
    assert (grid["axes"], grid["spacing"], grid["origin"]) == (("y", "x"), (2.0, 0.5), (2.0, 9.0))
    assert grid["units"] == "mm"
    fits.PrimaryHDU(np.ones((4, 6)), fits.Header(header | {"CTYPE1": "RA---TAN"})).writeto(tmp_path / "sky.fits")
    assert inspect(str(tmp_path / "sky.fits")).grid == {}


# --- NIfTI --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "data/anatomical.nii", "data/functional.nii", "reoriented_anat_moved.nii", "resampled_anat_moved.nii",
        "example4d.nii.gz", "example_nifti2.nii.gz", "standard.nii.gz",
    ],
)  # fmt: skip
def test_nifti_is_nibabels(name: str) -> None:
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed: NIfTI is NOT TESTED")
    (path,) = packaged("nibabel", name)
    image = nibabel.load(path)
    right = np.asanyarray(image.dataobj).T
    check(path, None, right)
    source = inspect(str(path))
    np.testing.assert_allclose(source.grid["spacing"][-3:], image.header.get_zooms()[2::-1])
    assert source.grid["axes"] == ("t", "z", "y", "x")[-right.ndim :]
    assert source.boxwise == name.endswith(".nii")
    assert any("packed as a whole" in note for note in source.notes) == name.endswith(".gz")
    if right.ndim == 4:
        check(path, "frame=1", right[1])
        assert inspect(str(path), "frame=1").grid["axes"] == ("z", "y", "x")


def test_nifti_of_every_kind(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed: NIfTI is NOT TESTED")
    affine = np.array([[2.0, 0, 0, -7], [0, 3, 0, 5], [0, 0, 4, 1], [0, 0, 0, 1]])
    for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        for number, code in enumerate(("u1", "i2", "i4", "f4", "f8", "c8", "u2", "u4", "i8", "u8", ">i2", ">f4")):
            array = RNG.integers(0, 99, (5, 4, 3)).astype(code)
            header = kind.header_class(endianness=">" if code.startswith(">") else "<")
            header.set_data_dtype(array.dtype)
            header.set_xyzt_units("mm", "msec")
            path = tmp_path / f"{kind.__name__}{number}.nii"
            nibabel.save(kind(array, affine, header), path)
            check(path, None, np.asanyarray(nibabel.load(path).dataobj).T)
            source = inspect(str(path))
            assert source.dtype == array.dtype.newbyteorder("=").str.replace("=", "<")
            assert (source.grid["spacing"], source.grid["origin"]) == ((4, 3, 2), (1, 5, -7))
            assert (source.grid["units"], source.notes) == ("mm", ())
    colors = RNG.integers(0, 256, (5, 4, 3, 3), "u1")
    packed = np.ascontiguousarray(colors).view([(c, "u1") for c in "RGB"])[..., 0]
    nibabel.save(nibabel.Nifti1Image(packed, affine), tmp_path / "rgb.nii")
    check(tmp_path / "rgb.nii", None, colors.transpose(2, 1, 0, 3))
    assert inspect(str(tmp_path / "rgb.nii")).components == 1
    nibabel.save(nibabel.Nifti1Pair(array, affine), tmp_path / "pair.hdr")
    check(tmp_path / "pair.hdr", None, np.asanyarray(nibabel.load(tmp_path / "pair.hdr").dataobj).T)
    (tmp_path / "pair.img").unlink()
    with pytest.raises(RunError, match=r"pair.img' with its values is missing"):
        inspect(str(tmp_path / "pair.hdr"))


# --- the others ---------------------------------------------------------------------------------------------------


def test_mrc_is_mrcfiles(tmp_path: Path) -> None:
    mrcfile = pytest.importorskip("mrcfile", reason="mrcfile is not installed: MRC is NOT TESTED")
    for number, code in enumerate(("i1", "i2", "u2", "f4", "c8", "f2", ">i2", ">f4")):
        for shape in ((3, 4, 5), (4, 5)):
            path = tmp_path / f"{number}{len(shape)}.mrc"
            with mrcfile.new(path) as file:
                file.set_data(RNG.integers(0, 99, shape).astype(code))
                file.voxel_size = (1.5, 2.5, 3.5)
                file.set_extended_header(np.zeros(40, "V1"))
            with mrcfile.open(path) as file:
                check(path, None, np.array(file.data))
            grid = inspect(str(path)).grid
            assert (grid["axes"], grid["units"]) == (("z", "y", "x")[-len(shape) :], "angstrom")
            np.testing.assert_allclose(grid["spacing"], (3.5, 2.5, 1.5)[-len(shape) :])


def edf(array: np.ndarray, kind: str, order: str) -> bytes:
    """An image as the ESRF's manual has it."""
    dims = "".join(f"Dim_{n + 1} = {length} ;\n" for n, length in enumerate(array.shape[::-1]))
    text = f"{{\nHeaderID = EH:000001:000000:000000 ;\nByteOrder = {order} ;\nDataType = {kind} ;\n{dims}"
    text += f"Size = {array.nbytes} ;\n"
    return (text.ljust(1022) + "}\n").encode() + array.tobytes()


def test_edf(tmp_path: Path) -> None:
    kinds = {"UnsignedShort": "<u2", "SignedInteger": ">i4", "FloatValue": ">f4", "DoubleValue": "<f8"}
    frames = {kind: RNG.integers(0, 99, (5, 7)).astype(code) for kind, code in kinds.items()}
    orders = {"<": "LowByteFirst", ">": "HighByteFirst"}
    images = [edf(array, kind, orders[kinds[kind][0]]) for kind, array in frames.items()]
    (tmp_path / "one.edf").write_bytes(images[1])
    check(tmp_path / "one.edf", None, frames["SignedInteger"])
    (tmp_path / "all.edf").write_bytes(b"".join(images))
    assert [info.dtype for info in describe(tmp_path / "all.edf")] == ["uint16", "int32", "float32", "float64"]
    for number, array in enumerate(frames.values()):
        check(tmp_path / "all.edf", f"frame={number}", array)
    with pytest.raises(UsageError, match="has 4 images; say which: frame=0 to 3"):
        inspect(str(tmp_path / "all.edf"))
    if fabio := pytest.importorskip("fabio", reason="fabio is not installed: EDF is tested by hand-made files alone"):
        with fabio.open(tmp_path / "all.edf") as file:
            for number in range(4):
                equal(read_slice(tmp_path / "all.edf", f"frame={number}"), file.getframe(number).data)


def test_nrrd_is_pynrrds(tmp_path: Path) -> None:
    nrrd = pytest.importorskip("nrrd", reason="pynrrd is not installed: NRRD is NOT TESTED")
    about: dict[str, Any] = {"encoding": "raw", "space": "left-posterior-superior", "kinds": ["domain"] * 3}
    about |= {"space directions": np.diag((0.5, 2.0, 4.0)), "space origin": (7, 8, 9), "space units": ["mm"] * 3}
    for number, code in enumerate(("u1", "i2", "u4", "f4", "f8", ">i2", ">f8")):
        array = RNG.integers(0, 99, (3, 4, 5)).astype(code)
        for suffix in ("nrrd", "nhdr"):
            path = tmp_path / f"{number}.{suffix}"
            nrrd.write(str(path), array, about, index_order="C")
            check(path, None, nrrd.read(str(path), index_order="C")[0])
            grid = inspect(str(path)).grid
            assert (grid["spacing"], grid["origin"], grid["units"]) == ((4.0, 2.0, 0.5), (9, 8, 7), "mm")
    colors = RNG.integers(0, 99, (4, 5, 3), "u1")
    nrrd.write(
        str(tmp_path / "rgb.nrrd"),
        colors,
        {"encoding": "raw", "kinds": ["RGB-color", "domain", "domain"]},
        index_order="C",
    )
    check(tmp_path / "rgb.nrrd", None, colors)
    assert inspect(str(tmp_path / "rgb.nrrd")).components == 1
    nrrd.write(str(tmp_path / "packed.nrrd"), array, {"encoding": "gzip"})
    with pytest.raises(UsageError, match="packed or text"):
        inspect(str(tmp_path / "packed.nrrd"))


def test_metaimage(tmp_path: Path) -> None:
    array = RNG.integers(0, 99, (3, 4, 5)).astype(">i2")
    text = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = True\nCompressedData = False\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 7 8 9\nElementSpacing = 0.5 2 4\nDimSize = 5 4 3\n"
        "ElementType = MET_SHORT\nElementDataFile = "
    )
    (tmp_path / "a.mha").write_bytes(f"{text}LOCAL\n".encode() + array.tobytes())
    (tmp_path / "a.mhd").write_text(f"{text}a.raw\n")
    (tmp_path / "a.raw").write_bytes(array.tobytes())
    for suffix in ("mha", "mhd"):
        check(tmp_path / f"a.{suffix}", None, array)
        grid = inspect(str(tmp_path / f"a.{suffix}")).grid
        assert (grid["spacing"], grid["origin"], grid["axes"]) == ((4, 2, 0.5), (9, 8, 7), ("z", "y", "x"))
    (tmp_path / "b.mhd").write_text(f"{text}../a.raw\n")
    with pytest.raises(UsageError, match="outside its folder"):
        inspect(str(tmp_path / "b.mhd"))
    (tmp_path / "c.mhd").write_text(text.replace("CompressedData = False", "CompressedData = True") + "a.raw\n")
    with pytest.raises(UsageError, match="packed"):
        inspect(str(tmp_path / "c.mhd"))


def test_metaimage_is_itks(tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed: its MetaImages are NOT TESTED")
    for number, code in enumerate(("u1", "i2", "u2", "f4", "f8")):
        for is_vector in (False, True):
            array = RNG.integers(0, 99, (3, 4, 5, 2) if is_vector else (3, 4, 5)).astype(code)
            image = itk.GetImageFromArray(array, isVector=is_vector)
            image.SetSpacing((0.5, 2.0, 4.0))
            for suffix in ("mha", "mhd"):
                path = tmp_path / f"{number}{is_vector}.{suffix}"
                itk.WriteImage(image, str(path))
                check(path, None, array)
                assert inspect(str(path)).grid["spacing"] == (4.0, 2.0, 0.5)


def test_plain_bytes_with_a_description(tmp_path: Path) -> None:
    array = RNG.integers(0, 60000, (3, 4, 5)).astype(">u2")
    (tmp_path / "c.raw").write_bytes(b"head" + array.tobytes())
    (tmp_path / "f.raw").write_bytes(array.tobytes("F"))
    check(f"{tmp_path}/c.raw::dtype=u2,shape=3x4x5,offset=4,byteorder=big", None, array)
    check(f"{tmp_path}/f.raw::dtype=>u2,shape=3x4x5,order=F", None, array)
    with pytest.raises(RunError, match=r"up to|to byte 128, but it ends at byte 124"):
        inspect(f"{tmp_path}/c.raw::dtype=u2,shape=31x2,offset=4")
    with pytest.raises(UsageError, match="does not describe plain bytes"):
        inspect(f"{tmp_path}/c.raw::dtype=q9,shape=3x2")
    with pytest.raises(RunError, match=r"plain bytes with a description"):
        inspect(f"{tmp_path}/c.raw")


def test_npy_is_numpys(tmp_path: Path) -> None:
    for number, code in enumerate(("?", "u1", ">i2", "<f8", ">c16")):
        for order in "CF":
            array = np.asarray(RNG.integers(0, 99, (4, 6, 5)).astype(code), order=order)
            np.save(tmp_path / f"{number}{order}.npy", array)
            check(tmp_path / f"{number}{order}.npy", None, array)


# --- bytes, and damage --------------------------------------------------------------------------------------------


def test_a_part_reads_its_bytes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (40, 60, 500)
    np.save(tmp_path / "c.npy", np.zeros(shape, ">f4"))
    np.save(tmp_path / "f.npy", np.zeros(shape[::-1], ">f4", order="F"))
    row, count = shape[2] * 4, 0
    real = os.preadv

    def counted(handle: int, buffers: Any, offset: int) -> int:
        nonlocal count
        nbytes = real(handle, buffers, offset)
        count += nbytes
        return nbytes

    monkeypatch.setattr(raw_values.os, "preadv", counted)
    for cut, most in (
        ((slice(3, 5),), 2 * 60 * row),
        (np.s_[3:5, 10:20], 2 * 10 * row),
        (np.s_[3:5, 10:20, 7:9], 2 * 10 * row),
        (np.s_[::20, 10:11], 2 * row),
    ):
        whole = (*cut, *(slice(None),) * (3 - len(cut)))
        for path, part in (("c.npy", whole), ("f.npy", whole[::-1])):
            count = 0
            read_slice(tmp_path / path, None, part)
            assert 0 < count <= most


def samples(folder: Path) -> list[Path]:
    """A small file of each kind."""
    array = RNG.integers(0, 99, (3, 4, 5)).astype(">i2")
    np.save(folder / "a.npy", array)
    (folder / "a.edf").write_bytes(edf(array[0], "SignedShort", "HighByteFirst"))
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nencoding: raw\nendian: big\nspacings: 1 2 3\n\n"
    (folder / "a.nrrd").write_bytes(head.encode() + array.tobytes())
    head = "ObjectType = Image\nNDims = 3\nDimSize = 5 4 3\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    (folder / "a.mha").write_bytes(head.encode() + array.tobytes())
    (gz,) = packaged("nibabel", "data/standard.nii.gz")
    (folder / "a.nii").write_bytes(gzip.decompress(gz.read_bytes()))
    shutil.copy(gz, folder / "a.nii.gz")
    (fits,) = packaged("astropy", "io/fits/tests/data/scale.fits")
    shutil.copy(fits, folder / "a.fits")
    mrcfile = pytest.importorskip("mrcfile", reason="mrcfile is not installed: damaged MRC is NOT TESTED")
    with mrcfile.new(folder / "a.mrc") as file:
        file.set_data(array.astype("i2"))
    return sorted(folder.iterdir())


def test_damaged_headers_are_refused_or_read(tmp_path: Path) -> None:
    """Whatever a header says: one of our errors, or values of the shape that was announced."""
    for path in samples(tmp_path):
        content = path.read_bytes()
        right = read_slice(path, None)
        for length in range(0, len(content), max(1, len(content) // 20)):
            path.write_bytes(content[:length])
            try:
                equal(read_slice(path, None), right)
                assert path.suffix == ".fits"  # which is filled up to whole blocks
            except (RunError, UsageError):
                pass
        for _ in range(100):
            damaged = bytearray(content)
            for at in RNG.integers(0, min(len(content), 640), RNG.integers(1, 4)):
                damaged[at] = RNG.integers(0, 256)
            path.write_bytes(damaged)
            try:
                source = inspect(str(path))
                if np.prod(source.shape, dtype=object) < 1 << 20:
                    values = read_slice(path, None)
                    assert values.shape == source.shape
            except (RunError, UsageError):
                pass
        path.write_bytes(content)
        equal(read_slice(path, None), right)
