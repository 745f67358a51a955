"""One answer on any number of ranks: domain-decomposed arrays, stencils, exact reductions, parallel HDF5.

The parts, in order of dependency, are listed in ``mpibatch guide architecture``: ``base``, ``domain``,
``supervisor``, ``mpi``, ``fields``, ``halo``; ``stencil``, ``reduce``, ``io``, ``random``; ``checkpoint``; ``batch``,
``filters``, ``measure``, ``simulate``; ``segment``, ``fourier``, ``resample``, ``particles``; ``solve``,
``projections``; ``job``; ``tools`` (batch scripts, doctor, plans, studies, reports), ``cli``, and ``apps``, complete
programs to copy from.

Importing this package loads none of them (no MPI, no numba): names are found when first used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch import (
        batch,
        checkpoint,
        domain,
        filters,
        fourier,
        halo,
        io,
        job,
        measure,
        mpi,
        particles,
        projections,
        random,
        reduce,
        resample,
        segment,
        simulate,
        solve,
    )
    from mpibatch.base.errors import MpibatchError, RunError, Stopped, UsageError
    from mpibatch.base.trust.grants import grant
    from mpibatch.batch import map_items
    from mpibatch.checkpoint import Checkpoints
    from mpibatch.domain import Box, Decomposition
    from mpibatch.fields.field import Field
    from mpibatch.fields.grid import Grid
    from mpibatch.fields.redistribution import gather, gather_all, redistribute, scatter
    from mpibatch.fourier import fft, fftconvolve, power_spectrum
    from mpibatch.halo import Exchange, exchange
    from mpibatch.io import load, open, save
    from mpibatch.job.slabs.call import stream
    from mpibatch.measure import center_of_mass, find_objects, label, moments, moments_central, regionprops_table
    from mpibatch.mpi.supervision import supervise
    from mpibatch.projections import project
    from mpibatch.reduce import (
        all,
        any,
        argmax,
        argmin,
        bincount,
        count_nonzero,
        dot,
        histogram,
        max,
        mean,
        median,
        min,
        minmax,
        nanargmax,
        nanargmin,
        nanmax,
        nanmean,
        nanmedian,
        nanmin,
        nanpercentile,
        nanquantile,
        nanstd,
        nansum,
        nanvar,
        norm,
        percentile,
        quantile,
        std,
        sum,
        unique,
        var,
    )
    from mpibatch.resample import pyramid
    from mpibatch.simulate import Simulation
    from mpibatch.stencil import Kernel, cells, coordinate, index, spacing, stencil
    from mpibatch.stencil.iteration import iterate

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
    "all",
    "any",
    "argmax",
    "argmin",
    "batch",
    "bincount",
    "cells",
    "center_of_mass",
    "checkpoint",
    "coordinate",
    "count_nonzero",
    "domain",
    "dot",
    "exchange",
    "fft",
    "fftconvolve",
    "filters",
    "find_objects",
    "fourier",
    "gather",
    "gather_all",
    "grant",
    "halo",
    "histogram",
    "index",
    "io",
    "iterate",
    "job",
    "label",
    "load",
    "map_items",
    "max",
    "mean",
    "measure",
    "median",
    "min",
    "minmax",
    "moments",
    "moments_central",
    "mpi",
    "nanargmax",
    "nanargmin",
    "nanmax",
    "nanmean",
    "nanmedian",
    "nanmin",
    "nanpercentile",
    "nanquantile",
    "nanstd",
    "nansum",
    "nanvar",
    "norm",
    "open",
    "particles",
    "percentile",
    "power_spectrum",
    "project",
    "projections",
    "pyramid",
    "quantile",
    "random",
    "redistribute",
    "reduce",
    "regionprops_table",
    "resample",
    "save",
    "scatter",
    "segment",
    "simulate",
    "solve",
    "spacing",
    "std",
    "stencil",
    "stream",
    "sum",
    "supervise",
    "unique",
    "var",
]


def _explain(name: str) -> str:
    from mpibatch.base.errors import nearest

    return nearest(name, __all__)


if not TYPE_CHECKING:
    __getattr__, __dir__ = attach(
        __name__,
        {
            "batch": ("map_items",),
            "checkpoint": ("Checkpoints",),
            "domain": ("Box", "Decomposition"),
            "base.trust.grants": ("grant",),
            "base.errors": ("MpibatchError", "RunError", "Stopped", "UsageError"),
            "fields.field": ("Field",),
            "fields.grid": ("Grid",),
            "fourier": ("fft", "fftconvolve", "power_spectrum"),
            "halo": ("Exchange", "exchange"),
            "io": ("load", "open", "save"),
            "fields.redistribution": ("gather", "gather_all", "redistribute", "scatter"),
            "mpi.supervision": ("supervise",),
            "measure": ("center_of_mass", "find_objects", "label", "moments", "moments_central", "regionprops_table"),
            "reduce": (
                "all",
                "any",
                "argmax",
                "argmin",
                "bincount",
                "count_nonzero",
                "dot",
                "histogram",
                "max",
                "mean",
                "median",
                "min",
                "minmax",
                "nanargmax",
                "nanargmin",
                "nanmax",
                "nanmean",
                "nanmedian",
                "nanmin",
                "nanpercentile",
                "nanquantile",
                "nanstd",
                "nansum",
                "nanvar",
                "norm",
                "percentile",
                "quantile",
                "std",
                "sum",
                "unique",
                "var",
            ),
            "job.slabs.call": ("stream",),
            "projections": ("project",),
            "resample": ("pyramid",),
            "simulate": ("Simulation",),
            "stencil": ("Kernel", "cells", "coordinate", "index", "spacing"),
            "stencil.iteration": ("iterate",),
        },
        modules=(
            "batch",
            "checkpoint",
            "domain",
            "filters",
            "fourier",
            "halo",
            "io",
            "job",
            "measure",
            "mpi",
            "particles",
            "projections",
            "random",
            "reduce",
            "resample",
            "segment",
            "simulate",
            "solve",
            "stencil",
        ),
        explain=_explain,
    )
