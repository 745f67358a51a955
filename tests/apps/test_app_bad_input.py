"""What users do wrong with simulations, through the real command on 2 ranks: one clear message, no hang, no output."""

from __future__ import annotations

import math
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

RANKS = 2

MINE = """\
\"\"\"A rod.\"\"\"

from dataclasses import dataclass

import mpibatch as mb


@dataclass(frozen=True)
class Parameters:
    dt: float = 0.1


@mb.stencil
def step(u, k):
    {line}


def run(p, simulation):
    grid = simulation.grid((40,))
    state = {{"u": grid.from_function(lambda x: x % 2, halo=1)}}
    for now in simulation.steps(state, dt=p.dt):
        state["u"] = step(state["u"], now.dt)
"""
GOOD_LINE = "return u[0] + k * (u[-1] - 2.0 * u[0] + u[1])"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with fields that have a NaN."""
    monkeypatch.chdir(tmp_path)
    # A test may itself run where a launcher has left its traces.
    for name in [*os.environ]:
        if name.startswith(("PMI_", "PMIX_", "OMPI_", "HYD", "MPI_LOCAL", "SLURM_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    broken = np.ones((12, 10))
    broken[9, 4] = math.nan
    with h5py.File("in.h5", "w") as file:
        file["broken"] = broken
        file["complex"] = np.ones((12, 10), "c16")
        file["both"] = np.stack([broken, broken], axis=-1)
        file["speed"] = np.where(np.arange(12) < 5, 1.0, 2.0)
    with h5py.File("gas.h5", "w") as file:
        file["density"], file["pressure"] = broken[:, 4], np.ones(12)
        file["velocity_x"] = np.zeros(12)
    with h5py.File("flow.h5", "w") as file:
        file["velocity_x"], file["velocity_y"] = np.ones((12, 10)), broken
    return tmp_path


def refused(launch, code: int, program: str, *settings: str) -> str:
    """Run a simulation that must fail; return what was said."""
    lines = [f'program = "{program}"', "steps = 50", *settings]
    text = "\n".join(["[simulation]", *lines, "[output]", 'path = "out.h5"', "[diagnostics]", 'path = "out.csv"'])
    Path("job.toml").write_text(text + "\n")
    done = launch(RANKS, "-m", "mpibatch", "run", "job.toml")
    shown = done.stdout + done.stderr
    assert done.returncode == code, shown
    assert "Traceback" not in shown
    assert shown.count("error: ") == 1, shown
    assert not list(Path().glob("out.h5*"))
    return done.stderr


@pytest.mark.parametrize(
    ("program", "settings", "words"),
    [
        ("heat", ("shape = [12, 10]", "dt = 0.1"), "dt = 0.1 is not stable: the longest step"),
        ("heat", ("shape = [12, 10]", 'start = "in.h5::complex"'), "cannot cast complex128 to float64, which has no"),
        ("grayscott", ("dt = 100",), "dt = 100 is not stable"),
        ("options", ("dt = 1.0",), "dt = 1 is not stable"),
        ("cavity", ("lattice_speed = 0.5",), "not stable"),
        ("euler", ("courant = 0.9",), "0.5 or less"),
        ("dns", ("courant = 1.5",), "1 or less"),
        ("mhd", ("courant = 1.5",), "1 or less"),
        ("mhd", ("gamma = 1.0",), "more than 1"),
        ("heston", ("volatility = -0.25",), "volatility = -0.25"),
        ("nbody", ("omega_matter = -0.3",), "omega_matter"),
        ("nbody", ("particles = [0, 8, 8]",), "particles"),
        ("wave", ("shape = [12]", "sponge = 0", "length = 1.0", "speed = 1.0", "dt = 0.1"), "dt = 0.1 s is not stable"),
        (
            "wave",
            ("shape = [12]", "sponge = 0", "length = 1.0", 'speed = "in.h5::speed"', "dt = 0.04"),
            "and 2 m/s is",
        ),
        ("wave", ("source = [2500.0, 0.0]",), "source: [2500.0, 0.0] lies outside the domain"),
        ("wave", ("receivers = [[10.0, 10.0], [0.0, 2001.0]]",), "receivers: [0.0, 2001.0] lies outside the domain"),
    ],
)
def test_what_cannot_be_meant(launch, folder, program, settings, words):
    assert words in refused(launch, 2, program, *settings)


@pytest.mark.parametrize(
    ("program", "settings", "words"),
    [
        ("heat", ("shape = [12, 10]", 'start = "in.h5::broken"'), "u is NaN in cell (9, 4)"),
        (
            "wave",
            ("shape = [12, 10]", "order = 2", "sponge = 0", 'start = "in.h5::broken"'),
            "u is NaN in cell (9, 4)",
        ),
        ("grayscott", ("shape = [12, 10]", 'start = "in.h5::both"'), "u is NaN in cell (9, 4)"),
        ("euler", ("shape = [12]", 'start = "gas.h5"'), "energy is NaN in cell (9,)"),
        ("dns", ("shape = [12, 10]", 'start = "flow.h5"'), "velocity_y is NaN in cell (9, 4)"),
    ],
)
def test_a_nan_in_the_initial_data(launch, folder, program, settings, words):
    told = refused(launch, 1, program, *settings)
    assert words in told
    assert "on rank 1 of 2) in the initial data; repair or replace them" in told


def test_numbers_that_break_on_the_way(launch, folder):
    Path("mine.py").write_text(MINE.format(line=GOOD_LINE))
    told = refused(launch, 1, "mine.py", "dt = 1e30")
    assert "u is " in told
    assert "after step 50" in told
    assert "shorten the time step" in told


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("return u[0] + k * open(u[1])", ('mine.py", line 15', "open")),
        ("return u[k]", ('mine.py", line 15', "u[k]")),
        ("while u[0] > 0: pass", ('mine.py", line 15', "while")),
        ("return u[0] + dt", ('mine.py", line 15', "dt")),
        ("return u[0, 0]", ("u", "2")),
    ],
)
def test_a_bad_kernel(launch, folder, line, words):
    Path("mine.py").write_text(MINE.format(line=line))
    told = refused(launch, 2, "mine.py")
    for word in words:
        assert word in told


def test_a_good_program_says_nothing_wrong(launch, folder):
    Path("mine.py").write_text(MINE.format(line=GOOD_LINE))
    done = launch(RANKS, "-m", "mpibatch", "run", "--help")
    assert done.returncode == 0
    Path("job.toml").write_text('[simulation]\nprogram = "mine.py"\nsteps = 5\n[output]\npath = "out.h5"\n')
    done = launch(RANKS, "-m", "mpibatch", "run", "job.toml")
    assert (done.returncode, "error" in done.stderr) == (0, False), done.stderr
    assert Path("out.h5").is_file()
