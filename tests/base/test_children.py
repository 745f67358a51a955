"""Commands that are started and waited for: no signal, at any moment, leaves one behind."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from mpibatch.base.processes import children

TREE = ["sh", "-c", "sleep 61 & sleep 61"]


def _left() -> list[str]:
    """The words of all sleeps that are there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if words[:2] == [b"sleep", b"61"]:
            found.append(path.parent.name)
    return found


def _wait_for_none() -> None:
    until = time.monotonic() + 5
    while _left() and time.monotonic() < until:  # what was killed may need a moment
        time.sleep(0.01)
    assert not _left()


def _start_and_signal(log: Path, number: int, delay: float) -> None:
    with log.open("wb") as out, children.note_signals() as noted:
        timer = threading.Timer(delay, os.kill, (os.getpid(), number))
        timer.start()
        try:
            children.run(TREE, os.environ, out, 30, noted)
        finally:
            timer.join()


@pytest.mark.parametrize("number", children.ENDING)
def test_a_signal_at_any_moment_of_the_start_ends_what_was_started(number: int, tmp_path: Path):
    draw = random.Random(number)
    before = signal.signal(number, signal.default_int_handler)  # whatever started the tests may have it ignored
    try:
        for _ in range(60):
            with pytest.raises(KeyboardInterrupt):
                _start_and_signal(tmp_path / "log", number, draw.uniform(0, 0.006))
            assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    _wait_for_none()


def test_the_limit_ends_it_and_what_ignores_that_is_killed(tmp_path: Path):
    stubborn = ["sh", "-c", "trap '' TERM; echo begun; sleep 61"]
    with open(tmp_path / "log", "wb") as out:
        assert children.run(["sh", "-c", "exit 3"], os.environ, out, 30, []) == 3
        begin = time.monotonic()
        assert children.run(stubborn, os.environ, out, 0.5, [], grace=0.3) is None
        assert time.monotonic() - begin > 0.8
    assert (tmp_path / "log").read_text() == "begun\n"
    _wait_for_none()


def test_a_second_signal_cuts_the_grace_short(tmp_path: Path):
    stubborn = ["sh", "-c", "trap '' TERM; sleep 61"]
    noted: list[int] = []
    timers = [threading.Timer(seconds, noted.append, (signal.SIGINT,)) for seconds in (0.2, 0.6)]
    begin = time.monotonic()
    for timer in timers:
        timer.start()
    with open(tmp_path / "log", "wb") as out, pytest.raises(KeyboardInterrupt):
        children.run(stubborn, os.environ, out, 60, noted, grace=60)
    assert time.monotonic() - begin < 30
    _wait_for_none()
    # What came before the start is heeded, too.
    with open(tmp_path / "log", "wb") as out, pytest.raises(KeyboardInterrupt):
        children.run(["touch", str(tmp_path / "started")], os.environ, out, 60, noted)
    assert not (tmp_path / "started").exists()


def test_ignored_signals_stay_ignored_and_other_threads_change_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with children.note_signals() as noted:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
        assert not noted
    finally:
        signal.signal(signal.SIGHUP, before)
    seen: list[bool] = []

    def elsewhere() -> None:
        with children.note_signals() as noted:
            seen.append(signal.getsignal(signal.SIGTERM) is handler and not noted)

    handler = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [True]
