"""`mpibatch drill`: a line for each fault, and what is wrong is told."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mpibatch.cli import main
from mpibatch.tools.drill import kills, losses
from mpibatch.tools.drill.launch import processes_of
from mpibatch.tools.drill.verdicts import FAULTS, drill

if TYPE_CHECKING:
    from pathlib import Path


def test_faults_end_as_they_must(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["drill", "--only", "full-disk,bit-flips,early-exit", "--seconds", "2", "--folder", str(tmp_path)]
    assert main([*command, "--json"]) == 0, capsys.readouterr().out
    report = json.loads(capsys.readouterr().out)
    assert report["good"]
    assert [verdict["fault"] for verdict in report["verdicts"]] == ["full-disk", "bit-flips", "early-exit"]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_faults_of_ranks(capsys: pytest.CaptureFixture[str]) -> None:
    """One of each kind: of the others the drills of checkpoints and of the supervisor make some, by the same code."""
    some = ["kill-rank", "skipped-collective", "slow-rank"]
    assert {*some} < {*FAULTS}
    assert main(["drill", "--only", ",".join(some)]) == 0, capsys.readouterr().out
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[:-1]] == some


def test_what_is_not_as_it_must_be_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk with room for what is written."""
    monkeypatch.setattr(losses, "WAYS", {**losses.WAYS, "large": losses.WAYS["small"]})
    assert main(["drill", "--only", "full-disk", "--folder", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "FAIL full-disk" in shown
    assert "exit code 0, not 1" in shown
    assert "not as they must: full-disk" in shown


def test_a_kill_that_did_not_come_is_told(tmp_path: Path) -> None:
    moment = kills.Moment("step", 0, "before", "rank", 0, 0.0)
    for program, words in (("true", "ended with 0"), ("echo no such rank >&2; exit 3", "ended with 3: no such rank")):
        with pytest.raises(AssertionError, match=f"was to be killed, and {words}"):
            kills.kill_and_resume(tmp_path, moment, 0, (b"", b""), ["sh", "-c", program])


def test_a_first_run_that_fails_is_the_problem(tmp_path: Path) -> None:
    (problem,) = losses.full_disk(tmp_path, ["false"])
    assert problem.startswith("small: exit code 1, not 0")


def test_halts_are_shorter_than_what_is_an_alarm_and_all_of_them_longer() -> None:
    assert 2 * losses.HALT < losses.ALARM < losses.STEPS * losses.HALT - losses.HALT


def test_ranks_that_do_not_end_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a launcher that leaves its rank alone when it is killed."""
    for module in (kills, losses):
        monkeypatch.setattr(module, "LIMIT", 0.3)
    rank = f"{sys.executable} -c 'import time; time.sleep(60)' \"$@\" & wait"
    start = ["sh", "-c", rank, "sh"]
    assert losses.full_disk(tmp_path, start) == ["small: no end within 0.3 s"]
    assert processes_of(tmp_path) == []
    with pytest.raises(subprocess.TimeoutExpired):
        kills.kill_and_resume(tmp_path, kills.Moment("step", 0, "before", "rank", 0, 0.0), 0, (b"", b""), start)
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--only", "kill"], 2, "no such fault"),
        (["--times", "0"], 2, "--times"),
        (["--folder", "/no/such"], 2, "no such folder"),
        (["--launcher", "no-such-launcher -n 2"], 2, "there is no no-such-launcher"),
        (["--launcher", f"{sys.executable} -c pass"], 1, "starts no ranks"),
    ],
)
def test_bad_input(options: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", *options]) == code
    assert words in capsys.readouterr().err


def test_one_rank_shows_no_hang(tmp_path: Path) -> None:
    (tmp_path / "alone.py").write_text("import os, sys\nos.execv(sys.argv[1], sys.argv[1:])\n")
    start = [sys.executable, str(tmp_path / "alone.py")]
    hang, flips = drill(start, ["stopped-rank", "bit-flips"], times=1, seconds=2, folder=tmp_path)
    assert "needs 2 ranks" in hang.problems[0]
    assert flips.is_good, flips.problems
