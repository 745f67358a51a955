"""One answer on any number of ranks: domain-decomposed arrays, stencils, exact reductions, parallel HDF5.

The parts, in order of dependency; each knows only those before it:

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

import importlib
import os
from typing import Any

__version__ = "0.1.0"

# numba reads this when it loads: Intel's vector functions, where installed, round otherwise than the scalar ones that
# finish a row, so that bits would depend on where a block begins.
os.environ.setdefault("NUMBA_DISABLE_INTEL_SVML", "1")

# Where each public name lives.
_HOMES = {
    "Box": "domain",
    "Checkpoints": "checkpoint",
    "Decomposition": "domain",
    "Exchange": "halo",
    "Field": "field",
    "Grid": "grid",
    "MpibatchError": "errors",
    "RunError": "errors",
    "Simulation": "simulate",
    "Stopped": "errors",
    "UsageError": "errors",
    "argmax": "reduce",
    "argmin": "reduce",
    "cells": "stencil",
    "coordinate": "stencil",
    "count_nonzero": "reduce",
    "exchange": "halo",
    "gather": "redistribution",
    "gather_all": "redistribution",
    "histogram": "reduce",
    "index": "stencil",
    "iterate": "stencil.iterate",
    "load": "io",
    "max": "reduce",
    "mean": "reduce",
    "min": "reduce",
    "open": "io",
    "redistribute": "redistribution",
    "save": "io",
    "scatter": "redistribution",
    "spacing": "stencil",
    "sum": "reduce",
}
_MODULES = ("checkpoint", "domain", "filters", "halo", "io", "job", "mpi", "random", "reduce", "simulate", "stencil")

__all__ = ["__version__", *_HOMES, *_MODULES]  # noqa: PLE0604  all of them are strings


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"mpibatch.{_HOMES[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"mpibatch.{name}")
    else:
        from mpibatch.errors import nearest

        raise AttributeError(f"mpibatch has no {name!r}{nearest(name, __all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
