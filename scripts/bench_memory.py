#!/usr/bin/env python3
"""Measure the peak memory of a gaussian: `mpiexec -n 2 python scripts/bench_memory.py`.

A 512³ f4 volume, made on its ranks, smoothed with sigma = 2. One JSON object: the largest rank's resident bytes
at their peak, beside its block (the owned cells of the input), and beside 2.6 blocks + 300 MB.
"""

from __future__ import annotations

import argparse
import json
import resource

import numpy as np

import mpibatch as mb
from mpibatch.mpi import MPI


def peak() -> int:
    """Return the largest resident bytes of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Run the case."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="256³ cells")
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    options = parser.parse_args()
    edge = 256 if options.quick else 512
    case = f"memory-gaussian-{edge}-f4"
    if options.only not in case:
        return
    comm = MPI.COMM_WORLD
    u = mb.Grid((edge,) * 3).empty("f4")
    rng = np.random.default_rng(comm.rank)
    for plane in u.owned:
        plane[...] = rng.random(plane.shape, "f4")
    before = peak()
    smooth = mb.filters.gaussian_filter(u, sigma=2)
    after = peak()
    assert smooth.shape == u.shape
    block = max(comm.allgather(u.owned.nbytes))
    most, most_before = comm.allreduce(after, op=MPI.MAX), comm.allreduce(before, op=MPI.MAX)
    if comm.rank == 0:
        limit = 2.6 * block + 300e6
        found = {
            "case": case,
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
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
