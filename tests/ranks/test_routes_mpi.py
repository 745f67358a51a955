"""Rows to ranks and answers about keys, against what all ranks know together; and sums along lines of ranks."""

from __future__ import annotations

import numpy as np
import pytest

from mpibatch.mpi import private
from mpibatch.mpi.prefix import sums_before
from mpibatch.mpi.routes import ask, forward

pytestmark = pytest.mark.mpi


def sent_by(rank: int, ranks: int, seed: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng((seed, rank))
    n = int(rng.integers(0, most, endpoint=True))
    return rng.integers(0, ranks, n), rng.integers(-(2**62), 2**62, (n, 3))


@pytest.mark.parametrize("most", [0, 1, 5, 300])
def test_every_row_arrives_once(most: int) -> None:
    comm = private()
    for seed in range(5):
        arrived = forward(comm, *sent_by(comm.rank, comm.size, seed, most))
        sent = [sent_by(rank, comm.size, seed, most) for rank in range(comm.size)]
        expected = np.concatenate([rows[to == comm.rank] for to, rows in sent])
        assert sorted(map(tuple, arrived)) == sorted(map(tuple, expected))


def test_rows_about_one_thing_are_merged_on_the_way() -> None:
    comm = private()
    calls = []

    def total(rows: np.ndarray) -> np.ndarray:
        keys, inverse = np.unique(rows[:, 0], return_inverse=True)
        merged = np.zeros((len(keys), rows.shape[1]), np.int64)
        np.add.at(merged, (inverse, 1), rows[:, 1])
        merged[inverse, 0], merged[inverse, 2:] = rows[:, 0], rows[:, 2:]
        calls.append(len(rows) - len(keys))
        return merged

    keys = np.arange(7)
    rows = np.column_stack([keys, keys * 10 + comm.rank])
    arrived = forward(comm, keys % comm.size, rows, total)
    mine = keys[keys % comm.size == comm.rank]
    expected = [[k, k * 10 * comm.size + comm.size * (comm.size - 1) // 2] for k in mine.tolist()]
    assert sorted(arrived.tolist()) == (expected if comm.size > 1 else rows.tolist())
    # Nobody gets more rows about a thing than two a hop.
    assert len(calls) == comm.size.bit_length() - 1
    assert sum(calls) <= 2 * len(keys) * len(calls)


@pytest.mark.parametrize("most", [0, 1, 40])
def test_answers_are_those_of_the_owner(most: int) -> None:
    comm = private()
    rng = np.random.default_rng((most, comm.rank))
    keys = rng.integers(0, 25, int(rng.integers(0, most, endpoint=True)))
    heard = []

    def answer(known: np.ndarray) -> np.ndarray:
        heard.append(known.tolist())
        return np.column_stack([known**3, np.full(len(known), comm.rank)])

    answers = ask(comm, keys * 7 % comm.size, keys, answer)
    np.testing.assert_array_equal(answers, np.column_stack([keys**3, keys * 7 % comm.size]))
    every = np.concatenate(comm.allgather(keys))
    mine = every[every * 7 % comm.size == comm.rank]
    assert [sorted(h) for h in heard] == [sorted(set(mine.tolist()))]


@pytest.mark.parametrize("shape", [(), (3,), (2, 4), (0,), (0, 3)])
def test_sums_before_are_those_of_the_line(shape: tuple[int, ...]) -> None:
    comm = private()
    for line in (list(range(comm.size)), list(range(comm.size))[::-1]):
        tables = [np.random.default_rng(rank).integers(0, 2**40, shape) for rank in range(comm.size)]
        kept = tables[comm.rank].copy()
        before, total = sums_before(comm, line, tables[comm.rank])
        earlier = line[: line.index(comm.rank)]
        np.testing.assert_array_equal(before, sum((tables[rank] for rank in earlier), np.zeros(shape, np.int64)))
        np.testing.assert_array_equal(total, sum(tables, np.zeros(shape, np.int64)))
        np.testing.assert_array_equal(tables[comm.rank], kept)


@pytest.mark.mpi(min_size=3)
def test_sums_along_lines_of_some_ranks() -> None:
    comm = private()
    line = list(range(comm.rank % 2, comm.size, 2))
    before, total = sums_before(comm, line, np.array([comm.rank]))
    assert before.tolist() == [sum(rank for rank in line if rank < comm.rank)]
    assert total.tolist() == [sum(line)]


def test_merges_may_add_up_every_column() -> None:
    """Rows are merged on ranks between, where what is left of their ways must survive a merge."""

    def merge(rows: np.ndarray) -> np.ndarray:
        names = np.unique(rows[:, 0])
        return np.array([[name, *rows[rows[:, 0] == name, 1:].sum(axis=0)] for name in names], np.int64).reshape(
            -1, rows.shape[1]
        )

    comm = private()
    names = np.arange(comm.size)
    rows = forward(comm, names, np.column_stack([names, np.full(comm.size, 1 + comm.rank), names * 0 + 1]), merge)
    assert merge(rows).tolist() == [[comm.rank, comm.size * (comm.size + 1) // 2, comm.size]]
