"""Studies: their folders, jobs that grow, and real runs by mpiexec."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from scipy import ndimage

from mpibatch.base.errors import UsageError
from mpibatch.base.log import logger
from mpibatch.cli import main
from mpibatch.io.formats import inspect
from mpibatch.job.file.reader import parse_any
from mpibatch.job.file.schema import Job
from mpibatch.tools.scaling import folder as folders
from mpibatch.tools.scaling import growth, local_machine, runs, study, summary
from mpibatch.tools.scaling.records import parse_run

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
WORDS = [sys.executable, "-m", "mpibatch"]

PIPELINE = """\
[input]
path = "in.npy"

[[step]]
filter = "gaussian_filter"
sigma = 1
save = "smooth"

[output]
path = "out.h5"
"""
HEAT = """\
[simulation]
program = "heat"
until = 9.0
steps = 7
shape = [10, 16]
initial = "box"

[output]
path = "heat.h5"

[diagnostics]
path = "heat.csv"

[checkpoint]
every_steps = 3
"""
PROGRAM = '''\
"""A program that does on some ranks what programs should not."""
import os, time
from dataclasses import dataclass
import mpibatch as mb

@dataclass(frozen=True)
class Parameters:
    shape: tuple[int, ...] = (8, 8)
    hangs: bool = False

def run(p, simulation):
    u = simulation.grid(p.shape).zeros()
    if p.hangs:
        with open(f"pid-{u.grid.rank}", "w") as file:
            file.write(str(os.getpid()))
        time.sleep(60)
    if u.grid.size == 2:
        raise mb.RunError("two are too many; use one")
    for now in simulation.steps({"u": u}, dt=1.0):
        pass
    return u
'''
OWN = """\
[simulation]
program = "own.py"
steps = 2

[output]
path = "own.h5"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with jobs and an input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    np.save("in.npy", np.random.default_rng(1).random((12, 20), "f4"))
    for name, text in (("job", PIPELINE), ("heat", HEAT), ("own", OWN)):
        Path(f"{name}.toml").write_text(text)
    Path("own.py").write_text(PROGRAM)
    yield tmp_path
    logger().handlers.clear()
    logger().propagate = True


def record(seconds: float, digest: str = "ab" * 32, **more: Any) -> dict[str, Any]:
    total = {"least": seconds, "median": seconds, "mean": seconds, "slowest": seconds, "slowest_rank": 0}
    return {"code": 0, "digest": digest, "run": {"seconds": {"total": total}, **more}}


def make(path: str = "S", mode: str = "strong", **more: Any) -> study.Study:
    machine = local_machine.machine_here()
    arguments = {"counts": (1, 2), "repeat": 2, "machine": machine, "name": "job", "source": "job.toml", **more}
    return folders.create(path, mode=mode, job=PIPELINE, **arguments)


def keep(made: study.Study, ranks: int, repeat: int, record: dict[str, Any]) -> None:
    folders.keep(record, made.path, ranks=ranks, threads=1, repeat=repeat, launch_seconds=3.0)


# ---- The folder ------------------------------------------------------------------------------------------------------


def test_what_is_made_is_what_is_loaded(folder: Path):
    made = make(settings=("gaussian_filter.sigma=2",), threads=(1, 2), profile_of_machine={"schema": 1})
    assert folders.load("S") == made
    assert made.profile_of_machine == {"schema": 1}


def test_runs_go_round_in_alternating_order_and_what_is_there_is_not_missing():
    made = make(counts=(1, 2, 4), repeat=3)
    assert [key[0] for key in study.missing(made)] == [1, 2, 4, 4, 2, 1, 1, 2, 4]
    keep(made, 2, 1, record(1.0))
    keep(made, 1, 2, {"code": 1, "failure": "exit code 1: no"})
    folders.record_path(made.path, 4, 1, 1).parent.mkdir()
    folders.record_path(made.path, 4, 1, 1).write_text('{"code": 0, "dig')  # cut off
    loaded = folders.load("S")
    assert study.missing(loaded) == [k for k in study.order(made) if k != (2, 1, 1)]
    assert [(f.ranks, f.repeat, f.reason) for f in loaded.failures] == [(1, 2, "exit code 1: no")]


def test_a_record_may_lack_anything():
    run = parse_run({"code": 0, "ranks": 3}, 0, 2, 5)
    assert (run.ranks, run.threads, run.repeat, run.total, run.kernels, run.predicted) == (3, 2, 5, 0.0, (), None)
    assert parse_run({"code": 0, "run": None, "point": {"launch_seconds": 2}}).total == 2.0
    assert parse_run(record(1.5)).total == 1.5
    assert parse_run({"code": 0, "run": {"seconds": {"total": 3}, "kernels": [1, {"name": "k"}]}}).total == 0.0


def test_what_cannot_be_reads_as_absent():
    wrong: list[Any] = [None, "3", [], {}, True, -1, float("inf"), float("nan"), 1 << 63]
    for value in wrong:
        run = parse_run(
            {
                "code": 0,
                "digest": value,
                "point": {"ranks": value, "launch_seconds": value},
                "run": {
                    **dict.fromkeys(("cells", "steps", "shape", "laps", "hosts", "kernels", "versions"), value),
                    "seconds": {"total": {"slowest": value, "mean": 2.0}, "halo": [value]},
                    "memory": {"most": value},
                    "topology": [value],
                    "predicted": {"seconds": value, "profile": "here"},
                },
            },
            3,
        )
        assert (run.ranks, run.cells, run.steps, run.shape, run.topology) == (3, 0, 0, (), ()), value
        assert (run.total, run.seconds, run.laps, run.memory) == (0.0, {"total": {"mean": 2.0}}, {}, {}), value
        assert (run.kernels, run.versions) == ((), {}), value
    made = make(repeat=1)
    nothing = {"least": None, "slowest": None}
    for ranks, account in ((1, {"seconds": {"total": nothing}, "cells": None}), (2, {"cells": float("inf")})):
        keep(made, ranks, 1, {"code": 0, "digest": None, "run": account})
        path = folders.record_path(made.path, ranks, 1, 1)
        path.write_text(path.read_text().replace('"launch_seconds": 3.0', '"launch_seconds": null'))
    deep = folders.record_path(made.path, 2, 1, 2)
    deep.write_text('{"code": 0, "run": ' + "[" * 100_000)
    loaded = folders.load("S")
    assert [point.ranks for point in loaded.points] == [1, 2]
    assert summary.table(loaded).count("0.000") == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [("mode", "both"), ("counts", [0]), ("counts", []), ("counts", [10**7]), ("counts", [1.5]), ("counts", 3),
     ("threads", [True]), ("threads", [None]), ("repeat", 0), ("repeat", 1e400), ("repeat", 10**9)],
)  # fmt: skip
def test_a_study_of_what_cannot_be_meant_is_damaged(key: str, value: Any):
    made = make()
    path = made.path / "study.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(UsageError, match="damaged"):
        folders.load("S")


def test_more_can_be_asked_for_later_but_nothing_is_forgotten():
    folders.extended(make(repeat=3), (4,), (2,), 2)
    loaded = folders.load("S")
    assert (loaded.counts, loaded.threads, loaded.repeat) == ((1, 2, 4), (1, 2), 3)
    before = Path("S/study.json").read_text()
    more = folders.extended(loaded, (8,), (1,), 3, {"schema": 1}, dry_run=True)
    assert (more.counts, more.profile_of_machine) == ((1, 2, 4, 8), {"schema": 1})
    assert Path("S/study.json").read_text() == before
    folders.extended(loaded, (8,), (1,), 3, {"schema": 1})
    assert folders.load("S") == more


def test_a_study_is_of_a_program_and_an_input_as_they_were(monkeypatch: pytest.MonkeyPatch):
    jobs = {"program": parse_any(OWN), "input": parse_any(PIPELINE.replace("in.npy", "in.npy::"))}
    assert runs.sources_of(parse_any(HEAT)) == {}
    for source, path in (("program", "own.py"), ("input", "in.npy")):
        for small in (1 << 20, 3):
            monkeypatch.setattr(study, "SMALL", small)
            known = runs.sources_of(jobs[source])
            made = make(f"{source}-{small}", sources=known)
            assert study.differences(folders.load(made.path), PIPELINE, [], "strong", sources=known) == []
            Path(path).write_bytes(Path(path).read_bytes() + b"#")
            changed = study.differences(made, PIPELINE, [], "strong", sources=runs.sources_of(jobs[source]))
            assert changed == [f"its {source} is not the file that it was"]
    assert study.differences(make("old"), PIPELINE, [], "strong", sources=known) == []


@pytest.mark.parametrize(
    ("text", "words"), [(None, "is no study"), ("{", "not valid JSON"), ('{"schema": 9}', "schema 9"),
                        ('{"schema": 1}', "damaged"), ("[" * 100_000, "nested more than")]
)  # fmt: skip
def test_folders_that_hold_no_study(text: str | None, words: str):
    Path("S").mkdir()
    if text is not None:
        Path("S/study.json").write_text(text)
    with pytest.raises(UsageError, match=words):
        folders.load("S")


def test_the_table_is_of_medians():
    made = make(counts=(1, 2), repeat=3)
    for ranks, times in ((1, (2.0, 2.2, 9.0)), (2, (1.0, 1.1, 1.2))):
        for repeat, seconds in enumerate(times, 1):
            keep(made, ranks, repeat, record(seconds))
    loaded = folders.load("S")
    shown = summary.table(loaded).splitlines()
    assert shown[1].split() == ["1", "1", "3", "2.200", "318.2%", "1.00", "1.00"]
    assert shown[2].split() == ["2", "1", "3", "1.100", "18.2%", "2.00", "1.00"]
    assert "all 6 runs, on 1 and 2 ranks, ended in the same bits" in summary.same_bits(loaded)


# ---- Jobs as they are run --------------------------------------------------------------------------------------------


def test_checkpoints_and_in_weak_studies_the_end_in_time_are_left_out():
    strong, grown = (runs.plain_job(HEAT, "heat.toml", mode) for mode in ("strong", "weak"))
    assert strong == HEAT[: HEAT.index("[checkpoint]")]
    assert grown == strong.replace("until = 9.0\n", "")
    for text in ("checkpoint = {}\n" + HEAT.partition("[checkpoint]")[0], "checkpoint.keep = 3\n" + PIPELINE):
        with pytest.raises(UsageError, match="lines of its own"):
            runs.plain_job(text, "heat.toml", "strong")


def test_settings_that_have_no_place_are_left_out():
    made = make(settings=("checkpoint.keep=3", "gaussian_filter.sigma=2"))
    words = runs.run_arguments(made, 2, 1)
    assert words[:3] == ["S/job.toml", "--set", "gaussian_filter.sigma=2"]
    assert words[3:] == ["--set", 'output.path="S/points/r00002-t1/scratch/out.h5"']


@pytest.mark.parametrize(
    ("program", "extra", "ranks", "expected"),
    [
        ("heat", "shape = [10, 16]", 1, []),
        ("heat", "shape = [10, 16]", 2, ["shape=[10, 32]", "length=[1.0, 2.0]"]),
        ("heat", "shape = [10, 16]\nlength = [0.1, 3]", 4, ["shape=[20, 32]", "length=[0.2, 6.0]"]),
        ("euler", "shape = [400]", 3, ["shape=[1200]", "length=[3.0]"]),
        ("grayscott", "shape = [20, 16]", 2, ["shape=[40, 16]", "length=5.0"]),  # of the longer axis
        ("wave", "shape = [64, 64, 64]\nsponge = 3", 8, ["shape=[128, 128, 128]", "length=[4000.0, 4000.0, 4000.0]"]),
    ],
)
def test_simulations_grow_and_their_cells_stay_as_large(program: str, extra: str, ranks: int, expected: list[str]):
    text = f'[simulation]\nprogram = "{program}"\nsteps = 3\n{extra}\n[output]\npath = "x.h5"\n'
    job = parse_any(text)
    growth.check(job)
    settings = growth.settings(job, ranks, Path("inputs"))
    assert settings == [f"simulation.{words}" for words in expected]
    parse_any(text, settings=settings)


def test_growth_and_layout_of_ranks_meet():
    for shape in ((64, 64), (100, 30), (7, 50, 20), (1000,)):
        for ranks in (1, 2, 3, 4, 6, 8, 12, 64, 100):
            factors = growth.factors_of(shape, ranks)
            assert np.prod(factors) == ranks, (shape, ranks)
            if shape == (64, 64) and ranks in (4, 64, 100):
                assert factors[0] == factors[1]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ('program = "heat"\nuntil = 1.0', "simulation.steps"),
        ('program = "cavity"\nsteps = 3', "no parameter `shape`"),
        ('program = "heat"\nsteps = 3\n[grid]\nsizes = [[64, 64], []]', "sizes"),
    ],
)
def test_jobs_that_cannot_grow(extra: str, words: str):
    job = parse_any(f'[simulation]\n{extra}\n[output]\npath = "x.h5"\n')
    with pytest.raises(UsageError, match=words):
        growth.check(job)


@pytest.mark.parametrize("region", [None, "1:6, ::2"])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_inputs_are_tiled_in_blocks_without_seams(
    region: str | None, channels: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
):
    values = np.arange(7 * 9 * int(np.prod(channels)), dtype="i4").reshape(7, 9, *channels)
    with h5py.File("in.h5", "w") as file:
        file["u"] = values
    lines = f'region = "{region}"\n' if region else ""
    text = PIPELINE.replace('path = "in.npy"', f'path = "in.h5"\ncomponents = {len(channels)}\n{lines}')
    job = parse_any(text)
    assert isinstance(job, Job)
    monkeypatch.setattr(growth, "BLOCK", 150)
    path = growth.prepare(job, 6, Path("inputs"))
    assert path == Path("inputs/r00006.h5")
    part = values[1:6, ::2] if region else values
    factors = growth.factors_of(part.shape[:2], 6)
    wider = [(0, n * (f - 1)) for n, f in zip(part.shape, factors, strict=False)]
    with h5py.File(path) as file:
        np.testing.assert_array_equal(
            file[growth.DATASET][...], np.pad(part, wider + [(0, 0)] * len(channels), "symmetric")
        )
    grown = parse_any(text, settings=growth.settings(job, 6, Path("inputs")))
    assert isinstance(grown, Job)
    assert grown.input.components == len(channels)
    assert main(["verify", str(path), "--quiet"]) == 0
    before = path.stat().st_mtime_ns
    growth.prepare(job, 6, Path("inputs"))
    assert path.stat().st_mtime_ns == before
    os.utime("in.h5")
    growth.prepare(job, 6, Path("inputs"))
    assert path.stat().st_mtime_ns > before


# ---- Real runs -------------------------------------------------------------------------------------------------------


def test_a_study_that_is_interrupted_goes_on(capsys: pytest.CaptureFixture[str]):
    options = ["scale", "job.toml", "--ranks", "1,2", "--repeat", "1", "--folder", "S"]
    first = folders.record_path(Path("S"), 1, 1, 1)
    # What a shell starts with & ignores the signal, and so do all its children.
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *WORDS, *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    try:
        while not first.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
    assert process.returncode == 130, output
    assert "the same command goes on" in output
    assert not list(Path("S").rglob("scratch"))
    before = first.stat().st_mtime_ns
    assert main(options) == 0
    shown = capsys.readouterr().out
    assert first.stat().st_mtime_ns == before
    assert "S: 1 of 2 runs to make, strong, on 1, 2 ranks" in shown
    assert "1 rank ×" not in shown
    assert "all 2 runs, on 1 and 2 ranks, ended in the same bits" in shown
    assert "mpibatch report S" in shown
    loaded = folders.load("S")
    assert [(point.ranks, len(point.runs)) for point in loaded.points] == [(1, 1), (2, 1)]
    run = loaded.points[1].runs[0]
    assert (run.kind, run.cells, run.shape, run.steps) == ("pipeline", 240, (12, 20), 1)
    assert run.launch_seconds > run.total > 0
    assert run.raw["point"]["commit"] == local_machine.commit_here()
    assert run.digest == loaded.points[0].runs[0].digest
    assert not list(Path("S").rglob("*.h5"))
    # All is there: nothing is run, and another study is not this one.
    assert main(options) == 0
    assert "to make" not in capsys.readouterr().out
    for more, words in (
        (["--set", "gaussian_filter.sigma=2"], "settings are none, asked for are gaussian_filter.sigma=2"),
        (["--mode", "weak"], "mode is strong, asked for is weak"),
        (["--machine", "job.toml"], "not valid JSON"),
    ):
        assert main([*options, *more]) == 2
        assert words in capsys.readouterr().err
    Path("m.json").write_text('{"schema": 1, "name": "m", "cores_per_node": 2, "triad": {"1": 9}}')
    assert main([*options, "--machine", "m.json"]) == 0
    assert (folders.load("S").profile_of_machine or {})["name"] == "m"
    # Bits that differ are told, loudly.
    raw = json.loads(first.read_text())
    first.write_text(json.dumps({**raw, "digest": "00" * 32}))
    assert main(options) == 1
    assert "000000000000…  1×1 run 1" in capsys.readouterr().err


def test_a_weak_study_of_a_simulation_has_the_values_of_one_rank(capsys: pytest.CaptureFixture[str]):
    options = ["--set", "simulation.initial=hill"]
    assert main(["scale", "heat.toml", "--mode", "weak", "--ranks", "2", "--repeat", "1", *options]) == 0
    (point,) = folders.load("scaling-heat-weak").points
    run = point.runs[0]
    assert (run.shape, run.steps, run.cells // run.ranks) == ((10, 32), 7, 160)
    same = ["--set", "simulation.shape=[10,32]", "--set", "simulation.length=[1,2]"]
    assert main(["run", "scaling-heat-weak/job.toml", "--quiet", *options, *same]) == 0
    capsys.readouterr()
    assert main(["verify", "heat.h5"]) == 0
    assert run.digest[:12] in capsys.readouterr().out


def test_a_weak_study_of_a_pipeline_filters_the_tiled_input():
    options = ["--mode", "weak", "--ranks", "2", "--repeat", "1", "--keep-outputs", "--folder", "S", "--quiet"]
    assert main(["scale", "job.toml", *options]) == 0
    (point,) = folders.load("S").points
    assert point.runs[0].shape == (12, 40)
    tiled = np.pad(np.load("in.npy"), ((0, 0), (0, 20)), "symmetric")
    with h5py.File("S/points/r00002-t1/run-01.h5") as file:
        np.testing.assert_array_equal(file["smooth"][...], ndimage.gaussian_filter(tiled, 1))
    assert inspect("S/inputs/r00002.h5").shape == (12, 40)


def test_a_failing_point_is_told_and_the_others_go_on(capsys: pytest.CaptureFixture[str]):
    assert main(["scale", "own.toml", "--ranks", "1,2", "--repeat", "1", "--folder", "S"]) == 1
    captured = capsys.readouterr()
    assert "2 ranks × 1 thread, warm-up: failed: exit code 1: mpibatch: error: two are too many" in captured.out
    assert "1 of 2 runs are missing" in captured.err
    assert "points/r00002-t1/run-00.log" in captured.err
    loaded = folders.load("S")
    assert [point.ranks for point in loaded.points] == [1]
    assert [(failure.ranks, failure.repeat) for failure in loaded.failures] == [(2, 0)]
    assert "two are too many; use one" in loaded.failures[0].reason
    assert not list(Path("S").rglob("scratch"))


def test_a_run_that_hangs_is_ended_at_its_limit(capsys: pytest.CaptureFixture[str]):
    hangs = ["--set", "simulation.hangs=true", "--timeout", "8"]
    begin = time.monotonic()
    assert main(["scale", "own.toml", "--ranks", "2", "--repeat", "3", "--folder", "S", *hangs]) == 1
    assert time.monotonic() - begin < 30
    assert "it took longer than the time limit of 8 s" in capsys.readouterr().err
    pids = [*Path().glob("pid-*")]
    assert len(pids) == 2
    for path in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)


# ---- Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ranks", "0,1"], "--ranks 0,1: 0 cannot be run"),
        (["--ranks", ""], "write whole numbers"),
        (["--ranks", "1,two"], "write whole numbers"),
        (["--ranks", "1,2,2"], "2 is there twice"),
        (["--ranks", "2", "--threads", "0"], "--threads 0"),
        (["--ranks", "2", "--repeat", "0"], "--repeat 0"),
        (["--ranks", "2", "--timeout", "0"], "--timeout 0"),
        (["--ranks", "2", "--mode", "both"], "invalid choice: 'both'"),
        ([], "required: --ranks"),
        (["--ranks", "2", "--folder", "job.toml/x"], "cannot be written"),
        (["--ranks", "2", "--folder", "full"], "is not empty, and holds no study"),
        (["--ranks", "2", "--wait"], "give --profile, too"),
        (["--ranks", "2", "--profile", "nowhere"], "nowhere"),
        (["--ranks", "2", "--set", "gaussian_filter.sigm=1"], "sigm"),
        (["--ranks", "1,2,3", "--set", "grid.topology=[0,2]"], "a study cannot run on 1, 3 ranks"),
        (["--ranks", "2", "--machine", "job.toml"], "not valid JSON"),
    ],
)
def test_bad_input_is_one_message_and_leaves_no_folder(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
):
    Path("full").mkdir()
    Path("full/letter.txt").write_text("dear")
    assert main(["scale", "job.toml", *options]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert "Traceback" not in message
    assert not Path("scaling-job-strong").exists()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MPIBATCH_MPIEXEC", "no-such-launcher -n", "there is no such command"),
        ("MPIBATCH_MPIEXEC", "mpiexec 'x", "quote it"),
        ("PMI_RANK", "0", "leave mpiexec out"),
    ],
)
def test_wrong_surroundings(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv(name, value)
    assert main(["scale", "job.toml", "--ranks", "2"]) == 2
    assert words in capsys.readouterr().err


def test_no_mpiexec_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("MPIBATCH_MPIEXEC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(UsageError, match="there is no mpiexec"):
        local_machine.launcher()


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH, for an sbatch that refuses jobs on more ranks than one."""
    pytest.importorskip("jinja2")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin" / "sbatch"


def refusing(path: Path, ranks: int) -> None:
    """Make an sbatch that refuses jobs on so many ranks."""
    path.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"if 'ntasks-per-node={ranks}\\n' not in sys.stdin.read():\n    sys.exit(print(7))\n"
        "sys.exit('sbatch: error: Invalid qos specification')\n"
    )
    path.chmod(0o755)


def test_a_study_that_slurm_does_not_take_is_not_in_the_way(sbatch: Path, capsys: pytest.CaptureFixture[str]):
    on_slurm = ["scale", "job.toml", "--ranks", "1,2", "--profile", "laptop", "--time", "30"]
    made = Path("scaling-job-strong")
    assert main(on_slurm) == 2
    assert "there is no sbatch" in capsys.readouterr().err
    assert not made.exists()
    refusing(sbatch, ranks=1)
    assert main(on_slurm) == 2
    assert "sbatch refuses the job: Invalid qos" in capsys.readouterr().err
    assert not made.exists()
    # Where the first job was taken, or a study was there before, it stays.
    refusing(sbatch, ranks=2)
    assert main(on_slurm) == 2
    assert made.joinpath("points", "r00001-t1", "submitted").exists()
    assert folders.load(made).profile == "laptop"
    folders.create("S", name="job", mode="strong", job=PIPELINE, source="job.toml", counts=(2,), profile="laptop")
    assert main([*on_slurm, "--ranks", "2", "--folder", "S"]) == 2
    assert folders.load("S").counts == (2,)


def test_two_at_a_time_in_one_folder(capsys: pytest.CaptureFixture[str]):
    import fcntl

    make(counts=(2,), repeat=1)
    handle = os.open("S/.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert main(["scale", "job.toml", "--ranks", "4", "--repeat", "1", "--folder", "S"]) == 2
    finally:
        os.close(handle)
    assert folders.load("S").counts == (2,)  # as it was
    assert "another mpibatch scale is making runs in S" in capsys.readouterr().err
