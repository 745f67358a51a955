"""Running a simulation: its program, within a time loop that the job has set."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch import __version__
from mpibatch.base import timing
from mpibatch.base.errors import RunError
from mpibatch.base.trust import privacy
from mpibatch.checkpoint.identity import fingerprint
from mpibatch.job.execution.pipeline import ATTRIBUTE_BYTES, Saved, Summary
from mpibatch.job.execution.progress import Report, silent
from mpibatch.job.execution.resumption import FINGERPRINT, Start, is_complete, opened
from mpibatch.job.places import of_program
from mpibatch.job.target import check_target, permitted
from mpibatch.mpi import MPI, agreed, private
from mpibatch.simulate import Simulation

if TYPE_CHECKING:
    from mpibatch.job.file.simulation import SimulationJob

__all__ = ["identity_of", "simulate"]

_log = logging.getLogger(__name__)


def simulate(
    job: SimulationJob, comm: MPI.Intracomm | None = None, report: Report = silent, start: Start = "new"
) -> Summary:
    """Run a simulation; with ``start="resume"`` only what an earlier run has left of it. Collective.

    Raises UsageError or RunError, the same on every rank; nothing is left under the output's name then, unless it
    was there before.
    """
    comm = private(comm)
    with permitted(comm, job.permissions):
        return _simulated(job, comm, report, start)


def _simulated(job: SimulationJob, comm: MPI.Intracomm, report: Report, start: Start) -> Summary:
    identity = identity_of(job)
    checkpoints = opened(job.checkpoint, comm, start, identity)
    with agreed(comm, f"preparing {job.output}"):
        if comm.rank == 0:
            for path in filter(None, (job.output, job.diagnostics)):
                check_target(Path(path))
    mark = fingerprint({"version": __version__, **identity}) if checkpoints is not None else ""
    if start == "resume" and is_complete(comm, job.output, mark):
        if checkpoints is not None:
            checkpoints.clear()
        return Summary((), (), job.output, (), (), was_complete=True)
    schedule, begin, written = job.schedule, time.perf_counter(), timing.spent("io")
    compiling = timing.spent("compile")
    text = privacy.words(job.text) if len(job.text.encode("utf-8", "replace")) <= ATTRIBUTE_BYTES else ""
    simulation = Simulation(
        schedule,
        output=job.output,
        diagnostics=job.diagnostics,
        comm=comm,
        layout=job.grid,
        attrs={**({"job": text} if text else {}), **({FINGERPRINT: mark} if mark else {})},
        report=report,
        record=job.record,
        encrypt=job.encrypt,
        checkpoints=checkpoints,
        resume=start == "resume",
    )
    _log.info("%s: %s", job.program.name, job.parameters)
    # Around the simulation, which must see an error as it is to close its files.
    with of_program(job.program.name, job.program.module.__file__ or ""), simulation:
        job.program.module.run(job.parameters, simulation)
    done, all_seconds = simulation.outcome, time.perf_counter() - begin
    if done is None:
        raise RunError(f"the program {job.program.name!r} made no step; let it loop over simulation.steps(...)")
    saved = tuple(Saved(name, shape, dtype, size, {}) for name, shape, dtype, size in done.written)
    written, compiling = timing.spent("io") - written, timing.spent("compile") - compiling
    stepping = done.seconds - done.writing
    parts = {"steps": stepping, "output": written, "compiling": compiling}
    laps = (*parts.items(), ("the rest", max(0.0, all_seconds - sum(parts.values()))))
    made = done.steps - done.first
    each = done.seconds / max(1, made)
    since = f" after step {done.first}" if done.first else ""
    notes = (f"{job.program.name}: {made} steps{since} to t = {done.time:.6g}, {1e3 * each:.3g} ms each",)
    return Summary(done.grid.shape, done.grid.topology, job.output, saved, laps, notes, kind="simulation", steps=made)


def identity_of(job: SimulationJob) -> dict[str, Any]:
    """Return everything in a job that changes its result. Local."""
    program = job.program
    source = Path(program.module.__file__ or "")
    return {
        "program": Path(program.name).name,
        "program text": hashlib.sha256(source.read_bytes()).hexdigest()[:16] if source.is_file() else "",
        **{f"simulation.{name}": value for name, value in dataclasses.asdict(job.parameters).items()},
        **job.schedule.identity(),
    }
