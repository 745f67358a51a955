"""Numbered files as one volume, and DICOM, against tifffile, Pillow and pydicom."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import pytest
import tifffile

import mpibatch as mb
from mpibatch.base.errors import RunError, UsageError
from mpibatch.io import describe, read_slice
from mpibatch.io.formats import inspect
from mpibatch.io.formats.pieces.stack import natural
from mpibatch.io.read import inspector, loader
from tests.support.packaged import packaged

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")

RNG = np.random.default_rng(17)
VOLUME = RNG.integers(0, 256, (12, 9, 7), "u1")


def test_natural_order() -> None:
    assert natural(["a10", "a2", "a2b", "b1", "a007"]) == ["a2", "a2b", "a007", "a10", "b1"]


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_stacks_of_pictures(tmp_path: Path, suffix: str) -> None:
    for number, plane in enumerate(VOLUME):
        path = tmp_path / f"slice_{number}.{suffix}"
        if suffix == "tif":
            tifffile.imwrite(path, plane, compression="zlib" if number % 2 else None)
        else:
            PIL.Image.fromarray(plane).save(path)
    whole = f"{tmp_path}/slice_*.{suffix}"
    np.testing.assert_array_equal(read_slice(whole, None), VOLUME)
    np.testing.assert_array_equal(read_slice(whole, None, np.s_[2:11:3, 1:5]), VOLUME[2:11:3, 1:5])
    assert [info.shape for info in describe(whole)] == [VOLUME.shape]
    shutil.move(tmp_path / f"slice_3.{suffix}", tmp_path / "away")
    assert inspect(whole).shape == (11, 9, 7)
    PIL.Image.fromarray(VOLUME[0, :5]).save(tmp_path / "slice_3.png")
    if suffix == "png":
        with pytest.raises(RunError, match=r"slice_3.png' has shape \(5, 7\).*\(9, 7\)"):
            read_slice(whole, None)
        np.testing.assert_array_equal(read_slice(whole, None, 2), VOLUME[2])
    with pytest.raises(RunError, match="no file has such a name"):
        inspect(f"{tmp_path}/plane_*.{suffix}")


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "SC_rgb_rle_2frame.dcm", "examples_overlay.dcm"]
)
def test_dicom_is_pydicoms(name: str) -> None:
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: DICOM is NOT TESTED")
    (path,) = packaged("pydicom", f"test_files/{name}")
    image = pydicom.dcmread(path)
    right = image.pixel_array
    if (slope := image.get("RescaleSlope")) is not None and (slope, image.RescaleIntercept) != (1, 0):
        right = right.astype("f8") * float(slope) + float(image.RescaleIntercept)
    values = read_slice(path, None)
    np.testing.assert_array_equal(values, right)
    assert values.dtype == right.dtype.newbyteorder("=")
    np.testing.assert_array_equal(read_slice(path, None, np.s_[1:, 3:9:2]), right[1:, 3:9:2])
    if "2frame" in name:
        np.testing.assert_array_equal(read_slice(path, "frame=1"), right[1])
        with pytest.raises(UsageError, match="has 2 images, and no image 2"):
            inspect(str(path), "frame=2")


def test_a_volume_of_dicom_lies_in_the_order_of_space(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: DICOM is NOT TESTED")
    (path,) = packaged("pydicom", "test_files/MR_small.dcm")
    image, planes = pydicom.dcmread(path), []
    for number in range(4):
        image.ImagePositionPatient = [0.0, 0.0, 10.0 - 2.5 * number]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        values = image.pixel_array + number
        image.PixelData = values.astype("<i2").tobytes()
        image.save_as(tmp_path / f"{number}.dcm")
        planes.append(pydicom.dcmread(tmp_path / f"{number}.dcm").pixel_array)
    np.testing.assert_array_equal(read_slice(f"{tmp_path}/*.dcm", None), np.stack(planes[::-1]))
    grid = inspect(f"{tmp_path}/*.dcm").grid
    assert (grid["axes"], grid["spacing"][0], grid["origin"][0], grid["units"]) == (("z", "y", "x"), 2.5, 2.5, "mm")


def test_damaged_dicom(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pydicom is not installed: DICOM is NOT TESTED")
    (path,) = packaged("pydicom", "test_files/MR_small.dcm")
    content, copy = path.read_bytes(), tmp_path / "a.dcm"
    for length in range(200, len(content), len(content) // 12):
        copy.write_bytes(content[:length])
        with pytest.raises((RunError, UsageError)):
            read_slice(copy, None)
    for _ in range(60):
        damaged = bytearray(content)
        damaged[RNG.integers(132, 1600)] = RNG.integers(0, 256)
        copy.write_bytes(damaged)
        try:
            source = inspect(str(copy))
            assert read_slice(copy, None).shape == source.shape
        except (RunError, UsageError):
            pass


FATAL = """
import os
inspect = apart.inspect
def fatal(path, *more, **options):
    if "slice_3" in path:
        os.kill(os.getpid(), 11)
    return inspect(path, *more, **options)
apart.inspect = fatal
apart.answer_all(asked)"""


def test_a_file_that_crashes_its_parser_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, plane in enumerate(VOLUME[:5]):
        tifffile.imwrite(tmp_path / f"slice_{number}.tif", plane, compression="zlib" if number % 2 else None)
    whole = f"{tmp_path}/slice_*.tif"
    np.testing.assert_array_equal(mb.gather_all(mb.load(whole)), VOLUME[:5])
    child = inspector._CHILD_OF_MANY.replace("apart.answer_all(asked)", FATAL)
    monkeypatch.setattr(inspector, "_CHILD_OF_MANY", child)
    with pytest.raises(RunError, match=r"slice_3.tif' cannot be read as tiff: the library crashed \(11\)"):
        mb.load(whole)
    np.testing.assert_array_equal(mb.gather_all(mb.load(whole, region=np.s_[:3])), VOLUME[:3])
    tifffile.imwrite(tmp_path / "slice_2.tif", VOLUME[0, 1:])
    with pytest.raises(RunError, match=r"slice_2.tif' has shape \(8, 7\)"):
        mb.load(whole, region=np.s_[:3])


def test_a_stack_that_is_written_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, plane in enumerate(VOLUME[:4]):
        PIL.Image.fromarray(plane).save(tmp_path / f"slice_{number}.png")
    whole, before = f"{tmp_path}/slice_*.png", loader.read

    def rewriting(*arguments: Any) -> None:
        before(*arguments)
        PIL.Image.fromarray(VOLUME[5]).save(tmp_path / "slice_1.png")

    def adding(*arguments: Any) -> None:
        before(*arguments)
        PIL.Image.fromarray(VOLUME[5]).save(tmp_path / "slice_4.png")

    for change, words in ((rewriting, r"slice_1.png was replaced, or written to"), (adding, "lost or got files")):
        monkeypatch.setattr(loader, "read", change)
        with pytest.raises(RunError, match=words):
            mb.load(whole)
        monkeypatch.undo()
    assert mb.load(whole).shape == (5, 9, 7)
