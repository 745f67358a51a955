"""Phase timers: exclusive times, nested phases, the summary over ranks."""

import time

import numpy as np
import pytest

from mpibatch import timing
from mpibatch.timing import phase


@pytest.fixture
def ticks(monkeypatch):
    """A clock that a test sets by hand."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    timing.reset()
    yield now
    monkeypatch.undo()
    timing.reset()


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
    assert timing.seconds() == {"compute": 25, "halo": 2, "io": 4, "reduce": 0}
    assert timing.wall() == 63


def test_an_exception_ends_its_phases(ticks):
    with pytest.raises(ValueError, match="x"), phase("io"), phase("halo"):  # noqa: PT012
        ticks[0] += 1
        raise ValueError("x")
    ticks[0] += 1
    with phase("io"):
        ticks[0] += 5
    assert timing.seconds() == {"compute": 0, "halo": 1, "io": 5, "reduce": 0}


def test_a_reset_inside_a_phase_starts_anew(ticks):
    with phase("io"):
        ticks[0] += 1
        timing.reset()
        ticks[0] += 1
    assert timing.seconds()["io"] == 0


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
    assert [*stats] == ["compute", "halo", "io", "reduce", "other", "total"]
    assert (stats["halo"].slowest, stats["halo"].slowest_rank, stats["halo"].mean) == (4, 1, 3)
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
