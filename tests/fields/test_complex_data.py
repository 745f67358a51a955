"""Complex data given where real values are kept: refused in one sentence, and never cut to their real parts."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.apps import euler, grayscott, heat, wave

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SENTENCE = "cannot cast complex(64|128) to float(32|64), which has no imaginary part; say which part you want"


@pytest.fixture(autouse=True)
def no_warning_instead() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as made:
        made["u"] = np.ones((12, 10), "c16")
        made["both"] = np.ones((12, 10, 2), "c8")
    with h5py.File(tmp_path / "gas.h5", "w") as made:
        for name in ("density", "velocity_x", "velocity_y", "pressure"):
            made[name] = np.ones((12, 10), "c16" if name == "pressure" else "f8")
    return str(path)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_the_initial_data_of_programs(file: str, dtype: str) -> None:
    shape: Any = (12, 10)
    programs: list[tuple[Any, Any]] = [
        (heat, heat.Parameters(shape, start=f"{file}::u", dtype=dtype)),
        (wave, wave.Parameters(shape, start=f"{file}::u", dtype=dtype, sponge=0, order=2)),
        (wave, wave.Parameters(shape, speed=f"{file}::u", dtype=dtype, sponge=0, order=2)),
        (grayscott, grayscott.Parameters(shape, start=f"{file}::both", dtype=dtype)),
        (euler, euler.Parameters(shape=shape, start=file.replace("in.h5", "gas.h5"))),
    ]
    for program, parameters in programs:
        with pytest.raises(mb.UsageError, match=SENTENCE), mb.Simulation(steps=1) as simulation:
            program.run(parameters, simulation)


def test_fields() -> None:
    grid = mb.Grid((6, 5))
    for dtype in ("f8", "f4"):
        for call in (
            lambda dtype=dtype: grid.full(1j, "c16").astype(dtype),
            lambda dtype=dtype: grid.full(np.complex64(1j), dtype),
            lambda dtype=dtype: grid.full(1j, dtype),
            lambda dtype=dtype: grid.from_function(lambda y, x: y + 1j * x, dtype),
        ):
            with pytest.raises(mb.UsageError, match=SENTENCE):
                call()
    assert grid.full(1j, "c16").owned[0, 0] == 1j


def test_the_state_of_a_checkpoint(tmp_path: Path) -> None:
    grid = mb.Grid((6, 5))
    checkpoints = mb.Checkpoints(tmp_path / "points")
    checkpoints.save(3, {"u": grid.full(1 + 2j, "c16")})
    latest = checkpoints.latest()
    assert latest is not None
    u = grid.zeros("f8")
    with pytest.raises(mb.UsageError, match=r"'u' in .* has values of complex128 \(\), but float64 \(\) is wanted"):
        latest.restore({"u": u})
    assert not u.owned.any()
    kept = grid.zeros("c16")
    latest.restore({"u": kept})
    assert (kept.owned == 1 + 2j).all()
