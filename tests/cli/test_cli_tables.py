"""Tables and labels on the command line: rows, plots, and outlines with numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.segmentation

import mpibatch as mb
from mpibatch.cli import main
from mpibatch.cli._overlay import colors_of, enlargement, numbered, outlined, outlines

SHAPE = (40, 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tables")
    grid = mb.Grid(SHAPE, spacing=0.5, units="mm")
    raw = mb.filters.gaussian_filter(mb.random.Generator(seed=4).normal(grid), 2)
    labels, _ = mb.label(raw > 0.1)
    table = mb.regionprops_table(labels, raw, properties=("label", "area", "centroid", "intensity_mean"))
    empty, _ = mb.label(raw > 1e9)
    nothing = mb.regionprops_table(empty, properties=("label", "area"))
    mb.save(made / "out.h5", labels=labels, raw=raw, none=nothing, **{"found/regions": table})
    mb.save(made / "other.h5", small=mb.Grid((4, 6)).zeros())
    return made


@pytest.fixture(autouse=True)
def _within(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def shown(capsys: Any, *arguments: str) -> str:
    assert main([*arguments]) == 0
    text: str = capsys.readouterr().out
    return text


def refused(capsys: Any, *arguments: str) -> str:
    assert main([*arguments]) == 2
    text: str = capsys.readouterr().err
    return text


def test_info_and_verify_know_tables(capsys: Any) -> None:
    rows = len(mb.load("out.h5", "found/regions").gather()["label"])
    text = shown(capsys, "info", "out.h5")
    assert f"found/regions: a table of {rows} rows, by columns label, area, centroid-0" in text
    document = json.loads(shown(capsys, "info", "out.h5::found/regions", "--json", "--digest"))
    assert [table["name"] for table in document["tables"]] == ["found/regions"]
    assert document["tables"][0]["attributes"]["grid_units"] == "mm"
    assert {d["name"] for d in document["datasets"]} == {f"found/regions/{c}" for c in document["tables"][0]["columns"]}
    assert all("sha256" in dataset for dataset in document["datasets"])
    changed = Path("changed.h5")
    data = bytearray(Path("out.h5").read_bytes())
    at = data.find(np.asarray(mb.io.read_slice("out.h5", "found/regions/area")).tobytes())
    data[at] ^= 1
    changed.write_bytes(data)
    assert main(["verify", "changed.h5"]) == 1
    assert "found/regions/area" in capsys.readouterr().out


def test_the_first_rows_and_a_histogram_are_printed(capsys: Any) -> None:
    table = mb.load("out.h5", "found/regions").gather()
    lines = shown(capsys, "view", "out.h5::found/regions", "--rows", "3").splitlines()
    assert lines[0].split() == ["label", "area", "centroid-0", "centroid-1", "intensity_mean"]
    assert [float(line.split()[1]) for line in lines[1:4]] == table["area"][:3].tolist()
    assert lines[4] == f"... and {len(table['area']) - 3} more rows of {len(table['area'])}"
    bars = shown(capsys, "view", "out.h5::found/regions", "--plot", "area").splitlines()
    assert sum(int(line.split()[-1]) for line in bars[1:]) == len(table["area"])
    assert shown(capsys, "view", "out.h5::none").split() == ["label", "area"]


@pytest.mark.parametrize("name", ["plot.png", "plot.svg"])
@pytest.mark.parametrize("columns", ["area", "area,intensity_mean"])
def test_plots_are_the_same_every_time(capsys: Any, name: str, columns: str) -> None:
    made = []
    for _ in range(2):
        assert "rows" in shown(capsys, "view", "out.h5::found/regions", name, "--plot", columns)
        made.append(Path(name).read_bytes())
    assert made[0] == made[1]
    assert made[0].startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")


def test_labels_are_drawn_over_a_picture(capsys: Any) -> None:
    labels = np.asarray(mb.load("out.h5", "labels").owned)
    line = shown(capsys, "view", "out.h5::labels", "over.png", "--over", "raw", "--longest", "480")
    scale = enlargement(SHAPE, 480)
    assert (scale, f"{labels.max()} objects" in line) == (8, True)
    picture = np.asarray(PIL.Image.open("over.png"))
    assert picture.shape == (SHAPE[0] * scale, SHAPE[1] * scale, 3)
    shown(capsys, "view", "out.h5::labels", "same.png", "--over", "out.h5::raw", "--longest", "480")
    assert Path("over.png").read_bytes() == Path("same.png").read_bytes()
    PIL.Image.new("L", SHAPE[::-1], 90).save("raw.png")
    for file, expected in (("raw", "over.png"), ("gray", "gray.png")):
        Path("raw.png").rename(file)  # the file's own dataset of this name goes before another file
        shown(capsys, "view", "out.h5::labels", "named.png", "--over", file, "--longest", "480")
        assert (Path("named.png").read_bytes() == Path("over.png").read_bytes()) == (expected == "over.png")
        Path(file).rename("raw.png")
    shown(capsys, "view", "out.h5::labels", "colors.png", "--labels")
    np.testing.assert_array_equal(np.asarray(PIL.Image.open("colors.png")), colors_of(labels))


def test_outlines_are_those_of_scikit_image() -> None:
    labels = np.random.default_rng(2).integers(0, 4, (9, 11))
    expected = skimage.segmentation.find_boundaries(labels, connectivity=1, mode="inner")
    np.testing.assert_array_equal(outlines(labels), expected)


def test_a_color_belongs_to_a_number_and_can_be_seen() -> None:
    far = colors_of((1 << 60) + np.arange(100))  # products of these have no digits behind the point
    assert len({tuple(color) for color in far.tolist()}) > 90
    colors = colors_of(np.arange(0, 2000))
    np.testing.assert_array_equal(colors[1234], colors_of(np.array([[1234, 7]]))[0, 0])
    assert not colors[0].any()
    assert len(np.unique(colors[1:], axis=0)) > 1500
    assert (colors[1:] @ np.array([0.2126, 0.7152, 0.0722])).min() > 0.4 * 255
    near = np.abs(np.diff(colors[1:].astype(int), axis=0)).sum(axis=1)
    assert near.min() > 60


def test_numbers_stay_in_the_picture_and_do_not_cover_one_another() -> None:
    labels = np.zeros((30, 40), np.int64)
    for number in range(12):
        row, column = 2 + 7 * (number // 4), 3 + 10 * (number % 4)
        labels[row : row + 4, column : column + 5] = number + 1
    picture, large = outlined(np.zeros(labels.shape, np.uint8), labels, 10)
    drawn, count = numbered(picture, large)
    assert count == 12
    assert np.count_nonzero((drawn != picture).any(axis=2)) > 12 * 10
    crowded = np.arange(1, 2501).reshape(50, 50).repeat(4, axis=0).repeat(4, axis=1)
    _, few = numbered(np.zeros((200, 200, 3), np.uint8), crowded)
    assert 0 < few < 40


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["out.h5::found/regions", "x.png"], "say what to draw of it: --plot label"),
        (["out.h5::found/regions", "--plot", "aera"], "did you mean 'area'"),
        (["out.h5::found/regions", "--plot", "area,label"], "name the picture to write"),
        (["out.h5::found/regions", "x.png", "--plot", "a,b,c"], "give one column, or two"),
        (["out.h5::found/regions", "x.jpg", "--plot", "area"], "name it .png or .svg"),
        (["out.h5::found/regions", "--over", "raw"], "are for arrays"),
        (["out.h5::found/regions", "--percentile", "1,99"], "are for arrays"),
        (["out.h5::labels", "x.png", "--over", "raw", "--labels"], "give one"),
        (["out.h5::labels", "x.png", "--labels", "--percentile", "1,99"], "leave it out"),
        (["out.h5::none", "--plot", "area"], "no finite value"),
        (["out.h5::labels"], "name the picture to write, such as labels.png"),
        (["out.h5::labels", "x.png", "--plot", "area"], "columns of tables are plotted"),
        (["out.h5::raw", "x.png", "--over", "raw"], "give integers, as `label` makes them"),
        (["out.h5::labels", "x.png", "--over", "other.h5::small"], "give a dataset with the same cells"),
        (["out.h5::labels", "x.png", "--over", "rw"], "did you mean 'raw'"),
        (["out.h5::found/regions", "--rows", "0"], "give 1 or more"),
    ],
)
def test_what_cannot_be_shown(capsys: Any, arguments: list[str], words: str) -> None:
    assert words in refused(capsys, "view", *arguments)
    assert not Path("x.png").exists()
