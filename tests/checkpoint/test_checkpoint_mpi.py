"""Checkpoints on real ranks: what goes on from one is, byte for byte, what would have been."""

from __future__ import annotations

import logging
import math
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.errors import RunError
from mpibatch.io.seal import seal
from mpibatch.io.seal.verification import verify
from mpibatch.job.execution.resumption import FINGERPRINT, is_complete
from mpibatch.job.execution.simulation import simulate
from mpibatch.job.file.reader import parse_any
from mpibatch.job.file.simulation import SimulationJob
from mpibatch.mpi import MPI, private

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.mpi
WORLD = MPI.COMM_WORLD


@mb.stencil
def drift(u, a):
    return u[0, 0] + a * (u[0, -1] - u[0, 0])


class Ended(RunError):
    """What ends an attempt of a run; the same on every rank."""


def live(
    folder: Path,
    end: int | None = None,
    *,
    resume: bool = True,
    steps: int = 20,
    comm: MPI.Intracomm | None = None,
    nan_at: int = -1,
    **layout: Any,
) -> mb.Simulation:
    """Run a small program to its end, or until step `end` ends it."""
    checkpoints = mb.Checkpoints(folder / "c", comm=comm, every_steps=4)
    simulation = mb.Simulation(
        steps=steps,
        output=str(folder / "out.h5"),
        every_steps=3,
        diagnostics=str(folder / "rows.csv"),
        diagnostics_every_steps=2,
        comm=comm,
        layout=layout,
        checkpoints=checkpoints,
        resume=resume,
    )
    with simulation:
        grid = simulation.grid((9, 14), periodic=True)
        noise = simulation.random(7)
        state = {"u": grid.from_function(lambda y, x: y + np.sin(x), halo=1), "mark": grid.zeros("?", components=(2,))}
        spare = state["u"].like()
        rows = lambda s: {"sum": mb.sum(s["u"]), "marked": mb.count_nonzero(s["mark"])}  # noqa: E731
        for now in simulation.steps(state, 0.1, diagnostics=rows):
            drift(state["u"], now.dt, out=spare)
            spare.owned[...] += noise.normal(grid, sd=0.1).owned
            state["mark"].owned[..., 0] |= spare.owned > 9
            if now.step == nan_at and spare.owned.size:
                spare.owned[-1, -1] = math.nan
            state["u"], spare = spare, state["u"]
            if now.step == end:
                raise Ended("that was it")
    return simulation


def read(folder: Path) -> tuple[bytes, bytes]:
    WORLD.Barrier()
    return (folder / "out.h5").read_bytes(), (folder / "rows.csv").read_bytes()


@contextmanager
def ends() -> Iterator[None]:
    with pytest.raises(Ended):
        yield
    WORLD.Barrier()


def alone(action: Any) -> None:
    """Do something to files, on one rank."""
    WORLD.Barrier()
    if WORLD.rank == 0:
        action()
    WORLD.Barrier()


def made(folder: Path) -> Path:
    alone(lambda: folder.mkdir(exist_ok=True))
    return folder


def warnings(caplog: pytest.LogCaptureFixture) -> str:
    """What rank 0 was warned of."""
    mine = "\n".join(record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
    told: str = WORLD.bcast(mine, root=0)
    return told


def flip(path: Path, at: int, count: int = 1) -> None:
    with open(path, "rb+") as file:
        file.seek(at)
        old = file.read(count)
        file.seek(at)
        file.write(bytes(255 - byte for byte in old))


@pytest.fixture(scope="module", autouse=True)
def loud() -> None:
    logging.getLogger("mpibatch").propagate = True


def test_any_ranks_and_any_decomposition_give_the_same_bytes(shared_tmp):
    """Several attempts, the first ones on fewer ranks, each spread in another way."""
    whole = live(made(shared_tmp / "whole"), resume=False)
    assert whole.outcome is not None
    assert not (shared_tmp / "whole" / "c").exists()
    folder = made(shared_tmp / "lives")
    fewer: Any = WORLD.Split(0 if WORLD.rank < max(1, WORLD.size - 1) else MPI.UNDEFINED, WORLD.rank)
    if fewer != MPI.COMM_NULL:
        with pytest.raises(Ended):
            live(folder, 5, resume=False, comm=fewer, topology=(fewer.size, None))
        with pytest.raises(Ended):
            live(folder, 6, comm=fewer, topology=(None, fewer.size))
    WORLD.Barrier()
    uneven = [14 - (WORLD.size - 1), *(1 for _ in range(WORLD.size - 1))]
    with ends():
        live(folder, 13, sizes=(None, uneven), topology=(None, WORLD.size))
    assert sorted(p.name for p in (folder / "c").glob("step-*")) == ["step-000000008.h5", "step-000000012.h5"]
    last = live(folder, topology=(WORLD.size, None))
    assert last.outcome is not None
    assert (last.outcome.first, last.outcome.steps) == (12, 20)
    assert read(folder) == read(shared_tmp / "whole")
    assert verify(folder / "out.h5").is_whole


def test_what_a_killed_run_may_leave(shared_tmp, caplog):
    """Torn metadata are put back; what cannot be is taken from the checkpoint before."""
    live(made(shared_tmp / "whole"), resume=False)
    whole = read(shared_tmp / "whole")
    part = "out.h5.part"
    damages = {
        "nothing": (lambda f: None, 12, ""),
        "torn metadata": (lambda f: flip(f / part, 0, 1500), 12, ""),
        "longer": (lambda f: (f / part).write_bytes((f / part).read_bytes() + b"x" * 5000), 12, ""),
        "broken checkpoint": (lambda f: flip(f / "c" / "step-000000012.h5", 4000), 8, "000012.h5 is broken"),
        "cut checkpoint": (lambda f: (f / "c" / "step-000000012.h5").write_bytes(b""), 8, "000012.h5 is broken"),
        # The times are of the steps 0, 3, 6, 9, 12: the last is not in the checkpoint of step 8.
        "broken values": (lambda f: flip_value(f / part, 4), 8, "values of 'u' from byte"),
        "no series": (lambda f: (f / part).unlink(), None, "no such file"),
        "nothing left": (lambda f: [p.unlink() for p in (f / "c").glob("step-*")], 0, "starting anew"),
    }
    killed = made(shared_tmp / "killed")
    with ends():
        live(killed, 13, resume=False)
    for name, (damage, first, words) in damages.items():
        folder = shared_tmp / name.replace(" ", "-")
        alone(lambda folder=folder: shutil.copytree(killed, folder))
        alone(lambda folder=folder, damage=damage: damage(folder))
        caplog.clear()
        if first is None:
            # Anew only when told so: what is missing may come back.
            with pytest.raises(mb.RunError, match=f"none can be resumed from.*{words}.*--anew"):
                live(folder)
            assert len(list((folder / "c").glob("step-*"))) == 2
            continue
        simulation = live(folder)
        assert simulation.outcome is not None
        assert (name, simulation.outcome.first) == (name, first)
        assert (name, words in warnings(caplog)) == (name, True)
        assert bool(words) == bool(warnings(caplog))
        assert read(folder) == whole, name


def flip_value(path: Path, time: int) -> None:
    with h5py.File(path, "r") as file:
        chunk = file["u"].id.get_chunk_info_by_coord((time, 0, 0))
    flip(path, chunk.byte_offset + 77)


def test_numbers_that_broke_stay_out_of_checkpoints(shared_tmp):
    with pytest.raises(mb.RunError, match="u is NaN in cell"):
        live(shared_tmp, resume=False, nan_at=13)
    WORLD.Barrier()
    kept = ["step-000000008.h5", "step-000000012.h5"]
    assert sorted(p.name for p in (shared_tmp / "c").glob("step-*")) == kept
    with pytest.raises(mb.RunError, match="u is NaN in cell"):
        live(shared_tmp, nan_at=13)
    assert sorted(p.name for p in (shared_tmp / "c").glob("step-*")) == kept
    assert (shared_tmp / "out.h5.part").exists()
    assert not (shared_tmp / "out.h5").exists()
    WORLD.Barrier()
    live(shared_tmp)
    live(made(shared_tmp / "whole"), resume=False)
    assert read(shared_tmp) == read(shared_tmp / "whole")


def test_starts_that_cannot_be_meant(shared_tmp):
    with ends():
        live(shared_tmp, 9, resume=False)
    with pytest.raises(mb.UsageError, match="2 checkpoints of an earlier run"):
        live(shared_tmp, resume=False)
    checkpoints = mb.Checkpoints(shared_tmp / "c")
    with mb.Simulation(steps=20, checkpoints=checkpoints, resume=True):
        pass  # a program that returns before its time loop
    assert checkpoints.count() == 2
    with pytest.raises(mb.UsageError, match="steps was 20 and is 21"):
        live(shared_tmp, steps=21)
    with pytest.raises(mb.UsageError, match="needs checkpoints"):
        mb.Simulation(steps=3, resume=True)
    with pytest.raises(mb.UsageError, match="numbers above 0"):
        mb.Checkpoints(shared_tmp, keep=0)
    checkpoints = mb.Checkpoints(shared_tmp / "c", identity={"steps": 21, "until": None})
    with pytest.raises(mb.UsageError, match="another run"):
        checkpoints.latest()


def test_checkpoints_of_ones_own(shared_tmp):
    grid = mb.Grid((5, 4))
    u, v = grid.full(1.5, "f4", halo=1), grid.full(2 + 1j, "c16", components=(3,))
    one = mb.Checkpoints(shared_tmp / "c", every_steps=10, keep=3)
    assert one.latest() is None
    assert [step for step in range(1, 40) if one.due(step)] == [10, 20, 30]
    for step in (10, 20, 30, 40):
        u.owned[...] = step
        one.save(step, {"u": u, "v": v}, {"a": [1, None, "x"], "b": np.arange(step), "none": np.empty((0, 2))})
    again = mb.Checkpoints(shared_tmp / "c")
    assert again.count() == 3
    found = again.latest()
    assert found is not None
    assert (found.step, found.extra["a"], found.extra["none"].shape) == (40, [1, None, "x"], (0, 2))
    np.testing.assert_array_equal(found.extra["b"], np.arange(40))
    back = {"u": u.like(), "v": v.like()}
    found.restore(back)
    assert mb.min(back["u"]) == mb.max(back["u"]) == 40
    np.testing.assert_array_equal(back["v"].owned, v.owned)
    with pytest.raises(mb.UsageError, match="holds the fields u, v"):
        found.restore({"u": u})
    with pytest.raises(mb.UsageError, match="values of float32"):
        found.restore({"u": grid.zeros(), "v": v})
    with pytest.raises(mb.UsageError, match="cannot hold"):
        again.save(50, {"u": u}, {"a": object()})
    with pytest.raises(mb.UsageError, match=r"3 checkpoints of an earlier run are in .* not looked at"):
        mb.Checkpoints(shared_tmp / "c").save(50, {"u": u})
    assert again.count() == 3
    again.clear()
    assert not (shared_tmp / "c").exists()


def test_a_damaged_output_is_never_parsed(shared_tmp, monkeypatch, caplog):
    def parsed(path: str) -> None:
        raise AssertionError("was parsed")

    path, comm = str(shared_tmp / "out.h5"), private()
    mb.save(path, u=mb.Grid((20, 30)).full(1.0), attrs={FINGERPRINT: "mine"})
    assert is_complete(comm, path, "mine")
    assert not is_complete(comm, path, "another")
    assert not is_complete(comm, str(shared_tmp / "none.h5"), "mine")
    (offset,) = (int(d.table[0, 0]) for d in seal.unpack(*seal.read(path)).datasets)
    alone(lambda: flip(Path(path), offset))
    assert not is_complete(comm, path, "mine")
    assert "is not as it was written: u[" in warnings(caplog)
    alone(lambda: flip(Path(path), 100))
    monkeypatch.setattr("mpibatch.job.execution.resumption.file_attributes", parsed)
    assert not is_complete(comm, path, "mine")


APPS = {
    "heat": "until = 0.02\nshape = [20, 17]",
    "wave": "until = 0.2\nshape = [40, 30]\nsponge = 5",
    "euler": "until = 0.1\nshape = [70]",
    "cavity": "until = 2\ncells = 20\nreynolds = 100",
    "grayscott": "until = 150\nshape = [30, 26]\nseeds = 2\nseed_size = 6",
    "options": "until = 0.5\nspot = [36.0]\ncells = 61",
    "dns": "until = 2\nproblem = 'turbulence'\nshape = [16, 12]\npower = 1\ndt = 0.1\nviscosity = 0.05",
    "heston": "until = 1\ncells = [8, 32]\ndates = 30",
    "mhd": "until = 0.05\nproblem = 'orszag-tang'\nshape = [12, 10]\ncourant = 0.1",
    "nbody": "until = 0.08\nshape = [8, 6, 4]\nlength = 40\ndt = 0.008",
}


@pytest.mark.parametrize("name", APPS)
def test_every_program_goes_on_as_if_nothing_had_happened(shared_tmp, name):
    until = float(APPS[name].split("\n")[0].split("=")[1])
    made_steps = []

    def job(where: Path) -> SimulationJob:
        alone(lambda: where.mkdir(exist_ok=True))
        text = f"[simulation]\nprogram = '{name}'\n{APPS[name]}\n[output]\npath = '{where}/out.h5'\nrecord = false\n"
        text += f"every = {until / 4}\n[diagnostics]\npath = '{where}/rows.csv'\nevery = {until / 8}\n"
        found = parse_any(text + "[checkpoint]\nevery_steps = 6\n")
        assert isinstance(found, SimulationJob)
        return found

    def ending(done: int, total: int, label: str) -> None:
        made_steps.append(done)
        if done > total / 2:
            raise Ended("half")

    simulate(job(shared_tmp / "whole"))
    attempts = job(shared_tmp / "lives")
    with suppress(Ended):
        simulate(attempts, report=ending)
    assert max(made_steps) > 2
    done = simulate(attempts, start="resume")
    assert "steps after step" in done.notes[0]
    assert simulate(attempts, start="resume").was_complete
    one, other = (h5py.File(shared_tmp / folder / "out.h5", "r") for folder in ("whole", "lives"))
    with one, other:
        names = [n for n in one if isinstance(one[n], h5py.Dataset) and one[n].dtype.kind in "fi"]
        assert len(names) >= 3
        for name in names:
            np.testing.assert_array_equal(one[name], other[name])
    assert read(shared_tmp / "whole")[1] == read(shared_tmp / "lives")[1]
