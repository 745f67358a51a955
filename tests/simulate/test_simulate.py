"""Schedules, programs and jobs of simulations, without MPI; and whole runs from outside."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mpibatch.apps
from mpibatch.base.errors import RunError, UsageError
from mpibatch.io import check
from mpibatch.io.vault import keyring
from mpibatch.io.vault.age import new_identity
from mpibatch.io.vault.images import image_of
from mpibatch.io.vault.keys import write_private
from mpibatch.job.file.programs import find, known_programs
from mpibatch.job.file.reader import parse, parse_any
from mpibatch.job.file.simulation import SimulationJob
from mpibatch.job.plan import plan
from mpibatch.simulate.schedule import Clock, Every, Schedule

Launch = Callable[..., subprocess.CompletedProcess[str]]


def run_through(
    schedule: Schedule, dt: float, adaptive: bool = False, max_steps: int = 1
) -> list[tuple[int, float, bool]]:
    """Step to the end; return (step, time, whether an output is due) of every stop."""
    clock = Clock(schedule)
    stops = [(0, 0.0, True)]
    while not clock.finished:
        length, count = (clock.one_step(dt), 1) if adaptive else clock.equal_steps(dt, max_steps)
        assert 0 < length <= dt * (1 + 1e-9)
        clock.advance(length, count)
        stops.append((clock.step, clock.time, clock.is_due(schedule.output)))
        assert len(stops) < 10_000
    return stops


@given(
    st.floats(0.01, 10), st.floats(0.02, 3), st.floats(0.01, 1), st.floats(0.01, 1), st.booleans(), st.integers(1, 7)
)
def test_every_output_is_met_exactly_and_once(until, every, told, dt, adaptive, max_steps):
    schedule = Schedule(until, output=Every(every), diagnostics=Every(told))
    outputs = [time for _, time, due in run_through(schedule, dt, adaptive, max_steps) if due]
    assert outputs[-1] == until
    assert len(outputs) == schedule.outputs()
    for number, time in enumerate(outputs[:-1]):
        assert math.isclose(time, number * every, rel_tol=1e-8)


def test_times_that_floats_do_not_hold_are_one():
    # 7 * 0.1 > 0.7, and 3 * 0.1 is not 6 * 0.05: none may be a step of its own.
    schedule = Schedule(0.7, output=Every(0.1), diagnostics=Every(0.05))
    stops = run_through(schedule, 0.05)
    assert [step for step, *_ in stops] == list(range(15))
    assert sum(due for *_, due in stops) == schedule.outputs() == 8


@pytest.mark.parametrize("max_steps", [1, 3, 100])
def test_steps_are_counted(max_steps):
    schedule = Schedule(steps=10, output=Every(steps=4))
    stops = run_through(schedule, 0.1, max_steps=max_steps)
    assert [step for step, _, due in stops if due] == [0, 4, 8, 10]
    assert stops[-1][1] == 10 * 0.1
    assert schedule.outputs() == 4


def test_the_shorter_of_two_ends_counts():
    assert run_through(Schedule(1.0, steps=3), 0.1)[-1][0] == 3
    assert run_through(Schedule(0.2, steps=30), 0.1)[-1][:2] == (2, 0.2)
    assert Schedule(0.2, steps=30, output=Every(0.1)).outputs() is None


def test_no_tiny_step_is_left_over():
    clock = Clock(Schedule(1.0))
    clock.advance(0.9, 1)
    assert clock.one_step(0.09) == pytest.approx(0.05)
    assert clock.one_step(0.2) == pytest.approx(0.1)


def test_a_step_that_has_collapsed_is_refused():
    clock = Clock(Schedule(1.0), time=0.5)
    with pytest.raises(RunError, match="time step fell to"):
        clock.advance(clock.one_step(1e-20), 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "has no end"),
        ({"until": 0.0}, "until=0.0"),
        ({"until": math.nan}, "until=nan"),
        ({"steps": 0}, "steps=0"),
        ({"steps": 1, "check_every": -1}, "check_every=-1"),
    ],
)
def test_a_schedule_that_cannot_be_meant(arguments, words):
    with pytest.raises(UsageError, match=words):
        Schedule(**arguments)
    with pytest.raises(UsageError, match="give one"):
        Every(0.1, 3)


JOB = """\
[simulation]
program = "heat"
until = 0.002
shape = [24, 20]
share = 0.5

[grid]
topology = [0, 1]

[output]
path = "out.h5"
every = 0.001

[diagnostics]
path = "rows.csv"
every = 0.0005
"""


def simulation(text: str = JOB, *settings: str) -> SimulationJob:
    job = parse_any(text, "job.toml", settings)
    assert isinstance(job, SimulationJob)
    return job


def test_a_good_job():
    job = simulation(JOB, "simulation.length=[2, 1]", "output.every=0.002")
    assert (job.program.name, job.parameters.shape, job.parameters.length) == ("heat", (24, 20), (2.0, 1.0))
    assert isinstance(job.parameters.length[0], float)
    assert job.schedule == Schedule(0.002, output=Every(0.002), diagnostics=Every(0.0005))
    assert job.grid == {"topology": [None, 1]}
    assert "--set output.every" in job.text
    with pytest.raises(UsageError, match="is a simulation"):
        parse(JOB)


def test_all_mistakes_are_told_at_once_with_their_lines():
    text = (
        JOB.replace("until", "untill").replace("share = 0.5", "shar = 0.5\ndiffusivity = -1\nwalls = 'fixd'")
        + 'pth = "x"\n[input]\npath = "x"\n'
    )
    with pytest.raises(UsageError) as caught:
        parse_any(text.replace("every = 0.001", "every = 0.001\nevery_steps = 2"), "job.toml")
    head, *found = str(caught.value).split("\n  ")
    assert head == "job.toml: 8 problems"
    for line, words in (
        (1, "has no end"),
        (3, "there is no parameter 'untill'; did you mean 'until'?"),
        (5, "there is no parameter 'shar'; did you mean 'share'?"),
        (6, "diffusivity = -1; expected a finite number, more than 0"),
        (7, 'walls = "fixd"; expected "fixed"'),
        (15, "every 0.001 units of time and every 2 steps"),
        (20, "[diagnostics] has no key 'pth'; did you mean 'path'?"),
        (21, "has no [input]"),
    ):
        assert any(text.startswith(f"job.toml:{line}: ") and words in text for text in found), (line, words, found)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("simulation.program=heta", "unknown program 'heta'; did you mean 'heat'?"),
        ("simulation.dt=1", "dt = 1 is not stable: the longest step for these cells and diffusivity is 0.000512"),
        ("simulation.share=1.5", "not stable; give 1 or less"),
        ("simulation.shape=[8,8,8,8]", "has 4 axes; give the cells along 1 to 3"),
        ("simulation.shape=[8.5]", "expected a list, each item a whole number, 1 or more"),
        ("simulation.length=[1,2,3]", "length = [1.0, 2.0, 3.0] for 2 axes"),
        ("simulation.length=[1,0]", "length = [1, 0]; expected"),
        ("grid.periodic=true", "[grid] has no key 'periodic'"),
        ("output.path=a.h5::u", "give a file"),
        ("smooth.sigma=3", "there is no section or step 'smooth'"),
    ],
)
def test_a_value_that_cannot_be_meant(setting, words):
    with pytest.raises(UsageError) as caught:
        parse_any(JOB, "job.toml", [setting])
    assert words in str(caught.value)


def test_a_pipeline_may_not_be_mixed_in():
    with pytest.raises(UsageError, match=r"has no \[step\]"):
        parse_any(JOB + '[[step]]\nfilter = "sobel"\n')


@pytest.mark.parametrize("name", known_programs())
def test_every_program_has_what_it_takes(name):
    program = find(name)
    folder = Path(mpibatch.apps.__path__[0])
    assert program.title
    assert "doi:" in (program.module.__doc__ or ""), "name the reference of the scheme"
    job = parse_any((folder / f"{name}.toml").read_text(), f"{name}.toml")
    assert isinstance(job, SimulationJob)
    assert job.program.name == name
    assert program.title in plan(job, 4)


def test_the_plan_of_a_simulation():
    shown = plan(simulation(), 3)
    for words in (
        "program heat: Heat conduction",
        "shape = [24, 20]",
        "dt = (the program's choice)",
        "3 × 1 = 3 ranks, blocks up to 8 × 20 cells",
        "until   t = 0.002",
        "out.h5: every 0.001 units of time, 3 outputs",
        "rows.csv: every 0.0005 units of time",
    ):
        assert words in shown
    with pytest.raises(UsageError, match="2 ranks"):
        plan(simulation(JOB, "grid.topology=[3,1]"), 2)


def test_planning_starts_no_mpi():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('mpi4py', 'numba', 'h5py', 'scipy')))\n"
        "from mpibatch.job.file.reader import parse_any; from mpibatch.job.plan import plan\n"
        "print(plan(parse_any(sys.stdin.read()), 2))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=JOB, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    Path("job.toml").write_text(JOB)
    return tmp_path


def test_the_same_file_on_1_and_3_ranks(launch: Launch, folder: Path):
    digests = set()
    for ranks in (0, 3):
        done = launch(ranks, "-m", "mpibatch", "run", "job.toml", "--set", "output.record=false")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("steps to t = 0.002") == 1
        digests.add(tuple(hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in ("out.h5", "rows.csv")))
        Path("out.h5").unlink()
    assert len(digests) == 1


PROGRAM = '''\
"""Growth."""
import sys
from dataclasses import dataclass
import mpibatch as mb
from mpibatch.cli import run_program

@dataclass(frozen=True)
class Parameters:
    rate: float = 1.0

@mb.stencil
def grow(u, k):
    return u[0] + k * u[0]

def run(p, simulation):
    state = {"u": simulation.grid(6).full(1.0)}
    for now in simulation.steps(state, dt=1.0):
        grow(state["u"], p.rate * now.dt, out=state["u"])
        if p.rate == 7:
            raise ValueError("seven")

if __name__ == "__main__":
    sys.exit(run_program(__file__))
'''


def test_a_program_of_the_users_own(launch: Launch, folder: Path):
    Path("grow.py").write_text(PROGRAM)
    Path("grow.toml").write_text('[simulation]\nprogram = "heat"\nsteps = 3\n[output]\npath = "out.h5"\n')
    done = launch(2, "grow.py", "--set", "simulation.rate=2")
    assert done.returncode == 0, done.stderr
    with h5py.File("out.h5") as file:
        assert file["u"][:, 0].tolist() == [1.0, 27.0]
        assert file["step"][()].tolist() == [0, 3]
    done = launch(2, "grow.py", "--set", "simulation.rate=7")
    assert done.returncode == 1
    assert "seven" in done.stderr
    assert not list(folder.glob("out.h5.*"))


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (None, RunError, "does not exist"),
        ("def run(:\n", UsageError, "program.py:1: not valid Python"),
        ("x = 1\n", UsageError, "has no 'Parameters'"),
        ("class Parameters: pass\nrun = 3\n", UsageError, "is no dataclass"),
        (PROGRAM.replace("rate: float = 1.0", "rate: float"), UsageError, "has no default for rate"),
        (PROGRAM.replace("rate: float = 1.0", "steps: int = 1"), UsageError, "has the parameter 'steps'"),
        ("1 / 0\n", RunError, "ZeroDivisionError"),
    ],
)
def test_a_program_that_cannot_be_loaded(folder: Path, text, error, words):
    if text is not None:
        Path("program.py").write_text(text)
    with pytest.raises(error) as caught:
        find("program.py")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        (["simulation.dt=1"], 2, "is not stable"),
        (["simulation.start=nothing.h5"], 1, "nothing.h5"),
        (["simulation.start=start.h5::u"], 1, "u is NaN in cell (3, 4) (y = 3, x = 4; on rank 0 of 2) in the initial"),
    ],
)
def test_what_goes_wrong_is_told_once(launch: Launch, folder: Path, settings, code, words):
    with h5py.File("start.h5", "w") as file:
        file["u"] = [[float("nan") if (y, x) == (3, 4) else 0.0 for x in range(20)] for y in range(24)]
    done = launch(2, "-m", "mpibatch", "run", "job.toml", "--set", *settings)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("error: ") == 1
    assert words in done.stderr
    assert not list(folder.glob("out.h5*"))
    assert not list(folder.glob("rows.csv"))


SECRET = """
import os, signal, sys
import mpibatch as mb
encrypt, kill = sys.argv[2] or None, int(sys.argv[3])
checkpoints = mb.Checkpoints(sys.argv[1] + ".c", every_steps=4, encrypt=encrypt)
settings = dict(output=sys.argv[1], every_steps=1, encrypt=encrypt, checkpoints=checkpoints, resume=True)
with mb.Simulation(steps=9, **settings) as simulation:
    state = {"canary": simulation.grid((12, 5)).from_function(lambda y, x: y + 0.1 * x)}
    for now in simulation.steps(state, 0.5, diagnostics=lambda state: {"sum": mb.sum(state["canary"])}):
        state["canary"].owned[...] *= 1.1
        if now.step == kill and simulation.comm.rank == 0:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_encrypted_run_that_was_killed_leaves_no_plain_text_and_goes_on(
    tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = new_identity()
    write_private(tmp_path / "k", identity.text)
    (tmp_path / "r").write_text(f"{identity.recipient}\n")
    options = {"cwd": tmp_path, "env": {**os.environ, "MPIBATCH_IDENTITY": "k"}}
    assert launch(1, "-c", SECRET, "plain.h5", "", "-1", **options).returncode == 0
    plain = (tmp_path / "plain.h5").read_bytes()
    assert b"canary" in plain
    (tmp_path / "plain.h5").unlink()
    for ranks, step in ((2, 6), (1, 8)):
        assert launch(ranks, "-c", SECRET, "out.h5", "r", str(step), **options).returncode != 0
        left = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert {"out.h5.part", f"step-{step // 4 * 4:09}.h5"} <= {path.name for path in left}
        assert not [path for path in left if b"canary" in path.read_bytes()]
    done = launch(2, "-c", SECRET, "out.h5", "r", "-1", **options)
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(keyring, "_sources", [str(tmp_path / "k")])
    assert check(tmp_path / "out.h5").is_whole
    with image_of(str(tmp_path / "out.h5")) as image:
        assert image.read(image.size, 0) == plain
