"""Running a simulation: its program, within a time loop that the job has set."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from mpibatch.errors import RunError
from mpibatch.job.pipeline import ATTRIBUTE_BYTES, Saved, Summary, check_target
from mpibatch.job.progress import Report, silent
from mpibatch.job.simulation import SimulationJob
from mpibatch.mpi import MPI, agreed, private
from mpibatch.simulate import Simulation

__all__ = ["simulate"]

_log = logging.getLogger(__name__)


def simulate(job: SimulationJob, comm: MPI.Intracomm | None = None, report: Report = silent) -> Summary:
    """Run a simulation. Collective.

    Raises UsageError or RunError, the same on every rank; nothing is left under the output's name then, unless it
    was there before.
    """
    comm = private(comm)
    with agreed(comm, f"preparing {job.output}"):
        if comm.rank == 0:
            for path in filter(None, (job.output, job.diagnostics)):
                check_target(Path(path))
    schedule, begin = job.schedule, time.perf_counter()
    text = job.text if len(job.text.encode("utf-8", "replace")) <= ATTRIBUTE_BYTES else ""
    simulation = Simulation(
        schedule,
        output=job.output,
        diagnostics=job.diagnostics,
        comm=comm,
        layout=job.grid,
        attrs={"job": text} if text else {},
        report=report,
    )
    with simulation:
        _log.info("%s: %s", job.program.name, job.parameters)
        job.program.module.run(job.parameters, simulation)
    done, all_seconds = simulation.outcome, time.perf_counter() - begin
    if done is None:
        raise RunError(f"the program {job.program.name!r} made no step; let it loop over simulation.steps(...)")
    saved = tuple(Saved(name, shape, dtype, size, {}) for name, shape, dtype, size in done.written)
    laps = (("stepping", done.seconds), ("the rest", all_seconds - done.seconds))
    each = done.seconds / max(1, done.steps)
    notes = (f"{job.program.name}: {done.steps} steps to t = {done.time:.6g}, {1e3 * each:.3g} ms each",)
    return Summary(done.grid.shape, done.grid.topology, job.output, saved, laps, notes)
