"""Checkpoints: names, identities, signals; and whole runs that are ended from outside."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mpibatch.base.errors import Stopped, UsageError
from mpibatch.base.files import LOCK
from mpibatch.checkpoint import folder
from mpibatch.checkpoint.identity import differences, fingerprint
from mpibatch.checkpoint.signals import Caught
from mpibatch.job.execution.resumption import needed_steps
from mpibatch.job.file.reader import parse, parse_any
from mpibatch.job.file.schema import Checkpointing

Launch = Callable[..., subprocess.CompletedProcess[str]]
REPOSITORY = Path(__file__).resolve().parents[2]


def test_names_are_in_order_and_only_ours_are_removed(tmp_path):
    for name in ("step-000000010.h5", "step-000000009.h5", "step-1000000000.h5", "step-000000011.h5.part", "notes.txt"):
        (tmp_path / name).touch()
    assert folder.steps_in(str(tmp_path)) == [10**9, 10, 9]
    folder.remove(str(tmp_path), {10})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "step-000000010.h5"]
    folder.remove(str(tmp_path), set())
    (tmp_path / "notes.txt").unlink()
    folder.remove(str(tmp_path), set())
    assert folder.is_empty(str(tmp_path))
    (tmp_path / LOCK).touch()
    assert folder.is_empty(str(tmp_path))
    assert not folder.is_empty(str(tmp_path / "none"))
    assert folder.steps_in(str(tmp_path)) == []


def test_identities_tell_what_differs():
    then = {"shape": (3, 4), "feed": 0.035, "mpibatch": "1"}
    assert differences(then, {"shape": [3, 4], "feed": 0.035, "mpibatch": "2"}) == ""
    assert differences(then, {**then, "mpibatch": "2"}, mild=True) == 'mpibatch was "1" and is "2"'
    assert differences(then, {"shape": [3, 4], "mpibatch": "1"}) == "feed was 0.035 and is not given"
    assert fingerprint(then) == fingerprint({"mpibatch": "1", "feed": 0.035, "shape": [3, 4]})


def test_signals_are_noted_within_the_block_only():
    before = signal.getsignal(signal.SIGTERM)
    with Caught() as outer:
        signal.raise_signal(signal.SIGTERM)
        with Caught() as inner:
            assert inner.number == signal.SIGTERM
        assert outer.number == signal.SIGTERM
    assert Caught().number == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_is_an_exit():
    with pytest.raises(SystemExit) as caught:
        raise Stopped
    assert caught.value.code == 75


SIMULATION = '[simulation]\nprogram = "heat"\nuntil = 0.1\n[output]\npath = "o.h5"\n'
PIPELINE = """[input]
path = "in.npy"
[[step]]
name = "a"
filter = "gaussian_filter"
sigma = 1
[[step]]
name = "b"
filter = "sobel_magnitude"
save = true
[[step]]
name = "c"
input = "a"
filter = "laplace"
[[step]]
name = "d"
filter = "binarize"
threshold = 0
save = true
[output]
path = "o.h5"
"""


def test_the_section_of_a_job():
    assert parse_any(SIMULATION).checkpoint is None
    assert parse_any(SIMULATION + "[checkpoint]\n").checkpoint == Checkpointing("o.h5.checkpoints", None, 10.0)
    text = "[checkpoint]\nevery_steps = 3\npath = 'c'\nkeep = 1\n"
    assert parse(PIPELINE + text).checkpoint == Checkpointing("c", 3, None, 1)
    with pytest.raises(UsageError, match="keep = 0"):
        parse(PIPELINE + "[checkpoint]\nkeep = 0\n")


def test_only_what_is_needed_is_computed():
    job = parse(PIPELINE)
    assert needed_steps(job, set()) == {"a", "b", "c", "d"}
    assert needed_steps(job, {"b", "c"}) == {"b", "c", "d"}
    assert needed_steps(job, {"b", "d"}) == {"b", "d"}
    assert needed_steps(job, {"c"}) == {"a", "b", "c", "d"}


# Slow steps, so that a signal finds the run under way on any machine; the noise goes through checkpoints.
PROGRAM = """
import os, time
from dataclasses import dataclass
import mpibatch as mb

@dataclass(frozen=True)
class Parameters:
    shape: tuple[int, ...] = (12, 10)

def run(p, simulation):
    grid = simulation.grid(p.shape)
    noise = simulation.random(3)
    state = {"u": grid.zeros()}
    for now in simulation.steps(state, 1.0, diagnostics=lambda s: {"sum": mb.sum(s["u"])}):
        state["u"] = 0.5 * state["u"] + noise.normal(grid)
        time.sleep(float(os.environ.get("PAUSE", "0")))
        if now.step == 5 and grid.rank == 0:
            print("under way", flush=True)
"""
JOB = """[simulation]
program = "walk.py"
steps = 60
[output]
path = "walk.h5"
every_steps = 7
record = false
[diagnostics]
path = "walk.csv"
every_steps = 5
[checkpoint]
every_steps = 8
"""


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    (tmp_path / "walk.py").write_text(PROGRAM)
    (tmp_path / "walk.toml").write_text(JOB)
    return tmp_path


def start(folder: Path, ranks: int, *options: str) -> subprocess.Popen[str]:
    """Start the job, and return when it is under way."""
    mpiexec = [str(Path(sys.executable).parent / "mpiexec"), "-n", str(ranks)] if ranks else []
    command = [*mpiexec, sys.executable, "-m", "mpibatch", "run", "walk.toml", *options]
    pipe = subprocess.PIPE
    slowly = {**os.environ, "PAUSE": "0.02"}
    running = subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, env=slowly)
    assert running.stdout is not None
    assert running.stdout.readline() == "under way\n", running.communicate()
    return running


def finish(running: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        _, err = running.communicate(timeout=30)
    finally:
        running.kill()
    return running.returncode, err


@pytest.mark.parametrize(("number", "ranks"), [(signal.SIGTERM, 3), (signal.SIGUSR1, 0)])
def test_a_signal_leaves_a_checkpoint(walk: Path, number, ranks):
    running = start(walk, ranks)
    running.send_signal(number)
    code, err = finish(running)
    assert code == 75, err
    assert err.count(f"{signal.Signals(number).name}: stopped at step ") == 1
    assert "; start again with --resume" in err
    assert not (walk / "walk.h5").exists()
    assert (walk / "walk.h5.part").exists()


def test_a_run_goes_on_after_a_signal_as_if_nothing_had_happened(launch: Launch, walk: Path):
    command = ("-m", "mpibatch", "run", "walk.toml")
    done = launch(0, *command, "--quiet", cwd=walk)
    assert done.returncode == 0, done.stderr
    whole = {name: (walk / name).read_bytes() for name in ("walk.h5", "walk.csv")}
    for name in whole:
        (walk / name).unlink()

    running = start(walk, 2)
    running.send_signal(signal.SIGUSR1)
    assert finish(running)[0] == 75
    refused = launch(0, *command, cwd=walk)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    other = launch(0, *command, "--resume", "--set", "simulation.shape=[10,12]", cwd=walk)
    assert other.returncode == 2
    assert "simulation.shape was [12, 10] and is [10, 12]" in other.stderr
    done = launch(3, *command, "--resume", cwd=walk)
    assert done.returncode == 0, done.stderr
    assert "steps after step" in done.stdout
    assert {name: (walk / name).read_bytes() for name in whole} == whole
    assert not (walk / "walk.h5.checkpoints").exists()
    done = launch(0, *command, "--resume", cwd=walk)
    assert (done.returncode, done.stdout) == (0, "walk.h5 is complete and whole already: nothing to do\n")


def test_without_checkpoints_a_signal_ends_the_run(walk: Path):
    (walk / "walk.toml").write_text(JOB[: JOB.index("[checkpoint]")])
    running = start(walk, 0)
    running.send_signal(signal.SIGTERM)
    assert finish(running)[0] == -signal.SIGTERM
    done = subprocess.run(
        [sys.executable, "-m", "mpibatch", "run", "walk.toml", "--resume"],
        check=False,
        cwd=walk,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "needs a section [checkpoint]" in done.stderr


def test_a_pipeline_is_taken_up_where_it_was(launch: Launch, tmp_path: Path):
    np.save(tmp_path / "in.npy", np.random.default_rng(1).random((40, 30)))
    text = PIPELINE.replace('path = "o.h5"', 'path = "o.h5"\nrecord = false') + "[checkpoint]\nevery_steps = 1\n"
    (tmp_path / "job.toml").write_text(text)
    command = ("-m", "mpibatch", "run", "job.toml")
    assert launch(0, *command, cwd=tmp_path).returncode == 0
    whole = (tmp_path / "o.h5").read_bytes()
    assert not (tmp_path / "o.h5.checkpoints").exists()
    # A run that fails behind step 3 leaves what is needed from there on: b, to be saved, and c.
    (tmp_path / "o.h5").unlink()
    failing = (
        "import sys, mpibatch.job.execution.pipeline as pipeline\nfrom mpibatch.cli import main\n"
        "apply = pipeline.apply\n"
        "pipeline.apply = lambda step, fields: apply(step, fields if step.name != 'd' else None)\n"
        "sys.exit(main(['run', 'job.toml']))"
    )
    assert launch(2, "-c", failing, cwd=tmp_path).returncode == 1
    results = sorted((tmp_path / "o.h5.checkpoints").iterdir())
    assert [path.name[:8] for path in results] == ["step-02-", "step-03-"]
    keep = tmp_path / "kept"
    for broken, words in ((None, "taken from an earlier run: b, c"), (1, "taken from an earlier run: b\n")):
        shutil.copytree(tmp_path / "o.h5.checkpoints", keep, dirs_exist_ok=True)
        if broken is not None:
            with open(results[broken], "rb+") as file:
                file.seek(-200, os.SEEK_END)
                file.write(b"x" * 100)
        done = launch(3, *command, "--resume", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert words in done.stdout
        assert ("not used" in done.stderr) == (broken is not None)
        assert (tmp_path / "o.h5").read_bytes() == whole
        assert not (tmp_path / "o.h5.checkpoints").exists()
        (tmp_path / "o.h5").unlink()
        keep.rename(tmp_path / "o.h5.checkpoints")
    # Other parameters make other results.
    done = launch(0, *command, "--resume", "--set", "a.sigma=2", cwd=tmp_path)
    assert done.returncode == 0
    assert "taken from" not in done.stdout
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["b"].shape == (40, 30)


def test_a_program_with_a_loop_of_its_own(launch: Launch, tmp_path: Path):
    text = """
import os, signal, sys
import mpibatch as mb
grid = mb.Grid((6, 5))
u = grid.zeros()
with mb.Checkpoints("c", every_steps=4, keep=1) as checkpoints:
    first = 0
    if (found := checkpoints.latest()) is not None:
        first = found.step
        found.restore({"u": u})
        assert found.extra["note"] == first and found.extra["numbers"].tolist() == [1, 2, first]
    for step in range(first + 1, 21):
        u += step
        if step == 10 and not first and grid.rank == grid.size - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        if checkpoints.due(step):
            import numpy as np
            checkpoints.save(step, {"u": u}, {"note": step, "numbers": np.array([1, 2, step])})
        grid.comm.Barrier()
        import time; time.sleep(0.01)
print(mb.max(u), sorted(os.listdir("c")))
"""
    begin = time.monotonic()
    assert launch(3, "-c", text, cwd=tmp_path).returncode == 75
    assert time.monotonic() - begin < 30
    done = launch(2, "-c", text, cwd=tmp_path)
    assert done.stdout == "210.0 ['step-000000020.h5']\n" * 2


# No step counts as a long one, so that ranks begin to agree after one step and complete it after the next, whatever the
# machine does meanwhile: after a step more than rank 0, the others ask what it never answers.
LEAVES = """
import time
import mpibatch as mb
from mpibatch.checkpoint import watch
from mpibatch.mpi import MPI, failure
watch.LONG = 1e9
failure.PATIENCE = 1.0
rank = MPI.COMM_WORLD.rank

def leave(error, last):
    try:
        with mb.Checkpoints("c") as checkpoints:
            for step in range(1, last + 1):
                time.sleep(0.02)
                checkpoints.due(step)
            raise error(f"left after step {step}")
    except error as raised:
        print(f"rank {rank} {raised}", flush=True)
    MPI.COMM_WORLD.Barrier()
"""


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_that_leave_at_different_steps_do_not_wait_for_one_another(launch: Launch, tmp_path: Path, ranks):
    # All by the same error after the same step; then by errors of their own, which are each rank's affair.
    handled = "leave(mb.RunError, 7)\nleave(ValueError, 8 + (rank > 0))\n"
    done = launch(ranks, "-c", LEAVES + handled, cwd=tmp_path, timeout=20)
    told = [f"rank {rank} left after step {step}" for rank in range(ranks) for step in (7, 8 + (rank > 0))]
    assert (done.returncode, sorted(done.stdout.splitlines())) == (0, told), done.stderr
    # By an error which promises to whoever handles it that all ranks are there. Rank 0 cannot know better.
    done = launch(ranks, "-c", LEAVES + "leave(mb.RunError, 7 + (rank > 0))\n", cwd=tmp_path, timeout=20)
    assert (done.returncode, done.stdout) == (1, "rank 0 left after step 7\n"), done.stderr
    assert f"raised this error alone, aborting all {ranks} ranks" in done.stderr
    assert "rank 0: left alone" not in done.stderr
