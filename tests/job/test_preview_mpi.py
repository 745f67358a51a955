"""Previews on all ranks: the cells of the whole run, and refusals of what has no parts."""

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.job import parse, run

pytestmark = pytest.mark.mpi

JOB = """
[input]
path = "{folder}/in.h5"
region = ":, 1:"
[grid]
periodic = [false, true, false]
[[step]]
name = "smooth"
filter = "gaussian_filter"
sigma = 1
mode = ["nearest", "wrap", "reflect"]
save = true
[[step]]
filter = "uniform_filter"
size = 3
save = "means"
[[step]]
filter = "threshold_otsu"
save = "mask"
[[step]]
filter = "label"
save = "labels"
[output]
path = "{folder}/out.h5"
"""


def test_a_preview_is_a_part_of_the_whole(shared_tmp):
    from mpibatch.job.preview import previewed

    comm = mb.Grid(1).comm
    if comm.rank == 0:
        with h5py.File(shared_tmp / "in.h5", "w") as file:
            file["raw"] = np.random.default_rng(7).random((11, 9, 8)).astype("f4")
    comm.Barrier()
    job = parse(JOB.format(folder=shared_tmp))
    run(job)
    for region in (np.s_[4:5], np.s_[0:2, 7:8], np.s_[10:, 2:5, 3:4]):
        slices = list(region) if isinstance(region, tuple) else [region]
        for name, dataset in (("smooth", "smooth"), ("uniform_filter", "means"), (None, "mask")):
            preview = previewed(job, comm, slices, name)
            part = preview.gathered()
            if comm.rank == 0:
                with h5py.File(shared_tmp / "out.h5") as file:
                    np.testing.assert_array_equal(part, file[dataset][region])
    assert preview.notes[0].startswith("not shown: label")
    assert "of the whole" in preview.notes[1]
    around = parse(JOB.format(folder=shared_tmp).replace('["nearest", "wrap"', '["wrap", "nearest"'))
    run(around)
    part = previewed(around, comm, [slice(0, 2)], "smooth").gathered()
    if comm.rank == 0:
        with h5py.File(shared_tmp / "out.h5") as file:
            np.testing.assert_array_equal(part, file["smooth"][:2])
    with pytest.raises(mb.UsageError, match="no part of label"):
        previewed(job, comm, [slice(0, 1)], "label")
    with pytest.raises(mb.UsageError, match="no step 'labl'"):
        previewed(job, comm, [slice(0, 1)], "labl")
