"""Jobs that label and measure on all ranks: scikit-image's tables, the same bytes on any ranks, and taken up again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import skimage.feature
import skimage.filters
import skimage.measure
import skimage.segmentation
from scipy import ndimage

import mpibatch as mb
from mpibatch.job import parse
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.mpi
WORLD = MPI.COMM_WORLD
SHAPE = (23, 31)
PROPERTIES = ["label", "area", "bbox", "centroid", "intensity_mean", "intensity_max"]

JOB = f"""
[input]
path = "in.h5"

[[step]]
name = "smooth"
filter = "gaussian_filter"
sigma = 1.5

[[step]]
filter = "threshold_li"

[[step]]
name = "cells"
filter = "label"
save = true

[[step]]
name = "regions"
filter = "regionprops_table"
intensity = "smooth"
properties = {PROPERTIES}
save = true

[[step]]
filter = "peak_local_max"
input = "smooth"
min_distance = 2
save = "peaks"

[[step]]
name = "depth"
filter = "distance_transform_edt"
input = "threshold_li"
save = true

[[step]]
filter = "threshold_multiotsu"
input = "smooth"
save = "classes"

[[step]]
filter = "watershed"
input = "smooth"
markers = "cells"
save = "basins"

[output]
path = "out.h5"
record = false

[checkpoint]
every_steps = 1
""".replace("'", '"')


def whole() -> np.ndarray:
    return np.random.default_rng(11).random(SHAPE)


@pytest.fixture
def folder(mpi_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(mpi_tmp_path)
    u = mb.Grid(SHAPE).zeros()
    u.owned[...] = whole()[u.box.slices()]
    mb.save("in.h5", raw=u)
    return mpi_tmp_path


def test_a_job_gives_what_scikit_image_gives(folder: Path) -> None:
    from mpibatch.job import run

    summary = run(parse(JOB))
    smooth = ndimage.gaussian_filter(whole(), 1.5)
    limit = mb.io.file_attributes("out.h5")
    assert "job" in limit
    noted = {info.name: info.attrs for info in mb.io.describe("out.h5")}
    cells = np.asarray(mb.gather_all(mb.load("out.h5", "cells")))
    depth = np.asarray(mb.gather_all(mb.load("out.h5", "depth")))
    mask = cells > 0
    np.testing.assert_array_equal(cells, ndimage.label(mask)[0])
    np.testing.assert_array_equal(depth, ndimage.distance_transform_edt(mask))
    assert abs(smooth[mask].min() - skimage.filters.threshold_li(smooth)) < 0.01
    assert noted["cells"]["objects"] == cells.max()
    expected: dict[str, Any] = skimage.measure.regionprops_table(cells, smooth, properties=PROPERTIES)
    table = mb.load("out.h5", "regions").gather()
    assert list(table) == list(expected)
    for name, column in expected.items():
        if name.startswith("intensity"):
            np.testing.assert_allclose(table[name], column, rtol=1e-14)
        else:
            np.testing.assert_array_equal(table[name], column)
    peaks = mb.load("out.h5", "peaks").gather()
    places = np.stack([peaks["coordinate-0"], peaks["coordinate-1"]], axis=1)
    np.testing.assert_array_equal(places, skimage.feature.peak_local_max(smooth, min_distance=2))
    basins = skimage.segmentation.watershed(smooth, cells)
    np.testing.assert_array_equal(mb.gather_all(mb.load("out.h5", "basins")), basins)
    limits = skimage.filters.threshold_multiotsu(smooth)
    np.testing.assert_array_equal(mb.gather_all(mb.load("out.h5", "classes")), np.digitize(smooth, limits, right=True))
    assert [noted["classes"][f"threshold-{n}"] for n in (0, 1)] == pytest.approx(limits, rel=1e-12)
    assert [(s.dataset, s.dtype, s.measured.get("objects")) for s in summary.saved][:3] == [
        ("cells", "int32", cells.max()),
        ("regions", "table", None),
        ("peaks", "table", len(places)),
    ]


def test_labels_are_numbered_anew_and_joined(folder: Path) -> None:
    from mpibatch.job import run

    head, end = JOB.split("[[step]]")[0], "[output]" + JOB.split("[output]")[1]
    steps = (
        'name = "mask"\nfilter = "binarize"\nthreshold = 0.55',
        'name = "cells"\nfilter = "label"\nsave = true',
        'filter = "remove_small_objects"\nmax_size = 3',
        'name = "large"\nfilter = "relabel_sequential"\noffset = 4\nsave = true',
        'name = "bright"\nfilter = "binarize"\nthreshold = 0.8\ninput = "input"',
        'name = "peaks"\nfilter = "label"\nsave = true',
        'name = "joined"\nfilter = "join_segmentations"\ninput = "large"\ns2 = "peaks"\nsave = true',
    )
    run(parse(head + "".join(f"[[step]]\n{step}\n" for step in steps) + end))
    cells, large, peaks, joined = (mb.load("out.h5", name) for name in ("cells", "large", "peaks", "joined"))
    np.testing.assert_array_equal(mb.gather_all(cells), ndimage.label(whole() > 0.55)[0])
    kept = mb.segment.remove_small_objects(cells, max_size=3)
    np.testing.assert_array_equal(large.owned, mb.segment.relabel_sequential(kept, 4)[0].owned)
    ours, theirs = np.asarray(mb.gather_all(large)), np.asarray(mb.gather_all(kept))
    np.testing.assert_array_equal(ours, skimage.segmentation.relabel_sequential(theirs, 4)[0])
    assert mb.max(large) < mb.max(cells)
    both = skimage.segmentation.join_segmentations(ours, np.asarray(mb.gather_all(peaks)))
    np.testing.assert_array_equal(mb.gather_all(joined), both)


def test_steps_that_iterate_tell_of_their_rounds(folder: Path) -> None:
    from mpibatch.job import run

    text = JOB.split("[[step]]")[0] + (
        '[[step]]\nname = "ridge"\nfilter = "binarize"\nthreshold = 0.2\n'
        '[[step]]\nname = "thinned"\nfilter = "thin"\nsave = true\n[output]\npath = "out.h5"\n'
    )
    reports: list[tuple[int, int, str]] = []
    run(parse(text), report=lambda *report: reports.append(report))
    labels = [label for _, _, label in reports]
    assert labels[:3] == ["reading in.h5", "ridge", "thinned"]
    assert labels[3:5] == ["thinned, round 2", "thinned, round 3"]
    assert {(done, total) for done, total, label in reports if "round" in label} == {(2, 4)}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_was_cut_goes_on_to_the_same_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mpibatch.job import run
    from mpibatch.job.execution import pipeline

    run(parse(JOB))
    straight = digest(folder / "out.h5")
    if WORLD.rank == 0:
        alone = folder / "alone"
        alone.mkdir()
        monkeypatch.chdir(alone)
        (alone / "in.h5").symlink_to(folder / "in.h5")
        run(parse(JOB), comm=MPI.COMM_SELF)
        assert digest(alone / "out.h5") == straight
        monkeypatch.chdir(folder)
        (folder / "out.h5").unlink()
    WORLD.Barrier()
    apply = pipeline.apply

    def ending(step: Any, values: Any) -> Any:
        if step.name == "depth":
            raise mb.RunError("the end came early")
        return apply(step, values)

    monkeypatch.setattr(pipeline, "apply", ending)
    with pytest.raises(mb.RunError, match="early"):
        run(parse(JOB))
    monkeypatch.setattr(pipeline, "apply", apply)
    summary = run(parse(JOB), start="resume")
    assert summary.steps == 3, summary.notes
    assert "regions" in summary.notes[0]
    assert "peak_local_max" in summary.notes[0]
    assert digest(folder / "out.h5") == straight
