"""What a TIFF tells of its axes, colors, turns, sizes and companions, against Pillow and tifffile."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tifffile

from mpibatch.base.errors import RunError, UsageError
from mpibatch.io import describe, read_slice
from mpibatch.io.formats import ask, inspect, read
from mpibatch.io.formats.picks import with_picks
from mpibatch.io.formats.pieces.segments import Segments

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(7)
HYPERSTACK = RNG.integers(0, 256, (2, 3, 4, 6, 5), "u1")  # TZCYX
TAGS = {"compression": "zlib"}


def write(path: Path, array: np.ndarray, **options: Any) -> Path:
    tifffile.imwrite(path, array, **options)
    return path


def pillow(path: Path, mode: str | None = None) -> np.ndarray:
    # Not by name: Pillow maps such files into memory, and then forgets that a turned one has other rows.
    picture = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(path.read_bytes())))
    return np.asarray(picture.convert(mode) if mode else picture)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_orientation_and_colors_are_pillows(tmp_path: Path, compression: str | None) -> None:
    shades, colors = RNG.integers(0, 256, (6, 5), "u1"), RNG.integers(0, 256, (6, 5, 3), "u1")
    palette = RNG.integers(0, 1 << 16, (3, 256)).astype("u2")
    cases: list[tuple[str, np.ndarray, dict[str, Any]]] = [
        ("rgb", colors, {}),
        ("rgb", colors.transpose(2, 0, 1), {"planarconfig": "separate"}),
        ("minisblack", shades, {}),
        ("miniswhite", shades, {}),
        ("palette", shades, {"colormap": palette}),
        ("miniswhite", shades > 99, {}),
    ]
    for turn in range(1, 9):
        for number, (kind, array, options) in enumerate(cases):
            turned = options | {"compression": compression, "extratags": [(274, 3, 1, turn, True)]}
            path = write(tmp_path / f"{turn}{number}.tif", array, photometric=kind, **turned)
            right = pillow(path, "RGB" if kind == "palette" else None)
            np.testing.assert_array_equal(read_slice(path, None), right)
            np.testing.assert_array_equal(read_slice(path, None, np.s_[1:5:2, 1:4]), right[1:5:2, 1:4])
            assert inspect(str(path)).components == right.ndim - 2


def test_white_is_zero_for_wide_integers(tmp_path: Path) -> None:
    array = RNG.integers(0, 1 << 16, (3, 6, 5)).astype("u2")
    path = write(tmp_path / "a.tif", array, photometric="miniswhite")
    np.testing.assert_array_equal(read_slice(path, None), 65535 - array)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_pictures_are_turned(tmp_path: Path, suffix: str) -> None:
    for turn in range(1, 9):
        exif = PIL.Image.Exif()
        exif[0x0112] = turn
        path = tmp_path / f"{turn}.{suffix}"
        PIL.Image.fromarray(RNG.integers(0, 256, (6, 5, 3), "u1")).save(path, exif=exif)
        right = pillow(path)
        assert inspect(str(path)).shape == right.shape
        np.testing.assert_array_equal(read_slice(path, None), right)


def test_axes_of_hyperstacks(tmp_path: Path) -> None:
    about = {"axes": "TZCYX", "spacing": 2.5, "unit": "micron", "finterval": 0.5}
    imagej = write(tmp_path / "i.tif", HYPERSTACK, imagej=True, metadata=about, resolution=(4, 2))
    about = {
        "axes": "TZCYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 500.0, "PhysicalSizeYUnit": "nm",
        "PhysicalSizeZ": 2.5, "TimeIncrement": 500.0, "TimeIncrementUnit": "ms",
    }  # fmt: skip
    ome = write(tmp_path / "o.ome.tif", HYPERSTACK, metadata=about, **TAGS)
    for path in (imagej, ome):
        source = inspect(str(path))
        assert (source.components, source.grid["axes"], source.grid["units"]) == (1, ("t", "z", "y", "x"), "um")
        np.testing.assert_allclose(source.grid["spacing"], (0.5, 2.5, 0.5, 0.25), rtol=1e-15)
        right = HYPERSTACK.transpose(0, 1, 3, 4, 2)
        np.testing.assert_array_equal(read_slice(path, None), right)
        np.testing.assert_array_equal(read_slice(path, None, np.s_[1, 0:3:2, 2:, ::3]), right[1, 0:3:2, 2:, ::3])
        np.testing.assert_array_equal(read_slice(f"{path}::series=0,channel=2", None), HYPERSTACK[:, :, 2])
        np.testing.assert_array_equal(read_slice(path, "frame=-1,channel=0"), HYPERSTACK[1, :, 0])
        np.testing.assert_array_equal(read_slice(path, "slice=1,t=0"), right[0, 1])
        assert with_picks(str(path), "series=0", {"frame": 1, "channel": 2}) == "series=0,frame=1,channel=2"


def test_picks_that_cannot_be_meant(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ome.tif", HYPERSTACK, metadata={"axes": "TZCYX"})
    for pick, words in {
        "channel=4": r"channel=4 .* axes are T \(2\), Z \(3\), C \(4\), Y \(6\), X \(5\); give channel=0 to 3",
        "y=1": "rows and columns with region=",
        "chanel=1": "cannot be understood; write it as in FILE::series=1,channel=2",
        "channel=1,channel=2": "cannot be understood",
        "series=0,series=0": "names two series",
        "series=2": "has 1 series and no series 2",
    }.items():
        with pytest.raises(UsageError, match=words):
            inspect(str(path), pick)
    with pytest.raises(UsageError, match="twice"):
        with_picks(str(path), "channel=1", {"channel": 2})
    with pytest.raises(UsageError, match="whole number"):
        with_picks(str(path), None, {"frame": 1.5})  # type: ignore[dict-item]
    np.save(tmp_path / "a.npy", HYPERSTACK)
    with pytest.raises(UsageError, match="format npy: frames and channels are picked from TIFF"):
        with_picks(str(tmp_path / "a.npy"), None, {"frame": 0})


def test_what_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", HYPERSTACK[0], photometric="minisblack")
    source = inspect(str(path))
    with pytest.raises(UsageError, match=r"axes Q \(3\), Q \(4\).* say what they are: axes="):
        ask(source, "auto", None)
    ask(source, "auto", ("a", "z", "y", "x"))
    ask(source, 0, None)
    np.testing.assert_array_equal(read_slice(path, "q=1"), HYPERSTACK[0, 1])
    plain = write(tmp_path / "b.tif", HYPERSTACK[0, 0], photometric="minisblack", metadata=None)
    ask(inspect(str(plain)), "auto", None)  # a stack of pages is one of slices


def test_resolution_tags(tmp_path: Path) -> None:
    plane = HYPERSTACK[0, 0, 0]
    path = write(tmp_path / "a.tif", plane, resolution=(200, 100), resolutionunit="CENTIMETER")
    grid = inspect(str(path)).grid
    assert (grid["axes"], grid["spacing"], grid["units"]) == (("y", "x"), (0.01, 0.005), "cm")
    turned = {"extratags": [(274, 3, 1, 6, True)]}
    path = write(tmp_path / "b.tif", plane, resolution=(200, 100), resolutionunit="CENTIMETER", **turned)
    assert inspect(str(path)).grid["spacing"] == (0.005, 0.01)
    assert inspect(str(write(tmp_path / "c.tif", plane, resolution=(200, 100), resolutionunit="NONE"))).grid == {}
    # The size of a slice is not told: a grid has one unit for all
    stack = write(tmp_path / "d.tif", HYPERSTACK[0, 0], resolution=(2, 1), resolutionunit=3, photometric="minisblack")
    assert inspect(str(stack)).grid == {}


def multifile(folder: Path, second: str, count: int = 2) -> Path:
    """Two files of two planes each, of which the first tells of both."""
    uuids = [f"urn:uuid:{number:08d}-0000-0000-0000-000000000000" for number in range(2)]
    parts = "".join(
        f'<TiffData FirstZ="{2 * n}" IFD="0" PlaneCount="2"><UUID FileName="{name}">{uuids[n]}</UUID></TiffData>'
        for n, name in enumerate(("a.ome.tif", second)[:count])
    )
    text = (
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuids[0]}"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="5" SizeY="6" SizeZ="4" SizeC="1" SizeT="1">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{parts}</Pixels></Image></OME>'
    )
    for number, place in enumerate((folder / "a.ome.tif", folder / second)):
        planes = HYPERSTACK[0, 0, 2 * number : 2 * number + 2] + 1
        write(place, planes, photometric="minisblack", description=text if not number else "", metadata=None, **TAGS)
    return folder / "a.ome.tif"


def test_companions(tmp_path: Path) -> None:
    path, right = multifile(tmp_path, "b.ome.tif"), HYPERSTACK[0, 0] + 1
    np.testing.assert_array_equal(read_slice(path, None), right)
    (tmp_path / "b.ome.tif").unlink()
    with pytest.raises(RunError, match=r'its part .*b\.ome\.tif. is missing; put the file there, or give allow="missi'):
        inspect(str(path))
    source = inspect(str(path), allow=("missing",))
    values = np.full(source.shape, 9, "u1")
    everything = tuple(slice(0, n) for n in source.shape)
    read(source, everything, values, everything)
    np.testing.assert_array_equal(values, np.concatenate([right[:2], 0 * right[2:]]))
    # A plane that no file is said to have
    path = multifile(tmp_path, "b.ome.tif", count=1)
    with pytest.raises(RunError, match="2 of its 4 planes are missing"):
        inspect(str(path))


def test_companions_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("../b.tif", str(tmp_path / "c.tif")):
        path = multifile(tmp_path / "in", name)
        with pytest.raises(UsageError, match=r'outside its folder.* allow=\("external storage",\)'):
            inspect(str(path))
        assert inspect(str(path), allow=("external storage",)).shape == (4, 6, 5)


def test_segments_of_every_kind_are_tifffiles(tmp_path: Path) -> None:
    """Tiles, strips, planes, pyramids, BigTIFF, packed in many ways: all values, and boxes of them."""
    pytest.importorskip("imagecodecs", reason="imagecodecs is not installed: packed TIFF is tested with zlib alone")
    gray: dict[str, Any] = {"photometric": "minisblack"}
    shades, colors = RNG.integers(0, 60000, (3, 70, 90), "u2"), RNG.integers(0, 256, (70, 90, 3), "u1")
    tiles: dict[str, Any] = {"tile": (32, 48)}
    cases: list[tuple[np.ndarray, dict[str, Any]]] = [
        (shades, {"compression": packing, **gray, **cut})
        for packing in ("zlib", "lzw", "zstd", "lzma")
        for cut in (tiles, {"rowsperstrip": 13})
    ]
    cases += [
        (shades, {"compression": "zlib", "bigtiff": True, "byteorder": ">", **gray, **tiles}),
        (shades, {**tiles, **gray}),
        (shades.astype("f4"), {"compression": "zlib", "predictor": True, **gray, **tiles}),
        (shades[0], {"compression": "zlib", **tiles}),
        (shades[0] > 30000, {"compression": "zlib", **gray}),
        (np.stack([shades] * 2), {"compression": "zlib", "tile": (2, 32, 48), "volumetric": True, **gray}),
        (colors, {"compression": "jpeg", "photometric": "rgb", **tiles}),
        (colors, {"compression": "zlib", "photometric": "rgb", **tiles}),
        (colors.transpose(2, 0, 1), tiles | {"compression": "zlib", "photometric": "rgb", "planarconfig": "separate"}),
    ]
    for number, (array, options) in enumerate(cases):
        path = write(tmp_path / f"{number}.tif", array, **options)
        right = tifffile.imread(path)
        with tifffile.TiffFile(path) as file:
            if file.series[0].axes == "SYX":
                right = right.transpose(1, 2, 0)
            segments = file.series[0].keyframe.dataoffsets
        source = inspect(str(path))
        assert source.boxwise == (len(segments) > 1 or right.ndim > 3)
        np.testing.assert_array_equal(read_slice(path, None), right)
        part = tuple(slice(n // 3, n - n // 4, 1 + axis % 2) for axis, n in enumerate(right.shape))
        np.testing.assert_array_equal(read_slice(path, None, part), right[part])


def test_levels_of_pyramids(tmp_path: Path) -> None:
    array = RNG.integers(0, 60000, (2, 64, 96), "u2")
    path = tmp_path / "a.ome.tif"
    about = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 2.0}
    options: dict[str, Any] = {"tile": (16, 32), "compression": "zlib", "photometric": "minisblack"}
    with tifffile.TiffWriter(path) as file:
        file.write(array, subifds=2, metadata=about, **options)
        for step in (2, 4):
            file.write(array[:, ::step, ::step], subfiletype=1, **options)
        file.write(array[0], metadata={"axes": "YX"}, photometric="minisblack")
    assert [(info.name, info.shape) for info in describe(path)] == [
        ("series=0", (64, 96, 2)), ("series=0,level=1", (32, 48, 2)), ("series=0,level=2", (16, 24, 2)),
        ("series=1", (64, 96)),
    ]  # fmt: skip
    for level, step in enumerate((1, 2, 4)):
        name = f"series=0,level={level},channel=1"
        np.testing.assert_array_equal(read_slice(path, name), array[1, ::step, ::step])
        assert inspect(str(path), name).grid["spacing"] == (2.0 * step, 0.5 * step)
    with pytest.raises(UsageError, match="no level 3 of series 0; give level=0 to 2"):
        inspect(str(path), "series=0,level=3")


def test_a_box_unpacks_its_tiles_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tif", np.zeros((4, 128, 128), "u1"), tile=(32, 32), photometric="minisblack", **TAGS)
    numbers: list[int] = []
    real = Segments.values

    def counted(self: Segments, number: int) -> np.ndarray:
        numbers.append(number)
        return real(self, number)

    monkeypatch.setattr(Segments, "values", counted)
    read_slice(path, None, np.s_[1:3, 40:50, 60:70])
    assert numbers == [5, 6] * 2
