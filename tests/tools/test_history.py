"""The history: whatever is changed in it is seen, and runs that end at the same time all get into it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import mpibatch as mb
from mpibatch.cli import main
from mpibatch.tools.history import chain, entry, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.conftest import Launch

JOB = """\
[input]
path = "in.h5"

[[step]]
filter = "gaussian_filter"
sigma = 1

[output]
path = "out.h5"
"""


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "h" / "history.jsonl"
    monkeypatch.setenv("MPIBATCH_HISTORY", str(path))
    monkeypatch.delenv("MPIBATCH_PRIVATE", raising=False)
    return path


def filled(path: Path, count: int = 5) -> list[bytes]:
    for number in range(count):
        chain.append(path, {"job": f"job {number}", "text": "ä\n" * number})
    assert chain.verify(path) == chain.ChainReport(count, chain.verify(path).head, ())
    return path.read_bytes().splitlines(keepends=True)


def begin(ranks: int | None = 1, inputs: Iterable[str] = ()) -> None:
    entry.begin(ranks, command="run", job="job.toml", text="", inputs=inputs, outputs=[])


def test_every_changed_byte_is_seen(history: Path) -> None:
    whole = b"".join(filled(history, 3))
    for place in range(0, len(whole), 3):
        for bit in (1, 128):
            damaged = bytearray(whole)
            damaged[place] ^= bit
            history.write_bytes(damaged)
            assert chain.verify(history).problems, (place, bit)
    history.write_bytes(whole)
    assert not chain.verify(history).problems


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[1:], "removed"),
        (lambda lines: lines[:2] + lines[3:], "removed"),
        (lambda lines: lines[:-1], "at the end"),
        (lambda lines: lines[:-3], "at the end"),
        (lambda lines: [], "are gone"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "moved"),
        (lambda lines: [*lines[:3], lines[4], lines[3]], "moved"),
        (lambda lines: [*lines, lines[4]], "added"),
        (lambda lines: [*lines[:2], b"{}\n", *lines[2:]], "no entry"),
        (lambda lines: [line.replace(b"\n", b"\r") for line in lines], "no entry"),
        (lambda lines: [lines[0].replace(b"\n", b"\r\n"), *lines[1:]], "was changed"),
        (lambda lines: [*lines[:4], lines[4].replace(b"\n", b"\r\n")], "at the end are changed"),
        (lambda lines: [*lines[:4], lines[4].rstrip()], "cut it off"),
        (lambda lines: [*lines, b"\n"], "no entry"),
        (lambda lines: [line.replace(b"job 2", b"job 9") for line in lines], "was changed"),
        (lambda lines: [line.replace(b"job 4", b"job 9") for line in lines], "at the end are changed"),
    ],
)
def test_what_was_done_is_named(history: Path, change: Callable[[list[bytes]], list[bytes]], words: str) -> None:
    history.parent.mkdir()
    lines = filled(history)
    history.write_bytes(b"".join(change(lines)))
    report = chain.verify(history)
    assert any(words in problem for problem in report.problems), report.problems
    # What is appended later does not hide it, but for a history that begins anew.
    if history.stat().st_size:
        chain.append(history, {"job": "later"})
        if "at the end" not in words and words != "cut it off":
            assert chain.verify(history).problems


def test_a_history_written_anew_is_seen_by_a_digest_kept_elsewhere(history: Path) -> None:
    filled(history)
    kept = chain.verify(history).head
    chain.append(history, {"job": "later"})
    assert not chain.verify(history, kept).problems
    for path in history.parent.iterdir():
        path.unlink()
    chain.append(history, {"job": "another"})
    assert not chain.verify(history).problems
    assert "no entry has the digest" in chain.verify(history, kept).problems[0]


def test_an_entry_that_a_crash_cut_off_is_told_and_the_next_follows(history: Path) -> None:
    lines = filled(history)
    history.write_bytes(b"".join(lines) + b'{"number": 6, "jo')
    chain.append(history, {"job": "after"})
    (problem,) = chain.verify(history).problems
    assert "line 6 is no entry" in problem
    assert [entry["number"] for entry in chain.entries(history)] == [1, 2, 3, 4, 5, 7]
    # The head may be one behind: the power failed between both.
    for path in history.parent.iterdir():
        path.unlink()
    filled(history, 4)
    head = history.with_name("history.jsonl.head").read_bytes()
    chain.append(history, {"job": "last"})
    history.with_name("history.jsonl.head").write_bytes(head)
    assert not chain.verify(history).problems


def test_a_head_that_is_missing_or_old_is_told(history: Path) -> None:
    filled(history, 3)
    head = history.with_name("history.jsonl.head")
    old = head.read_bytes()
    head.unlink()
    (problem,) = chain.verify(history).problems
    assert problem.startswith(f"{head} is missing")
    for _ in range(2):
        chain.append(history, {"job": "later"})
    head.write_bytes(old)  # as it was before two entries
    assert "the last entry was number 3" in chain.verify(history).problems[0]


def test_several_look_at_once_and_no_run_meanwhile(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(history, 2)
    monkeypatch.setattr(chain, "PATIENCE", 0.05)
    with history.open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not chain.verify(history).problems
        with pytest.raises(mb.RunError, match="another process holds the history"):
            chain.append(history, {})
    chain.append(history, {})


def test_runs_that_end_at_the_same_time(history: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from mpibatch.tools.history.chain import append\n"
        "for n in range(10): append(Path(sys.argv[1]), {'who': sys.argv[2], 'n': n})"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(history), str(n)]) for n in range(4)]
    assert [process.wait(120) for process in running] == [0] * 4
    assert chain.verify(history).problems == ()
    known = [(entry["who"], entry["n"]) for entry in chain.entries(history)]
    assert sorted(known) == [(str(who), n) for who in range(4) for n in range(10)]


def test_a_link_is_not_followed_and_others_may_not_write(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(history)
    history.chmod(0o666)
    assert "everybody may write it" in chain.verify(history).problems[0]
    history.rename(history.with_name("other"))
    history.symlink_to("other")
    with pytest.raises(OSError, match="symbolic"):
        chain.append(history, {})


def test_the_command(history: Path, launch: Launch, capsys: pytest.CaptureFixture[str]) -> None:
    mb.save("in.h5", u=mb.Grid((6, 8)).from_function(lambda y, x: y * x))
    Path("job.toml").write_text(JOB)
    assert main(["history"]) == 0
    assert main(["history", "verify"]) == 1
    assert launch(2, "-m", "mpibatch", "run", "job.toml", "--quiet", cwd=history.parent.parent).returncode == 0
    assert main(["run", "job.toml", "--quiet", "--private", "--set", "output.path=there/out.h5"]) == 1  # no such folder
    assert main(["run", "no-such.toml"]) != 0  # never began
    assert main(["run", "job.toml", "--dry-run"]) == 0
    capsys.readouterr()
    assert main(["history", "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["ranks"], first["code"], second["ranks"], second["code"]) == (2, 0, 1, 1)
    (given,), (made,) = first["inputs"], first["outputs"]
    assert given["digest"] == mb.io.verify("in.h5").content
    assert made["digest"] == mb.io.verify("out.h5").content
    assert (second["user"], second["host"], second["outputs"]) == ("private", "private", [])
    assert str(history.parent.parent) not in json.dumps(second)
    assert main(["history", "verify"]) == 0
    shown = capsys.readouterr().out
    assert "4 entries" in shown  # a begin and an end each
    digest = shown.split()[-1]
    assert main(["history", "verify", "--head", digest]) == 0
    history.write_bytes(history.read_bytes().replace(b'"code": 1', b'"code": 0'))
    assert main(["history", "verify"]) == 1
    assert main(["history", "--last", "0"]) == 2


def test_a_run_that_is_killed_is_told(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mb.save("in.h5", u=mb.Grid((6, 8)).zeros())
    Path("job.toml").write_text(JOB)
    program = (
        "import os; from mpibatch.cli import main; from mpibatch.job import runner\n"
        "runner.run = lambda *_: os.kill(os.getpid(), 9)\n"
        "main(['run', 'job.toml', '--quiet'])"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == -9
    begin()
    killed, running = runs.runs(history)
    assert (killed["state"], running["state"]) == ("killed", "running")
    (given,) = killed["inputs"]
    assert given["digest"] == mb.io.verify("in.h5").content
    entry.end(75)
    assert main(["history"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("run job.toml on 1 -> killed")
    assert second.endswith("-> exit code 75")
    assert main(["history", "verify"]) == 0
    # Its number may be another process's by now; and of another host nothing is known.
    whole = history.read_bytes()
    history.write_bytes(whole.replace(killed["process"].encode(), f"{os.getpid()} 1 0".encode()))
    assert runs.runs(history)[0]["state"] == "killed"
    history.write_bytes(whole.replace(killed["host"].encode(), b"elsewhere"))
    assert runs.runs(history)[0]["state"] == "unfinished"


def test_what_fails_in_it_fails_no_run(
    history: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mb.save("in.h5", u=mb.Grid((6, 8)).zeros())
    Path("job.toml").write_text(JOB)
    Path("file").write_text("")
    monkeypatch.setenv("MPIBATCH_HISTORY", str(history.parent.parent / "file" / "history"))
    assert main(["run", "job.toml", "--quiet"]) == 0
    monkeypatch.setenv("MPIBATCH_HISTORY", "0")
    assert main(["run", "job.toml", "--quiet"]) == 0
    assert main(["history"]) == 2


def test_a_history_that_another_process_holds_delays_no_run(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(history, 1)
    monkeypatch.setattr(chain, "PATIENCE", 0.1)
    with history.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        since = time.monotonic()
        begin()
        assert time.monotonic() - since < 5
    assert len(chain.entries(history)) == 1
    entry.end(0)  # it tells what the begin could not
    entry.end(0)  # of no run
    begin(None)  # not on the first rank
    entry.end(0)
    assert [run["job"] for run in runs.runs(history)] == ["job 0", "job.toml"]
    assert runs.runs(history)[-1]["code"] == 0


def test_whatever_fails_in_it_fails_no_run(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("mpibatch.io.seal.content.content_of", failing)
    Path("in.h5").write_text("")
    begin(inputs=["in.h5"])
    entry.end(0)
    assert chain.entries(history)[0]["inputs"] == [{"path": "in.h5", "bytes": 0, "unknown": "ZeroDivisionError"}]
    monkeypatch.setattr(chain, "append", failing)
    begin()
    entry.end(0)


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"number": 1e999, "before": ""}', b'{"of": [], "number": {}}'])
def test_lines_that_no_run_has_written(history: Path, line: bytes) -> None:
    filled(history, 1)
    with history.open("ab") as file:
        file.write(line + b"\n")
    chain.append(history, {"job": "after"})
    assert "line 2 is no entry" in chain.verify(history).problems[0]
    assert runs.runs(history)[-1]["number"] == 3


def test_of_a_batch_only_files_are_inputs(history: Path) -> None:
    mb.save("a.h5", u=mb.Grid((6, 8)).zeros())
    text = JOB.replace('"in.h5"', '"a.h5"').replace('"out.h5"', '"{name}.h5"').replace("sigma = 1", 'sigma = "{s}"')
    Path("job.toml").write_text(text + "[batch.grid]\ns = [1, 2]\n")
    assert main(["batch", "job.toml", "--quiet"]) == 0
    text = JOB.replace('"in.h5"', '"{item}"').replace('"out.h5"', '"{name}-out.h5"')
    Path("files.toml").write_text(text + "[batch]\n")
    assert main(["batch", "files.toml", "a.h5::u", "--quiet"]) == 0
    grid, files = runs.runs(history)
    assert grid["inputs"] == []
    assert [(about["path"], "digest" in about) for about in files["inputs"]] == [("a.h5::u", True)]
