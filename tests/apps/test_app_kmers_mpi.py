"""Comparisons of genomes: the same bytes as on one rank, from the start or from what another run has left."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpibatch.apps.kmers import __main__ as program
from mpibatch.apps.kmers import comparison
from mpibatch.apps.kmers.samples import take
from mpibatch.base.errors import RunError
from mpibatch.mpi import MPI, private
from tests.support.sequences import relatives

pytestmark = pytest.mark.mpi

COMM = MPI.COMM_WORLD
RUNS = {
    "m.h5": "compare *.fa {} --k 21 --scaled 1",
    "s.h5": "compare *.fa {} --k 15 --scaled 3 --mask",
    "p.h5": "compare *.fa {} --k 21 --scaled 1 --min-similarity 0.6",
    "p.csv": "compare *.fa {} --k 21 --scaled 1 --min-similarity 0.6 --journal {work}",
    "n.csv": "compare genome0.fa genome6.fa {} --k 21 --min-similarity 1",
    "p.parquet": "compare *.fa {} --k 21 --scaled 1 --min-similarity 0.6 --journal {work}",
    "c.h5": "count *.fa {}",
}


def ran(comm, words, output, work):
    args = program.parser().parse_args(words.format(output, work=work).split())
    return {"compare": program._compare, "count": program._count}[args.command](private(comm), args)


@pytest.fixture
def genomes(mpi_tmp_path, monkeypatch):
    """Seven genomes in the working directory, that are compared in blocks of a few."""
    monkeypatch.chdir(mpi_tmp_path)
    monkeypatch.setattr(comparison, "WORK", 40_000)  # two or three to a group
    if COMM.rank == 0:
        relatives(mpi_tmp_path, 7)
    COMM.Barrier()
    return mpi_tmp_path


def test_the_same_bytes_as_on_one_rank(genomes):
    for name, words in RUNS.items():
        if COMM.rank == 0:
            assert ran(MPI.COMM_SELF, words, f"one-{name}", "one") == 0
        assert ran(COMM, words, name, "all") == 0
        assert (genomes / name).read_bytes() == (genomes / f"one-{name}").read_bytes(), name
        assert (genomes / name).stat().st_size > 0
    COMM.Barrier()
    assert sorted(path.name for path in Path("all").iterdir()) == sorted(path.name for path in Path("one").iterdir())
    assert len([*Path("all").glob("*.shared")]) > 3


def test_a_run_goes_on_from_what_is_there(genomes, monkeypatch):
    """Some files are lost, cut short, or changed in one bit; and a run that failed halfway left the rest."""
    words = "compare *.fa {} --k 21 --scaled 1 --journal {work}"
    count, calls = comparison.count_shared, []

    def failing(a, b):
        calls.append(1)
        if len(calls) > 2:
            raise RunError("the disk is full")
        return count(a, b)

    with monkeypatch.context() as patch:
        patch.setattr(comparison, "count_shared", failing)
        with pytest.raises(RunError, match="the disk is full"):
            ran(COMM, words, "out.h5", "work")
    assert not Path("out.h5").exists()
    assert len([*Path("work").glob("*.set")]) == 7
    assert ran(COMM, words, "first.h5", "work") == 0
    if COMM.rank == 0:
        for kind in ("*.set", "*.shared"):
            files = sorted(Path("work").glob(kind))
            for file in files[::3]:
                file.unlink()
            for file in files[1::3]:
                file.write_bytes(file.read_bytes()[:-8])
            for file in files[2::3]:
                data = bytearray(file.read_bytes())
                data[len(data) // 2] ^= 4
                file.write_bytes(data)
    COMM.Barrier()
    made = []

    def noted(path, settings):
        made.append(path)
        return take(path, settings)

    monkeypatch.setattr(comparison, "take", noted)
    assert ran(COMM, words, "second.h5", "work") == 0
    assert COMM.allreduce(len(made)) == 7
    assert Path("first.h5").read_bytes() == Path("second.h5").read_bytes()
