#!/usr/bin/env python3
"""Time transforms and Poisson's equation against scipy.fft, and lines' exchange against Alltoallw, in the same run.

`python scripts/bench_fourier.py`, or under `mpiexec -n N` on N ranks. One JSON object a line:

    {"case", "ranks", "threads", "clock", "seconds" (median), "spread" [min, max], "first", "against" {peer: seconds},
     "ratio" {peer: their seconds / ours}, "versions"}

On one rank the clock is that of the processor, which others' work slows down less; on several it is the wall's, and
SciPy runs on rank 0 alone, while the others sleep. Results are compared first: with scipy.fft's to the bit.

Aims: rfftn 256^3 0.9 × scipy on one rank, 1.4 × on two; poisson 0.8 and 1.4; redistribution 0.8 × Alltoallw, and
1.0 × HTTomo's reslice; on several ranks 1.0 × "slabs", what one would write by hand: scipy.fft along whole axes, and
Alltoallw.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

import mpibatch as mb
from mpibatch.fields.lines import along_lines
from mpibatch.fields.pencils import pencils
from mpibatch.mpi import MPI

Array = npt.NDArray[Any]
Call = Callable[[], Any]
COMM = MPI.COMM_WORLD
OURS = "mpibatch"


def whole_of(shape: tuple[int, ...]) -> Array | None:
    """Return noise, on the first rank."""
    return np.random.default_rng(8).standard_normal(shape) if COMM.rank == 0 else None


def compare(name: str, ours: mb.Field, theirs: Array | None, limit: float = 0.0) -> None:
    """End the run unless both have the same values, up to a limit."""
    whole = mb.gather(ours)
    good = whole is None or theirs is None or float(np.abs(whole - theirs).max()) <= limit
    if not COMM.allreduce(good, op=MPI.LAND):
        raise SystemExit(f"{name}: the results differ")


def transform(shape: tuple[int, ...]) -> dict[str, Call]:
    """The half spectrum of real values."""
    whole = whole_of(shape)
    u = mb.scatter(whole, mb.Grid(shape))
    compare("rfftn", mb.fft.rfftn(u), None if whole is None else fft.rfftn(whole))
    calls: dict[str, Call] = {OURS: lambda: mb.fft.rfftn(u), "scipy": lambda: whole is None or fft.rfftn(whole)}
    if COMM.size > 1:
        slabs = Slabs(shape)
        mine = mb.redistribute(u, mb.Grid(shape, topology=(None, 1, 1))).owned
        calls["slabs"] = lambda: slabs.home(slabs.first(slabs.away(fft.rfftn(mine, axes=(1, 2)))))
    return calls


def pencils_of_waves(shape: tuple[int, ...]) -> dict[str, Call]:
    """The half spectrum of a field that is cut along two axes: lines on from axis to axis, or home after each.

    Nothing on ranks that cannot be put in rows: it takes 4, 6 or 8.
    """
    rows = next(n for n in range(int(COMM.size**0.5), 0, -1) if COMM.size % n == 0)
    if rows == 1:
        return {}
    whole = whole_of(shape)
    u = mb.scatter(whole, mb.Grid(shape, topology=(rows, COMM.size // rows, 1)))
    compare("rfftn of pencils", mb.fft.rfftn(u), None if whole is None else fft.rfftn(whole))

    return {
        OURS: lambda: mb.fft.rfftn(u),
        "axis by axis": lambda: mb.fft.fft(mb.fft.fft(mb.fft.rfft(u), axis=0), axis=1),
        "scipy": lambda: whole is None or fft.rfftn(whole),
    }


def poisson(shape: tuple[int, ...]) -> dict[str, Call]:
    """Poisson's equation on a periodic box, by the symbol of the stencil."""
    whole = whole_of(shape)
    u = mb.scatter(whole, mb.Grid(shape, periodic=True))

    def theirs() -> Array | None:
        if whole is None:
            return None
        waves = fft.rfftn(whole)
        squares = [-((2 * np.sin(np.pi * np.arange(n) / n)) ** 2) for n in shape[:-1]]
        squares.append(-((2 * np.sin(np.pi * np.arange(shape[-1] // 2 + 1) / shape[-1])) ** 2))
        symbol = np.asarray(sum(np.ix_(*squares)))
        symbol[0, 0, 0] = np.inf
        waves /= symbol
        return np.asarray(fft.irfftn(waves, shape))

    compare("poisson", mb.solve.poisson(u), theirs(), 1e-9)
    calls: dict[str, Call] = {OURS: lambda: mb.solve.poisson(u), "scipy": theirs}
    if COMM.size > 1:
        calls["slabs"] = poisson_of_slabs(mb.redistribute(u, mb.Grid(shape, topology=(None, 1, 1))).owned, shape)
    return calls


class Slabs:
    """A half spectrum cut along its first axis, by hand: the rest of its transform, and Alltoallw there and back."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        half = (*shape[:-1], shape[-1] // 2 + 1)
        cuts = [[n * rank // COMM.size for rank in range(COMM.size + 1)] for n in half[:2]]
        rows, self.columns = ([slice(*pair) for pair in itertools.pairwise(cut)] for cut in cuts)
        self.mine = self.columns[COMM.rank]
        tall = (half[0], self.mine.stop - self.mine.start, half[2])
        flat = (rows[COMM.rank].stop - rows[COMM.rank].start, *half[1:])
        self._tall, self._flat = np.empty(tall, "c16"), np.empty(flat, "c16")
        self.leaving = [self._part(flat, 1, part) for part in self.columns]
        self.arriving = [self._part(tall, 0, part) for part in rows]
        self.once = [1] * COMM.size, [0] * COMM.size

    @staticmethod
    def _part(shape: tuple[int, ...], axis: int, part: slice) -> Any:
        sizes, starts = list(shape), [0] * len(shape)
        sizes[axis], starts[axis] = part.stop - part.start, part.start
        return MPI.C_DOUBLE_COMPLEX.Create_subarray(shape, sizes, starts).Commit()

    def away(self, values: Array) -> Array:
        COMM.Alltoallw([values, self.once, self.leaving], [self._tall, self.once, self.arriving])
        return self._tall

    def first(self, values: Array) -> Array:
        return np.asarray(fft.fft(values, axis=0, overwrite_x=True))

    def home(self, values: Array) -> Array:
        COMM.Alltoallw([values, self.once, self.arriving], [self._flat, self.once, self.leaving])
        return self._flat


def poisson_of_slabs(mine: Array, shape: tuple[int, ...]) -> Call:
    """The same equation, by hand: of the first axis there and back while others are whole."""
    slabs = Slabs(shape)
    squares = [-((2 * np.sin(np.pi * np.arange(n) / n)) ** 2) for n in shape[:-1]]
    squares.append(-((2 * np.sin(np.pi * np.arange(shape[-1] // 2 + 1) / shape[-1])) ** 2))
    squares[1] = squares[1][slabs.mine]

    def solve() -> Array:
        waves = slabs.first(slabs.away(fft.rfftn(mine, axes=(1, 2))))
        symbol = np.asarray(sum(np.ix_(*squares)))
        symbol[symbol == 0] = np.inf
        waves /= symbol
        values = slabs.home(fft.ifft(waves, axis=0, overwrite_x=True))
        return np.asarray(fft.irfftn(values, shape[1:], axes=(1, 2)))

    return solve


def there_and_back(shape: tuple[int, ...]) -> dict[str, Call]:
    """Whole lines of the first axis and back, nothing done to them."""
    u = mb.scatter(whole_of(shape), mb.Grid(shape, topology=(None, 1, 1)))
    v = u.like()

    def work(source: Array, target: Array, _: Any) -> None:
        target[...] = source

    other = pencils(u.grid, 0)
    middle = np.empty(other.box.shape)
    old, new = u.grid.decomposition, other.decomposition

    def types(array: Array, mine: Any, layout: Any) -> list[Any]:
        made = []
        for rank in range(COMM.size):
            part = mine.intersect(layout.box(rank))
            kind = MPI.DOUBLE.Create_subarray(
                array.shape, part.shape, [a - b for a, b in zip(part.start, mine.start, strict=True)]
            )
            made.append(kind.Commit())
        return made

    leaving, arriving = types(u.owned, u.box, new), types(middle, other.box, old)
    ones = [1] * COMM.size
    zeros = [0] * COMM.size

    def theirs() -> None:
        COMM.Alltoallw([u.owned, (ones, zeros), leaving], [middle, (ones, zeros), arriving])
        COMM.Alltoallw([middle, (ones, zeros), arriving], [v.owned, (ones, zeros), leaving])

    theirs()
    compare("there and back", along_lines(u, 0, shape[0], "f8", work), mb.gather(v))
    return {OURS: lambda: along_lines(u, 0, shape[0], "f8", work, v), "alltoallw": theirs}


def redistribution(shape: tuple[int, ...]) -> dict[str, Call]:
    """A field brought to pencils of its first axis."""
    calls = there_and_back(shape)
    u = mb.scatter(whole_of(shape), mb.Grid(shape, topology=(None, 1, 1)))
    to = pencils(u.grid, 0)
    return {OURS: lambda: mb.redistribute(mb.redistribute(u, to), u.grid), "alltoallw": calls["alltoallw"]}


def reslicing(shape: tuple[int, ...]) -> dict[str, Call]:
    """Projections (angles, rows, columns) of f4 in blocks of angles, brought to blocks of rows, as tomography does it.

    "reslice" is HTTomo's way, by hand: the block is split along rows into pieces, each copied to where it is
    contiguous, all of which go in one Alltoallv; what arrives is concatenated along angles.
    """
    whole = whole_of(shape)
    u = mb.scatter(None if whole is None else whole.astype("f4"), mb.Grid(shape, topology=(None, 1, 1)))
    rows = mb.Grid(shape, topology=(1, None, 1))
    old, new = ([grid.decomposition.box(rank).shape for rank in range(COMM.size)] for grid in (u.grid, rows))
    cuts = np.cumsum([box[1] for box in new])[:-1]
    shapes = [(box[0], rows.box.shape[1], shape[2]) for box in old]  # of what comes from each rank
    sizes = [math.prod(piece) for piece in shapes]

    def theirs() -> Array:
        pieces = np.split(u.owned, cuts, axis=1)
        leaving, arriving = np.empty(u.owned.size, "f4"), np.empty(sum(sizes), "f4")
        counts = [piece.size for piece in pieces]
        for part, piece in zip(np.split(leaving, np.cumsum(counts)[:-1]), pieces, strict=True):
            part.reshape(piece.shape)[...] = piece
        COMM.Alltoallv([leaving, counts], [arriving, sizes])
        parts = zip(np.split(arriving, np.cumsum(sizes)[:-1]), shapes, strict=True)
        return np.concatenate([part.reshape(piece) for part, piece in parts], axis=0)

    result = rows.empty("f4")
    result.owned[...] = theirs()
    compare("reslice", mb.redistribute(u, rows), mb.gather(result))
    return {OURS: lambda: mb.redistribute(u, rows), "reslice": theirs}


CASES: dict[str, tuple[Callable[[tuple[int, ...]], dict[str, Call]], int]] = {
    "rfftn 256^3": (transform, 256),
    "rfftn of pencils 256^3": (pencils_of_waves, 256),
    "poisson 256^3": (poisson, 256),
    "lines there and back 256^3": (there_and_back, 256),
    "redistribute there and back 256^3": (redistribution, 256),
    "reslice 256^3": (reslicing, 256),
}


def timed(calls: dict[str, Call], samples: int) -> dict[str, list[float]]:
    """Return the slowest rank's seconds of each call, the calls in turn; the first of each apart."""
    clock = time.process_time if COMM.size == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(samples + 1):
        for name, call in calls.items():
            COMM.Barrier()
            begin = clock()
            call()
            mine = clock() - begin
            # Who has nothing to do sleeps until the others are done: waiting ranks would take their processor.
            request = COMM.Ibarrier()
            while not request.Test():
                time.sleep(1e-3)
            times[name].append(COMM.allreduce(mine, op=MPI.MAX))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="small arrays, few samples")
    parser.add_argument("--only", metavar="CASE", help="cases whose names begin so")
    arguments = parser.parse_args()
    versions = {name: importlib.metadata.version(name) for name in ("mpibatch", "numpy", "scipy", "mpi4py")}
    for name, (make, n) in CASES.items():
        if not name.startswith(arguments.only or ""):
            continue
        side = 96 if arguments.quick else n
        calls = make((side,) * 3)
        if not calls:
            continue
        times = timed(calls, 3 if arguments.quick else 7)
        first, ours = times[OURS][0], times[OURS][1:]
        peers = {peer: statistics.median(t[1:]) for peer, t in times.items() if peer != OURS}
        median = statistics.median(ours)
        record = {
            "case": name if not arguments.quick else name.replace("256", str(side)),
            "ranks": COMM.size,
            "threads": 1,
            "clock": "cpu" if COMM.size == 1 else "wall",
            "seconds": round(median, 5),
            "spread": [round(min(ours), 5), round(max(ours), 5)],
            "first": round(first, 5),
            "against": {peer: round(seconds, 5) for peer, seconds in peers.items()},
            "ratio": {peer: round(seconds / median, 2) for peer, seconds in peers.items()},
            "versions": versions,
        }
        if COMM.rank == 0:
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
