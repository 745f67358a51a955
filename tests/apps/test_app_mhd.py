"""The program of magnetized gas against published values and an exact wave; the same bits on any ranks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.apps.mhd import Parameters
from mpibatch.io import describe, digest
from tests.support.programs import Case, ran_alike

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Launch

GAS = ("density", "velocity_z", "velocity_y", "velocity_x", "pressure")
FIELD = ("magnetic_z", "magnetic_y", "magnetic_x")


def last(path: Path, name: str) -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file[name][-1])


def rows(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {key: np.asarray(column[...]) for key, column in file["diagnostics"].items()}


def written(path: Path, shape: tuple[int, ...], **changed: Any) -> str:
    """A file to start from: gas at rest in an even field, but for what is changed."""
    with h5py.File(path, "w") as file:
        for name in GAS + FIELD:
            file[name] = np.broadcast_to(changed.get(name, 0.0 if "velocity" in name else 1.0), shape)
    return str(path)


# Ryu and Jones 1995, test 2a: between the waves density, pressure and the field along y are constant.
PLATEAUS = (
    ((0.32, 0.47), 5e-4, (1.4903, 1.6558, 1.4383)),
    ((0.565, 0.595), 2e-3, (1.6343, 1.9317, 1.4126)),
    ((0.635, 0.65), 6e-3, (1.4735, 1.9317, 1.4126)),  # four cells of 256 behind the contact, which is smeared
    ((0.76, 0.87), 5e-4, (1.3090, 1.5844, 1.5078)),
)


def test_known_answers_along_a_line(launch: Launch, tmp_path: Path) -> None:
    cases: dict[str, Case] = {"tube": ({"shape": [256]}, {"until": 0.2})}
    cases |= {f"wave{n}": ({"problem": "alfven", "shape": [n]}, {"until": 1.0}) for n in (32, 64)}
    alone, lines = ran_alike(launch, tmp_path, "mhd", cases)
    assert lines == []

    x = (np.arange(256) + 0.5) / 256
    for (low, high), share, values in PLATEAUS:
        between = (x > low) & (x < high)
        for name, value in zip(("density", "pressure", "magnetic_y"), values, strict=True):
            mean = last(alone / "tube.h5", name)[0, 0][between].mean()
            assert mean == pytest.approx(value, rel=share), (name, low)
    # What flows in on the left stays.
    assert rows(alone / "tube.h5")["mass"] == pytest.approx([1.04, 1.04 + 0.2 * 1.08 * 1.2], rel=1e-13)

    # Alfvén's wave after a period: of second order.
    error = [rows(alone / f"wave{n}.h5")["error"][-1] for n in (32, 64)]
    assert error[1] < 2e-3
    assert math.log2(error[0] / error[1]) > 1.8


def test_vortices_and_what_is_refused(launch: Launch, tmp_path: Path) -> None:
    uneven = np.ones((1, 6, 8))
    uneven[0, 2, 3] = 1.5
    cases: dict[str, Case] = {
        "vortices": ({"problem": "orszag-tang", "shape": [16, 16]}, {"until": 0.3, "diagnostics_every": 0.1})
    }
    refused: dict[str, Case] = {}
    for name, changed in (
        ("charged", {"magnetic_x": uneven}),
        ("negative", {"pressure": np.where(np.arange(8) == 2, -0.5, 1.0)}),
        ("nan", {"density": np.where(np.arange(8) == 2, math.nan, 1.0)}),
        ("fast", {"velocity_x": 1e9}),  # pressure is lost in the rounding of the energy
    ):
        start = written(tmp_path / f"{name}.h5", (1, 6, 8), **changed)
        refused[name] = ({"problem": "orszag-tang", "shape": [6, 8], "start": start}, {"steps": 5})
    errors = (
        "RunError: the magnetic field of the initial data is not free of divergence, but up to 0.5 of it in a cell",
        "RunError: pressure is -0.5 in cell (0, 0, 2) of the initial data, and has to be above 0",
        "RunError: density is NaN in cell (0, 0, 2)",
        "RunError: pressure or density is not above 0 in a cell anymore",
    )
    alone, lines = ran_alike(launch, tmp_path, "mhd", cases, refused)
    assert len(lines) == 4 * len(errors)
    for text in errors:
        assert sum(line.startswith(text) for line in lines) == 4, lines

    # Turned by 180 degrees they are the same; no charges, and all is kept.
    density = last(alone / "vortices.h5", "density")[0]
    assert np.abs(density - density[::-1, ::-1]).max() < 1e-13
    found = rows(alone / "vortices.h5")
    assert found["divergence"].max() < 1e-12  # the field is up to 0.7 in a cell of 1/16
    for kept in ("mass", "energy"):
        assert abs(found[kept] - found[kept][0]).max() <= 4e-15 * found["energy"][0]
    assert np.ptp(density) > 0.1  # it was even


@pytest.mark.slow
def test_three_dimensions(launch: Launch, tmp_path: Path) -> None:
    """An oblique wave, and a shock tube that is the same along every axis."""
    cases: dict[str, Case] = {}
    for n in (16, 32):
        given = {"problem": "alfven", "shape": [n // 2, n // 2, n], "length": [0.5, 0.5, 1.0]}
        cases[f"space{n}"] = (given, {"until": 1 / 3})
    left = dict(zip(GAS + FIELD, (1.08, 0.5, 0.01, 1.2, 0.95, 0.5642, 1.0155, 0.5642), strict=True))
    right = dict(zip(GAS + FIELD, (1.0, 0.0, 0.0, 0.0, 1.0, 0.5642, 1.1284, 0.5642), strict=True))

    def turned(name: str, axis: int) -> str:
        """The component that is along the tube's x, y or z is turned with it."""
        head, _, letter = name.rpartition("_")
        return f"{head}_{'zyx'[('zyx'.index(letter) + axis - 2) % 3]}" if head else name

    for axis in range(3):
        shape = [32 if a == axis else 2 for a in range(3)]
        is_low = np.moveaxis(np.arange(32)[:, None, None] < 16, 0, axis)
        changed = {turned(name, axis): np.where(is_low, left[name], right[name]) for name in left}
        start = written(tmp_path / f"tube{axis}.h5", tuple(shape), **changed)
        given = {"shape": shape, "length": [n / 32 for n in shape], "start": start}
        cases[f"along{axis}"] = (given, {"until": 0.1})
    cases["blast"] = ({"problem": "blast", "shape": [10, 12, 14]}, {"steps": 10})
    alone, printed = ran_alike(launch, tmp_path, "mhd", cases, steps=3, timeout=400)
    assert printed == []

    errors = {name: rows(alone / f"{name}.h5")["error"][-1] for name in cases if name[:5] == "space"}
    assert errors["space32"] < 0.03
    assert math.log2(errors["space16"] / errors["space32"]) > 1.3  # limited at the crests, of 11 cells a wavelength
    for name in ("space32", "blast"):
        assert rows(alone / f"{name}.h5")["divergence"].max() < 2e-12

    for name in left:
        lines = [np.moveaxis(last(alone / f"along{axis}.h5", turned(name, axis)), axis, -1) for axis in range(3)]
        for line in lines:
            assert np.abs(line - lines[2][0, 0]).max() < 1e-12


# Runs a job in the folder, from a checkpoint if there is one, up to so many steps; then it ends as if it were killed.
ATTEMPT = """
import sys
from mpibatch.base.errors import RunError
from mpibatch.job.execution.simulation import simulate
from mpibatch.job.file.reader import parse_any

def ending(done, total, label):
    if done >= int(sys.argv[2]):
        raise RunError("enough")

try:
    simulate(parse_any(open(sys.argv[1]).read()), start="resume", report=ending)
except RunError as error:
    print(error)
"""


def test_it_goes_on_from_a_checkpoint_on_other_ranks(launch: Launch, tmp_path: Path) -> None:
    text = 'steps = 20\n[checkpoint]\nevery_steps = 4\n[output]\npath = "out.h5"\nevery_steps = 5\nrecord = false\n'
    text = f'[simulation]\nprogram = "mhd"\nproblem = "orszag-tang"\nshape = [12, 10]\n{text}'
    files = []
    for attempts in (((1, 99),), ((3, 7), (1, 13), (2, 99))):
        folder = tmp_path / str(len(attempts))
        folder.mkdir()
        (folder / "job.toml").write_text(text)
        for ranks, steps in attempts:
            done = launch(ranks, "-c", ATTEMPT, "job.toml", str(steps), cwd=folder, timeout=170)
            assert done.returncode == 0, done.stderr
            assert done.stdout.count("enough") == (ranks if steps < 20 else 0)
        files.append({d.name: digest(folder / "out.h5", d.name) for d in describe(folder / "out.h5")})
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shape": (4, 4, 4, 4)}, "1 to 3"),
        ({"shape": (1, 1)}, "one cell"),
        ({"shape": (8, 8), "length": (1.0,)}, "one value for each axis"),
        ({"problem": "orszag-tang", "shape": (16,)}, "more"),
        ({"problem": "alfven", "walls": "outflow"}, "leave walls out"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(mb.UsageError, match=message):
        Parameters(**given)


def test_the_job_beside_the_program_is_sound(launch: Launch) -> None:
    done = launch(0, "-m", "mpibatch.apps.mhd", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "mhd" in done.stdout
