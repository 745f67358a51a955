"""The acoustic program against standing waves and the field of a point source."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.apps.wave import Parameters
from mpibatch.io import describe, digest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Launch

# Runs one case after another; what goes wrong is told by every rank.
DRIVER = """
import json, sys
import mpibatch as mb
from mpibatch.apps import wave
def tuples(value):
    return tuple(map(tuples, value)) if isinstance(value, list) else value
for parameters, options in json.loads(sys.argv[1]):
    try:
        known = {key: tuples(value) for key, value in parameters.items()}
        with mb.Simulation(**options) as simulation:
            wave.run(wave.Parameters(**known), simulation)
    except mb.MpibatchError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
"""
Case = tuple[dict[str, Any], dict[str, Any]]
BOX = {"length": 1.0, "speed": 1.0, "sponge": 0}
MODE = BOX | {"initial": "mode"}


def ran(launch: Launch, folder: Path, ranks: int, cases: dict[str, Case]) -> list[str]:
    """Run the cases, each into a file of its name, and return the lines written."""
    listed = [(parameters, options | {"output": f"{name}.h5"}) for name, (parameters, options) in cases.items()]
    done = launch(ranks, "-c", DRIVER, json.dumps(listed), cwd=folder, timeout=110)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def column(path: Path, name: str) -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file[f"diagnostics/{name}"][...])


def test_standing_waves_and_a_point_source(launch: Launch, tmp_path: Path) -> None:
    # Steps as short as the order of the space differences needs: their errors fall alike.
    cases: dict[str, Case] = {}
    for order, cells, dt in ((2, 32, 4e-3), (4, 24, 4e-4), (8, 24, 1e-4)):
        for n in (cells // 2, cells):
            given = {"shape": [n], "mode": [4], "order": order, "dt": dt * (cells / n) ** (order / 2)}
            cases[f"order{order}-{n}"] = (MODE | given, {"until": 0.2})
    for walls, mode in (("fixed", [3, 2]), ("periodic", [1, 2])):
        cases[walls] = (MODE | {"shape": [40, 30], "walls": walls, "mode": mode, "share": 0.1}, {"until": 0.3})
    point = {"shape": [48] * 3, "length": 48.0, "speed": 1.0, "sponge": 10, "frequency": 0.1, "source": [24.5] * 3}
    point["receivers"] = [[24.5, 24.5, 34.5], [24.5, 30.5, 32.5]]
    cases["point"] = (point, {"until": 50.0, "diagnostics_every": 1.0})
    assert ran(launch, tmp_path, 1, cases) == []

    for order, cells, most in ((2, 32, 0.01), (4, 24, 6e-4), (8, 24, 2e-6)):
        error = [column(tmp_path / f"order{order}-{n}.h5", "error")[-1] for n in (cells // 2, cells)]
        assert error[1] < most
        assert np.log2(error[0] / error[1]) > order - 0.5
    for walls in ("fixed", "periodic"):
        assert column(tmp_path / f"{walls}.h5", "error")[-1] < 3e-4

    # Both receivers are 10 m away; until 30 s nothing can have come back from the sponge,
    # which is one wavelength wide.
    time = column(tmp_path / "point.h5", "time")
    wavelet = Parameters(frequency=0.1).wavelet
    exact = np.array([wavelet(t - 10.0) for t in time]) / (4 * math.pi * 10.0)
    for receiver in ("receiver_0", "receiver_1"):
        missed = np.abs(column(tmp_path / "point.h5", receiver) - exact) / np.abs(exact).max()
        assert missed[time <= 30].max() < 0.02
        assert missed.max() < 0.08


def test_bits_do_not_depend_on_ranks(launch: Launch, tmp_path: Path) -> None:
    near = {"shape": [30, 26], "length": 260.0, "sponge": 6, "frequency": 40.0}
    cases: dict[str, Case] = {
        "source": (near | {"receivers": [[20.0, 130.0]]}, {"steps": 60, "every_steps": 20}),
        "single": (near | {"dtype": "f4", "order": 4, "walls": "fixed"}, {"steps": 60}),
        "layers": (BOX | {"shape": [12], "speed": "../layers.h5", "start": "../start.h5", "order": 2}, {"steps": 9}),
        # One clear error on all ranks.
        "unstable": (MODE | {"shape": [16], "mode": [1], "dt": 0.07}, {"steps": 1}),
        "still": (BOX | {"shape": [12], "speed": "../still.h5"}, {"steps": 1}),
        "broken": (BOX | {"shape": [12], "start": "../broken.h5"}, {"steps": 1}),
        "uneven": (MODE | {"shape": [16], "mode": [1]}, {"until": 0.5, "every": 0.3}),
    }
    for name, values in (
        ("layers", np.where(np.arange(12) < 5, 1.0, 2.0)),
        ("start", np.exp(-((np.arange(12.0) - 3) ** 2))),
        ("still", np.arange(12.0)),
        ("broken", np.where(np.arange(12) == 7, math.nan, 1.0)),
    ):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["values"] = values
    wanted = [
        "UsageError: dt = 0.07 s is not stable: the longest step",
        "RunError: the speed of sound in ../still.h5 is between 0 and 11",
        "RunError: u is NaN in cell (7,)",
        "UsageError: a step of ",
    ]
    digests = []
    for ranks in (1, 3):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        lines = ran(launch, folder, ranks, cases)
        for text in wanted:
            assert sum(line.startswith(text) for line in lines) == ranks, lines
        assert len(lines) == len(wanted) * ranks
        made = sorted(folder.glob("*.h5"))
        assert [path.stem for path in made] == ["layers", "single", "source"]
        digests.append({(p.stem, d.name): digest(p, d.name) for p in made for d in describe(p)})
    assert digests[0] == digests[1]
    assert column(tmp_path / "1" / "source.h5", "max")[-1] > 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shape": (4, 4, 4, 4)}, "1 to 3"),
        ({"shape": (80, 80), "source": (2001.0, 0.0)}, r"source: \[2001.0, 0.0\] lies outside the domain"),
        ({"shape": (80, 80), "receivers": ((0.0,),)}, "receivers: .* lies outside"),
        ({"shape": (50, 50)}, "no room between two sponges"),
        ({"shape": (80,), "length": (1.0, 2.0)}, "one value for each axis"),
        ({"shape": (80,), "share": 1.1}, "not stable"),
        ({"shape": (80,), "order": 6}, "2, 4, 8"),
        ({"shape": (80,), "initial": "mode", "mode": (1,)}, "give sponge = 0"),
        ({"shape": (80,), "initial": "mode", "mode": (1,), "speed": "c.h5", "sponge": 0}, "one speed"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(mb.UsageError, match=message):
        Parameters(**given)


def test_the_job_beside_the_program_is_sound(launch: Launch) -> None:
    done = launch(0, "-m", "mpibatch.apps.wave", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "wave" in done.stdout
