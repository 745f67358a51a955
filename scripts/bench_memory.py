#!/usr/bin/env python3
"""Measure the peak memory of a gaussian, or of labels: `mpiexec -n 2 python scripts/bench_memory.py --only label`.

A 512³ volume, made on its ranks: f4, smoothed with sigma = 2; or 31 % of the cells set, near the threshold at which one
object reaches everywhere, labeled by faces and by all neighbors. One case a process, as a peak is one of all that was
done before. One JSON object: the largest rank's resident bytes at their peak, beside its block (the owned cells of the
gaussian's input, of the labels), and beside 2.6 blocks + 300 MB.
"""

from __future__ import annotations

import argparse
import json
import resource
from typing import TYPE_CHECKING

import numpy as np
import scipy.ndimage as ndi

import mpibatch as mb
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Callable


def peak() -> int:
    """Return the largest resident bytes of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def smoothed(u: mb.Field) -> int:
    """Smooth a volume; return the bytes of this rank's block."""
    assert mb.filters.gaussian_filter(u, sigma=2).shape == u.shape
    return int(u.owned.nbytes)


def labeled(u: mb.Field, connectivity: int) -> int:
    """Label a volume; return the bytes of this rank's block of labels."""
    labels, count = mb.label(u, ndi.generate_binary_structure(u.ndim, connectivity))
    assert count
    return int(labels.owned.nbytes)


CASES: dict[str, tuple[str, Callable[[mb.Field], int]]] = {
    "gaussian": ("f4", smoothed),
    "label-6": ("?", lambda u: labeled(u, 1)),
    "label-26": ("?", lambda u: labeled(u, 3)),
}


def main() -> None:
    """Run the case."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="256³ cells")
    parser.add_argument("--only", choices=CASES, default="gaussian", help="the case; default: gaussian")
    options = parser.parse_args()
    edge = 256 if options.quick else 512
    dtype, run = CASES[options.only]
    comm = MPI.COMM_WORLD
    u = mb.Grid((edge,) * 3).empty(dtype)
    rng = np.random.default_rng(comm.rank)
    for plane in u.owned:
        values = rng.random(plane.shape, "f4")
        plane[...] = values if dtype == "f4" else values < 0.31
    before = peak()
    block = comm.allreduce(run(u), op=MPI.MAX)
    most, most_before = comm.allreduce(peak(), op=MPI.MAX), comm.allreduce(before, op=MPI.MAX)
    if comm.rank == 0:
        limit = 2.6 * block + 300e6
        report = {
            "case": f"memory-{options.only}-{edge}",
            "ranks": comm.size,
            "threads": 1,
            "block_bytes": block,
            "peak_bytes": most,
            "peak_before_bytes": most_before,
            "peak_over_block": most / block,
            "limit_bytes": limit,
            "within": most <= limit,
            "versions": {"numpy": np.__version__},
        }
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
