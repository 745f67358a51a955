"""Cells of microscope images: those of scripts with scikit-image, of annotated nuclei, and of fields in a batch."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import mpibatch as mb
from mpibatch.apps.cells.__main__ import main
from mpibatch.apps.cells.illumination import gain_of, median_of
from mpibatch.apps.cells.segmentation import Settings, corrected, segmented
from mpibatch.apps.cells.tables import measured
from mpibatch.mpi import MPI
from tests.support.nuclei import field_of_view, segmented_by_scikit_image
from tests.support.packaged import packaged


def field(array):
    return mb.scatter(np.ascontiguousarray(array), mb.Grid(array.shape))


def labels_of(array, **settings):
    return segmented(field(array), Settings(**settings))[0].owned


def read(path):
    with open(path, newline="") as file:
        names, *rows = csv.reader(file)
    return dict(zip(names, zip(*rows, strict=True), strict=True))


@pytest.mark.parametrize(
    ("shape", "count", "settings"),
    [
        ((150, 170), 60, {}),
        ((131, 64), 40, {"sigma": 0.7, "block": 25, "fraction": 0.8, "small": 8, "distance": 7, "split_sigma": 0.5}),
        ((24, 40, 42), 30, {"distance": 3}),
    ],
)
def test_labels_are_those_of_scikit_image(shape, count, settings):
    array = field_of_view(shape, count)
    mask, expected = segmented_by_scikit_image(array, **settings)
    labels = labels_of(array, **settings)
    np.testing.assert_array_equal(labels > 0, mask)
    if settings.get("split_sigma") == 0.5:  # distances are alike, hardly smoothed: the watershed has ties
        assert np.count_nonzero(labels != expected) < 0.005 * np.count_nonzero(mask)
    else:
        np.testing.assert_array_equal(labels, expected)
    assert labels.max() == expected.max() > 5
    cleared = labels_of(array, clear_border=True, **settings)
    np.testing.assert_array_equal(cleared, pytest.importorskip("skimage.segmentation").clear_border(labels))


def test_rows_are_those_of_scikit_image():
    array = field_of_view((90, 110), 30)
    labels = labels_of(array)
    table = measured(field(labels), field(array), ())
    measure = pytest.importorskip("skimage.measure")
    names = {name.partition("-")[0]: None for name in table}
    theirs = measure.regionprops_table(labels, array, properties=tuple(names))
    assert list(table) == list(theirs)
    for name, column in table.items():
        np.testing.assert_allclose(column, theirs[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_backgrounds_are_those_of_scipy_and_scikit_image():
    array = field_of_view((60, 70), 10)
    flat = 0.5 + np.add.outer(np.arange(60), np.arange(70)) / 128
    gain = gain_of(field(flat), "flat")
    np.testing.assert_array_equal(gain.owned, (flat / (math.fsum(flat.ravel()) / flat.size)).astype("f4"))
    divided = array / gain.owned
    ball = divided - pytest.importorskip("skimage.restoration").rolling_ball(divided, radius=9)
    for background, light, expected in (
        ("none", gain, divided),
        ("ball:9", gain, ball),
        ("tophat:21", None, ndimage.white_tophat(array, size=21)),
    ):
        image = corrected(field(array), light, Settings(background=background))
        assert image.dtype == expected.dtype
        np.testing.assert_array_equal(image.owned, expected, background)


def test_small_objects_beside_large_ones_are_not_lost():
    array = np.full((60, 60), 10.0)
    y, x = np.indices(array.shape)
    array[(y - 30) ** 2 + (x - 25) ** 2 < 144] = 100
    array[28:32, 40:44] = 100
    labels = labels_of(array, sigma=0.0, block=0, fraction=1.0, small=3, distance=20)
    assert labels.max() == 2
    assert labels[30, 25] == 1
    np.testing.assert_array_equal(labels[28:32, 40:44], 2)


def quality(labels, truth):
    """How many objects share more than half of their union with one of the truth's, and F1 of these."""
    pairs, shared = np.unique(np.stack([labels.ravel(), truth.ravel()]), axis=1, return_counts=True)
    ours, theirs = np.bincount(labels.ravel()), np.bincount(truth.ravel())
    union = ours[pairs[0]] + theirs[pairs[1]] - shared
    matched = int(np.count_nonzero((2 * shared >= union) & pairs.all(axis=0)))
    return matched, 2 * matched / (np.count_nonzero(ours[1:]) + np.count_nonzero(theirs[1:]))


def test_annotated_nuclei(tmp_path, capsys):
    """As good as the best of scripts on 125 nuclei that people have drawn; and those labels, measured."""
    image, drawn = packaged("stardist", "images/img2d.tif", "images/mask2d.tif")
    files = ["--table", str(tmp_path / "t.csv"), "--segments", str(tmp_path / "l.ome.tif")]
    assert main([str(image), *files]) == 0
    assert "cells       125" in capsys.readouterr().out
    labels, truth, array = (mb.gather_all(mb.load(path)) for path in (tmp_path / "l.ome.tif", drawn, image))
    matched, f1 = quality(labels, truth)
    with capsys.disabled():
        print(f" {matched} of 125 nuclei, F1 = {f1:.4f}", end="")
    assert matched >= 113
    assert f1 >= 0.9
    np.testing.assert_array_equal(labels, segmented_by_scikit_image(array)[1])
    assert main([str(image), *files[:2], "--labels", str(drawn)]) == 0
    assert capsys.readouterr().out == "cells       125\n"
    theirs = pytest.importorskip("skimage.measure").regionprops_table(truth, array, ("label", "area", "intensity_mean"))
    for name, column in theirs.items():
        np.testing.assert_allclose(np.array(read(tmp_path / "t.csv")[name], float), column, rtol=1e-12)


@pytest.mark.parametrize("ending", [".h5", ".ome.tif", ".ome.zarr"])
def test_files_of_a_slide(tmp_path, monkeypatch, ending):
    monkeypatch.chdir(tmp_path)
    array = field_of_view((70, 80), 20)
    expected = labels_of(array, sigma=1.0, small=20, clear_border=True)
    Path("nuclei.toml").write_text("sigma = 1\nsmall = 5\nclear_border = true\n")
    mb.save("slide.h5", dapi=field(array), other=field(array[::-1]))
    table = {".h5": "t.h5", ".ome.tif": "t.csv", ".ome.zarr": "t.parquet"}[ending]
    rest = ["--segments", f"s{ending}", "--picture", "{name}.png", "--settings", "nuclei.toml", "--small", "20"]
    assert main(["slide.h5::dapi", "--table", table, *rest]) == 0
    assert not np.array_equal(expected, labels_of(array))
    np.testing.assert_array_equal(mb.gather_all(mb.load(f"s{ending}")), expected)
    rows = measured(field(expected), field(array), ())
    if ending == ".h5":
        loaded = mb.load("t.h5::cells")
        assert 200 < loaded.attrs["threshold"] < 1000
        assert {name: column.tolist() for name, column in loaded.items()} == {n: c.tolist() for n, c in rows.items()}
    elif ending == ".ome.tif":
        assert [*map(float, read("t.csv")["intensity_mean"])] == rows["intensity_mean"].tolist()
    else:
        arrow = pytest.importorskip("pyarrow.parquet").read_table("t.parquet")
        assert arrow["solidity"].to_pylist() == rows["solidity"].tolist()
    from PIL import Image

    with Image.open("slide.png") as picture:
        assert picture.size == (80 * 12, 70 * 12)
        pixels = np.asarray(picture)
    assert (pixels[..., 0] != pixels[..., 1]).any()  # outlines have colors


def test_a_channel_of_a_color_image(tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    array = (field_of_view((70, 80), 20) // 8).astype(np.uint8)
    Image.fromarray(np.stack([array * 0, array, array // 2], axis=-1)).save("color.png")
    assert main(["color.png", "--table", "t.csv"]) == 2
    assert "has 3 channels" in capsys.readouterr().err
    assert main(["color.png", "--table", "t.csv", "--channel", "3"]) == 2
    mb.save("flat.npy", flat=field(np.ones((70, 80))))
    rest = ["--table", "t.csv", "--properties", "label,area"]
    assert main(["color.png", *rest, "--channel", "1", "--flat", "flat.npy"]) == 0
    rows = read("t.csv")
    assert list(rows) == ["label", "area"]
    assert [*map(float, rows["area"])] == np.bincount(labels_of(array).ravel())[1:].tolist()


def test_fields_are_a_batch(launch, tmp_path, capsys):
    arrays = {f"f{n}": field_of_view((60, 64), 4 * n + 4, seed=n) for n in range(3)}
    for name, array in arrays.items():
        mb.save(tmp_path / f"{name}.tif", image=field(array))
    mb.save(tmp_path / "f3.tif", image=field(np.full((60, 64), 7, np.uint8)))
    missing = str(tmp_path / "missing.tif")
    rest = [str(tmp_path / "f*.tif"), missing, "--table", str(tmp_path / "t.csv")]
    rest += ["--summary", str(tmp_path / "s.h5"), "--segments", str(tmp_path / "{name}.h5"), "--small", "10"]
    rest += ["--journal", str(tmp_path / "journal")]
    done = launch(2, "-m", "mpibatch.apps.cells", *rest)
    assert done.returncode == 1
    assert "fields      3, failed 2" in done.stdout
    assert "the image is 7.0 everywhere" in done.stdout
    assert "missing.tif: cannot read" in done.stdout
    rows = read(tmp_path / "t.csv")
    names, areas = [], []
    for name, array in arrays.items():
        labels = labels_of(array, small=10)
        np.testing.assert_array_equal(mb.gather_all(mb.load(tmp_path / f"{name}.h5")), labels)
        areas += np.bincount(labels.ravel())[1:].tolist()
        names += [str(tmp_path / f"{name}.tif")] * int(labels.max())
    assert list(rows["field"]) == names
    assert [*map(float, rows["area"])] == areas
    assert not (tmp_path / "f3.h5").exists()
    summary: Any = mb.load(f"{tmp_path / 's.h5'}::fields")
    assert summary["field"].tolist() == [0, 1, 2]
    assert summary["cells"].sum() == len(areas)
    assert summary.attrs["field_names"][4] == missing
    before = (tmp_path / "f0.h5").stat().st_mtime_ns
    assert main(rest) == 1  # nothing is left to do
    assert (tmp_path / "f0.h5").stat().st_mtime_ns == before
    assert read(tmp_path / "t.csv") == rows
    assert main([*rest, "--sigma", "2"]) == 2
    assert "journal" in capsys.readouterr().err
    assert main([missing, missing, "--table", str(tmp_path / "none.csv")]) == 1
    assert not (tmp_path / "none.csv").exists()


def test_the_light_is_known_from_many_fields(tmp_path, monkeypatch):
    """Fields that are brighter in two corners: their median shows by how much, and takes it away."""
    monkeypatch.chdir(tmp_path)
    light = 1 + 0.3 * np.outer(*(np.cos(np.pi * (np.arange(n) + 0.5) / n) for n in (48, 50)))
    for n in range(15):
        array = np.rint(field_of_view(light.shape, 2, seed=n) * light).astype(np.uint16)
        mb.save(f"f{n}.npy", image=field(array))
    Path("f5.npy").write_bytes(b"no array")
    mb.save("light.h5", light=field(light))
    names = [f"f{n}.npy" for n in range(15)]
    gain = gain_of(median_of(names, None, 4.0, MPI.COMM_WORLD), "median")
    np.testing.assert_allclose(gain.owned, light / light.mean(), atol=0.05)
    means = []
    for flat in ([], ["--flat", "median", "--flat-sigma", "4"], ["--flat", "light.h5"]):
        assert main([*names, "--table", "t.csv", "--properties", "label,intensity_mean", *flat]) == 1  # f5
        means.append(np.array(read("t.csv")["intensity_mean"], float).mean())
    assert means[1] == pytest.approx(means[2], rel=0.02)
    assert abs(means[0] / means[2] - 1) > 0.04


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("empty.npy", 1, "the image is 5.0 everywhere"),
        ("bright.npy --block 0 --sigma 0", 1, "every pixel is above the threshold"),
        ("nan.npy", 2, "nan"),
        ("line.npy", 2, "is no image of cells"),
        ("complex.npy", 2, "is no image of cells"),
        ("missing.npy", 1, "missing.npy"),
        ("good.npy --channel 1", 2, "has no channel 1"),
        ("good.npy --labels float.npy", 2, "the labels float.npy are float64"),
        ("good.npy --labels empty.npy", 2, "the labels empty.npy have the shape"),
        ("good.npy --labels missing.npy", 1, "missing.npy"),
        ("good.npy --flat zero.npy", 2, "1 pixels of the flat field zero.npy are not above 0"),
        ("good.npy --flat empty.npy", 2, "the flat field empty.npy has the shape"),
        ("good.npy --flat median", 2, "--flat median is that of many fields"),
        ("good.npy --summary s.csv", 2, "--summary is of many fields"),
        ("good.npy --properties area,color", 2, "color"),
        ("good.npy --background paint", 2, "--background paint is unknown"),
        ("good.npy --background ball:0", 2, "--background ball:0"),
        ("good.npy --block 4", 2, "--block 4 has no middle"),
        ("good.npy --block 0 --fraction 0", 2, "leaves no threshold"),
        ("good.npy --sigma nan", 2, "--sigma nan"),
        ("good.npy --settings even.toml", 2, "--block 4 has no middle"),
        ("good.npy --settings odd.png --picture odd.png", 2, "odd.png is read, and would be written over"),
        ("good.npy --settings missing.toml", 1, "the settings missing.toml cannot be read"),
        ("good.npy --distance 0", 2, "--distance 0"),
        ("good.npy --segments out.png", 2, "none of the endings"),
        ("good.npy --segments none/out.h5", 1, "no such folder"),
        ("good.npy --segments good.npy", 2, "none of the endings"),
        ("good.npy --picture out.cell", 2, "has not the ending"),
        ("volume.npy --picture out.png", 2, "has three axes"),
        ("good.npy empty.npy --segments out.h5", 2, "would both write out.h5"),
        ("no*.npy", 1, "there is no file no*.npy"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, capsys, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    good = field_of_view((40, 50), 6)
    zero = np.ones(good.shape)
    zero[3, 4] = 0
    arrays = {"good": good, "empty": np.full((40, 40), 5), "bright": good + np.uint16(9000), "zero": zero}
    arrays |= {"nan": np.where(good > 900, np.nan, good), "line": good[0], "complex": good + 0j, "float": zero}
    arrays |= {"volume": field_of_view((10, 20, 20), 3)}
    for name, array in arrays.items():
        mb.save(f"{name}.npy", image=field(array))
    Path("even.toml").write_text("block = 4\n")
    Path("odd.png").write_text("block = 5\n")
    before = sorted(tmp_path.iterdir())
    assert main([*arguments.split(), "--table", "out.csv"]) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("error: ") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_bad_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mb.save("good.h5", image=field(field_of_view((40, 50), 6)))
    for table, code, words in (
        ("t.txt", 2, "none of the endings"),
        ("none/t.csv", 1, "no such folder"),
        ("good.h5", 2, "would be written over"),
        ("./t.h5", 2, "the table and good.h5 would both write t.h5"),
        ("m.h5 --labels m.h5", 2, "m.h5 is read, and would be written over"),
        ("f.h5 --flat f.h5", 2, "f.h5 is read, and would be written over"),
    ):
        assert main(["good.h5", "--segments", "t.h5", "--table", *table.split()]) == code
        assert words in capsys.readouterr().err
    assert main(["go*.h5", "--table", "t.csv", "--summary", "t.csv"]) == 2
    assert "the table and the summary would both write t.csv" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["good.h5"]


def test_bad_input_is_one_message_on_all_ranks(launch, tmp_path):
    mb.save(tmp_path / "empty.npy", image=field(np.zeros((50, 50))))
    table = tmp_path / "out.csv"
    done = launch(3, "-m", "mpibatch.apps.cells", str(tmp_path / "empty.npy"), "--table", str(table))
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert not table.exists()
