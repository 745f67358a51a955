"""What a process of its own tells of a file is what the file's format says; and files of all kinds in jobs and info."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from mpibatch.base.errors import RunError, UsageError
from mpibatch.cli import main
from mpibatch.io import read_slice
from mpibatch.io.formats import inspect
from mpibatch.io.read import inspector
from mpibatch.io.read.inspector import inspect_safely
from mpibatch.job.file.reader import parse
from mpibatch.job.plan import values_of
from tests.support.packaged import packaged

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(23)
HYPERSTACK = RNG.integers(0, 256, (2, 3, 4, 6, 5), "u1")  # TZCYX


def test_a_child_tells_the_same(tmp_path: Path) -> None:
    palette = RNG.integers(0, 1 << 16, (3, 256)).astype("u2")
    turned: dict[str, Any] = {"extratags": [(274, 3, 1, 6, True)]}
    tifffile.imwrite(tmp_path / "a.tif", HYPERSTACK[0, 0, 0], photometric="palette", colormap=palette, **turned)
    tifffile.imwrite(tmp_path / "b.tif", HYPERSTACK[0, 0, 0], photometric="miniswhite")
    tifffile.imwrite(tmp_path / "c.ome.tif", HYPERSTACK, metadata={"axes": "TZCYX"})
    for name, dataset in (("a.tif", None), ("b.tif", None), ("c.ome.tif", "frame=1,channel=2"), ("b*.tif", None)):
        apart, directly = (look(f"{tmp_path}/{name}", dataset) for look in (inspect_safely, inspect))
        assert apart == directly
        if apart.storage is not None and apart.storage.view.palette is not None:
            np.testing.assert_array_equal(apart.storage.view.palette, directly.storage.view.palette)
    with pytest.raises(UsageError, match="no series 3"):
        inspect_safely(f"{tmp_path}/a.tif", "series=3")


def test_a_child_that_crashes_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", HYPERSTACK[0, 0, 0])
    monkeypatch.setattr(inspector, "_CHILD", "import os; os.kill(os.getpid(), 11)")
    with pytest.raises(RunError, match=r"a.tif' cannot be read as tiff: the library crashed \(11\); it is damaged"):
        inspect_safely(f"{tmp_path}/a.tif", None)


def test_damaged_tiff_is_refused_or_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, HYPERSTACK[0, :, 0], compression="zlib", photometric="minisblack", rowsperstrip=2)
    content = path.read_bytes()
    for number in range(150):
        damaged = bytearray(content[: len(content) - number % 3 * 40])
        for at in RNG.integers(0, len(damaged), 2):
            damaged[at] = RNG.integers(0, 256)
        path.write_bytes(damaged)
        try:
            source = inspect(str(path))
            if np.prod(source.shape, dtype=object) < 1 << 20:
                assert read_slice(path, None).shape == source.shape
        except (RunError, UsageError):
            pass


def test_jobs_name_parts_of_files(tmp_path: Path) -> None:
    head = f'[input]\npath = "{tmp_path}/{{}}"\n{{}}\n[[step]]\nfilter = "label"\n[output]\npath = "o.h5"\n'
    (tmp_path / "a.raw").write_bytes(bytes(4 + 2 * 60))
    about = 'dtype = "u2"\nshape = [3, 4, 5]\noffset = 4\norder = "F"\nbyteorder = "big"\n'
    values = values_of(parse(head.format("a.raw", about)))
    assert (values.shape, values.dtype) == ((3, 4, 5), "uint16")
    tifffile.imwrite(tmp_path / "c.ome.tif", HYPERSTACK, metadata={"axes": "TZCYX"})
    assert values_of(parse(head.format("c.ome.tif", "series = 0\nframe = 1\nchannel = 2"))).shape == (3, 6, 5)
    with pytest.raises(UsageError, match=r"byteorder = .*middle"):
        parse(head.format("a.raw", about.replace("big", "middle")))
    with pytest.raises(UsageError, match="described as plain bytes"):
        values_of(parse(head.format("a.raw", f"{about}frame = 1")))


def test_info_of_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about: dict[str, Any] = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(HYPERSTACK[0, :, 0], metadata=about)
        file.write(HYPERSTACK[0, 0, 0], metadata={"axes": "YX"})
    assert main(["info", f"{tmp_path}/a.ome.tif", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)["datasets"]
    assert [(entry["name"], entry["shape"]) for entry in entries] == [("series=0", [3, 6, 5]), ("series=1", [6, 5])]
    assert entries[0]["attributes"]["grid_spacing"] == [2.0, 0.5, 0.5]
    (tmp_path / "a.raw").write_bytes(bytes(64))
    assert main(["info", f"{tmp_path}/a.raw::dtype=f4,shape=4x4"]) == 0
    assert "4 x 4" in capsys.readouterr().out.replace("×", "x")
    tifffile.imwrite(tmp_path / "p1.tif", HYPERSTACK[0, 0, 0])
    assert main(["info", f"{tmp_path}/p*.tif", "--digest"]) == 0


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tiles,) = packaged("astropy", "m13_rice.fits")
    (image,) = packaged("pydicom", "test_files/MR_small.dcm")
    zarr = pytest.importorskip("zarr", reason="zarr is not installed: its absence is NOT TESTED")
    zarr.create_array(tmp_path / "a.zarr", shape=(3, 4), dtype="u1")
    for library, path in (("astropy", tiles), ("pydicom", image), ("zarr", tmp_path / "a.zarr")):
        with monkeypatch.context() as patch:
            for name in [name for name in sys.modules if name.partition(".")[0] == library]:
                patch.delitem(sys.modules, name)
            patch.setitem(sys.modules, library, None)
            patch.delitem(sys.modules, "mpibatch.io.formats.pieces.dicom", raising=False)
            with pytest.raises(UsageError, match=rf"{library} is not installed.*pip install 'mpibatch\[formats\]'"):
                read_slice(path, None)
