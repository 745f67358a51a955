"""One answer on any number of ranks: domain-decomposed arrays, stencils, exact reductions, parallel HDF5.

The parts, in order of dependency; each knows only those before it:

- ``base``: names that are imported when first used
- ``errors``, ``log``, ``timing``, ``tally``: messages; where the time goes, and what was done in it
- ``host``, ``jsonfile``: what this host is; JSON files, whole or as they were
- ``domain``: which global index lies where (pure integers)
- ``mpi``: the only door to mpi4py
- ``grid``, ``field``: a decomposition with a communicator; this rank's part of an array
- ``halo``: plan → engines → exchange
- ``redistribution``: scatter, gather, change of decomposition
- ``io``: load and save
- ``reduce``: exact sums, extrema, histograms
- ``stencil``: kernels from plain Python functions
- ``random``: random fields that do not depend on ranks
- ``checkpoint``: files from which a run goes on
- ``simulate``: time loops
- ``filters``: scipy.ndimage's and scikit-image's, to the bit
- ``job``: a pipeline or a simulation as a TOML file
- ``slurm``: batch scripts, their submission, and the lives of a run
- ``doctor``, ``scaling``: what is wrong with a machine; what a job takes on it, and scaling studies
- ``testing``: a pytest plugin that keeps the ranks in step
- ``cli``: the commands
- ``apps``: complete programs to copy from

Importing this package loads none of them (no MPI, no numba): names are found when first used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mpibatch.base.lazy import attach

if TYPE_CHECKING:
    from mpibatch import checkpoint, domain, filters, halo, io, job, mpi, random, reduce, simulate
    from mpibatch.checkpoint import Checkpoints
    from mpibatch.domain import Box, Decomposition
    from mpibatch.errors import MpibatchError, RunError, Stopped, UsageError
    from mpibatch.field import Field
    from mpibatch.grid import Grid
    from mpibatch.halo import Exchange, exchange
    from mpibatch.io import load, open, save
    from mpibatch.redistribution import gather, gather_all, redistribute, scatter
    from mpibatch.reduce import argmax, argmin, count_nonzero, histogram, max, mean, min, sum
    from mpibatch.simulate import Simulation
    from mpibatch.stencil import Kernel, cells, coordinate, index, spacing, stencil
    from mpibatch.stencil.iterate import iterate

__version__ = "0.1.0"

# numba reads this when it loads: Intel's vector functions, where installed, round otherwise than the scalar ones that
# finish a row, so that bits would depend on where a block begins.
os.environ.setdefault("NUMBA_DISABLE_INTEL_SVML", "1")

__all__ = [
    "Box",
    "Checkpoints",
    "Decomposition",
    "Exchange",
    "Field",
    "Grid",
    "Kernel",
    "MpibatchError",
    "RunError",
    "Simulation",
    "Stopped",
    "UsageError",
    "__version__",
    "argmax",
    "argmin",
    "cells",
    "checkpoint",
    "coordinate",
    "count_nonzero",
    "domain",
    "exchange",
    "filters",
    "gather",
    "gather_all",
    "halo",
    "histogram",
    "index",
    "io",
    "iterate",
    "job",
    "load",
    "max",
    "mean",
    "min",
    "mpi",
    "open",
    "random",
    "redistribute",
    "reduce",
    "save",
    "scatter",
    "simulate",
    "spacing",
    "stencil",
    "sum",
]


def _explain(name: str) -> str:
    from mpibatch.errors import nearest

    return nearest(name, __all__)


if not TYPE_CHECKING:
    __getattr__, __dir__ = attach(
        __name__,
        {
            "checkpoint": ("Checkpoints",),
            "domain": ("Box", "Decomposition"),
            "errors": ("MpibatchError", "RunError", "Stopped", "UsageError"),
            "field": ("Field",),
            "grid": ("Grid",),
            "halo": ("Exchange", "exchange"),
            "io": ("load", "open", "save"),
            "redistribution": ("gather", "gather_all", "redistribute", "scatter"),
            "reduce": ("argmax", "argmin", "count_nonzero", "histogram", "max", "mean", "min", "sum"),
            "simulate": ("Simulation",),
            "stencil": ("Kernel", "cells", "coordinate", "index", "spacing"),
            "stencil.iterate": ("iterate",),
        },
        modules=(
            "checkpoint",
            "domain",
            "filters",
            "halo",
            "io",
            "job",
            "mpi",
            "random",
            "reduce",
            "simulate",
            "stencil",
        ),
        explain=_explain,
    )
