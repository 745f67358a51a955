#!/usr/bin/env python3
"""Time resampling and back-projection against scipy, scikit-image and ASTRA, in the same run.

`python scripts/bench_resample.py [--quick] [--only CASE]`, or under `mpiexec -n N` on N ranks: the peers then run on
rank 0 alone, while the others sleep. One JSON object a line, with the seconds of the slowest rank; on one rank they are
the processor's, which others' work slows down less. Results are compared
first, to the bit, with scipy's and scikit-image's.

Aims on one rank: spline coefficients 2 × scipy, affine 3 × scipy for orders 1 and 3, iradon 2.5 × scikit-image and
1.0 × ASTRA on its processors; on two ranks 1.8 × of one.
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import mpibatch as mb
from scripts._bench_runs import COMM, Timed, report, timings

Array = npt.NDArray[Any]
Call = Callable[[], Any]


def field(whole: Array) -> mb.Field:
    """Return an array that all ranks have as a field."""
    grid = mb.Grid(whole.shape)
    u = grid.empty(whole.dtype)
    u.owned[...] = whole[grid.box.slices()]
    return u


def noise(*shape: int) -> Array:
    return np.random.default_rng(5).standard_normal(shape)


def bench(case: str, ours: Call, peers: dict[str, Call], samples: int, missing: list[str]) -> None:
    """Compare with the first peer, and time. Collective."""
    theirs = next(iter(peers.values()))()
    result = ours()
    is_equal = np.array_equal(result.owned, theirs[result.grid.box.slices()])
    if not all(COMM.allgather(is_equal)):
        raise SystemExit(f"{case}: the results differ")
    calls = {"ours": Timed(ours), **{name: Timed(peer, is_alone=True) for name, peer in peers.items()}}
    clock = time.process_time if COMM.size == 1 else time.perf_counter
    report(case, timings(calls, samples, clock), missing)


def splines(side: int, ndim: int, samples: int) -> None:
    """Coefficients of cubic splines."""
    whole = noise(*(side,) * ndim)
    u = field(whole)
    bench(
        f"spline-{'x'.join([str(side)] * ndim)}",
        lambda: mb.resample.spline_filter(u),
        {"scipy": lambda: ndi.spline_filter(whole)},
        samples,
        [],
    )


def affine(side: int, order: int, samples: int) -> None:
    """A picture turned by 10 degrees around its middle, coefficients included."""
    whole = noise(side, side)
    u = field(whole)
    turn = math.radians(10)
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    offset = (side - 1) / 2 * (1 - matrix.sum(axis=1))
    bench(
        f"affine-{side}x{side}-order{order}",
        lambda: mb.resample.affine_transform(u, matrix, offset, order=order),
        {"scipy": lambda: ndi.affine_transform(whole, matrix, offset, order=order)},
        samples,
        [],
    )


def back_projection(side: int, angles: int, samples: int) -> None:
    """A stack of two sinograms, so that two ranks have a slice each; the peers make the slices one by one."""
    transform = importlib.import_module("skimage.transform")
    theta = np.linspace(0.0, 180.0, angles, endpoint=False)
    whole = np.stack([noise(side, angles), noise(side, angles)[::-1]])
    u = field(whole)
    peers: dict[str, Call] = {
        "skimage": lambda: np.stack([transform.iradon(part, theta, circle=True) for part in whole])
    }
    missing: list[str] = []
    try:
        astra = importlib.import_module("astra")
    except ImportError:
        missing.append("astra")
    else:
        peers["astra"] = lambda: [_of_astra(astra, part, theta) for part in whole]
    bench(f"iradon-2x{side}x{angles}", lambda: mb.projections.iradon(u, theta), peers, samples, missing)


def _of_astra(astra: Any, sinogram: Array, theta: Array) -> Array:
    """ASTRA's filtered back-projection on its processors."""
    volume = astra.create_vol_geom(len(sinogram), len(sinogram))
    rays = astra.create_proj_geom("parallel", 1.0, len(sinogram), np.deg2rad(theta))
    projector = astra.create_projector("linear", rays, volume)
    data = astra.data2d.create("-sino", rays, np.ascontiguousarray(sinogram.T))
    target = astra.data2d.create("-vol", volume)
    settings = astra.astra_dict("FBP")
    settings |= {"ProjectorId": projector, "ProjectionDataId": data, "ReconstructionDataId": target}
    algorithm = astra.algorithm.create(settings)
    astra.algorithm.run(algorithm)
    result: Array = astra.data2d.get(target)
    astra.algorithm.delete(algorithm)
    astra.data2d.delete([data, target])
    astra.projector.delete(projector)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="small arrays, few samples")
    parser.add_argument("--only", default="", metavar="CASE", help="spline, affine or iradon")
    options = parser.parse_args()
    samples = 3 if options.quick else 5
    less = 4 if options.quick else 1
    cases: dict[str, Callable[[], None]] = {
        "spline 3": lambda: splines(256 // less, 3, samples),
        "spline 2": lambda: splines(4096 // less, 2, samples),
        "affine 1": lambda: affine(4096 // less, 1, samples),
        "affine 3": lambda: affine(4096 // less, 3, samples),
        "iradon": lambda: back_projection(512 // less, 720 // less, samples),
    }
    for name, run in cases.items():
        if name.startswith(options.only):
            run()


if __name__ == "__main__":
    main()
