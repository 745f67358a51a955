"""What an attempt amounted to, and whether there shall be another: without Slurm, from what it would leave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mpibatch.cli import main
from mpibatch.tools.slurm import attempts, completion, submissions
from mpibatch.tools.slurm.attempts import AGAIN, judge
from mpibatch.tools.slurm.submissions import Submission


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(completion, "_noted", {})
    for name in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_CLUSTER_NAME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("code", "own", "chain", "idle", "verdict"),
    [
        (0, 0, False, 0, 0),
        (1, 0, False, 0, 0),  # the launcher stumbled after the run was complete
        (0, None, False, 0, 1),  # it says 0, but nobody says that the run ended
        (0, None, True, 0, AGAIN),
        (0, None, True, 2, 1),
        (75, 75, False, 0, AGAIN),
        (75, 75, True, 0, AGAIN),
        (75, None, True, 1, AGAIN),
        (75, 75, True, 2, 1),
        (0, 75, True, 0, AGAIN),
        (2, 2, True, 0, 2),
        (1, None, True, 0, 1),
        (137, None, False, 0, 137),
        (137, None, True, 1, AGAIN),
        (137, None, True, 2, 1),
        (0, 1, True, 0, 1),
    ],
)
def test_judgment(code, own, chain, idle, verdict):
    record = None if own is None else {"code": own}
    assert judge(code, record, chain, idle).code == verdict
    if verdict == AGAIN and chain:
        assert judge(code, record, chain, idle, cancelled=True).code == 1


def attempt(restart: int, step: str, code: int = 75, job: str = "5") -> int:
    """Make one attempt of a chain that leaves the newest checkpoint `step`; return the verdict at its begin or end."""
    environment = {"SLURM_JOB_ID": job, "SLURM_RESTART_COUNT": str(restart)}
    before = next((line["step"] for line in reversed(attempts.read_attempts(Path("state"))) if "step" in line), "")
    if attempts.begin(Path("state"), environment, before).code:
        return -1
    return attempts.end(Path("state"), environment, code, chain=True, step=step).code


def test_an_attempt_without_progress_is_forgiven_once():
    steps = ("10", "20", "20", "30", "30", "30")
    assert [attempt(restart, step) for restart, step in enumerate(steps)] == [75] * 5 + [1]
    # Whoever starts it once more, as Slurm does after a lost node, is told the same.
    assert attempt(6, "30") == -1


def test_attempts_that_slurm_ended_count_too():
    state = Path("state")
    for restart in range(2):
        assert attempts.begin(state, {"SLURM_JOB_ID": "5", "SLURM_RESTART_COUNT": str(restart)}, "10").code == 0
    assert attempts.begin(state, {"SLURM_JOB_ID": "5", "SLURM_RESTART_COUNT": "2"}, "10").code == 1
    assert attempts.begin(state, {"SLURM_JOB_ID": "5", "SLURM_RESTART_COUNT": "2"}, "20").code == 0


def test_a_successor_is_an_attempt_of_the_same_run():
    assert attempt(0, "10") == 75
    attempts.follow(Path("state"), "6")
    assert attempt(0, "10", job="6") == 75
    assert attempt(0, "10", job="7") == 1


def test_attempts_of_another_cluster_are_forgotten():
    assert [attempt(0, ""), attempt(1, "")] == [75, 1]
    Path("state/cancelled").touch()
    assert attempt(0, "") == 75
    assert len(attempts.read_attempts(Path("state"))) == 2


def test_a_record_of_another_attempt_proves_nothing(monkeypatch):
    monkeypatch.setenv("MPIBATCH_RECORD", "state/record.json")
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    Path("out.h5").write_bytes(b"1234")
    completion.note(output="out.h5")
    completion.leave(0)
    record = json.loads(Path("state/record.json").read_text())
    assert (record["code"], record["job"], record["bytes"]) == (0, "5", 4)
    mine, other = {"SLURM_JOB_ID": "5"}, {"SLURM_JOB_ID": "5", "SLURM_RESTART_COUNT": "1"}
    assert attempts.end(Path("state"), mine, 0).code == 0
    assert attempts.end(Path("state"), other, 0).code == 1
    assert attempts.begin(Path("state"), other, "").code == 0
    assert not Path("state/record.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"code": "0"}', "null"])
def test_a_broken_record_is_none(text):
    Path("record.json").write_text(text)
    assert completion.read(Path("record.json")) is None


def test_a_run_leaves_no_record_unless_asked(monkeypatch):
    monkeypatch.delenv("MPIBATCH_RECORD", raising=False)
    completion.leave(0)
    monkeypatch.setenv("MPIBATCH_RECORD", "record.json")
    monkeypatch.setenv("SLURM_PROCID", "1")
    completion.leave(0)
    assert not [*Path().iterdir()]


def test_the_newest_checkpoint_is_progress():
    assert attempts.newest_step(None) == attempts.newest_step("none") == ""
    Path("c").mkdir()
    for name in ("step-000000009.h5", "step-000000010.h5", "step-000000011.h5.part", "other.h5"):
        Path("c", name).touch()
    assert attempts.newest_step("c") == "10"


def test_the_verdict_as_a_command(capsys):
    assert main(["verdict", "state", "--begin"]) == 0
    assert main(["verdict", "state", "--code", "75", "--stopping", "3"]) == 75
    assert main(["verdict", "state", "--successor", "9"]) == 0
    output = capsys.readouterr().out
    assert output == (
        "mpibatch: the run begins\n"
        "mpibatch: not done; a checkpoint was saved; go on with: mpibatch submit --chain, or mpibatch run --resume\n"
    )
    assert [line["event"] for line in attempts.read_attempts(Path("state"))] == ["begin", "end", "successor"]


def entry(number: str, **others: str) -> Submission:
    values = {"name": "heat", "kind": "chain", "job": "heat.toml", "profile": "p", "submitted": "", "script": ""}
    return Submission(number=number, ranks=1, tasks=1, **(values | others))


def test_the_ledger_keeps_what_was_submitted():
    submissions.prepare()
    for number in ("1", "2", "1"):
        submissions.add(entry(number))
    with Path(".mpibatch/jobs.jsonl").open("a") as file:
        file.write('{"number": "3", "na\n')
    assert [submission.number for submission in submissions.entries()] == ["2", "1"]
    state = submissions.state_of(entry("2"))
    state.mkdir()
    (state / "attempts.jsonl").write_text(
        '{"event": "end", "code": 75, "stopping": 9}\n{"event": "end", "code": 1, "stopping": 99}\n'
        '{"event": "successor", "job": "8"}\n{"event": "end", "code": 75}\n{"eve'
    )
    assert submissions.latest(entry("2")) == "8"
    assert submissions.log_of(entry("2")) == Path("heat-8.out")
    assert submissions.measured_stopping("heat") == 9
    assert submissions.measured_stopping("other") is None


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["status"], 0, "nothing was submitted"),
        (["status", "5"], 2, "job 5 was not submitted from this folder"),
        (["logs"], 2, "nothing was submitted"),
        (["cancel"], 2, "name the jobs to cancel, or give --all"),
        (["cancel", "5"], 2, "job 5 was not submitted from this folder"),
        (["cancel", "5", "--all"], 2, "name the jobs to cancel, or give --all"),
    ],
)
def test_a_folder_without_jobs(arguments, code, words, capsys):
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert words in captured.out + captured.err
    assert not Path(".mpibatch").exists()


def test_results_of_a_pipeline_are_progress(tmp_path):
    assert attempts.newest_step(str(tmp_path)) == ""
    (tmp_path / "step-01-sobel-0123456789abcdef.h5").touch()
    first = attempts.newest_step(str(tmp_path))
    (tmp_path / "step-02-median_filter-0123456789abcdef.h5").touch()
    assert "" < first < attempts.newest_step(str(tmp_path))
    (tmp_path / "step-000000012.h5").touch()
    assert attempts.newest_step(str(tmp_path)) == "12"


@pytest.mark.parametrize(
    ("code", "number", "kept", "words"),
    [
        (0, "01", 0, "run-01: done"),
        (0, "00", None, "run-00: done"),
        (1, "02", 1, "run-02: failed with exit code 1"),
        (1, "00", 1, "run-00: failed"),  # a study tells why none of the others was made
        (75, "03", 75, "run-03: put off, as the time was up"),
    ],
)
def test_the_record_of_a_good_run_joins_its_study(code, number, kept, words, capsys):
    point = Path("study/points/r00002-t4")
    point.mkdir(parents=True)
    target = point / f"run-{number}.json"
    target.with_suffix(".log").write_text("begin\nmpibatch: error: no room\nend\n")
    main(["verdict", "state", "--begin"])
    Path("state/run.json").write_text(json.dumps({"code": code, **completion.attempt_of({})}))
    options = ["--record", "state/run.json", "--point", str(target), "--launch-microseconds", "2500000"]
    assert main(["verdict", "state", "--code", str(code), *options, "--command", "srun x"]) == code
    assert f"mpibatch: {words}" in capsys.readouterr().out
    assert target.exists() == (kept is not None)
    if kept is None:
        return
    record = json.loads(target.read_text())
    assert record["code"] == kept
    facts = ("ranks", "threads", "repeat", "launch_seconds", "command")
    assert [record["point"][key] for key in facts] == [2, 4, int(number), 2.5, ["srun x"]]
    assert '\n "code": 0,' in target.read_text() or kept  # what the script looks for
    if kept == 75:  # its job made no run that counts
        assert record["failure"].startswith("the time limit is too short for the warm-up and one run")
        for number, is_kept in (("01", False), ("02", True)):
            other = target.with_name("run-01.json")
            other.write_text(json.dumps({"code": 0, "point": {"slurm_job": "" if number == "01" else "9"}}))
            main(["verdict", "state", "--code", "75", *options])
            assert target.exists() == is_kept
    elif kept:
        assert record["failure"].startswith("exit code 1: mpibatch: error: no room\n")
