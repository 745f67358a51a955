"""Python values between ranks: as mpi4py sends them, without pickle, and refused on all ranks alike."""

from __future__ import annotations

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.mpi import MPI, private

pytestmark = pytest.mark.mpi


class Own:
    pass


def test_all_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("pickle was used")

    own, size, rank = MPI.COMM_WORLD, MPI.COMM_WORLD.size, MPI.COMM_WORLD.rank
    values = [{"rank": r, "array": np.arange(r), "text": "x" * r, "box": mb.Box((r,), (r + 1,))} for r in range(size)]
    expected = repr(own.allgather(values[rank]))
    comm = private()
    monkeypatch.setattr(MPI, "pickle", MPI.Pickle(refuse, refuse))
    assert repr(comm.allgather(values[rank])) == expected
    for root in range(size):
        assert repr(comm.bcast(values[rank], root)) == repr(values[root])
        gathered = comm.gather(values[rank], root)
        assert repr(gathered) == (expected if rank == root else "None")
        assert repr(comm.scatter(values if rank == root else None, root)) == repr(values[rank])
        total = comm.reduce((rank,), MPI.SUM, root)
        assert total == (tuple(range(size)) if rank == root else None)  # in the order of ranks
    assert comm.allreduce(rank, op=MPI.MAX) == size - 1
    assert comm.allreduce((-rank, "a" * rank), op=MPI.MIN) == (1 - size, "a" * (size - 1))
    assert comm.allreduce(rank == size - 1, op=MPI.LOR) is True
    if size > 1:
        comm.send(values[rank], (rank + 1) % size, 3) if rank % 2 == 0 else None
        if rank == 1:
            assert repr(comm.recv(source=0, tag=3)) == repr(values[0])
        elif (rank - 1) % size % 2 == 0 and (rank - 1) % size != rank:
            comm.recv(source=(rank - 1) % size, tag=3)
    comm.Barrier()


def test_a_reduction_takes_no_message_that_is_for_others_nor_leaves_one_to_them() -> None:
    """Ranks that have sent what another collects go on to a reduction, whose messages are there before the last one."""
    comm = private()
    for _ in range(20):
        if comm.rank:
            comm.send((comm.rank, "for the first"), 0)
            values = []
        else:
            values = [comm.recv() for _ in range(1, comm.size)]
        assert comm.allreduce([comm.rank], op=MPI.SUM) == list(range(comm.size))
        assert sorted(values) == ([] if comm.rank else [(r, "for the first") for r in range(1, comm.size)])
    with pytest.raises(mb.UsageError, match="give the tag that was given"):
        comm.recv(tag=MPI.ANY_TAG)


def test_what_cannot_be_sent_is_an_error_on_all_ranks() -> None:
    comm = private()
    last = comm.size - 1
    itself: list[object] = []
    itself.append(itself)
    masked = np.ma.masked_array([1, 2], [True, False])
    bads = ((Own(), "Own"), (masked, "MaskedArray"), (itself, "holds itself"), (np.array([None]), "objects"))
    for bad, words in bads:
        value = bad if comm.rank == last else 1
        for call in (
            lambda value=value: comm.bcast(value, last),
            lambda value=value: comm.allgather(value),
            lambda value=value: comm.allreduce([value], op=MPI.SUM),
            lambda value=value: comm.reduce([value], op=MPI.SUM),
            lambda value=value: comm.gather(value),
            lambda value=value: comm.gather(value, last),
            lambda bad=bad: comm.scatter([1] * last + [bad]),
            lambda bad=bad: comm.scatter([bad] * comm.size, last),
        ):
            with pytest.raises(mb.UsageError, match=rf"{words}.*cannot be sent to other ranks"):
                call()
    for values in ([], None, [1] * (last + 2), 5):
        with pytest.raises(mb.UsageError, match="cannot be scattered"):
            comm.scatter(values)
    if comm.size > 1:
        with pytest.raises(mb.UsageError, match="cannot be reduced"):
            comm.allreduce("text" if comm.rank == last else 1, op=MPI.SUM)
    assert comm.allgather(comm.rank) == list(range(comm.size))


def test_parts_are_plain_too() -> None:
    comm = private()
    part = comm.Split(comm.rank % 2, comm.rank)
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    none = comm.Split(MPI.UNDEFINED, 0)
    assert none == MPI.COMM_NULL
    for made in (part, node):
        assert made.allreduce(1, op=MPI.SUM) == made.size
        with pytest.raises(mb.UsageError, match="cannot be sent"):
            made.bcast(Own())
        made.Free()
