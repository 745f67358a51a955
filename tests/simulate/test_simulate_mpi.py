"""The time loop on real ranks: what is written, when it stops, and that all ranks stop together."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.io.write import series as series_module
from mpibatch.io.write.series import series
from mpibatch.mpi import MPI
from mpibatch.simulate import cfl_step

pytestmark = pytest.mark.mpi
WORLD = MPI.COMM_WORLD


@mb.stencil
def drift(u, a):
    return u[0, 0] + a * (u[0, -1] - u[0, 0])


def start(simulation: mb.Simulation, halo: int = 1) -> dict[str, mb.Field]:
    grid = simulation.grid((5, 7), spacing=(1.0, 0.5), periodic=True)
    return {"u": grid.from_function(lambda y, x: y + np.sin(x), halo=halo)}


def go(simulation: mb.Simulation, dt: Any = 0.1, **options: Any) -> list[Any]:
    """Run a small program to its end; return the passes of the loop."""
    passes = []
    with simulation:
        state = start(simulation)
        spare = state["u"].like()
        for now in simulation.steps(state, dt, **options):
            passes.append(now)
            for _ in range(now.count):
                drift(state["u"], now.dt, out=spare)
                state["u"], spare = spare, state["u"]
    return passes


def same_everywhere(words: str) -> None:
    assert len(set(WORLD.allgather(words))) == 1


def test_the_file_holds_the_series(shared_tmp):
    path, rows = str(shared_tmp / "out.h5"), str(shared_tmp / "rows.csv")
    simulation = mb.Simulation(
        until=1.0, output=path, every=0.25, diagnostics=rows, diagnostics_every=0.5, attrs={"who": "a test"}
    )
    attrs = {"u": {"units": "K"}}
    go(simulation, 0.1, diagnostics=lambda s: {"sum": mb.sum(s["u"]), "cells": 35}, attrs=attrs, time_units="s")
    assert simulation.outcome is not None
    assert simulation.outcome.written == (("u", (5, 5, 7), "float64", 5 * 35 * 8),)
    with h5py.File(path) as file:
        assert file["u"].shape == (5, 5, 7)
        np.testing.assert_array_equal(file["time"], [0, 0.25, 0.5, 0.75, 1.0])
        np.testing.assert_array_equal(file["step"], [0, 3, 6, 9, 12])
        np.testing.assert_array_equal(file["diagnostics/step"], [0, 6, 12])
        assert file["diagnostics/cells"].dtype == "i8"
        assert (file["u"].attrs["units"], file["time"].attrs["units"], file.attrs["who"]) == ("K", "s", "a test")
        whole, x = np.empty((5, 7)), 0.5 * np.arange(7)
        whole[...] = np.arange(5)[:, None] + np.sin(x)
        np.testing.assert_array_equal(file["u"][0], whole)
        for _ in range(3):
            whole = whole + 0.25 / 3 * (np.roll(whole, 1, axis=1) - whole)
        np.testing.assert_array_equal(file["u"][1], whole)
        table = list(csv.DictReader(Path(rows).read_text().splitlines()))
        assert [float(row["sum"]) for row in table] == file["diagnostics/sum"][()].tolist()
        assert list(table[0]) == ["step", "time", "dt", "sum", "cells"]
    again = mb.load(path, "u")
    assert (again.grid.axes, again.grid.spacing) == (("t", "y", "x"), (1.0, 1.0, 0.5))
    assert {p.name for p in shared_tmp.iterdir()} == {"out.h5", "rows.csv"}


def test_one_state_has_the_same_bytes_however_it_is_cut(shared_tmp, monkeypatch):
    digests = []
    for name, limit, max_steps in (("a", 1 << 30, 1), ("b", 1 << 30, 4)):
        monkeypatch.setattr(series_module, "CHUNK_BYTES", limit)
        path = shared_tmp / name
        go(mb.Simulation(steps=9, output=str(path), every_steps=4), max_steps=max_steps)
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(set(digests)) == 1
    monkeypatch.setattr(series_module, "CHUNK_BYTES", 2 * 7 * 8)
    go(mb.Simulation(steps=9, output=str(shared_tmp / "c"), every_steps=4))
    with h5py.File(shared_tmp / "a") as a, h5py.File(shared_tmp / "c") as c:
        assert (a["u"].chunks, c["u"].chunks) == ((1, 5, 7), (1, 2, 7))
        np.testing.assert_array_equal(a["u"], c["u"])
        assert a["step"][()].tolist() == c["step"][()].tolist() == [0, 4, 8, 9]


def test_a_loop_outside_of_the_block_is_refused(shared_tmp):
    simulation = mb.Simulation(steps=9, output=str(shared_tmp / "out.h5"))
    with pytest.raises(mb.UsageError, match="with block"):
        next(simulation.steps(start(simulation), 0.1))


def test_a_series_grows_and_shrinks(shared_tmp):
    path = str(shared_tmp / "s.h5")
    grid = mb.Grid((4, 6))
    for planned, made in ((0, 3), (5, 2), (2, 2)):
        u = grid.full(0, "f4", components=(2,))
        with series(path, {"a/u": u, "v": grid.zeros()}, outputs=planned) as file:
            for number in range(made):
                u.owned[...] = number
                file.append({"a/u": u, "v": grid.full(-number)})
        with h5py.File(path) as written:
            assert written["a/u"].shape == (made, 4, 6, 2)
            np.testing.assert_array_equal(written["a/u"][:, -1, -1, 1], np.arange(made))
            np.testing.assert_array_equal(written["v"][:, 0, 0], -np.arange(made))
        WORLD.Barrier()


def test_a_series_of_other_fields_is_refused(shared_tmp):
    grid = mb.Grid((4, 6))
    for wrong in ({"v": grid.zeros()}, {"u": grid.zeros("f4")}, {"u": mb.Grid((4, 5)).zeros()}, {}):
        with pytest.raises(mb.UsageError), series(shared_tmp / "s.h5", {"u": grid.zeros()}) as file:
            file.append(wrong)
    WORLD.Barrier()
    assert not list(shared_tmp.iterdir())


def test_steps_may_be_asked_for_each_time(shared_tmp):
    path = str(shared_tmp / "out.h5")
    lengths = go(mb.Simulation(until=0.5, output=path, every_steps=2), lambda s: cfl_step(abs(s["u"]) + 1.0, 0.5))
    same_everywhere(repr(lengths))
    assert all(now.count == 1 for now in lengths)
    with h5py.File(path) as file:
        assert file["time"][-1] == 0.5
        assert file["step"][-1] == len(lengths)
        assert file["u"].shape[0] == len(lengths) // 2 + 1 + len(lengths) % 2


def test_the_cfl_step():
    grid = mb.Grid((6, 4), spacing=(1.0, 0.5))
    speed = grid.from_function(lambda y, x: y + 0 * x)
    assert cfl_step(speed, 0.5) == 0.5 / (5 + 5 / 0.5)
    assert cfl_step([speed, grid.full(2.0)], 1.0) == 1 / (5 + 2 / 0.5)
    assert cfl_step([speed, grid.full(-2.0)], 1.0) == 1 / (5 + 2 / 0.5)
    for wrong in (grid.zeros(), grid.full(np.nan), grid.full(np.inf)):
        with pytest.raises(mb.RunError, match="largest signal speed"):
            cfl_step(wrong, 0.5)
    with pytest.raises(mb.UsageError, match="3 speeds"):
        cfl_step([speed] * 3, 0.5)


def test_a_run_may_be_stopped_early(shared_tmp):
    path = str(shared_tmp / "out.h5")
    with mb.Simulation(steps=100, output=path, every_steps=10) as simulation:
        state = start(simulation)
        for now in simulation.steps(state, 0.1):
            if now.step == 14:
                simulation.stop("steady")
    with h5py.File(path) as file:
        assert file["step"][()].tolist() == [0, 10, 15]
        assert file["u"].shape == (3, 5, 7)


def test_a_loop_left_by_break_writes_no_file(shared_tmp):
    simulation = mb.Simulation(steps=9, output=str(shared_tmp / "out.h5"))

    def left() -> None:
        with simulation:
            for _ in simulation.steps(start(simulation), 0.1):
                break

    with pytest.raises(mb.UsageError, match=r"call simulation\.stop"):
        left()
    WORLD.Barrier()
    assert not list(shared_tmp.iterdir())


@pytest.mark.parametrize(("cadence", "told"), [(1, "after step 7, t = 0.7;"), (10, "after step 10, t = 1 (searched")])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_the_first_nan_is_found(shared_tmp, cadence, told, value):
    simulation = mb.Simulation(steps=30, output=str(shared_tmp / "out.h5"), check_every=cadence)
    state = start(simulation)
    u = state["u"]

    def broken() -> None:
        with simulation:
            for now in simulation.steps(state, 0.1):
                for cell in ((3, 5), (4, 0)) if now.step == 6 else ():  # in step 7
                    if u.grid.decomposition.owner(cell) == WORLD.rank:
                        u.owned[tuple(i - low for i, low in zip(cell, u.box.start, strict=True))] = value

    with pytest.raises(mb.RunError) as caught:
        broken()
    message = str(caught.value)
    same_everywhere(message)
    what = "NaN" if np.isnan(value) else "-inf"
    owner = u.grid.decomposition.owner((3, 5))
    assert message.startswith(f"u is {what} in cell (3, 5) (y = 3, x = 5; on rank {owner} of {WORLD.size})")
    assert told in message
    assert "shorten the time step" in message
    WORLD.Barrier()
    assert not list(shared_tmp.iterdir())


def test_nan_in_the_initial_data_and_in_components():
    simulation = mb.Simulation(steps=3)
    grid = simulation.grid((4, 3))
    q = grid.zeros("f4", components=(2,))
    if grid.rank == WORLD.size - 1 or not grid.box.size:
        q.owned[..., 1] = np.nan
    with pytest.raises(mb.RunError, match=r"q is NaN in component 1 of cell .* in the initial data") as caught:
        next(simulation.steps({"a": grid.zeros("i4"), "q": q}, 0.1))
    same_everywhere(str(caught.value))


@pytest.mark.parametrize("dt", [0.0, -1.0, np.nan, np.inf])
def test_a_step_that_is_no_step(dt):
    for given in (dt, lambda s: dt):
        with pytest.raises(mb.UsageError, match="give a finite number above 0"):
            go(mb.Simulation(steps=3), given)


def test_ranks_that_disagree_on_the_step():
    dt = 0.1 * (1 + WORLD.rank)
    if WORLD.size == 1:
        go(mb.Simulation(steps=3), dt)
        return
    for given in (dt, lambda s: dt):
        with pytest.raises(mb.UsageError, match="ranks gave time steps between"):
            go(mb.Simulation(steps=3), given)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"diagnostics": lambda s: {"time": 1.0}}, "may not be called"),
        ({"diagnostics": lambda s: {"u": s["u"]}}, "give numbers"),
        ({"output": lambda s: {"step": s["u"]}}, "name of one of the tables"),
    ],
)
def test_what_cannot_be_written(shared_tmp, options, words):
    simulation = mb.Simulation(steps=3, output=str(shared_tmp / "out.h5"))
    with pytest.raises((mb.UsageError, mb.RunError), match=words) as caught:
        go(simulation, **options)
    same_everywhere(str(caught.value))
    WORLD.Barrier()
    assert not list(shared_tmp.iterdir())


def test_progress_is_told():
    told: list[tuple[int, int, str]] = []
    go(mb.Simulation(until=1.0, report=lambda *unit: told.append(unit)), 0.25)
    assert told == [(n, 4, f"t = {n / 4:g}") for n in range(5)]


@pytest.mark.parametrize("wrong", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("changes", [False, True], ids=["number", "function"])
def test_a_step_that_is_none_on_one_rank_alone(shared_tmp, wrong, changes):
    """One error on all ranks, also with a file open: none waits for the others."""
    mine = wrong if WORLD.rank == WORLD.size - 1 else 0.5

    def run() -> None:
        with mb.Simulation(steps=3, output=str(shared_tmp / "a.h5")) as simulation:
            u = simulation.grid((8, 8)).zeros()
            for _ in simulation.steps({"u": u}, (lambda state: mine) if changes else mine):
                pass

    with pytest.raises(mb.UsageError, match=r"a time step.* was given"):
        run()
    WORLD.Barrier()
    assert list(shared_tmp.iterdir()) == []


@pytest.mark.parametrize("shape", [(9, 8), (70_000,)])
@pytest.mark.parametrize("swaps", [True, False])
def test_a_forgotten_swap_is_noticed(
    shared_tmp: Path, caplog: pytest.LogCaptureFixture, swaps: bool, shape: tuple[int, ...]
) -> None:
    with (
        caplog.at_level("WARNING", "mpibatch"),
        mb.Simulation(steps=6, output=shared_tmp / "o.h5", every=2) as simulation,
    ):
        state = {"u": simulation.grid(shape).full(1.0, halo=1)}
        spare = state["u"].like()
        for _ in simulation.steps(state, dt=1.0):
            spare.owned[...] = state["u"].owned + 1.0
            if swaps:
                state["u"], spare = spare, state["u"]
    warnings = [record.getMessage() for record in caplog.records if "not one cell has changed" in record.getMessage()]
    assert len(warnings) == (1 if not swaps and simulation.comm.rank == 0 else 0)
