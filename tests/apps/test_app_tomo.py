"""Tomography: each step beside what is known of it, files of other makers, and scans that are none."""

from __future__ import annotations

import csv
import gc
import signal
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pytest
from scipy import fft, ndimage, stats
from skimage import transform

import mpibatch as mb
from mpibatch.apps.tomo import __main__ as program
from mpibatch.apps.tomo import volumes
from mpibatch.apps.tomo.__main__ import main
from mpibatch.apps.tomo._loops.projections import count
from mpibatch.apps.tomo.attempts import identity_of
from mpibatch.apps.tomo.centers import find_center, half_turns
from mpibatch.apps.tomo.phases import retrieve
from mpibatch.apps.tomo.scans import read_scan
from mpibatch.apps.tomo.stripes import remove_stripes
from mpibatch.apps.tomo.transmissions import absorptions
from mpibatch.mpi import private

RNG = np.random.default_rng(4)


def disks(width: int) -> np.ndarray:
    """An image of disks in the circle."""
    y, x = np.mgrid[:width, :width] / (width - 1) * 2 - 1
    image = (x**2 + y**2 < 0.7**2) * 1.0
    for at_x, at_y, radius, value in ((0.3, 0.2, 0.2, 0.6), (-0.3, -0.1, 0.15, -0.8), (0.05, -0.4, 0.1, -1.0)):
        image += ((x - at_x) ** 2 + (y - at_y) ** 2 < radius**2) * value
    return image


def field(array: np.ndarray) -> mb.Field:
    return mb.scatter(array, mb.Grid(array.shape))


def sorted_by_numpy(sinogram: np.ndarray, size: int) -> np.ndarray:
    """The algorithm as the paper states it."""
    order = np.argsort(sinogram, axis=1, kind="stable")
    smooth = ndimage.median_filter(np.take_along_axis(sinogram, order, 1), (size, 1), mode="reflect")
    result = np.empty_like(sinogram)
    np.put_along_axis(result, order, smooth, 1)
    return result


def test_stripes_are_taken_out() -> None:
    """As the paper says, to the bit; and rings in the middle of a slice become less than a fifth.

    From detector to detector the body's own absorption changes little, as that of many detectors does.
    """
    angles = np.linspace(0, 180, 90, endpoint=False)
    clean = transform.radon(disks(96), angles).astype("f4") / 200
    striped = clean.copy()
    striped[24::12] += np.float32(0.1)
    striped[29::24] -= np.float32(0.1)
    both = field(np.stack([striped, -striped]))
    remove_stripes(both, 5)
    for ours, given in zip(both.owned, (striped, -striped), strict=True):
        np.testing.assert_array_equal(ours, sorted_by_numpy(given, 5))
    before, after = (transform.iradon(each - clean, angles)[30:66, 30:66] for each in (striped, both.owned[0]))
    assert np.std(after) < np.std(before) / 5


def test_centers_of_half_and_whole_turns() -> None:
    """Of scans that have the projection at 180 degrees or have not, to a tenth of a detector."""
    image = disks(64)
    for arc, many, endpoint, center in ((180, 60, False, 28.4), (180, 61, True, 33.75), (360, 75, False, 31.0)):
        angles = np.linspace(0, arc, many, endpoint=endpoint)
        sinogram = ndimage.shift(transform.radon(image, angles), (center - 32, 0), order=1)
        noise = RNG.normal(0, 0.1, (3, *sinogram.shape))
        ours = find_center(field((sinogram + noise).astype("f4")), angles)
        assert abs(ours - center) < 0.1, (arc, many)
    assert half_turns(np.array([0.0, 90.0, 180.0])) == [(0, ((2, 1.0),)), (2, ((0, 1.0),))]
    assert half_turns(np.array([0.0, 60.0, 120.0])) == [(0, ((2, 2.0), (1, -1.0))), (2, ((0, 2.0), (1, -1.0)))]


def test_phases_are_retrieved() -> None:
    """What a body of one material does to the beam (the equation of the filter, forwards) is undone."""
    absorption = ndimage.gaussian_filter(disks(40)[None, :32] * 0.5, (0, 1, 1))
    area = 4.0
    y, x = np.pi * np.arange(32) / 32, np.pi * np.arange(40) / 40
    forward = fft.idctn(fft.dctn(np.exp(-absorption[0])) * (1 + area * (y[:, None] ** 2 + x**2)))
    u = field(-np.log(forward)[None].astype("f4"))
    assert np.abs(u.owned - absorption).max() > 0.1
    retrieve(u, area)
    np.testing.assert_allclose(u.owned, absorption, atol=1e-5)


def test_counts_are_of_poisson() -> None:
    for mean in (0.3, 7.0, 29.9, 30.0, 200.0, 20_000.0):
        out = np.zeros((1, 1, 40_000), "u2")
        shape = out.shape
        count(np.full(shape, mean), RNG.random(shape), RNG.normal(size=shape), out)
        law = stats.poisson(mean)
        edges = np.unique(law.ppf(np.linspace(0.02, 0.98, 25)))
        share = np.searchsorted(np.sort(out.ravel()), edges, side="right") / out.size
        assert np.abs(share - law.cdf(edges)).max() < 1.63 / out.size**0.5, mean  # Kolmogorov and Smirnov, 1 %


COUNTS = RNG.integers(500, 900, (12, 6, 16)).astype("u2")
FLATS = RNG.integers(900, 1000, (4, 6, 16)).astype("u2")
DARKS = RNG.integers(50, 60, (3, 6, 16)).astype("u2")
ANGLES = 15.0 * np.arange(12)


def dxchange(path: Path, units: str = "", **changed: Any) -> Path:
    """A scan by DXchange, with its angles in units; the seal spares the process that looks into files of others."""
    parts = {"data": COUNTS, "data_white": FLATS, "data_dark": DARKS, "theta": ANGLES} | changed
    fields = {f"exchange/{name}": field(values) for name, values in parts.items() if values is not None}
    mb.save(path, fields, dataset_attrs={"exchange/theta": {"units": units}} if units else {})
    return path


def test_scans_of_other_makers(tmp_path: Path) -> None:
    """The same scan by either agreement and in files of its own, whole or some rows of it."""
    keys = np.array([2, 1, *[0] * 6, 1, *[0] * 6, 1, 1, 2, 2])
    images = np.zeros((len(keys), 6, 16), "u2")
    for key, part in enumerate((COUNTS, FLATS, DARKS)):
        images[keys == key] = part
    turned = np.zeros(len(keys))
    turned[keys == 0] = ANGLES
    with h5py.File(tmp_path / "b.nxs", "w") as file:
        file["entry/definition"] = "NXtomo"
        file["entry/instrument/detector/data"], file["entry/instrument/detector/image_key"] = images, keys
        file["entry/sample/rotation_angle"] = np.radians(turned)
        file["entry/sample/rotation_angle"].attrs["units"] = "rad"
    from PIL import Image

    for name, part in {"proj": COUNTS, "flat": FLATS, "dark": DARKS}.items():
        for number, image in enumerate(part):
            Image.fromarray(image).save(tmp_path / f"{name}_{number}.tif")
    (tmp_path / "angles.txt").write_text("\n".join(map(str, ANGLES)))
    stack = {"flats": str(tmp_path / "flat_*.tif"), "darks": str(tmp_path / "dark_*.tif")}
    ways: list[tuple[Path, dict[str, str]]] = [(dxchange(tmp_path / "a.h5"), {}), (tmp_path / "b.nxs", {})]
    ways += [(tmp_path / "proj_*.tif", stack | {"angles": angles}) for angles in ("180", str(tmp_path / "angles.txt"))]
    dark, bright = DARKS.mean(0), FLATS.mean(0) - DARKS.mean(0)
    expected = -np.log(((COUNTS - dark) / bright).astype("f4").astype("f8"))
    for path, options in ways:
        for rows in (slice(None), slice(2, 5)):
            scan = read_scan(str(path), private(), rows=rows, **options)
            np.testing.assert_allclose(scan.angles, ANGLES, rtol=1e-15)
            np.testing.assert_allclose(absorptions(scan, 0.0).owned, expected[:, rows], rtol=1e-6, atol=1e-7)
    for units, shown in (("degree", ANGLES), ("Radians", np.radians(ANGLES))):
        scan = read_scan(str(dxchange(tmp_path / "u.h5", units, theta=shown)), private())
        np.testing.assert_allclose(scan.angles, ANGLES, rtol=1e-15)
    away = COUNTS.copy()
    away[3, 2, 5] = 9000
    scan = read_scan(str(dxchange(tmp_path / "c.h5", data=away)), private())
    ours = absorptions(scan, 1.5).owned  # the zinger alone is so far from its neighbors
    median = np.median(((away - dark) / bright)[3, 1:4, 4:7])
    assert ours[3, 2, 5] == pytest.approx(-np.log(median), rel=1e-5)
    assert np.count_nonzero(np.abs(ours - expected) > 1e-5) == 1


def test_files_of_a_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """From a volume to its scan, a sheet of centers, and the volume again, by the command line."""
    monkeypatch.chdir(tmp_path)
    body = np.zeros((10, 24, 24), "f4")
    body[2:8, 6:18, 6:18] = 1
    body[4:6, 10:14, 10:14] = 0
    mb.save("body.h5", body=field(body))
    made = "make-scan scan.h5 --volume body.h5 --angles 40 --center 15.5 --pixel 2 --zingers 0"
    assert main(made.split()) == 0
    with h5py.File("scan.h5") as file:
        assert file["exchange/data"].shape == (40, 10, 34)  # as wide as the diagonal
    assert main(["preview", "scan.h5", "centers.png", "--centers", "13:18:0.5", "--stripes", "0"]) == 0
    assert "row 5 at 11 centers, 13 to 18" in capsys.readouterr().out
    from PIL import Image

    with Image.open("centers.png") as picture:
        assert picture.width > 4 * 34
    Path("usual.toml").write_text('stripes = 0\nfilter = "hann"\nsmooth = 0\nsmallest = 2\n')
    rest = "--settings usual.toml --table pores.csv --rows 1:9 --objects pores"
    assert main(["reconstruct", "scan.h5", "volume.h5", *rest.split()]) == 0
    assert "pores       1, " in capsys.readouterr().out
    volume, labels, table = (cast("Any", mb.load("volume.h5", name)) for name in ("volume", "pores", "table"))
    assert (volume.grid.spacing, volume.grid.units, volume.shape) == ((2, 2, 2), "um", (8, 34, 34))
    assert mb.max(labels) == 1
    with open("pores.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["area"]) == table["area"][0] == pytest.approx(2 * 4 * 4 * 8, rel=0.3)
    assert mb.io.file_attributes("volume.h5")["center"] == pytest.approx(15.5, abs=0.1)


def test_some_rows_are_those_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though outliers are found by the rows beside, and phases by all."""
    monkeypatch.chdir(tmp_path)
    dxchange(Path("scan.h5"))
    phase = "--phase 30 --energy 20 --distance 0.001 --pixel 1"
    for options in ("", f"{phase} --stripes 0"):
        for name, rows in (("all", "0:6"), ("some", "2:4")):
            command = f"reconstruct scan.h5 {name}.h5 --rows {rows} --center 7 --objects none --outliers 0.05 {options}"
            assert main([*command.split(), "--quiet"]) == 0
        whole, some = (np.asarray(mb.gather(cast("Any", mb.load(f"{name}.h5")))) for name in ("all", "some"))
        np.testing.assert_array_equal(some.view("u4"), whole[2:4].view("u4"))


FEW = COUNTS[:3]


@pytest.mark.parametrize(
    ("changed", "options", "code", "words"),
    [
        ({"data_white": None}, "", 2, "it has no flats; give --flats FILE, or --flats none"),
        ({"theta": None}, "", 2, "it has no angles; give --angles"),
        ({"theta": ANGLES[:5]}, "", 2, "12 projections and 5 angles"),
        ({"theta": ANGLES * np.nan}, "", 2, "no finite numbers"),
        ({"units": "turns"}, "", 2, "are in 'turns', and not in degrees or radians; give --angles"),
        ({"theta": ANGLES / 3}, "", 1, "no two half a turn apart"),
        (
            {"data": np.where(COUNTS[7, 2, 2] == COUNTS, np.nan, COUNTS).astype("f4")},
            "--center 7",
            1,
            "no finite numbers",
        ),
        ({"data": COUNTS[0]}, "", 2, "projections are a stack"),
        ({"data_dark": FLATS, "data_white": DARKS}, "", 1, "nowhere brighter"),
        ({"data_white": FLATS[:, 1:]}, "", 2, "are images of (5, 16)"),
        ({"data_dark": DARKS[0] * np.nan}, "", 1, "the darks of"),
        ({}, "--center 16", 2, "--center 16 is outside the detectors 0 to 15"),
        ({}, "--rows 8:9", 2, "leave at least one cell"),
        ({}, "--stripes 4", 2, "--stripes 4 has no detector in its middle"),
        ({}, "--filter rampp", 2, "--filter rampp is unknown"),
        ({}, "--phase 100", 2, "needs --energy"),
        ({}, "--phase 100 --energy 20 --distance 1", 2, "give --pixel"),
        ({}, "--outliers -1", 2, "--outliers -1.0"),
        ({}, "--angles 720", 2, "--angles 720 is no range of angles"),
        ({}, "--angles usual.toml", 2, "are no text with a number a line"),
        ({}, "--angles missing.txt", 1, "cannot be read"),
        ({}, "--settings usual.toml", 2, "sigma is no setting"),
        ({}, "--table none.txt", 2, "the table none.txt has none"),
        ({}, "--table nowhere/t.csv", 1, "no such folder"),
        ({}, "--flats none --darks none --objects none --table t.csv", 2, "nothing in it"),
    ],
)
def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, changed, options, code, words):
    monkeypatch.chdir(tmp_path)
    Path("usual.toml").write_text("sigma = 2\n")
    dxchange(Path("scan.h5"), **changed)
    assert main(["reconstruct", "scan.h5", "out.h5", "--quiet", *options.split()]) == code
    assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


def test_bad_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    dxchange(Path("scan.h5"))
    mb.save("below.h5", body=field(-np.ones((4, 8, 8))))
    sources = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for command, code, words in (
        ("reconstruct missing.h5 out.h5", 1, "missing.h5"),
        ("reconstruct scan.h5 out.txt", 2, "the volume out.txt has none"),
        ("reconstruct scan.h5 ./scan.h5", 2, "./scan.h5 is read, and would be written over"),
        ("reconstruct s*.h5 scan2.h5", 2, "scan2.h5 is read, and would be written over"),
        ("reconstruct scan.h5 flat.h5 --flats flat.h5::u", 2, "flat.h5 is read, and would be written over"),
        ("reconstruct scan.h5 out.h5 --table out.h5", 2, "the volume and the table would both write out.h5"),
        ("reconstruct scan.h5 out.h5 --every -1", 2, "give --checkpoints"),
        ("reconstruct scan.h5 out.h5 --anew", 2, "give --checkpoints"),
        ("reconstruct scan.h5 out.h5 --checkpoints work --every 0", 2, "--every 0 is not valid"),
        ("reconstruct scan.h5 out.h5 --checkpoints out.h5/", 2, "the volume and the checkpoints would both write"),
        ("reconstruct scan.h5 out.h5 --checkpoints ./scan.h5", 2, "is read, and would be written over"),
        ("preview scan.h5 out.png --centers 5:9 --darks out.png", 2, "out.png is read"),
        ("preview scan.h5 none/out.png --centers 5:9:1", 1, "no such folder"),
        ("preview scan.h5 out.png --centers 5:9", 2, "FIRST:LAST:STEP"),
        ("preview scan.h5 out.png --centers 5:19:1", 2, "--center 19 is outside"),
        ("preview scan.h5 out.png --centers 5:9:1 --row 6", 2, "--row 6"),
        ("preview scan.h5 out.txt --centers 5:9:1", 2, "not the ending"),
        ("make-scan out.h5 --pores 500", 2, "no room for 500"),
        ("make-scan out.h5 --size 4", 2, "--size 4"),
        ("make-scan out.h5 --counts 0", 2, "--counts 0"),
        ("make-scan out.h5 --center 60", 2, "--center 60 is not in the middle half"),
        ("make-scan out.h5 --volume below.h5", 2, "values below 0"),
        ("make-scan below.h5 --volume below.h5::body", 2, "below.h5 is read, and would be written over"),
    ):
        assert main(command.split()) == code, command
        assert words in capsys.readouterr().err, command
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == sources


def test_a_bad_scan_is_one_message_on_all_ranks(launch, tmp_path):
    bad = COUNTS.astype("f4")
    bad[11, 0, 0] = np.nan  # which the last rank reads
    path = dxchange(tmp_path / "scan.h5", data=bad)
    done = launch(3, "-m", "mpibatch.apps.tomo", "reconstruct", str(path), str(tmp_path / "out.h5"), "--quiet")
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert "projection 11 of the scan" in done.stderr
    assert not list(tmp_path.glob("out*"))


KILLED = """
import os, signal, sys
import mpibatch as mb
from mpibatch.apps.tomo.__main__ import main
save = mb.Checkpoints.save
def saved(self, step, *args):
    save(self, step, *args)
    if step == 5:  # some slices are there, and some are not
        os.kill(os.getpid(), signal.SIGKILL)
mb.Checkpoints.save = saved
mb.Checkpoints.due = lambda self, step: True  # a part takes so little that not each would ask for the time
main(sys.argv[1:])
"""


def full(*args: Any) -> None:
    raise mb.RunError("no room")


def test_a_killed_run_goes_on_with_other_ranks(launch, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    dxchange(Path("scan.h5"))
    words = "reconstruct scan.h5 {} --center 7 --stripes 0 --smooth 0 --quiet"
    assert main(words.format("whole.h5").split()) == 0
    words = f"{words.format('out.h5')} --checkpoints work --every 1e-9"
    assert launch(2, "-c", KILLED, *words.split()).returncode != 0
    (left,) = Path("work").glob("*.h5")
    assert not Path("out.h5").exists()
    assert main([*words.split(), "--center", "6"]) == 2
    assert "center was" in capsys.readouterr().err
    made = []
    iradon = mb.projections.iradon

    def counted(u: mb.Field, *arguments: Any, **options: Any) -> mb.Field:
        made.append(u.shape[0])
        return iradon(u, *arguments, **options)

    monkeypatch.setattr(mb.projections, "iradon", counted)
    with monkeypatch.context() as patch:
        patch.setattr(volumes, "check_memory", full)
        assert main(words.split()) == 1
        assert "no room" in capsys.readouterr().err
    assert main(words.split()) == 0
    assert sum(made) == 2  # slices 4 and 5 of 6
    assert Path("out.h5").read_bytes() == Path("whole.h5").read_bytes()
    assert not left.exists()


@pytest.mark.parametrize("step", ["slices", "pores"])
def test_a_signal_ends_a_run_that_goes_on(tmp_path, monkeypatch, capsys, caplog, step):
    """At either step; with the words of this program, whose scan is no longer in memory when pores are sought."""
    monkeypatch.chdir(tmp_path)
    dxchange(Path("scan.h5"))
    command = ["reconstruct", "scan.h5", "out.h5", "--center=7", "--stripes=0", "--smooth=0", "--checkpoints=work"]
    scans = []

    def noted(*args: Any, **options: Any) -> Any:
        scan = read_scan(*args, **options)
        scans.append(weakref.ref(scan))
        return scan

    def objects(*args: Any) -> Any:
        gc.collect()
        assert scans[-1]() is None
        if step == "pores":
            signal.raise_signal(signal.SIGTERM)
        return find_objects(*args)

    def slices(*args: Any, **options: Any) -> mb.Field:
        signal.raise_signal(signal.SIGTERM)
        return iradon(*args, **options)

    iradon, find_objects = mb.projections.iradon, program.find_objects
    monkeypatch.setattr(program, "read_scan", noted)
    with monkeypatch.context() as patch:
        patch.setattr(program, "find_objects", objects)
        if step == "slices":
            patch.setattr(mb.projections, "iradon", slices)
        assert main([*command, "--quiet"]) == 75
    assert caplog.messages[-1].startswith("SIGTERM: stopped at step ")
    assert caplog.messages[-1].endswith("; the same command goes on")
    assert not Path("out.h5").exists()
    assert main([*command, "--filter", "hann"]) == 2
    assert "start anew (--anew)" in capsys.readouterr().err
    monkeypatch.setattr(mb.projections, "iradon", iradon if step == "slices" else full)  # slices are there
    assert main(command) == 0
    assert Path("out.h5").exists()
    assert not Path("work").exists()


def test_a_volume_depends_on_the_units_of_its_scan(tmp_path):
    scan = read_scan(str(dxchange(tmp_path / "scan.h5")), private())
    other = replace(
        scan, projections=mb.scatter(COUNTS, mb.Grid(COUNTS.shape, spacing=scan.projections.grid.spacing, units="mm"))
    )
    first, second = (identity_of(each, volumes.Settings()) for each in (scan, other))
    assert {name for name in first if first[name] != second[name]} == {"units"}
