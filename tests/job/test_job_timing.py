"""Phase timers: exclusive times, nested phases, the summary over ranks; and what is counted beside them."""

import json
import os
import time

import numpy as np
import pytest

from mpibatch.base import tally, timing
from mpibatch.base.timing import phase


@pytest.fixture
def ticks(monkeypatch):
    """A clock that a test sets by hand."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    timing.reset()
    tally.reset()
    yield now
    monkeypatch.undo()
    timing.reset()
    tally.reset()


def test_an_inner_phase_takes_its_time_from_the_outer_one(ticks):
    with phase("compute"):
        ticks[0] += 1
        with phase("halo"):
            ticks[0] += 2
            with phase("io"):
                ticks[0] += 4
        ticks[0] += 8
        with phase("compute"):
            ticks[0] += 16
    ticks[0] += 32
    assert timing.seconds() == {"compute": 25, "compile": 0, "pack": 0, "halo": 2, "reduce": 0, "io": 4}
    assert timing.wall() == 63


def test_a_phase_turns_into_another(ticks):
    with phase("compute"):
        ticks[0] += 1
        with phase("halo"):
            ticks[0] += 2
            timing.turn("pack")
            ticks[0] += 4
            timing.turn("halo")
            ticks[0] += 8
            timing.turn("pack")
            ticks[0] += 16
        ticks[0] += 32
    timing.turn("io")
    ticks[0] += 64
    assert timing.seconds() == {"compute": 33, "compile": 0, "pack": 20, "halo": 10, "reduce": 0, "io": 0}


def test_compiling_is_no_computing_and_some_time_belongs_to_no_phase(ticks):
    with phase("compute"):
        ticks[0] += 1
        with phase("compile"):
            ticks[0] += 2
            with phase("io"):
                ticks[0] += 4
        ticks[0] += 8
    ticks[0] += 16
    assert timing.seconds() == {"compute": 9, "compile": 2, "pack": 0, "halo": 0, "reduce": 0, "io": 4}
    stats = {stat.name: stat.slowest for stat in timing.summary(OneRank())}
    assert (stats["compile"], stats["other"], stats["total"]) == (2, 16, 31)


def test_a_kernel_is_timed_as_computing(ticks):
    work = tally.work("test_a_kernel", 7, 16, threads=3)
    assert tally.work("test_a_kernel", 7, 16, threads=3) is work
    assert work not in tally.works()
    for seconds in (1, 2):
        work.ran(100)
        with work:
            ticks[0] += seconds
    assert work in tally.works()
    assert (work.calls, work.cells, work.seconds) == (2, 200, 3)
    assert (timing.seconds()["compute"], tally.threads()) == (3, 3)
    tally.reset()
    assert (work.calls, work.cells, work.seconds, tally.threads()) == (0, 0, 0, 1)


def test_what_is_counted_belongs_to_its_lap():
    tally.reset()
    one = tally.need((8, 9), ((1, 1), (0, 0)), False, (False, True), 8)
    assert tally.need((8, 9), ((1, 1), (0, 0)), False, (False, True), 8) is one
    two = tally.need((8, 9), ((1, 1), (2, 2)), True, (False, True), 16, steps=2)
    for what in (one, two, one):
        tally.needed(what)
    with tally.REDUCTION:
        pass
    tally.lap("first")
    tally.needed(two)
    tally.sent(2, 100)
    tally.sent(1, 10)
    laps = [(lap.name, dict(lap.exchanges), lap.reductions) for lap in tally.exchanges()]
    assert laps == [("first", {one: 2, two: 1}, 1), ("", {two: 1}, 0)]
    assert (tally.traffic(), tally.reductions()) == ((3, 110), 1)
    assert json.loads(json.dumps(two.to_json(5)))["widths"] == [[1, 1], [2, 2]]
    tally.reset()
    assert (tally.traffic(), tally.reductions(), [lap.exchanges for lap in tally.exchanges()]) == ((0, 0), 0, [{}])


def test_an_exception_ends_its_phases(ticks):
    with pytest.raises(ValueError, match="x"), phase("io"), phase("halo"):  # noqa: PT012
        ticks[0] += 1
        raise ValueError("x")
    ticks[0] += 1
    with phase("io"):
        ticks[0] += 5
    assert timing.seconds() == {"compute": 0, "compile": 0, "pack": 0, "halo": 1, "reduce": 0, "io": 5}


def test_a_reset_inside_a_phase_starts_anew(ticks):
    with phase("io"):
        ticks[0] += 1
        timing.reset()
        ticks[0] += 1
    assert timing.seconds()["io"] == 0


class OneRank:
    """As much of a communicator as the summary needs."""

    rank, size = 0, 1

    def Gather(self, mine, rows, root):
        rows[0] = mine


class TwoRanks:
    """As much of a communicator as the summary needs: another rank that took twice as long."""

    rank, size = 0, 2

    def Gather(self, mine, rows, root):
        rows[0], rows[1] = mine, 2 * np.asarray(mine)


def test_the_summary_names_the_slowest_rank(ticks):
    with phase("halo"):
        ticks[0] += 2
    ticks[0] += 2
    stats = {stat.name: stat for stat in timing.summary(TwoRanks())}
    assert [*stats] == ["compute", "compile", "pack", "halo", "reduce", "io", "other", "total"]
    assert (stats["halo"].slowest, stats["halo"].slowest_rank, stats["halo"].mean) == (4, 1, 3)
    assert (stats["halo"].least, stats["halo"].median) == (2, 3)
    assert stats["halo"].imbalance == pytest.approx(4 / 3)
    assert stats["io"].imbalance == 1
    assert (stats["other"].slowest, stats["total"].slowest) == (4, 8)
    text = timing.table([*stats.values()], 2)
    assert "halo" in text
    assert "io " not in text, "phases without time are left out"


def test_phases_are_cheap():
    begin = time.perf_counter()
    for _ in range(10_000):
        with phase("halo"):
            pass
    assert (time.perf_counter() - begin) / 10_000 < 50e-6
    timing.reset()


def test_the_command_leaves_an_account(launch, tmp_path):
    job = tmp_path / "job.toml"
    job.write_text(
        f'[simulation]\nprogram = "heat"\nsteps = 4\nshape = [20, 16]\n[output]\npath = "{tmp_path}/out.h5"\n'
        "[grid]\ntopology = [1, 2]\n"
    )
    record = tmp_path / "record.json"
    environment = {**os.environ, "MPIBATCH_RECORD": str(record), "MPIBATCH_MEMORY_LIMIT": "3G"}
    done = launch(2, "-m", "mpibatch", "run", str(job), env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(record.read_text())
    run = told["run"]
    assert (told["code"], told["ranks"], len(told["digest"])) == (0, 2, 64)
    assert (run["kind"], run["topology"], run["steps"], run["cells"]) == ("simulation", [1, 2], 4, 320)
    # A column of 20 cells to each side in every step.
    assert run["traffic"] == {"messages": {"most": 4, "total": 8}, "bytes": {"most": 640, "total": 1280}}
    assert run["seconds"]["pack"]["slowest"] > 0
    assert "pack " in done.stdout
    assert "2 ranks × 1 thread on 1 host, each on " in done.stdout
    assert "MPIBATCH_MEMORY_LIMIT = 3G" in done.stdout
