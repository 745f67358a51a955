"""A pipeline's run: in memory, or, if the job says so, slab by slab."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.job.execution import pipeline
from mpibatch.job.execution.progress import Report, silent
from mpibatch.job.target import permitted
from mpibatch.mpi import private

if TYPE_CHECKING:
    from mpibatch.job.execution.pipeline import Summary
    from mpibatch.job.execution.resumption import Start
    from mpibatch.job.file.schema import Job
    from mpibatch.mpi import MPI

__all__ = ["run"]


def run(job: Job, comm: MPI.Intracomm | None = None, report: Report | None = None, start: Start = "new") -> Summary:
    """Run a pipeline: read, compute and write what a job file describes.

    Parameters
    ----------
    job : Job
        What to do, the same on all ranks.
    comm : mpi4py.MPI.Intracomm, optional
        Whose ranks take part. Default: COMM_WORLD.
    report : callable, optional
        ``report(done, total, label)`` is called on every rank when `done` of `total` parts are done and the part
        `label` begins. Default: nothing is reported.
    start : {"new", "resume", "anew"}, default "new"
        What becomes of what an earlier run has left: "new" refuses to begin where there is something, "resume" goes on
        from there, "anew" removes it first. The last two are for jobs with a section ``[checkpoint]`` or ``[stream]``.

    Returns
    -------
    Summary
        What was done.

    Raises
    ------
    UsageError
        The same on every rank: parameters that do not fit the input, checkpoints that do not fit the job.
    RunError
        The same on every rank: a missing or damaged input, a full disk. What was there under the output's name stays.
    Stopped
        On all ranks, if SIGUSR1 or SIGTERM asked a job with ``[checkpoint]`` or ``[stream]`` for its end: with what
        "resume" needs.

    Notes
    -----
    Collective. Results are in memory, each until the last step that reads it; with a section ``[stream]`` only a slab
    of them is, and the file has the same bytes.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.save("job_input.h5", raw=mb.Grid((4, 6)).from_function(lambda y, x: y + x))
    >>> text = '''
    ... [input]
    ... path = "job_input.h5"
    ... [[step]]
    ... filter = "binarize"
    ... threshold = 3.5
    ... save = "bright"
    ... [output]
    ... path = "job_output.h5"
    ... '''
    >>> summary = mb.job.run(mb.job.parse(text))
    >>> summary.saved[0].dataset, int(mb.sum(mb.load(summary.path)))
    ('bright', 14)
    """
    comm, report = private(comm), report or silent
    with permitted(comm, job.output.permissions):
        if job.stream is None:
            return pipeline.run(job, comm, report, start)
        from mpibatch.job.slabs.stream import streamed

        return streamed(job, comm, report, start)
