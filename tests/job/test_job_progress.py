"""Progress lines, and the time that is left."""

import io
import sys

import pytest

from mpibatch.job.execution.progress import plain, remaining, reporter, silent


@pytest.mark.parametrize(
    ("elapsed", "done", "total", "words"),
    [
        (3, 0, 4, ""),
        (3, 4, 4, ""),
        (3, 1, 4, "about 9 s left"),
        (60, 1, 3, "about 2 min 00 s left"),
        (100, 1, 101, "about 2 h 46 min left"),
    ],
)
def test_the_time_left_is_in_proportion(elapsed, done, total, words):
    assert remaining(elapsed, done, total) == words


def test_a_batch_log_gets_whole_lines_at_intervals():
    stream, now = io.StringIO(), [0.0]
    report = plain(stream, interval=2.0, clock=lambda: now[0])
    for done, at in enumerate([0.0, 1.0, 2.5, 3.0, 4.0]):
        now[0] = at
        report(done, 4, f"step {done}")
    assert stream.getvalue().splitlines() == [
        "[0/4] step 0, 0.0 s",
        "[2/4] step 2, 2.5 s, about 2 s left",
        "[4/4] step 4, 4.0 s",
    ]


def test_neither_compiling_nor_what_was_done_before_a_restart_is_foretold(monkeypatch):
    now, compiling = [0.0], [0.0]
    monkeypatch.setattr("mpibatch.job.execution.progress.compile_seconds", lambda: compiling[0])
    stream = io.StringIO()
    report = plain(stream, interval=0.0, clock=lambda: now[0])
    steps = [(900, 3.0, 3.0), (901, 13.5, 13.0), (902, 15.0, 13.0), (950, 63.0, 13.0), (1000, 113.0, 13.0)]
    for done, at, compiled in steps:
        now[0], compiling[0] = at, compiled
        report(done, 1000, f"step {done}")
    assert stream.getvalue().splitlines() == [
        "[900/1000] step 900, 3.0 s",
        "[901/1000] step 901, 13.5 s",
        "[902/1000] step 902, 15.0 s, about 1 min 38 s left",
        "[950/1000] step 950, 63.0 s, about 50 s left",
        "[1000/1000] step 1000, 113.0 s",
    ]


def test_the_time_left_goes_by_the_share_that_is_over_where_it_is_known():
    """The longest items come first: after 1 of 5, which took 60 s of 100, 40 s are left, and not 4 minutes."""
    stream, now = io.StringIO(), [0.0]
    report = plain(stream, interval=2.0, clock=lambda: now[0])
    for done, at, share in ((0, 0.0, 0.0), (1, 60.0, 0.6), (2, 80.0, 0.8), (3, 81.0, 0.9), (4, 95.0, 0.95)):
        now[0] = at
        report(done, 5, f"item {done}", share=share)
    assert stream.getvalue().splitlines() == [
        "[0/5] item 0, 0.0 s",
        "[1/5] item 1, 60.0 s, about 40 s left",
        "[2/5] item 2, 80.0 s, about 20 s left",
        "[4/5] item 4, 95.0 s, about 5 s left",
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_one_rank_speaks_and_only_if_wanted():
    stream = io.StringIO()
    for rank, quiet in ((1, False), (0, True)):
        with reporter(rank, quiet, stream) as report:
            assert report is silent
            report(0, 1, "x")
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with reporter(stream=stream) as report:
        report(0, 3, "reading")
        report(2, 3, "gaussian_filter")
    assert "gaussian_filter" in stream.getvalue()


def test_a_terminal_without_rich_gets_lines(monkeypatch):
    for name in [*sys.modules]:
        if name.partition(".")[0] == "rich":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    stream = Terminal()
    with reporter(stream=stream) as report:
        report(0, 3, "reading")
    assert stream.getvalue().startswith("[0/3] reading")
