"""Filters on several threads of a rank: the bits of one thread, whatever the shape of the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.processes import threads

if TYPE_CHECKING:
    from collections.abc import Callable

FILTERS: dict[str, Callable[[mb.Field], mb.Field]] = {
    "gaussian": lambda u: mb.filters.gaussian_filter(u, 1.3, mode="wrap"),
    "uniform": lambda u: mb.filters.uniform_filter(u, 5),
    "sobel": lambda u: mb.filters.sobel(u, 0),
    "correlate": lambda u: mb.filters.correlate(u, np.arange(3.0**u.grid.ndim).reshape((3,) * u.grid.ndim)),
    "magnitude": mb.filters.sobel_magnitude,
    "minimum": lambda u: mb.filters.minimum_filter(u, 4),
    "footprint": lambda u: mb.filters.maximum_filter(u, footprint=np.eye(3)[(...,) + (None,) * (u.grid.ndim - 2)]),
    "heights": lambda u: mb.filters.grey_dilation(u, structure=np.ones((2,) * u.grid.ndim)),
    "median": lambda u: mb.filters.median_filter(u, 3),
    "rank": lambda u: mb.filters.rank_filter(u, 9, 9 if u.grid.ndim == 2 else 4),
}


@pytest.mark.parametrize("shape", [(5, 301), (211, 6), (23, 9, 12)], ids=str)
@pytest.mark.parametrize("name", FILTERS)
def test_threads_change_no_bit(name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (
        np.random.default_rng(len(name)).integers(0, 250, shape).astype("u1" if name in ("median", "rank") else "f4")
    )
    u = mb.Field(mb.Grid(shape), whole.dtype)
    u.owned[...] = whole
    alone = mb.gather_all(FILTERS[name](u))
    begun: list[tuple[Any, ...]] = []
    pool = threads.pool

    def counted(number: int) -> Any:
        begun.append((number,))
        return pool(number)

    monkeypatch.setattr(threads, "thread_count", lambda: 3)
    monkeypatch.setattr(threads, "FEWEST", 8)
    monkeypatch.setattr(threads, "pool", counted)
    assert np.array_equal(mb.gather_all(FILTERS[name](u)), alone)
    assert begun, "they took part"


def test_a_failure_in_a_thread_is_raised_when_all_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "thread_count", lambda: 4)
    monkeypatch.setattr(threads, "FEWEST", 1)
    ended: list[int] = []

    def run(begin: int, end: int) -> None:
        if begin == 2:
            raise ValueError("of row 2")
        ended.append(begin)

    with pytest.raises(ValueError, match="of row 2"):
        threads.share_out(run, 4, 4)
    assert sorted(ended) == [0, 0, 1, 3]
