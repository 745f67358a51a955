"""Files without MPI: what they hold, digests, slices; what is refused."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import PIL.Image
import pytest
import tifffile

from mpibatch.base.errors import MpibatchError, RunError, UsageError
from mpibatch.io import describe, digest, file_attributes, read_slice
from mpibatch.io.base.names import check_tree, normal_name, split_path
from mpibatch.io.formats import inspect
from mpibatch.io.read import description
from mpibatch.io.write.layout import ALIGNMENT_VARIABLE, Dataset, create

VOLUME = np.arange(7 * 5 * 4).reshape(7, 5, 4)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("raw", data=VOLUME.astype("f4"))
        file.create_dataset("step/packed", data=VOLUME.astype(">i2"), chunks=(2, 5, 4), compression="gzip")
        file["step/packed"].attrs["unit"] = "K"
        file.attrs["job"] = "text"
    return path


def test_split_path() -> None:
    assert split_path("a.h5::b/c") == ("a.h5", "b/c")
    assert split_path("a.h5") == ("a.h5", None)
    assert split_path(Path("a.h5"), "b") == ("a.h5", "b")
    for path, dataset in (("a.h5::b", "c"), ("::b", None)):
        with pytest.raises(UsageError):
            split_path(path, dataset)


def test_names() -> None:
    assert normal_name("/a/b/") == "a/b"
    for bad in ("", "/", "a//b", "a/../b", ".", "a\0b"):
        with pytest.raises(UsageError, match="not a dataset name"):
            normal_name(bad)
    check_tree(["a/b", "a/c", "ab"])
    with pytest.raises(UsageError, match="'a' and 'a/b'"):
        check_tree(["a/b", "a"])


def test_describe(volume: Path) -> None:
    packed, raw = sorted(describe(volume), key=lambda info: info.nbytes)
    assert (raw.name, raw.shape, raw.dtype, raw.nbytes) == ("raw", (7, 5, 4), "float32", 560)
    assert (packed.name, packed.chunks, packed.compression) == ("step/packed", (2, 5, 4), "gzip")
    assert packed.attrs == {"unit": "K"}
    assert packed.dtype == "int16"
    assert [info.name for info in describe(f"{volume}::raw")] == ["raw"]
    assert file_attributes(volume) == {"job": "text"}


def test_digest_is_of_the_values_alone(volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    little = VOLUME.astype("<i2")
    expected = hashlib.sha256(b"<i2 (7, 5, 4)\n" + little.tobytes()).hexdigest()
    np.save(tmp_path / "fortran.npy", np.asfortranarray(little.astype(">i2")))
    tifffile.imwrite(tmp_path / "stack.tif", little, compression="zlib", photometric="minisblack")
    for most in (1, 6, 40, 1 << 20):  # bytes: single values, parts of rows, rows, all
        monkeypatch.setattr(description, "BLOCK_BYTES", most)
        assert digest(volume, "step/packed") == expected
        assert digest(tmp_path / "fortran.npy") == expected
        assert digest(tmp_path / "stack.tif") == expected
    assert digest(volume, "raw") != expected


def test_digest_of_a_picture(tmp_path: Path) -> None:
    colors = np.arange(60, dtype="u1").reshape(4, 5, 3)
    PIL.Image.fromarray(colors).save(tmp_path / "a.png")
    assert digest(tmp_path / "a.png") == hashlib.sha256(b"|u1 (4, 5, 3)\n" + colors.tobytes()).hexdigest()


@pytest.mark.parametrize("name", ["h5", "npy", "plain.tif", "packed.tif", "strips.tif"])
@pytest.mark.parametrize(
    "selection", [(), 2, -1, (slice(1, 6, 2), 3), (slice(None), slice(4, 1), slice(None)), (0, 1, 2), slice(-3, None)]
)
def test_read_slice(tmp_path: Path, name: str, selection: tuple[int | slice, ...]) -> None:
    path = tmp_path / f"file.{name}"
    array = VOLUME.astype(">u2")
    if name == "h5":
        with h5py.File(path, "w") as file:
            file["raw"] = array
    elif name == "npy":
        np.save(path, array)
    elif name == "plain.tif":
        tifffile.imwrite(path, array, photometric="minisblack", byteorder=">")
    elif name == "packed.tif":
        tifffile.imwrite(path, array, photometric="minisblack", compression="zlib")
    else:
        tifffile.imwrite(path, array, photometric="minisblack", compression="zlib", volumetric=True, tile=(16, 16, 16))
    part = read_slice(path, None, selection)
    np.testing.assert_array_equal(part, array[selection])
    assert part.dtype == np.dtype("=u2")


def test_read_slice_refuses(volume: Path) -> None:
    for selection in (7, (0, 0, 0, 0), slice(None, None, -1)):
        with pytest.raises(UsageError):
            read_slice(volume, "raw", selection)


def test_pages_of_several_leading_axes(tmp_path: Path) -> None:
    array = np.arange(2 * 3 * 4 * 5, dtype="u1").reshape(2, 3, 4, 5)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", compression="zlib", metadata={"axes": "TZYX"})
    assert inspect(str(tmp_path / "a.tif")).boxwise
    for selection in ((1, slice(1, 3), slice(0, 4, 3)), (slice(None), 2), ()):
        np.testing.assert_array_equal(read_slice(tmp_path / "a.tif", None, selection), array[selection])


def test_series_of_a_tiff(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((4, 4), "u1"))
        file.write(np.ones((6, 5), "f4"))
    with pytest.raises(UsageError, match=r"has 2 series; give dataset='0' to '1'"):
        digest(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_slice(tmp_path / "a.tif", "1"), np.ones((6, 5), "f4"))


@pytest.mark.parametrize(
    ("mode", "shape", "dtype", "components"),
    [
        ("RGB", (4, 5, 3), "|u1", 1),
        ("RGBA", (4, 5, 4), "|u1", 1),
        ("LA", (4, 5, 2), "|u1", 1),
        ("L", (4, 5), "|u1", 0),
        ("1", (4, 5), "|b1", 0),
        ("I;16", (4, 5), "=u2", 0),
        ("P", (4, 5, 3), "|u1", 1),
    ],
)
def test_modes_of_pictures(tmp_path: Path, mode: str, shape: tuple[int, ...], dtype: str, components: int) -> None:
    picture = PIL.Image.new(mode, (5, 4))
    picture.putpixel((3, 2), 1)
    picture.save(tmp_path / "a.png")
    source = inspect(str(tmp_path / "a.png"))
    assert (source.shape, np.dtype(source.dtype), source.components) == (shape, np.dtype(dtype), components)
    expected = picture.convert("RGB") if mode == "P" else picture
    np.testing.assert_array_equal(read_slice(tmp_path / "a.png", None), np.asarray(expected))


def test_colors_of_16_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    PIL.Image.new("RGB", (2, 2)).save(path)
    content = bytearray(path.read_bytes())
    content[24] = 16
    path.write_bytes(content)
    with pytest.raises(RunError, match="16 bits"):
        inspect(str(path))


def test_links_stay_in_the_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.ones((2, 2))
    (tmp_path / "bytes").write_bytes(bytes(32))
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["g/raw"] = np.arange(4.0).reshape(2, 2)
        file["g/near"] = h5py.SoftLink("raw")
        file["far"] = h5py.SoftLink("/g/near")
        file["ring"] = h5py.SoftLink("ring")
        file["out"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "secret")
        file["via"] = h5py.SoftLink("/out")
        file.create_dataset("stored", (2, 2), "f8", external=[(str(tmp_path / "bytes"), 0, 32)])
        inner, outer = h5py.VirtualLayout((2, 2), "f8"), h5py.VirtualLayout((2, 2), "f8")
        inner[:] = h5py.VirtualSource(".", "g/raw", (2, 2))
        outer[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", (2, 2))
        file.create_virtual_dataset("inner", inner)
        file.create_virtual_dataset("outer", outer)
    for name in ("g/raw", "far", "inner", "/g/./near"):
        assert digest(path, name) == digest(path, "g/raw")
    for name in ("out", "via", "ring", "stored", "outer"):
        with pytest.raises(UsageError, match=r"other files|leaves the file"):
            digest(path, name)
    told = {info.name: info.refused for info in describe(path)}
    assert set(told) == {"g/raw", "stored", "inner", "outer"}
    assert {name for name in told if told[name]} == {"stored", "outer"}


def _write_bad(path: Path, what: str) -> None:
    with h5py.File(path, "w") as file:
        if what == "scalar":
            file["x"] = 3.0
        elif what == "empty":
            file["x"] = np.zeros((0, 3))
        elif what == "null":
            file["x"] = h5py.Empty("f4")
        elif what == "strings":
            file["x"] = ["a", "b"]
        elif what == "fixed strings":
            file["x"] = np.array([b"a", b"b"])
        elif what == "compound":
            file["x"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
        elif what == "long double":
            file["x"] = np.zeros(3, "g")
        elif what == "references":
            file.create_dataset("x", (2,), h5py.ref_dtype)


@pytest.mark.parametrize(
    "what", ["scalar", "empty", "null", "strings", "fixed strings", "compound", "long double", "references", "none"]
)
def test_what_no_field_can_hold(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.h5"
    _write_bad(path, what)
    with pytest.raises(UsageError, match=r"a\.h5"):
        digest(path)
    for info in describe(path):
        assert info.name == "x"


def test_missing_and_ambiguous_datasets(volume: Path) -> None:
    with pytest.raises(UsageError, match="has 2 datasets: raw, step/packed"):
        digest(volume)
    with pytest.raises(UsageError, match="did you mean 'raw'"):
        digest(volume, "rwa")
    with pytest.raises(UsageError, match="not a dataset"):
        digest(volume, "step")


def _broken(folder: Path, what: str) -> Path:
    path = folder / "file"
    if what == "h5":
        with h5py.File(path, "w") as file:
            file["x"] = np.ones(1000)
    elif what == "npy":
        with open(path, "wb") as npy:
            np.save(npy, np.ones(1000))
    elif what == "tif":
        tifffile.imwrite(path, np.ones((4, 50, 50), "u1"), compression="zlib", photometric="minisblack")
    elif what in ("png", "jpeg"):
        noise = np.random.default_rng(1).integers(0, 256, (40, 50, 3), "u1")
        PIL.Image.fromarray(noise).save(path, what)
    content = path.read_bytes() if path.exists() else b"PK\3\4 something else"
    path.write_bytes(content[: len(content) // 2])
    return path


@pytest.mark.parametrize("what", ["h5", "npy", "tif", "png", "jpeg", "unknown"])
def test_damaged_files(tmp_path: Path, what: str) -> None:
    with pytest.raises(RunError, match=r"damaged|begins with"):
        digest(_broken(tmp_path, what))


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    np.save(tmp_path / "objects.npy", np.array([None]), allow_pickle=True)
    for path, kind, words in (
        (tmp_path / "absent.h5", RunError, "no such file"),
        (tmp_path, RunError, "folder"),
        (tmp_path / "empty", RunError, "is empty"),
        (tmp_path / "objects.npy", UsageError, "Python objects"),
        (f"{tmp_path / 'objects.npy'}::a", UsageError, "no datasets"),
    ):
        with pytest.raises(MpibatchError, match=words) as caught:
            describe(path)
        assert caught.type is kind


def test_looking_needs_no_mpi(volume: Path) -> None:
    program = f"import sys, mpibatch.io as io; io.describe({str(volume)!r}); io.digest({str(volume)!r}, 'raw')"
    subprocess.run([sys.executable, "-c", f"{program}; assert 'mpi4py' not in sys.modules"], check=True, timeout=60)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(RunError, match="is a pipe"):
        describe(pipe)


def test_a_shape_beyond_all_integers(tmp_path: Path) -> None:
    path = tmp_path / "huge.npy"
    np.save(path, np.zeros(3))
    path.write_bytes(path.read_bytes().replace(b"(3,), }" + b" " * 22, b"(" + b"9" * 24 + b",), }", 1))
    with pytest.raises(RunError, match="damaged"):
        describe(path)


def test_values_begin_where_the_user_wants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = [Dataset("a", (1 << 18,), "<f8"), Dataset("b", (1 << 10, 1 << 10), "<f4")]
    for wanted in (4096, 1 << 20):
        monkeypatch.setenv(ALIGNMENT_VARIABLE, str(wanted))
        places = create(str(tmp_path / "a.h5"), datasets, {})
        assert [place % wanted for place in places] == [0, 0]
    for wrong in ("0", "4k", "-1", str(1 << 40)):
        monkeypatch.setenv(ALIGNMENT_VARIABLE, wrong)
        with pytest.raises(UsageError, match="give a number of bytes from 1"):
            create(str(tmp_path / "a.h5"), datasets, {})
