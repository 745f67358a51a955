"""Jobs run on all ranks: the same as scipy on the whole array, memory freed early, errors alike everywhere."""

import gc
import weakref

import h5py
import numpy as np
import pytest
from scipy import ndimage

from mpibatch.base.errors import RunError, UsageError
from mpibatch.job import parse

pytestmark = pytest.mark.mpi

SHAPE = (13, 17)

JOB = """
[input]
path = "{folder}/in.h5"

[[step]]
name = "smooth"
filter = "gaussian_filter"
sigma = [1, 0.5]
save = true

[[step]]
filter = "sobel"
axis = 0
mode = "nearest"

[[step]]
filter = "binarize"
threshold = 0.25
save = "edges"

[[step]]
filter = "convert"
input = "smooth"
dtype = "u1"
scale = 255
save = "shown/smooth"

[output]
path = "{folder}/out.h5"
"""


def whole() -> np.ndarray:
    return np.random.default_rng(7).random(SHAPE).astype("f4")


@pytest.fixture
def folder(shared_tmp):
    from mpibatch.mpi import MPI

    if MPI.COMM_WORLD.rank == 0:
        with h5py.File(shared_tmp / "in.h5", "w") as file:
            file["raw"] = whole()
    MPI.COMM_WORLD.Barrier()
    return shared_tmp


def test_a_job_gives_what_scipy_gives(folder):
    from mpibatch.job import run

    told = []
    summary = run(parse(JOB.format(folder=folder)), report=lambda *unit: told.append(unit))
    smooth = ndimage.gaussian_filter(whole(), [1, 0.5])
    edges = ndimage.sobel(smooth, axis=0, mode="nearest") > 0.25
    with h5py.File(folder / "out.h5") as file:
        np.testing.assert_array_equal(file["smooth"][()], smooth)
        np.testing.assert_array_equal(file["edges"][()], edges)
        np.testing.assert_array_equal(file["shown/smooth"][()], np.rint(smooth.astype("f8") * 255).astype("u1"))
        assert file["edges"].dtype == bool
        assert "[input]" in file.attrs["job"]
    assert [(s.dataset, s.shape, s.dtype, s.bytes) for s in summary.saved] == [
        ("smooth", SHAPE, "float32", 884),
        ("edges", SHAPE, "bool", 221),
        ("shown/smooth", SHAPE, "uint8", 221),
    ]
    assert summary.shape == SHAPE
    assert [name for name, _ in summary.seconds] == ["reading", "smooth", "sobel", "binarize", "convert", "writing"]
    assert [(done, total) for done, total, _ in told] == [(done, 6) for done in range(7)]


def test_the_grid_section_reaches_the_grid(folder):
    from mpibatch.job import run
    from mpibatch.mpi import MPI

    ranks = MPI.COMM_WORLD.size
    settings = [f"grid.topology=[1, {ranks}]", "grid.periodic=[false, true]"]
    assert run(parse(JOB.format(folder=folder), settings=settings)).topology == (1, ranks)
    smooth = ndimage.gaussian_filter(whole(), [1, 0.5], mode=["reflect", "wrap"])
    with h5py.File(folder / "out.h5") as file:
        np.testing.assert_array_equal(file["smooth"][()], smooth)
        assert "--set grid.periodic" in file.attrs["job"]


def test_results_are_freed_when_no_later_step_reads_them(folder, monkeypatch):
    from mpibatch.job.execution import pipeline

    made: dict[str, weakref.ref] = {}
    alive: dict[str, list[str]] = {}
    apply, load = pipeline.apply, pipeline._load

    def watched_load(*arguments):
        field = load(*arguments)
        made["input"] = weakref.ref(field)
        return field

    def watched_apply(step, field):
        gc.collect()
        alive[step.name] = [name for name, ref in made.items() if ref() is not None]
        result = apply(step, field)
        made[step.name] = weakref.ref(result.value)
        return result

    monkeypatch.setattr(pipeline, "_load", watched_load)
    monkeypatch.setattr(pipeline, "apply", watched_apply)
    text = JOB.replace("save = true\n", "").format(folder=folder)
    pipeline.run(parse(text))
    assert alive == {
        "smooth": ["input"],
        "sobel": ["smooth"],
        "binarize": ["smooth", "sobel"],
        "convert": ["smooth", "binarize"],
    }


@pytest.mark.parametrize(
    ("setting", "error", "words"),
    [
        ("input.path=nothing.h5", RunError, "nothing.h5"),
        ("input.dataset=rw", UsageError, "did you mean 'raw'"),
        ("smooth.sigma=[1,2,3]", UsageError, "sigma"),
        ("grid.topology=[5,7]", UsageError, "5×7"),
        ("output.path=no/such/folder/o.h5", RunError, "folder"),
        ("output.path=/proc/version/o.h5", RunError, "folder"),
    ],
)
def test_errors_are_alike_on_all_ranks_and_leave_no_file(folder, setting, error, words):
    from mpibatch.job import run
    from mpibatch.mpi import MPI

    with pytest.raises(error) as caught:
        run(parse(JOB.format(folder=folder), settings=[setting]))
    assert words in str(caught.value)
    assert len(set(MPI.COMM_WORLD.allgather(str(caught.value)))) == 1
    assert {path.name for path in folder.iterdir()} == {"in.h5"}


@pytest.mark.parametrize("dtype", ["u1", "i2", "u8", "i8", "f4", "bool"])
@pytest.mark.parametrize("source", ["f8", "f4", "i8", "u8", "u1", "bool"])
def test_convert_rounds_and_clips(source, dtype):
    import mpibatch as mb
    from mpibatch.job.execution.steps import convert

    numbers = [-1e30, -300.5, -1.5, -0.5, 0.5, 1.5, 2.5, 255.4, 70000.0, 2.0**63, 1e30]
    if np.dtype(source).kind in "iu":
        limits = np.iinfo(source)
        values = np.array([int(min(max(n, limits.min), limits.max)) for n in numbers], source)
    else:
        values = np.array(numbers, source)
    field = mb.Grid((len(values),)).from_function(lambda x: values[x.astype(int)], source)
    mine = field.box.slices()
    result = convert(field, dtype)
    assert result.dtype == np.dtype(dtype)
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        exact = [int(v) if values.dtype.kind != "f" else round(float(v)) for v in values]
        expected = np.array([min(max(v, limits.min), limits.max) for v in exact], dtype)
    else:
        expected = values.astype(dtype)
    np.testing.assert_array_equal(result.owned, expected[mine])


def test_what_a_step_takes_from_the_data_is_told_and_kept(folder):
    skimage = pytest.importorskip("skimage.filters")
    from mpibatch.job import run

    text = JOB.replace("threshold = 0.25", 'threshold = "otsu"').format(folder=folder)
    summary = run(parse(text))
    sobel = ndimage.sobel(ndimage.gaussian_filter(whole(), [1, 0.5]), axis=0, mode="nearest")
    threshold = float(skimage.threshold_otsu(sobel))
    assert [saved.measured for saved in summary.saved] == [{}, {"threshold": threshold}, {}]
    with h5py.File(folder / "out.h5") as file:
        assert file["edges"].attrs["threshold"] == threshold
        np.testing.assert_array_equal(file["edges"][()], sobel > threshold)


def test_convert_makes_zero_of_nan():
    import mpibatch as mb
    from mpibatch.job.execution.steps import convert

    result = convert(mb.Grid((6,)).full(np.nan, "f4"), "i4")
    assert not result.owned.any()


def test_binarize_refuses_other_words():
    import mpibatch as mb
    from mpibatch.job.execution.steps import binarize

    with pytest.raises(UsageError, match="otsu"):
        binarize(mb.Grid((6,)).zeros(), "mean")


def test_binarize_marks_what_is_above():
    import mpibatch as mb
    from mpibatch.job.execution.steps import binarize

    field = mb.Grid((6,)).from_function(lambda x: x)
    above = np.arange(6)[field.box.slices()] > 2
    np.testing.assert_array_equal(binarize(field, 2).owned, above)
    np.testing.assert_array_equal(binarize(field, 2, invert=True).owned, ~above)
