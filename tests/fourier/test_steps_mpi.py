"""Transforms and solvers as steps of a job: the functions' bits, also where results have other shapes, and resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import fft as theirs

import mpibatch as mb
from mpibatch.job import parse, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.mpi

JOB = """
[input]
path = "in.h5"

[[step]]
name = "half"
filter = "rfftn"
save = true

[[step]]
name = "smooth"
filter = "fourier_gaussian"
sigma = 1.5
n = 9
save = true

[[step]]
name = "back"
filter = "irfftn"
s = [8, 9]

[[step]]
filter = "poisson"
bc = ["neumann", "periodic"]
coordinates = [0.0, 1.0, 1.5, 2.5, 3.0, 4.0, 6.0, 7.0, 8.0]
axis = 0
residual = true
save = "phi"

[[step]]
filter = "helmholtz"
alpha = 2.0
bc = "dirichlet"
save = "screened"

[output]
path = "out.h5"
record = false

[checkpoint]
every_steps = 1
"""


def test_steps(mpi_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mpi_tmp_path)
    whole = np.random.default_rng(1).standard_normal((8, 9))
    u = mb.scatter(whole, mb.Grid(whole.shape))
    mb.save("in.h5", raw=u)
    summary = run(parse(JOB))
    np.testing.assert_array_equal(mb.gather_all(mb.load("out.h5", "half")), theirs.rfftn(whole))
    smooth = mb.filters.fourier_gaussian(mb.fft.rfftn(u), 1.5, n=9)
    assert mb.gather_all(mb.load("out.h5", "smooth")).tobytes() == mb.gather_all(smooth).tobytes()
    back = mb.fft.irfftn(smooth, s=(8, 9))
    faces = [0.0, 1.0, 1.5, 2.5, 3.0, 4.0, 6.0, 7.0, 8.0]
    phi, residual = mb.solve.poisson(back, ["neumann", "periodic"], coordinates=faces, axis=0, residual=True)
    assert mb.gather_all(mb.load("out.h5", "phi")).tobytes() == mb.gather_all(phi).tobytes()
    assert {saved.dataset: saved.measured for saved in summary.saved}["phi"] == {"residual": residual}
    screened = mb.solve.helmholtz(phi, 2.0, "dirichlet")
    assert mb.gather_all(mb.load("out.h5", "screened")).tobytes() == mb.gather_all(screened).tobytes()


def test_a_job_that_stopped_goes_on_from_a_half_spectrum(mpi_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mpibatch.job.execution import pipeline

    monkeypatch.chdir(mpi_tmp_path)
    whole = np.random.default_rng(1).standard_normal((8, 9))
    mb.save("in.h5", raw=mb.scatter(whole, mb.Grid(whole.shape)))
    run(parse(JOB))
    expected = {name: mb.gather_all(mb.load("out.h5", name)) for name in ("half", "smooth", "phi", "screened")}
    mb.Grid(1).comm.Barrier()
    job = parse(JOB.replace('"out.h5"', '"again.h5"'))
    apply = pipeline.apply

    def stopped(step, values):
        if step.name == "back":
            raise mb.UsageError("stopped")
        return apply(step, values)

    monkeypatch.setattr(pipeline, "apply", stopped)
    with pytest.raises(mb.UsageError, match="stopped"):
        run(job)
    monkeypatch.setattr(pipeline, "apply", apply)
    assert run(job, start="resume").steps == 3
    for name, values in expected.items():
        np.testing.assert_array_equal(mb.gather_all(mb.load("again.h5", name)), values)
