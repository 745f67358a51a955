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


def run(job: Job, comm: MPI.Intracomm | None = None, report: Report = silent, start: Start = "new") -> Summary:
    """Run a job, on all ranks of a communicator. Collective.

    Raises UsageError or RunError, the same on every rank.
    """
    comm = private(comm)
    with permitted(comm, job.output.permissions):
        if job.stream is None:
            return pipeline.run(job, comm, report, start)
        from mpibatch.job.slabs.stream import streamed

        return streamed(job, comm, report, start)
