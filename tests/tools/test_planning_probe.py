"""`mpibatch probe` on this machine, and what it predicts against what runs take."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mpibatch.tools.planning import profile as profiles

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Launch

HEAT = """
[simulation]
program = "heat"
steps = 200
shape = [208, 208, 208]
[output]
path = "heat.h5"
"""
FILTERS = """
[input]
path = "in.npy"
[[step]]
filter = "gaussian_filter"
sigma = 2
[output]
path = "out.h5"
"""
OBJECTS = """
[input]
path = "in.npy"
[[step]]
name = "smooth"
filter = "gaussian_filter"
sigma = 2
[[step]]
filter = "threshold_otsu"
[[step]]
filter = "label"
[[step]]
filter = "regionprops_table"
intensity = "smooth"
properties = ["label", "area", "intensity_mean"]
save = true
[output]
path = "out.h5"
"""
PROGRAM = """
from dataclasses import dataclass
@dataclass(frozen=True)
class Parameters:
    shape: tuple[int, ...] = (64, 64)
def run(p, simulation):
    {}
"""
JOBS = {"heat": HEAT, "filters": FILTERS}
TRIES = 3
WITHIN = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("probe")
    for name, text in JOBS.items():
        (made / f"{name}.toml").write_text(text)
    (made / "objects.toml").write_text(OBJECTS)
    np.save(made / "in.npy", np.random.default_rng(1).random((4600, 4000), dtype="f4"))  # 74 MB
    return made


def run(launch: Launch, folder: Path, ranks: int, *arguments: str) -> Any:
    done = launch(ranks, "-m", "mpibatch", *arguments, cwd=folder, timeout=100.0)
    assert done.returncode == 0, done.stderr
    return done


def settle() -> None:
    """Have the host of a virtual machine back free memory, whose first use costs ten times as much otherwise."""
    np.empty(1 << 29, "u1")[::4096] = 1


def measured(launch: Launch, folder: Path, name: str, ranks: int) -> dict[str, Any]:
    record = folder / f"{name}-{ranks}.json"
    settle()
    done = launch(
        ranks, "-m", "mpibatch", "run", f"{name}.toml",
        cwd=folder, timeout=100.0, env={**os.environ, "MPIBATCH_RECORD": str(record)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "predicted" in done.stdout
    account: dict[str, Any] = json.loads(record.read_text())["run"]
    return account


def seconds_of(record: dict[str, Any]) -> float:
    if record["kind"] == "simulation":
        return float(record["laps"]["steps"]) / int(record["steps"])
    return sum(float(taken) for name, taken in record["laps"].items() if name not in ("reading", "writing"))


@pytest.mark.parametrize("name", JOBS)
def test_runs_on_1_and_2_ranks_are_as_foretold(launch: Launch, folder: Path, name: str) -> None:
    """Memory; of time no more than its order, which others change who compute here: scripts/bench_plan.py measures."""
    ratios: list[tuple[int, float, float]] = []

    def is_close(ranks: int) -> bool:
        return any(
            n == ranks and 1 <= memory <= 1 / 0.7 and 1 / WITHIN < seconds < WITHIN for n, memory, seconds in ratios
        )

    for number in range(TRIES):
        settle()
        run(launch, folder, 2, "probe", f"{name}.toml", "--seconds", "3", "--quiet", *(["--anew"] if number else []))
        for ranks in [n for n in (1, 2) if not is_close(n)]:
            record = measured(launch, folder, name, ranks)
            prediction = record["predicted"]
            memory = prediction["memory"] / record["memory"]["most"]
            ratios.append((ranks, memory, prediction["seconds_per_step"] / seconds_of(record)))
        if is_close(1) and is_close(2):
            return
    pytest.fail(f"ranks, and predicted over measured bytes and seconds of a step: {ratios}")


def test_a_slow_machine_foretells_the_same_memory(launch: Launch, folder: Path) -> None:
    """A tenth of the seconds, as if it were ten times as slow: what tells memory is large all the same."""
    for _ in range(TRIES):
        run(launch, folder, 2, "probe", "heat.toml", "--seconds", "0.3", "--quiet", "--output", "slow.json")
        slow, usual = (
            next(work for work in profiles.load(path).work if work.job == "heat.toml")
            for path in (folder / "slow.json", folder / ".mpibatch" / "machine.json")
        )
        ratio = slow.memory_per_cell / usual.memory_per_cell
        if 0.6 < ratio < 1.1:
            return
    pytest.fail(f"bytes a cell, of a slow machine over those of this: {ratio}")


def test_the_profile_knows_both_jobs_and_the_machine(folder: Path) -> None:
    machine = profiles.load(folder / ".mpibatch" / "machine.json")
    assert {work.job for work in machine.work} == {"heat.toml", "filters.toml"}
    assert set(machine.triad) == set(machine.write) == {1, 2}
    assert all(rate > 0 for rate in (*machine.triad.values(), *machine.write.values(), *machine.read.values()))
    assert machine.links is not None
    assert machine.links.latency < 0.1
    for work in machine.work:
        assert work.steps[0].exchanges
        assert set(work.steps[0].seconds_per_cell) == {1, 2}
        is_simulation = work.kind == "simulation"
        assert set(work.warmup) == ({1, 2} if is_simulation else set())
        assert (work.first_use > 0) == is_simulation
        assert work.output_per_cell == pytest.approx(8 if is_simulation else 4)
    assert not [*folder.glob("mpibatch-probe-*")]


def test_memory_of_labels_and_tables_is_as_foretold(launch: Launch, folder: Path) -> None:
    run(launch, folder, 2, "run", "objects.toml", "--quiet")  # compiles, which takes memory, too
    run(launch, folder, 2, "probe", "objects.toml", "--seconds", "1", "--quiet")
    record = measured(launch, folder, "objects", 2)
    assert 1 <= record["predicted"]["memory"] / record["memory"]["most"] <= 1 / 0.7


@pytest.mark.parametrize(
    ("failure", "words"), [("raise ValueError('of mine')", "ValueError: of mine"), ("exit(3)", "3")]
)
def test_a_program_that_fails_on_the_rank_that_is_alone(launch: Launch, folder: Path, failure: str, words: str) -> None:
    (folder / "bad.py").write_text(PROGRAM.format(failure))
    (folder / "bad.toml").write_text('[simulation]\nprogram = "bad.py"\nsteps = 5\n[output]\npath = "bad.h5"\n')
    done = launch(2, "-m", "mpibatch", "probe", "bad.toml", "--seconds", "1", cwd=folder)
    assert done.returncode == 1, done.stderr
    assert "probing bad.toml" in done.stderr
    assert words in done.stderr
    assert "ending the others" not in done.stderr  # all have agreed
    assert not [*folder.glob("mpibatch-probe-*")]


def test_one_rank_alone_probes_too(launch: Launch, tmp_path: Path) -> None:
    text = HEAT.replace("[208, 208, 208]", "[64, 64]").replace("steps = 200", "until = 0.001")
    (tmp_path / "small.toml").write_text(text)
    (tmp_path / ".mpibatch").mkdir()
    (tmp_path / ".mpibatch" / "machine.json").write_text("{")  # damaged: --anew replaces it
    done = run(launch, tmp_path, 0, "probe", "small.toml", "--seconds", "0.5", "--anew")
    assert "small.toml" in done.stdout
    plan = run(launch, tmp_path, 0, "plan", "small.toml", "--ranks", "1,2")
    assert "messages take no time here" in plan.stdout
    machine = profiles.load(tmp_path / ".mpibatch" / "machine.json")
    assert machine.links is None
    length = machine.work[0].step_length
    assert length is not None
    assert length.power == pytest.approx(-2, abs=0.1)  # as the scheme's limit goes


def test_probes_that_cannot_be_meant(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"schema": 1, "name": "X", "cores_per_node": 9999, "triad": {"1": 1}}')
    (tmp_path / "old.json").write_text('{"schema": 0}')
    (tmp_path / "small.toml").write_text(HEAT)
    for arguments, code, words in (
        (["small.toml", "--output", "other.json"], 2, "not of this machine"),
        (["small.toml", "--output", "old.json"], 2, "--anew"),
        (["small.toml", "--folder", "nowhere"], 1, "nowhere"),
        (["small.toml", "--seconds", "-1"], 2, "--seconds -1"),
    ):
        done = launch(0, "-m", "mpibatch", "probe", *arguments, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr
