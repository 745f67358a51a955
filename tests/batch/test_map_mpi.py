"""Many items over real ranks: the results, and files of them, are those of one rank, whatever happens on the way."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.errors import RunError, UsageError
from mpibatch.batch import payloads
from mpibatch.batch.records import FAILED, START, packed
from mpibatch.io.seal.verification import verify
from mpibatch.mpi import MPI
from mpibatch.mpi.counter import Counter
from mpibatch.mpi.teams import Team

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.mpi
WORLD = MPI.COMM_WORLD
ITEMS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9]


def measure(item: int, rng: np.random.Generator) -> dict[str, Any]:
    """Numbers of several kinds, one that some items lack, arrays of one shape and of several."""
    result = {
        "whole": item,
        "drawn": rng.normal(),
        "flag": item > 4,
        "field": rng.integers(0, 9, (2, 3)),
        "row": [1.5] * item,
    }
    return {**result, "odd": item} if item % 2 else result


def alone(path: Path, **options: Any) -> list[bytes]:
    """The outputs of a run on this rank only."""
    own = path / f"alone-{WORLD.rank}"
    own.mkdir()
    mb.map_items(measure, ITEMS, comm=MPI.COMM_SELF, output=[own / "a.h5", own / "a.csv"], **options)
    return outputs(own)


def outputs(folder: Path) -> list[bytes]:
    WORLD.Barrier()
    return [(folder / name).read_bytes() for name in ("a.h5", "a.csv")]


@pytest.mark.parametrize("nodes", [0, 1, 2])
def test_every_number_is_handed_out_once(nodes: int) -> None:
    """On one node, and on several of so many ranks."""
    comm = mb.Grid((1,)).comm
    for total in (0, 1, comm.size, 500):
        costs = np.linspace(total, 1, total) if total > 1 else None
        node = comm.Split(comm.rank // nodes, comm.rank) if nodes else None
        with Counter(comm, total, costs, node) as counter:
            mine = list(iter(counter.take, -1))
            assert counter.take() == -1
            counts = [counter.count() for _ in range(2)]
            ahead = comm.allreduce(counter.ahead)
        assert sorted(comm.allreduce(mine)) == list(range(total))
        assert (ahead > 0) == (total == 500 and 0 < nodes < comm.size)  # none where one node has all
        assert sorted(comm.allreduce(counts)) == list(range(1, 2 * comm.size + 1))
    node = comm.Split(comm.rank // nodes, comm.rank) if nodes else None
    with Counter(comm, 10_000, node=node) as counter:
        if comm.rank == 0:
            counter.stop()
        comm.Barrier()
        assert counter.take() == -1  # on no node


@pytest.mark.parametrize("size", [1, 2, 3])
def test_teams_are_neighbors(size: int) -> None:
    comm = mb.Grid((1,)).comm
    for most in (None, 1):
        with Team.of(comm, min(size, comm.size), most) as team:
            members = team.comm.allgather(comm.rank) if team.comm and team.comm != MPI.COMM_SELF else [comm.rank]
            assert members == list(range(members[0], members[0] + len(members)))
            if team.comm is not None:
                assert len(members) == min(size, comm.size)
                assert (team.leaders is not None) == (members[0] == comm.rank)


def test_outputs_have_the_bytes_of_one_rank(mpi_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = alone(mpi_tmp_path)
    monkeypatch.setattr("mpibatch.batch.rows.ROUND_BYTES", 1)  # digests are those of several rounds
    for number, options in enumerate(
        (
            {},
            {"costs": lambda item: item, "journal": mpi_tmp_path / "j"},
            {"ranks_per_item": WORLD.size},
            {"ranks_per_item": [1 + n % WORLD.size for n in range(len(ITEMS))], "costs": range(len(ITEMS))},
        )
    ):
        folder = mpi_tmp_path / str(number)
        if WORLD.rank == 0:
            folder.mkdir()
        WORLD.Barrier()
        batch = mb.map_items(measure, ITEMS, output=[folder / "a.h5", folder / "a.csv"], **options)
        assert outputs(folder) == expected
        assert (batch.done, batch.failed, batch.left, batch.ran) == (15, (), 0, 15)
    assert not verify(str(folder / "a.h5"), WORLD).broken
    with h5py.File(folder / "a.h5") as file:
        values = [measure(item, np.random.Generator(np.random.Philox(key=[0, n]))) for n, item in enumerate(ITEMS)]
        for name in ("whole", "drawn", "flag"):
            np.testing.assert_array_equal(file["items"][name], [value[name] for value in values])
        assert file["item"].asstr()[...].tolist() == [str(item) for item in ITEMS]
        np.testing.assert_array_equal(file["items/odd"], [value.get("odd", np.nan) for value in values])
        np.testing.assert_array_equal(file["field"], [value["field"] for value in values])
        assert [len(file[f"row/{n:06d}"]) for n in range(15)] == ITEMS
    assert [None if v is None else int(v["whole"]) for v in batch.gather()] == ITEMS
    table = mb.load(folder / "a.h5", "items")
    assert (table.rows, next(iter(table))) == (15, "item")


def test_a_batch_goes_on_with_what_is_left(mpi_tmp_path: Path) -> None:
    """On any ranks, and nothing that is done is run again; then nothing is left, and the outputs are made anew."""
    expected = alone(mpi_tmp_path)
    outs = [mpi_tmp_path / "a.h5", mpi_tmp_path / "a.csv"]
    options: dict[str, Any] = {"journal": mpi_tmp_path / "j", "output": outs}
    if WORLD.rank == 0:
        first = mb.map_items(measure, ITEMS, comm=MPI.COMM_SELF, only=[2, 7, 14], **options)
        assert (first.done, first.left, outs[0].exists()) == (3, 12, False)
    WORLD.Barrier()
    assert mb.map_items(measure, ITEMS, **options).ran == 12
    assert outputs(mpi_tmp_path) == expected
    WORLD.Barrier()
    assert mb.map_items(measure, ITEMS, **options).ran == 0
    assert outputs(mpi_tmp_path) == expected


def test_what_fails_is_noted_and_the_rest_goes_on(mpi_tmp_path: Path) -> None:
    tries = mpi_tmp_path / "tries"
    tries.mkdir(exist_ok=True)
    mended = False

    def fail_often(item: int, comm: MPI.Intracomm, rng: np.random.Generator) -> float:
        drawn = float(rng.uniform())
        if comm.rank == 0:
            with open(tries / str(item), "a") as file:
                file.write(f"{drawn}\n")
        if item == 5 and not mended:
            raise SystemExit("five leaves")
        if item % 4 == 3 and comm.rank == comm.size - 1 and not mended:  # on one rank of the team
            raise KeyError(f"no {item}")
        return drawn

    def run(only: Any = None) -> Any:
        size = min(2, WORLD.size)
        return mb.map_items(
            fail_often, list(range(10)), ranks_per_item=size, retries=1, journal=mpi_tmp_path / "j", only=only
        )

    batch = run()
    assert [failure.item for failure in batch.failed] == [3, 5, 7]
    assert (batch.failed[0].name, batch.failed[0].error, batch.failed[0].attempts) == ("3", "KeyError: 'no 3'", 2)
    assert batch.failed[1].error == "SystemExit: five leaves"
    assert "in fail_often" in batch.failed[0].traceback
    assert (batch.done, batch.left, batch.table.rows) == (7, 0, 7)
    # The same random numbers in each attempt.
    drawn = (tries / "3").read_text().split()
    assert len(drawn) == 2
    assert len({*drawn}) == 1
    assert run().ran == 0
    mended = True
    again = run(only="failed")
    assert (again.ran, again.done, again.failed) == (3, 10, ())
    assert {*(tries / "3").read_text().split()} == {*drawn}


def test_enough_failures_end_the_run(mpi_tmp_path: Path) -> None:
    def fail(item: int) -> int:
        time.sleep(0.001)
        raise ValueError("never")

    with pytest.raises(RunError, match=r"items? failed, and max_failures is 2; \d+ are left; what is done is kept in"):
        mb.map_items(fail, list(range(200)), max_failures=2, journal=mpi_tmp_path / "j")


def test_an_item_that_ends_its_rank_is_left_out_in_the_third_run(mpi_tmp_path: Path) -> None:
    """Its beginnings are in the journals of two runs, and no end."""
    options: dict[str, Any] = {"journal": mpi_tmp_path / "j"}
    first = mb.map_items(measure, ITEMS, only=[0], **options)
    assert first.left == 14
    if WORLD.rank == 0:
        from mpibatch.batch.items import identity_of
        from mpibatch.batch.records import mark_of

        mark = mark_of({"mpibatch": "", **identity_of(measure, ITEMS, 0)})
        for run in (2, 3):
            (mpi_tmp_path / f"j/{run:06d}.run").touch()
            noted = [packed(mark, START, 8 if run == 2 else 4), packed(mark, START, 6)]
            (mpi_tmp_path / f"j/{run:06d}-00000.journal").write_bytes(b"".join(noted))
    WORLD.Barrier()
    batch = mb.map_items(measure, ITEMS, **options)
    assert [(failure.item, failure.name) for failure in batch.failed] == [(6, "2")]
    assert "may end its rank, and is left out" in batch.failed[0].error
    assert (batch.done, batch.left) == (14, 0)
    again = mb.map_items(measure, ITEMS, only="failed", **options)
    assert (again.done, again.failed) == (15, ())


def test_few_items_and_many_ranks() -> None:
    for items in ([], [7], list(range(WORLD.size - 1))):
        batch = mb.map_items(lambda x: x + 1, items)
        assert [int(value["result"]) for value in batch.gather() if value] == [x + 1 for x in items]
        assert batch.table.rows == len(items)


def test_progress_tells_items_and_the_share_that_is_over() -> None:
    calls: list[tuple[int, int, str]] = []
    behind: list[float] = []

    def report(done: int, total: int, label: str, share: float) -> None:
        calls.append((done, total, label))
        behind.append(share)

    costs = [1, 2, 4, 8]
    mb.map_items(abs, costs, costs=costs, progress=report)
    assert calls == [(n, 4, str(8 >> n)) for n, _, _ in calls]
    assert behind == sorted(behind)
    if WORLD.size == 1:
        assert behind == [0, 8 / 15, 12 / 15, 14 / 15]
    assert bool(calls) <= (WORLD.rank == 0)
    mb.map_items(abs, costs, progress=lambda done, total, label: calls.append((done, total, label)))


def test_results_of_nothing_and_of_too_much(mpi_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "MOST_BYTES", 1000)
    results: Sequence[Any] = [None, np.zeros(4), np.zeros(1000), "text"]
    batch = mb.map_items(lambda number: results[number], [0, 1, 2, 3], names=["a", "b", "much", "word"])
    assert [(failure.item, failure.name) for failure in batch.failed] == [(2, "much"), (3, "word")]
    assert "a result of 7.8 KiB was returned" in batch.failed[0].error
    for _ in range(4):  # who makes which items is chance on several ranks
        values = mb.map_items(lambda number: results[number], [0, 1, 0, 1]).gather()
        assert [[*value] for value in values if value is not None] == [[], ["result"]] * 2
        assert all(value["result"].tobytes() == bytes(32) for value in values if value)
    mb.map_items(lambda number: None, [0, 1], output=mpi_tmp_path / "none.h5")
    assert mb.load(mpi_tmp_path / "none.h5", "items").rows == 2
    mb.map_items(lambda number: number, [], output=[mpi_tmp_path / "no.h5", mpi_tmp_path / "no.csv"])
    assert (mpi_tmp_path / "no.csv").read_text() == "item,name\n"


def test_arguments_that_ranks_do_not_share_are_refused(mpi_tmp_path: Path) -> None:
    if WORLD.size == 1:
        return
    mine = WORLD.rank == 0
    for options in (
        {"output": mpi_tmp_path / "x.csv" if mine else ()},
        {"costs": [1.0, 2.0] if mine else [2.0, 1.0]},
        {"ranks_per_item": 2 if mine else 1},
        {"journal": mpi_tmp_path / ("a" if mine else "b")},
        {"max_failures": 1 if mine else 2},
        {"retries": int(mine)},
    ):
        with pytest.raises(mb.UsageError, match="ranks_per_item, costs, output"):
            mb.map_items(abs, [1, 2], **options)
    batch = mb.map_items(abs, [{"b", "a"}, {"c"}][:0] or [frozenset({"x", "y", "z"})], max_failures=1)
    assert len(batch.failed) == 1


def test_what_cannot_be_meant_is_refused(mpi_tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for words, options in (
        ("give a list, or another sequence", {"items": "text"}),
        ("ranks that were started", {"ranks_per_item": WORLD.size + 1}),
        ("give a whole number, one for each item", {"ranks_per_item": [1]}),
        ("costs were given for 2 items", {"costs": [1, 2]}),
        ("cost of item 1 is nan", {"costs": [1, np.nan, 2]}),
        ("are not numbers", {"costs": ["a", "b", "c"]}),
        ("names an item that there is not", {"only": [3]}),
        ("give the numbers of items", {"only": "some"}),
        ("ending that tells no format", {"output": "x.txt"}),
        ("retries = -1 is not valid", {"retries": -1}),
        ("seed = 0.5 is not valid", {"seed": 0.5}),
        (r"give \(k, n\)", {"part": (1, 1)}),
        ("2 names were given for 3 items", {"names": ["a", "b"]}),
        ("there is no folder", {"journal": mpi_tmp_path / "no" / "j", "error": RunError}),
    ):
        error = options.pop("error", UsageError)
        with pytest.raises(error, match=words):
            mb.map_items(measure, **{"items": [1, 2, 3], **options})
    if WORLD.size > 1:
        with pytest.raises(UsageError, match="ranks differ"):
            mb.map_items(measure, [WORLD.rank])
    journal = mpi_tmp_path / "j"
    mb.map_items(measure, [1, 2], journal=journal)
    for items, seed in (([1, 3], 0), ([1, 2], 1)):
        with pytest.raises(UsageError, match="is the journal of another batch: "):
            mb.map_items(measure, items, seed=seed, journal=journal)

    def other(item: int) -> int:
        return item

    other.__module__, other.__qualname__ = measure.__module__, measure.__qualname__
    with pytest.raises(UsageError, match="is the journal of another batch: the function's text was"):
        mb.map_items(other, [1, 2], journal=journal)
    with caplog.at_level(logging.WARNING, "mpibatch"):
        mb.map_items(measure, [1, 2], journal=journal, output=mpi_tmp_path / "numbers.csv")
    assert ("a table has no place for field, row" in caplog.text) == (WORLD.rank == 0)
    if WORLD.rank == 0:
        (mpi_tmp_path / "full").mkdir()
        (mpi_tmp_path / "full" / "thesis.tex").touch()
    WORLD.Barrier()
    with pytest.raises(UsageError, match="holds other files"):
        mb.map_items(measure, [1, 2], journal=mpi_tmp_path / "full")


def test_two_runs_on_one_journal_are_refused(mpi_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr("mpibatch.base.files.PATIENCE", 0.1)
    journal = mpi_tmp_path / "j"
    journal.mkdir(exist_ok=True)
    WORLD.Barrier()
    handle = os.open(journal / ".lock", os.O_RDWR | os.O_CREAT)  # a file: other nodes see no lock of a folder
    if WORLD.rank == WORLD.size - 1:
        fcntl.flock(handle, fcntl.LOCK_EX)
    WORLD.Barrier()
    with pytest.raises(RunError, match="another run is using the journal"):
        mb.map_items(measure, [1, 2], journal=journal)
    os.close(handle)


def test_parts_share_a_journal_and_the_last_writes(mpi_tmp_path: Path) -> None:
    expected = alone(mpi_tmp_path)
    outs = [mpi_tmp_path / "a.h5", mpi_tmp_path / "a.csv"]
    for number in range(3):
        assert not outs[0].exists()
        WORLD.Barrier()
        batch = mb.map_items(measure, ITEMS, journal=mpi_tmp_path / "j", output=outs, part=(number, 3))
        assert batch.ran == 5
    assert outputs(mpi_tmp_path) == expected


def test_a_failure_that_is_noted_on_another_rank_is_known_to_all(mpi_tmp_path: Path) -> None:
    """Of several records of one item the latest run's counts, and a result counts more than any failure."""
    from mpibatch.batch.history import collected, place_of

    def noted(run: int, words: str) -> bytes:
        return packed(1, FAILED, 2, f'{{"name": "n", "error": "{words}", "traceback": "", "attempts": 1}}'.encode())

    comm = mb.Grid((1,)).comm
    notes = [(place_of(run, 0), noted(run, f"run {run}")) for run in (1, 2) if comm.rank == run % comm.size]
    history = collected(comm, 1, 4, notes)
    assert history.failures[2].error == "run 2"
    assert history.left.tolist() == [True, True, False, True]
