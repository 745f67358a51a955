"""Jobs: a pipeline of filters, or a simulation, described in a TOML file, checked as a whole, and run.

::

    [input]
    path = "hubble.png"           # any format that mpibatch.load reads
    dataset = "raw"               # where a file can hold several
    region = "10:200, ::4"        # optional: these cells alone
    frame = 0                     # optional, of TIFF and its like: this time alone; so are channel, series and level
    dtype = "u2"                  # of plain bytes, with shape = [90, 512, 512]; so are offset, order and byteorder

    [grid]                        # optional: how the cells are spread over the ranks, see mpibatch.Grid
    topology = [2, 0]             # ranks along each axis, 0: chosen
    periodic = [false, true]

    [[step]]                      # in this order
    filter = "rgb2gray"

    [[step]]
    name = "smooth"               # default: the filter's name
    filter = "gaussian_filter"    # any function of mpibatch.filters, binarize or convert
    sigma = 2                     # its parameters
    save = "filtered"             # true: under the step's name

    [[step]]
    filter = "sobel_magnitude"
    input = "smooth"              # default: the step before; "input": the file

    [[step]]
    filter = "binarize"
    threshold = "otsu"            # or a number
    save = "edges"

    [output]
    path = "hubble.h5"            # or another format by its ending: .ome.zarr, .zarr, .tif, .fits, .nii, .npy
    dataset = "edges"             # names the last step's result, if its `save` does not
    compression = "gzip"          # optional; so are chunks = [64, 64], driver = "direct" or "mpio", pyramid = 2
    subfiles = "node"             # optional: one file for each node, and one front; or a number; see mpibatch merge
    stripes = "8:4M"              # optional, on Lustre: servers (-1: all), and perhaps the size of a piece
    hints = { cb_nodes = 8 }      # optional: of MPI-IO, before those of $MPIBATCH_HINTS
    record = true                 # tell in the file of this run: date, hosts, decomposition, seconds

`parse` → `Job` (pure, no MPI) → `run` → `Summary`. Or a simulation, by a program of `mpibatch.apps` or of the user's::

    [simulation]
    program = "heat"              # or "my_heat.py"
    until = 0.02                  # units of time; or steps = 1000
    check_every = 100             # steps between searches for NaN
    shape = [128, 128]            # and whatever the program's Parameters have

    [grid]                        # optional: topology, sizes, weights

    [output]
    path = "heat.h5"
    every = 0.004                 # units of time; or every_steps = 100

    [diagnostics]                 # optional; default: with every output, into its file only
    path = "heat.csv"
    every = 0.002

The command ``mpibatch run`` runs both. Both may have, to be taken up again after an early end::

    [checkpoint]
    every_minutes = 10            # the default; every_steps = 1000 (of a pipeline: filters), or both
    keep = 2                      # of a simulation: how many
    path = "heat.h5.checkpoints"  # a folder; default: beside the output

A simulation leaves its state (`mpibatch.checkpoint`), a pipeline the results of steps that later ones need, under names
that tell what they were made from. With ``start="resume"`` what is whole is used, and the rest is done again.

A pipeline whose data exceed memory goes through them in slabs along the first axis, to the same bytes::

    [stream]
    memory = "2 GiB"              # of a rank; default: $MPIBATCH_MEMORY_LIMIT, else 1 GiB; or slab = 64 (planes)
    path = "out.h5.stream"        # a folder for what lies between passes; default: beside the output

The rooms, in order of dependency: ``places``; ``document`` (limits, checks, problems), ``file`` (the schema),
``target``, ``moves`` (what steps of whole lines send), ``execution`` (with MPI), ``rehearsal`` (the run's own checks,
on a few cells), ``passes`` (over data in slabs), ``plan``, ``slabs`` (with MPI), ``runner``, ``preview``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.lazy_names import attach
from mpibatch.job.file.reader import parse
from mpibatch.job.file.schema import Checkpointing, Input, Job, Output, Step, Supervising
from mpibatch.job.file.stream import Streaming

if TYPE_CHECKING:
    from mpibatch.job.execution.pipeline import Saved, Summary
    from mpibatch.job.runner import run
else:
    # These start MPI.
    __getattr__, __dir__ = attach(__name__, {"execution.pipeline": ("Saved", "Summary"), "runner": ("run",)})

__all__ = [
    "Checkpointing", "Input", "Job", "Output", "Saved", "Step", "Streaming", "Summary", "Supervising", "parse", "run",
]  # fmt: skip
