"""The program of particles and gravity against exact solutions, linear theory and NumPy; the same bits on any ranks."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.apps.nbody import Parameters
from mpibatch.apps.nbody.backgrounds import Expanding, Still
from mpibatch.apps.nbody.spectra import power_of, sigma
from mpibatch.io import describe, digest
from tests.support.programs import Case, ran

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Launch

WAVE = {"problem": "wave", "length": 1.0, "omega_matter": 1.0, "begin": 0.1, "cloud": "tsc"}
WAVES: dict[str, Case] = {
    f"wave{n}": (
        WAVE | {"shape": [n, 4, 4], "wave": [1, 0, 0], "particles": [2 * n, 4, 4], "dt": 0.3 / n},
        {"until": t},
    )
    for n, t in ((16, 0.3), (32, 0.3))
} | {
    "small": (WAVE | {"shape": [32, 4, 4], "wave": [1, 0, 0], "crossing": 500.0, "dt": 0.02}, {"until": 0.9}),
    "oblique": (WAVE | {"shape": [16, 16, 4], "wave": [1, -1, 0], "particles": [32, 32, 4]}, {"until": 0.2}),
    "still": (
        WAVE | {"shape": [4, 32, 4], "wave": [0, 1, 0], "particles": [4, 64, 4], "expansion": False, "crossing": 3.0},
        {"until": 2.0},
    ),
    "round": (WAVE | {"shape": [16, 4, 4], "wave": [1, 0, 0], "dt": 5.0}, {"until": 30.0}),
}
BOX = {"shape": [16, 16, 16], "length": 64.0, "shells": 99, "random": 7}
BOXES: dict[str, Case] = {
    "fine": (BOX | {"write": "both"}, {"steps": 4}),
    "coarse": (BOX | {"shape": [8, 8, 8], "particles": [8, 8, 8], "write": "particles"}, {"steps": 1}),
    "uneven": (
        BOX | {"shape": [12, 8, 10], "particles": [6, 8, 14], "cloud": "tsc", "symbol": "stencil"},
        {"steps": 3},
    ),
}


def rows(folder: Path, name: str) -> dict[str, np.ndarray]:
    with h5py.File(folder / f"{name}.h5") as file:
        return {key: np.asarray(column[...]) for key, column in file["diagnostics"].items()}


def digests(folder: Path) -> dict[tuple[str, str], str]:
    return {(path.stem, d.name): digest(path, d.name) for path in sorted(folder.glob("*.h5")) for d in describe(path)}


def test_waves_against_theory_and_numpy(launch: Launch, tmp_path: Path) -> None:
    folders = [tmp_path / str(ranks) for ranks in (1, 3)]
    for ranks, folder in zip((1, 3), folders, strict=True):
        lines = ran(launch, folder, ranks, "nbody", WAVES | BOXES)
        assert len(lines) == ranks
        for line in lines:
            assert line.startswith("RunError: dt = 5 is not stable at t = 0, step 0: the longest step for this density")
    assert digests(folders[0]) == digests(folders[1])
    check_plane_waves(folders[0])
    check_density_and_power(folders[0])
    check_displacements(folders[0])


def check_plane_waves(folder: Path) -> None:
    # Of second order in cells and steps, measured by the largest displacement at a = 0.4.
    errors = [rows(folder, f"wave{n}")["error"][-1] / (0.4 / (2 * math.pi)) for n in (16, 32)]
    assert errors[1] < 8e-3
    assert abs(math.log2(errors[0] / errors[1]) - 2) < 0.15
    # Where it is linear it grows as a does: by a factor 10, to 2 percent with 32 cells and triangular clouds.
    assert rows(folder, "small")["error"][-1] / (1 / 500 / (2 * math.pi)) < 0.02
    assert rows(folder, "oblique")["error"][-1] < 0.02 * 0.3 / (2 * math.pi)

    # At rest it grows as cosh(t), and energy is kept.
    still = rows(folder, "still")
    assert still["error"][-1] < 0.02 * math.cosh(2) / math.cosh(3) / (2 * math.pi)
    energy = still["kinetic"] + still["potential"]
    assert still["kinetic"][0] == 0
    assert abs(energy[-1] - energy[0]) < 0.02 * still["kinetic"][-1]
    for name in ("wave32", "oblique", "still"):
        found = rows(folder, name)
        for axis in "zyx":
            assert np.abs(found[f"velocity_{axis}"]).max() < 1e-13 * math.sqrt(2 * found["kinetic"].max())


def check_density_and_power(folder: Path) -> None:
    with h5py.File(folder / "fine.h5") as file:
        position, density = np.asarray(file["position"][0]), np.asarray(file["density"])
    np.testing.assert_allclose(density.mean(axis=(1, 2, 3)), 1.0, rtol=1e-14)
    # Particles are not lost, and heavier cells are where more of them are: the cloud in cells by np.add.at.
    cells = position / 4.0 - 0.5
    low = np.floor(cells).astype(int)
    whole = np.zeros((16, 16, 16))
    for corner in itertools.product((0, 1), repeat=3):
        weight = np.prod(np.where(corner, cells - low, 1 - cells + low), axis=1)
        np.add.at(whole, tuple((low + corner).T % 16), weight)
    np.testing.assert_allclose(density[0], whole, atol=1e-9)

    # The power of shells, by NumPy: volume |F/N|² of each, averaged.
    found = rows(folder, "fine")
    modes = np.abs(np.fft.fftn(density[-1]) / 16**3) ** 2 * 64.0**3
    each = np.minimum(np.arange(16), 16 - np.arange(16))
    shell = np.floor(np.sqrt(sum(k * k for k in np.meshgrid(each, each, each))) + 0.5).astype(int)
    power = np.bincount(shell.ravel(), modes.ravel()) / np.bincount(shell.ravel())
    columns = [key for key in found if key.startswith("power_")]
    assert len(columns) == len(power) - 1
    for n in range(1, len(power)):
        assert found[f"power_{n}"][-1] == pytest.approx(power[n], rel=1e-12)


def check_displacements(folder: Path) -> None:
    # Displacements are of the waves that they should be: twice as many particles, the same long ones.
    shifts = {}
    for name, n in (("fine", 16), ("coarse", 8)):
        with h5py.File(folder / f"{name}.h5") as file:
            moved = np.asarray(file["position"][0]).reshape(n, n, n, 3)
        rest = np.moveaxis(np.mgrid[:n, :n, :n], 0, -1) * (64 / n) + 32 / n
        shift = (moved - rest + 32) % 64 - 32
        waves = np.fft.fftn(shift, axes=(0, 1, 2), norm="forward")
        # As if both lattices began in the corner of the box.
        k = 2 * math.pi * np.fft.fftfreq(n, 64 / n)
        turn = np.exp(-0.5j * (64 / n) * (k[:, None, None] + k[:, None] + k))
        shifts[name] = waves * turn[..., None]
    long = [0, 1, 2, 3, -3, -2, -1]
    at = np.ix_(long, long, long)
    size = np.abs(shifts["coarse"]).max()
    np.testing.assert_allclose(shifts["fine"][at], shifts["coarse"][at], atol=1e-12 * size)
    # Their contrast, -div, has the power of linear theory: mean square 1 of exponential deviates, within 4 sigma.
    k = 2 * math.pi * np.fft.fftfreq(16, 4.0)
    vectors = np.stack(np.meshgrid(k, k, k, indexing="ij"), axis=-1)
    contrast = np.abs((vectors * shifts["fine"]).sum(axis=-1)) ** 2
    linear, background = power_of(Parameters()), Expanding(0.3, 0.02)
    growth = background.growth(0.0) / background.growth(0.98)
    inner = np.ones((16,) * 3, bool)
    inner[8], inner[:, 8], inner[:, :, 8], inner[0, 0, 0] = False, False, False, False
    lengths = np.sqrt((vectors**2).sum(axis=-1))[inner]
    ratios = contrast[inner] / [linear(k) * growth**2 / 64.0**3 for k in lengths]
    assert abs(ratios.mean() - 1) < 4 / math.sqrt(len(ratios) / 2)
    assert abs((ratios > math.log(2)).mean() - 0.5) < 2 / math.sqrt(len(ratios) / 2)


DRIVER = """
import sys
import mpibatch as mb
from mpibatch.apps import nbody
class Ended(mb.RunError): pass
last, folder, resume = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "resume"
def report(done, total, label):
    if done == last:
        raise Ended("ended")
kept = mb.Checkpoints(folder + "/kept", every_steps=2)
options = dict(steps=6, every_steps=3, output=folder + "/out.h5", diagnostics=folder + "/rows.csv", report=report)
try:
    with mb.Simulation(**options, checkpoints=kept, resume=resume) as simulation:
        nbody.run(nbody.Parameters(shape=(8, 8, 8), length=40.0, shells=3, write="both"), simulation)
except Ended:
    pass
"""


def test_it_goes_on_on_another_number_of_ranks(launch: Launch, tmp_path: Path) -> None:
    for folder in ("whole", "lives"):
        (tmp_path / folder).mkdir()
    for ranks, folder, last, how in ((1, "whole", 99, "new"), (3, "lives", 5, "new"), (2, "lives", 99, "resume")):
        done = launch(ranks, "-c", DRIVER, str(last), str(tmp_path / folder), how)
        assert done.returncode == 0, done.stderr
        if last == 5:
            assert not (tmp_path / folder / "out.h5").exists()
    assert digests(tmp_path / "whole") == digests(tmp_path / "lives")
    assert (tmp_path / "whole/rows.csv").read_bytes() == (tmp_path / "lives/rows.csv").read_bytes()


def test_backgrounds_are_those_of_theory() -> None:
    assert Expanding(0.3, 0.02).growth(0.98) == pytest.approx(0.7789810168, abs=5e-11)
    for a in (0.02, 0.3, 1.0):
        assert Expanding(1.0, 0.02).growth(a - 0.02) == pytest.approx(a, rel=1e-13)
    matter = Expanding(1.0, 0.1)
    assert matter.kick(0.0, 0.3) == pytest.approx(2 * (math.sqrt(0.4) - math.sqrt(0.1)), rel=1e-13)
    assert matter.drift(0.0, 0.3) == pytest.approx(2 / math.sqrt(0.1) - 2 / math.sqrt(0.4), rel=1e-13)
    assert matter.growth_velocity(0.3) == pytest.approx(0.4**1.5, rel=1e-13)
    mixed, dt = Expanding(0.3, 0.2), 1e-5
    slope = (mixed.growth(0.5 + dt) - mixed.growth(0.5 - dt)) / (2 * dt) * mixed.pace(0.5) * 0.7**2
    assert mixed.growth_velocity(0.5) == pytest.approx(slope, rel=1e-9)
    assert (Still().kick(1.0, 3.0), Still().drift(1.0, 3.0)) == (2.0, 2.0)


def test_spectra_are_those_of_their_papers() -> None:
    for spectrum, index in (("eisenstein-hu", 0.96), ("bbks", 1.0), ("power-law", -1.0)):
        power = power_of(Parameters(spectrum=spectrum, index=index, sigma8=0.9))
        assert sigma(power, 8.0) == pytest.approx(0.9, rel=1e-12)
        low, high = (math.log(power(k * 1.01) / power(k / 1.01)) / math.log(1.01**2) for k in (1e-6, 200.0))
        assert low == pytest.approx(index, abs=1e-3)
        # Small waves have entered the horizon early, and grown as the square of the logarithm.
        assert high == pytest.approx(index if spectrum == "power-law" else index - 4, abs=0.3)
    # A power law k^-1 in spheres: σ ∝ R^-1.
    power = power_of(Parameters(spectrum="power-law", index=-1.0))
    assert sigma(power, 16.0) == pytest.approx(0.4, rel=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shape": (16, 16)}, "three even numbers"),
        ({"shape": (16, 15, 16)}, "three even numbers, 4 or more: of odd ones"),
        ({"particles": (16, 16, 2)}, "particles = .* 4 or more"),
        ({"wave": (0, 0, 0)}, "not all of them 0"),
        ({"wave": (0, 0, 32)}, "too short"),
        ({"omega_baryon": 0.4}, "is part of omega_matter"),
        ({"spectrum": "power-law", "index": 1.0}, "no finite sigma8"),
        ({"problem": "wave", "crossing": 0.01}, "is before begin"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(mb.UsageError, match=message):
        Parameters(**given)


def test_the_job_beside_the_program_is_sound(launch: Launch) -> None:
    done = launch(0, "-m", "mpibatch.apps.nbody", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "nbody" in done.stdout
