"""Pipelines over data that exceed memory, from Python."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError
from mpibatch.job.document.problems import Problems
from mpibatch.job.file.schema import build
from mpibatch.job.slabs.stream import streamed
from mpibatch.mpi import agreed, private

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.mpi import MPI

__all__ = ["stream"]


def stream(
    path: str,
    output: str,
    steps: Sequence[Mapping[str, Any]],
    *,
    memory: str | None = None,
    slab: int | None = None,
    resume: bool = False,
    anew: bool = False,
    comm: MPI.Intracomm | None = None,
) -> dict[str, dict[str, float]]:
    """Run a pipeline over data that exceed the memory of all ranks together, slab by slab.

    The steps are those of a job file; the file written has the same bytes as that of the run in memory, on any ranks
    and with any slabs.

    Parameters
    ----------
    path : str
        What is read, as ``"volume.h5::raw"``: of any format that `mpibatch.load` reads in parts.
    output : str
        The HDF5 file to write. What lies between passes is beside it, in a folder ``output + ".stream"``.
    steps : sequence of mapping
        The ``[[step]]`` sections of a job file, as ``{"filter": "gaussian_filter", "sigma": 2, "save": "smooth"}``:
        filters that read cells nearby, thresholds, `label` and `regionprops_table`.
    memory : str, optional
        What a rank may take, such as "2 GiB"; by default $MPIBATCH_MEMORY_LIMIT, or 1 GiB. Slabs are as high as that
        allows.
    slab : int, optional
        Planes of a slab, instead.
    resume : bool, default False
        Whether to go on with what a run that ended early has left, of which a note is made every ten seconds.
    anew : bool, default False
        Whether to remove first what such a run has left.
    comm : mpi4py.MPI.Intracomm, optional
        Whose ranks take part. Default: COMM_WORLD.

    Returns
    -------
    dict of str to dict
        By the name of each saved result what its step measured: a threshold, the number of objects.

    Raises
    ------
    UsageError
        The same on every rank: mistakes in the steps, steps that cannot go through slabs (each with the reason), too
        little memory for a single plane, and what an earlier run has left, unless `resume` or `anew` is given; both.
    RunError
        The same on every rank: no such file, a full disk.
    Stopped
        On all ranks, if SIGUSR1 or SIGTERM asked for the end: after the slab under way, and with what `resume` needs.

    Notes
    -----
    Collective. Local steps of one pass are computed together, on a slab and as many planes around it as they read in
    all; a threshold takes two passes before it (extremes, histogram), a label one, a table one or two, and what passes
    hand on lies in files that are removed at the end. A rank also has the numbers of components that were joined
    across slabs, and its share of the tables' rows.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid((6, 8, 8)).from_function(lambda z, y, x: (y % 3 > 0) & (x % 4 > 1), "f4")
    >>> mb.save("large.h5", raw=u)
    >>> steps = [{"filter": "binarize", "threshold": 0.5}, {"filter": "label", "save": "objects"}]
    >>> mb.stream("large.h5::raw", "objects.h5", steps, slab=2)
    {'objects': {'objects': 6}}
    """
    home = private(comm)
    settings = {"memory": memory, "slab": slab}
    document: dict[str, Any] = {
        "input": {"path": path},
        "step": [dict(step) for step in steps],
        "output": {"path": output, "record": False},
    }
    text = json.dumps(document, sort_keys=True, default=str)
    document["stream"] = {key: value for key, value in settings.items() if value is not None}
    with agreed(home, "streaming"):
        job = build(document, Problems("mpibatch.stream"), text)
        if resume and anew:
            raise UsageError("stream(resume=True, anew=True): what an earlier run left is used or removed; give one")
    summary = streamed(job, home, start="resume" if resume else "anew" if anew else "new")
    return {saved.dataset: dict(saved.measured) for saved in summary.saved}
