"""Sources of astronomical frames: those of sep, and of scipy's labels; known fluxes; bad frames and settings."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.apps.catalog.__main__ import main
from mpibatch.apps.catalog.background import Background
from mpibatch.apps.catalog.catalogs import Settings, make_catalog
from mpibatch.apps.catalog.kernels import kernel_of
from tests.support.packaged import packaged
from tests.support.sky import LEVEL, NOISE, gaussian, simulated

USUAL = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 16


def cataloged(array, **settings):
    return make_catalog(mb.scatter(array, mb.Grid(array.shape)), Settings(**settings))


@pytest.fixture(scope="module")
def cluster():
    """The globular cluster M 13, as astropy ships it."""
    return packaged("astropy", "compressed/tests/data/m13.fits")[0]


@pytest.fixture(scope="module")
def sep():
    return pytest.importorskip("sep", reason="sep is not installed, whose sources these are to be: pip install sep")


def frame_of(path):
    return np.ascontiguousarray(mb.gather_all(mb.load(path))).astype(np.float32)


@pytest.mark.parametrize(("mesh", "window"), [(64, 3), (50, 1), (16, 5), (400, 3)])
def test_the_background_is_that_of_sep(sep, cluster, mesh, window):
    array = frame_of(cluster)
    theirs = sep.Background(array, bw=mesh, bh=mesh, fw=window, fh=window)
    ours = Background(mb.scatter(array, mb.Grid(array.shape)), (mesh, mesh), (window, window))
    assert ours.level == pytest.approx(theirs.globalback, rel=1e-6)
    assert ours.noise == pytest.approx(theirs.globalrms, rel=1e-6)
    np.testing.assert_allclose(ours.levels().owned, theirs.back(), atol=1e-2 * ours.noise)
    np.testing.assert_allclose(ours.noises().owned, theirs.rms(), atol=1e-2 * ours.noise)


@pytest.mark.parametrize(
    ("kernel", "contrast", "threshold", "area"),
    [("none", 1.0, 1.5, 5), ("default", 1.0, 3.0, 4), ("default", 0.005, 1.5, 5), ("none", 0.0001, 5.0, 3)],
)
def test_sources_are_those_of_sep(sep, cluster, kernel, contrast, threshold, area):
    """As many, with the same pixels; where blends are taken apart, those between them are shared out in another way."""
    array = frame_of(cluster)
    background = sep.Background(array)
    core = USUAL if kernel == "default" else None
    options = {"deblend_cont": contrast, "filter_kernel": core, "minarea": area, "clean": False}
    value = array - background.back()
    theirs, segments = sep.extract(
        value, threshold, err=background.globalrms, gain=2.0, segmentation_map=True, **options
    )
    ours = cataloged(array, kernel=kernel, contrast=contrast, threshold=threshold, area=area, gain=2.0)
    table = ours.table.gather()
    assert len(table["x"]) == len(theirs) > 100
    np.testing.assert_array_equal(ours.segments.owned > 0, segments > 0)
    # By the most of each segment's pixels; they are numbered in another order.
    inside = segments > 0
    pairs, counts = np.unique(np.stack([ours.segments.owned[inside], segments[inside]]), axis=1, return_counts=True)
    if contrast == 1.0:
        assert pairs.shape[1] == len(theirs)
        order = pairs[1] - 1
        for name in ("x", "y", "a", "b", "flux", "npix"):
            np.testing.assert_allclose(table[name], theirs[name][order], rtol=1e-4, atol=1e-4, err_msg=name)
    else:
        shared = sum(counts[pairs[0] == number].max() for number in table["number"])
        assert shared > 0.9 * np.count_nonzero(inside)
    # Of the same places and shapes, the same photometry.
    x, y, a, b, theta = (table[name].copy() for name in ("x", "y", "a", "b", "theta"))
    for n, radius in enumerate(Settings().apertures):
        flux, error, _ = sep.sum_circle(value, x, y, radius, err=background.globalrms, gain=2.0)
        np.testing.assert_allclose(table[f"flux_aper_{n}"], flux, rtol=1e-5, atol=1e-2)
        np.testing.assert_allclose(table[f"fluxerr_aper_{n}"], error, rtol=1e-5)
    radius, _ = sep.kron_radius(value, x, y, a, b, theta, 6.0)
    np.testing.assert_allclose(table["kron_radius"], radius, rtol=1e-4, atol=1e-4)
    fluxes, errors, _ = sep.sum_ellipse(
        value, x, y, a, b, theta, 2.5 * table["kron_radius"], err=background.globalrms, gain=2.0, subpix=1
    )
    is_wide = 2.5 * table["kron_radius"] * np.sqrt(a * b) > 2.0  # smaller ones are circles of the least radius
    assert np.count_nonzero(is_wide) > 0.5 * len(is_wide)
    np.testing.assert_allclose(table["flux_auto"][is_wide], fluxes[is_wide], rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(table["fluxerr_auto"][is_wide], errors[is_wide], rtol=1e-3)
    # Half of the Kron flux, where any circle has it, and centroids in windows of that width.
    half, _ = sep.flux_radius(value, x, y, 6.0 * a, 0.5, normflux=table["flux_auto"], subpix=5)
    known = np.isfinite(table["flux_radius"])
    assert np.count_nonzero(known) > 0.8 * len(known)
    np.testing.assert_allclose(table["flux_radius"][known], half[known], rtol=1e-3, atol=1e-3)
    sigma = np.maximum(2 / 2.35 * table["flux_radius"], 0.5)[known]
    xwin, ywin, _ = sep.winpos(value, x[known], y[known], sigma)
    stays = np.hypot(table["xwin"] - x, table["ywin"] - y)[known] > 0
    assert np.count_nonzero(stays) > 0.5 * len(stays)  # in the crowd of the cluster others wander off
    np.testing.assert_allclose(table["xwin"][known][stays], xwin[stays], atol=0.01)
    np.testing.assert_allclose(table["ywin"][known][stays], ywin[stays], atol=0.01)


def test_as_many_sources_in_the_deep_field_as_sep_finds():
    """With its plain settings, on the picture that scikit-image ships; photutils and labels of scipy agree."""
    color, data = pytest.importorskip("skimage.color"), pytest.importorskip("skimage.data")
    frame = color.rgb2gray(data.hubble_deep_field()).astype(np.float32)
    assert cataloged(frame, kernel="none", contrast=1.0).table.rows == 3784


def test_as_many_sources_in_a_cluster_as_sep_finds():
    """NGC 104 by Hubble's ACS; photutils and labels of scipy find as many, too."""
    path = Path("/usr/share/python-drizzle/test_data/j8bt06nyq_flt.fits")
    if not path.exists():
        pytest.skip("there is no frame of Hubble's ACS (Debian: python-drizzle-testdata)")
    frame = mb.load(f"{path}::SCI")
    catalog = make_catalog(frame, Settings(kernel="none", contrast=1.0))
    assert catalog.background.level == pytest.approx(166.426834, rel=1e-5)
    assert catalog.background.noise == pytest.approx(72.220398, rel=1e-5)
    assert catalog.table.rows == 1921


def test_frames_of_counts_that_are_zero_for_the_most_part(sep):
    """As X-ray telescopes take them: the noise is that of the parts that have one."""
    draw = np.random.default_rng(8)
    y, x = np.mgrid[:512, :512]
    array = draw.poisson(np.where(np.hypot(y - 200, x - 220) < 150, 0.6, 0.0)).astype(np.float32)
    for _ in range(40):
        row, column = draw.integers(100, 300, 2)
        array[row : row + 4, column : column + 4] += draw.poisson(5, (4, 4))
    theirs = sep.Background(array)
    assert np.count_nonzero(theirs.rms()) < array.size
    catalog = cataloged(array, kernel="none", contrast=1.0)
    assert catalog.background.noise == pytest.approx(theirs.globalrms, rel=1e-6) != 0
    found = sep.extract(
        array - theirs.back(), 1.5, err=theirs.globalrms, minarea=5, filter_kernel=None, deblend_cont=1.0, clean=False
    )
    assert catalog.table.rows == len(found) > 20


def test_cleaning_is_that_of_sep(sep, cluster):
    array = frame_of(cluster)
    background = sep.Background(array)
    theirs, segments = sep.extract(
        array - background.back(), 3.0, err=background.globalrms, minarea=4, filter_kernel=USUAL, deblend_cont=1.0,
        clean=True, clean_param=1.0, segmentation_map=True,
    )  # fmt: skip
    every, ours = (cataloged(array, contrast=1.0, threshold=3.0, area=4, clean=power) for power in (0.0, 1.0))
    assert ours.table.rows == len(theirs) < 0.8 * every.table.rows
    np.testing.assert_array_equal(ours.segments.owned > 0, segments > 0)
    assert set(np.unique(ours.segments.owned)) == {0, *ours.table.gather()["number"]}


def test_without_deblending_sources_are_the_labels_of_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    array = simulated((120, 140), 30)
    catalog = cataloged(array, mesh=40, kernel="none", contrast=1.0, threshold=2.0, area=4)
    level = catalog.background.levels().owned
    labels, _ = ndimage.label(array - level > np.float32(2 * catalog.background.noise), np.ones((3, 3)))
    counts = np.bincount(labels.ravel())
    kept = np.flatnonzero(counts[1:] >= 4) + 1
    numbers = np.zeros(counts.size, np.int32)
    numbers[kept] = np.arange(1, kept.size + 1)
    np.testing.assert_array_equal(catalog.segments.owned, numbers[labels])


def test_known_stars_are_measured():
    """Of Gaussians on a slope: background, noise, places and fluxes; and two that overlap are two."""
    shape, rng = (200, 220), np.random.default_rng(5)
    x = np.arange(shape[1])
    stars = [(40.3, 50.6, 20000.0, 2.0), (150.0, 60.2, 5000.0, 1.5), (100.5, 150.25, 40000.0, 2.5)]
    stars += [(170.0, 160.0, 20000.0, 1.8), (177.5, 162.0, 15000.0, 1.8)]
    array = LEVEL + 0.02 * x + rng.normal(0, NOISE, shape)
    for at_x, at_y, flux, sigma in stars:
        array += gaussian(shape, at_x, at_y, flux, sigma, sigma, 0)
    catalog = cataloged(array, threshold=5.0, mesh=32, apertures=(12.0, 2.0))
    assert catalog.background.noise == pytest.approx(NOISE, rel=0.05)
    np.testing.assert_allclose(catalog.background.levels().owned, np.broadcast_to(LEVEL + 0.02 * x, shape), atol=NOISE)
    table = catalog.table.gather()
    assert len(table["x"]) == len(stars)
    for at_x, at_y, flux, sigma in stars:
        near = np.argmin(np.hypot(table["x"] - at_x, table["y"] - at_y))
        assert math.hypot(table["x"][near] - at_x, table["y"][near] - at_y) < (0.1 if at_x < 160 else 0.5)
        inner = flux * (1 - math.exp(-0.5 * (2 / sigma) ** 2))
        assert table["flux_aper_1"][near] == pytest.approx(inner, rel=0.1)
        if at_x < 160:
            assert table["flag"][near] == 0
            for n, expected in ((0, flux), ("auto", 0.97 * flux)):
                name, error = (f"flux_aper_{n}", f"fluxerr_aper_{n}") if n == 0 else ("flux_auto", "fluxerr_auto")
                assert abs(table[name][near] - expected) < 4 * table[error][near] + 0.03 * flux
        else:
            assert table["flag"][near] == 1


def test_flags_tell_of_edges_and_of_missing_pixels():
    shape = (90, 100)
    array = np.random.default_rng(6).normal(LEVEL, NOISE, shape)
    for x, y in ((0.0, 20.0), (50.0, 40.0), (80.0, 70.0)):
        array += gaussian(shape, x, y, 20000, 2.0, 2.0, 0)
    array[44, 47:54] = np.nan
    table = cataloged(array, threshold=5.0, mesh=30, apertures=(6.0, 200.0)).table.gather()
    assert table["flag"].tolist() == [2 | 4 | 8, 8, 8]  # the circle of 200 pixels has missing ones in each
    table = cataloged(array, threshold=5.0, mesh=30, apertures=(6.0,)).table.gather()
    assert table["flag"].tolist() == [2 | 4, 8, 0]
    assert table["flux_aper_0"][1] == pytest.approx(table["flux_aper_0"][2], rel=0.1)


def test_the_ellipse_of_a_source_in_noise_is_no_larger_than_what_it_was_measured_in():
    """Of light that is hardly above 0 a mean of radii may lie anywhere: outside of the frame, or at any pixel of it."""
    from mpibatch.apps.catalog._loops import apertures

    values = np.full((61, 61), -1e-3, np.float32)
    values[30, 30], values[30, 40] = -1.99, 3.0  # 0.004 in all, and 6 by radius
    corners, lies = np.array([[0, 0, 61, 61]]), np.array([[0, 61]])
    middle, out = np.array([30.0]), np.empty(1)
    apertures.kron_radii(corners, lies, values.ravel(), middle, middle, np.array([[9.0, 9.0, 0.0]]), out)
    assert out[0] == apertures.KRON_REACH


def test_a_large_hole_has_the_background_of_its_neighbors():
    array = simulated((128, 128), 10)
    array[20:100, 16:90] = np.nan
    background = Background(mb.scatter(array, mb.Grid(array.shape)), (16, 16), (3, 3))
    levels = background.levels().owned
    assert np.isfinite(levels).all()
    assert abs(levels - LEVEL).max() < 6 * NOISE


def test_local_noise_finds_more_where_it_is_quiet():
    shape, rng = (128, 256), np.random.default_rng(7)
    array = LEVEL + rng.normal(0, 1, shape) * np.linspace(1, 10, shape[1])
    for x in (40.0, 90.0, 170.0, 210.0):
        array += gaussian(shape, x, 64.0, 200.0, 2.0, 2.0, 0)
    table = cataloged(array, threshold=5.0, mesh=32, noise="local", kernel="gauss:4.7").table.gather()
    np.testing.assert_allclose(table["x"], [40, 90], atol=2)
    assert cataloged(array, threshold=5.0, mesh=32, kernel="gauss:4.7").table.rows == 0


def test_kernels_have_a_middle_and_the_sum_1(tmp_path):
    file = tmp_path / "psf.conv"
    file.write_text("CONV NORM\n# a line\n0 1 0\n1 4 1\n0 1 0\n")
    np.testing.assert_allclose(kernel_of(str(file)), np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 8)
    np.testing.assert_allclose(kernel_of("default"), USUAL)
    wide = kernel_of("gauss:4")
    assert wide is not None
    assert wide.shape == (13, 13)
    assert wide[6, 8] == pytest.approx(wide[6, 6] / 2)  # half of the peak at half the width
    assert kernel_of("none") is None


def test_files_of_a_frame(tmp_path, monkeypatch, capsys):
    """Table, map, background, regions and picture; settings from a file, and options before them."""
    monkeypatch.chdir(tmp_path)
    array = simulated((100, 120), 20)
    mb.save("frame.fits", frame=mb.scatter(array, mb.Grid(array.shape)))
    Path("survey.toml").write_text('mesh = 32\nthreshold = 3\napertures = [2, 4.5]\nkernel = "none"\n')
    rest = "--segments map.fits --background b.h5 --regions r.reg --picture p.png --settings survey.toml --threshold 4"
    assert main(["detect", "frame.fits", "s.csv", *rest.split()]) == 0
    expected = cataloged(array, mesh=32, threshold=4.0, apertures=(2.0, 4.5), kernel="none")
    with open("s.csv", newline="") as file:
        names, *rows = csv.reader(file)
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        np.testing.assert_array_equal(np.array(column, float), expected.table[name])
    assert f"sources     {len(rows)}" in capsys.readouterr().out
    np.testing.assert_array_equal(frame_of("map.fits"), expected.segments.owned)
    np.testing.assert_array_equal(frame_of("b.h5::noise"), expected.background.noises().owned)
    first = Path("r.reg").read_text().splitlines()[2]
    x, y, a, *_ = map(float, first[len("ellipse(") : first.index(")")].split(","))
    assert (x, y) == pytest.approx((expected.table["x"][0] + 1, expected.table["y"][0] + 1), abs=1e-3)
    assert a >= 1.75
    assert first.count("# text={1}") == 1
    from PIL import Image

    with Image.open("p.png") as picture:
        assert picture.size == (120 * 8, 100 * 8)
    for name in ("s.h5", "s.fits", "s.parquet"):
        assert main(["detect", "frame.fits", name, "--settings", "survey.toml"]) == 0
    table = mb.load("s.h5::sources")
    assert table.attrs["apertures"] == [2.0, 4.5]
    rows = pytest.importorskip("astropy.table").Table.read("s.fits")
    assert rows.colnames == list(table)
    for name, column in table.items():
        np.testing.assert_array_equal(rows[name], column)


def test_frames_are_a_batch(launch, tmp_path, capsys):
    for n in range(3):
        array = simulated((70, 80), 10, seed=n)
        mb.save(tmp_path / f"night{n}.fits", frame=mb.scatter(array, mb.Grid(array.shape)))
    (tmp_path / "night3.fits").write_bytes(b"SIMPLE  =")
    rest = [str(tmp_path / "*.fits"), str(tmp_path), "--mesh", "20", "--journal", str(tmp_path / "journal")]
    done = launch(2, "-m", "mpibatch.apps.catalog", "frames", *rest)
    assert done.returncode == 1
    assert "frames      3, failed 1" in done.stdout
    before = (tmp_path / "night0.csv").stat().st_mtime_ns
    assert main(["frames", *rest]) == 1  # nothing is left to do
    assert (tmp_path / "night0.csv").stat().st_mtime_ns == before
    assert main(["frames", *rest, "--threshold", "9"]) == 2
    assert "journal" in capsys.readouterr().err
    assert main(["frames", *rest[:2], "--table", ".fits"]) == 2
    assert "night0.fits is read, and would be written over" in capsys.readouterr().err
    with (tmp_path / "frames.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for n, row in enumerate(rows):
        table = cataloged(simulated((70, 80), 10, seed=n), mesh=20).table
        assert int(row["sources"]) == table.rows
        assert len((tmp_path / f"night{n}.csv").read_text().splitlines()) == table.rows + 1


CARDS = ("SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0", "END")
EMPTY = b"".join(card.ljust(80).encode() for card in CARDS).ljust(2880)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--threshold", "0"], 2, "--threshold 0.0 would take the background"),
        (["--threshold", "nan"], 2, "--threshold nan"),
        (["--gain", "-1"], 2, "--gain -1.0 is not valid"),
        (["--mesh", "0"], 2, "--mesh 0"),
        (["--window", "2"], 2, "--window 2 has no node in its middle"),
        (["--contrast", "2"], 2, "--contrast 2.0"),
        (["--apertures", "3,-1"], 2, "--apertures -1.0 is no radius"),
        (["--apertures", "x"], 2, "--apertures"),
        (["--noise", "none"], 2, "--noise none is unknown"),
        (["--kernel", "even.txt"], 2, "has 2 × 2 numbers"),
        (["--kernel", "ragged.txt"], 2, "rows of different lengths"),
        (["--kernel", "zero.txt"], 2, "has the sum 0"),
        (["--kernel", "missing.txt"], 1, "cannot be read"),
        (["--kernel", "gauss:0"], 2, "has no width"),
        (["--kernel", "gauss:60"], 2, "is larger than the frame"),
        (["--regions", "none/r.reg"], 1, "no such folder"),
        (["--segments", "map.png"], 2, "the map map.png has none"),
        (["--segments", "frame.fits"], 2, "frame.fits is read, and would be written over"),
        (["--segments", "out.h5", "--background", "out.h5"], 2, "the segments and the background would both write"),
        (["--settings", "wrong.toml"], 2, "sigma is no setting"),
        (["--settings", "kind.toml"], 2, "mesh = 'wide'"),
        (["--settings", "frame.fits"], 2, "are no text"),
        (["--settings", "open.toml"], 2, "open.toml:1: not valid TOML"),
        (["--settings", "missing.toml"], 1, "cannot be read"),
    ],
)
def test_bad_settings(tmp_path, monkeypatch, capsys, options, code, words):
    monkeypatch.chdir(tmp_path)
    mb.save("frame.fits", frame=mb.scatter(simulated((60, 60), 5), mb.Grid((60, 60))))
    texts = {"even.txt": "1 2\n1 2\n", "ragged.txt": "1 2 1\n1\n", "zero.txt": "0\n"}
    texts |= {"wrong.toml": "sigma = 2\n", "kind.toml": 'mesh = "wide"\n', "open.toml": "[mesh\n"}
    for name, text in texts.items():
        Path(name).write_text(text)
    assert main(["detect", "frame.fits", "out.csv", *options]) == code
    assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("nan.h5", 1, "half of its pixels or more are no finite numbers everywhere"),
        ("flat.h5", 1, "noise of 0"),
        ("cube.h5", 2, "one image of two axes"),
        ("complex.h5", 2, "dtype complex64"),
        ("empty.fits", 2, "empty.fits"),
        ("missing.fits", 1, "missing.fits"),
        ("good.h5", 2, "none of the endings"),
    ],
)
def test_bad_frames(tmp_path, monkeypatch, capsys, name, code, words):
    monkeypatch.chdir(tmp_path)
    Path("empty.fits").write_bytes(EMPTY)
    good = simulated((40, 40), 3)
    arrays = {"nan": np.full((40, 40), np.nan), "flat": np.ones((40, 40)), "cube": np.ones((4, 4, 4)), "good": good}
    for stem, array in (arrays | {"complex": good + 0j}).items():
        mb.save(f"{stem}.h5", frame=mb.scatter(array, mb.Grid(array.shape)))
    assert main(["detect", name, "out.txt" if name == "good.h5" else "out.csv"]) == code
    assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


def test_a_bad_frame_is_one_message_on_all_ranks(launch, tmp_path):
    mb.save(tmp_path / "nan.fits", frame=mb.scatter(np.full((90, 90), np.nan, np.float32), mb.Grid((90, 90))))
    done = launch(3, "-m", "mpibatch.apps.catalog", "detect", str(tmp_path / "nan.fits"), str(tmp_path / "out.csv"))
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert "another mesh (--mesh)" in done.stderr
