"""The run of a job whose data go through memory in slabs: the same bytes as of the run in memory."""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import mpibatch.io as io
from mpibatch import __version__
from mpibatch.base.errors import Stopped
from mpibatch.base.progress.heartbeat import name_step
from mpibatch.checkpoint import contents
from mpibatch.checkpoint.signals import Caught, signal_name
from mpibatch.fields.grid import Grid
from mpibatch.io.base.geometry import to_attributes
from mpibatch.io.base.names import PART, normal_name, split_path
from mpibatch.io.read.region import chosen_region
from mpibatch.io.seal.content import content_of
from mpibatch.io.seal.manifest import VERSION
from mpibatch.io.write.layout import Dataset
from mpibatch.io.write.provenance import digest_of
from mpibatch.io.write.storage.settings import chosen
from mpibatch.job.document.checks import slices
from mpibatch.job.execution.pipeline import LapClock, Saved, Summary, inputs_text, provenance
from mpibatch.job.execution.progress import Report, silent
from mpibatch.job.passes.memory import Heights, heights_of
from mpibatch.job.passes.schedule import ROWS, SlabPass, passes_of
from mpibatch.job.passes.storage import check_storage, stored
from mpibatch.job.passes.traits import TABLE, Trait, traits_of
from mpibatch.job.plan import slab_source, values_of
from mpibatch.job.rehearsal import Values, rehearse
from mpibatch.job.slabs import intermediates
from mpibatch.job.slabs.chunks import PackedFile, packed
from mpibatch.job.slabs.journal import SlabJournal
from mpibatch.job.slabs.page_cache import Places, places_of
from mpibatch.job.slabs.planes import PlaneContents, PlaneFile, written
from mpibatch.job.slabs.work import Volume, Work, region_of
from mpibatch.job.target import check_target
from mpibatch.mpi import MPI, agreed, private
from mpibatch.mpi.failure import AGREED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mpibatch.job.execution.resumption import Start
    from mpibatch.job.file.schema import Job

__all__ = ["numbers_of", "streamed"]

EVERY = 10.0  # seconds between notes, where slabs take less: to bring each to disk would take longer than they do
_log = logging.getLogger(__name__)
UNKNOWN = "0" * 64  # in the place of a digest that is known at the end


def streamed(job: Job, comm: MPI.Intracomm | None = None, report: Report = silent, start: Start = "new") -> Summary:
    """Run a job with a section [stream]. Collective.

    Raises UsageError or RunError, the same on every rank. What an earlier run has left is taken up by ``"resume"``.
    Raises Stopped on all ranks, behind a slab, if a signal asked for the end.
    """
    with Caught() as caught, chosen(job.output.hints, job.output.stripes):
        summary = _streamed(job, private(comm), report, start, caught)
        late = caught.number
    if late:  # nothing was left to be stopped: it does what it does outside
        signal.raise_signal(late)
    return summary


def _streamed(job: Job, comm: MPI.Intracomm, report: Report, start: Start, caught: Caught) -> Summary:
    clock = LapClock()
    name_step("reading")
    folder = (job.stream.path if job.stream else None) or f"{job.output.path}.stream"
    work, passes, heights, journal = _begun(job, comm, folder, start)
    volume = work.volume
    clock.lap("reading")
    if _is_complete(job, work):
        # The run before ended when its output had its name, and nothing was left to do but to tidy up.
        journal.clear()
        return Summary(volume.grid.shape, volume.base.topology, job.output.path, (), (), was_complete=True)
    counts = [math.ceil(volume.grid.shape[0] / height) for height in heights]
    progress = _SlabReports(report, journal, work, counts, caught)
    is_last_written = bool(passes[-1].writes)
    for number in range(work.state.number, len(passes) - is_last_written):
        progress.begin(number, len(passes))
        work.run(passes[number], heights[number], None, progress)
        _close_pass(work, passes, journal)
        clock.lap(f"pass {number + 1}")
    content = _content(job, comm)
    with _laid_out(job, work, content, progress.pause) as out:
        work.state.offsets = out.offsets
        if work.is_stored:
            journal.save(work.state)
        if is_last_written:
            out.digests = {name: part for name, part in work.state.digests.items() if name}
            progress.begin(len(passes) - 1, len(passes))
            work.run(passes[-1], heights[-1], out, progress)
            clock.lap(f"pass {len(passes)}")
        work.state.content = out.finish(_attributes(job, work, content), record=job.output.record)
        work.state.digests |= out.digests
        journal.save(work.state)
    journal.clear()
    clock.lap("writing")
    report(progress.total, progress.total, "done")
    saved = tuple(_saved(step.save, work, step.name) for step in job.steps if step.save)
    return Summary(
        volume.grid.shape, volume.base.topology, job.output.path, saved, tuple(clock.laps), steps=len(job.steps)
    )


def numbers_of(job: Job, comm: MPI.Intracomm) -> dict[str, dict[str, float]]:
    """Return what steps measure of the whole, such as thresholds, by the names of steps. Collective.

    Makes the passes of a job that saves nothing.
    """
    work, passes, heights, journal = _begun(job, comm, f"{job.output.path}.preview", "anew")
    try:
        for slab_pass, height in zip(passes, heights, strict=True):
            work.run(slab_pass, height, None, _Silence())
            work.state.number, work.state.plane = work.state.number + 1, 0
    except AGREED:  # after any other error this rank may be alone
        journal.clear()
        raise
    journal.clear()
    return work.state.numbers


def _begun(
    job: Job, comm: MPI.Intracomm, folder: str, start: Start
) -> tuple[Work, list[SlabPass], list[int], SlabJournal]:
    """The work, new or as an earlier run has left it; its passes, and the planes of a slab in each. Collective."""
    values, part, places = _checked(job, comm)
    traits, passes, heights = _planned(job, comm, values)
    most = max(
        height + sum(slab_pass.reach) + slab_pass.period
        for height, slab_pass in zip(heights.slabs, passes, strict=True)
    )
    volume = _volume(job, comm, values, part, min(most, len(part[0])), places)
    journal = SlabJournal(comm, folder, _identity(job, values))
    state = journal.begun(start)
    is_new = not (state.number or state.plane)  # what goes on finds the results of earlier passes in files
    work = Work(job, comm, volume, traits, state, folder, holds=is_new and heights.held > 0)
    _restore_tables(work, passes)
    return work, passes, [*heights.slabs], journal


def _checked(job: Job, comm: MPI.Intracomm) -> tuple[Values, tuple[range, ...], Places | None]:
    """What is read, which planes of the file and rows of them, and where they lie. Collective. UsageError."""
    known: tuple[Values, tuple[range, ...], Places | None] | None = None
    with agreed(comm, f"preparing {job.output.path}"):
        if comm.rank == 0:
            check_target(Path(job.output.path))
            values = values_of(job)
            source = slab_source(job, values)
            whole = source.shape[: len(values.shape)]
            region = slices(job.input.region) if job.input.region else None
            known = values, chosen_region(values.name, whole, region)[:2], places_of(source)
    result: tuple[Values, tuple[range, ...], Places | None] = comm.bcast(known, root=0)
    return result


def _planned(job: Job, comm: MPI.Intracomm, values: Values) -> tuple[dict[str, Trait], list[SlabPass], Heights]:
    """What the steps are, the passes, and how they use memory. Collective."""
    assert job.stream is not None
    with agreed(comm, f"preparing {job.output.path}"):
        traits = traits_of(job, rehearse(job.steps, values), values)
        passes = passes_of(job.steps, traits)
        heights = heights_of(job.stream, passes, values, traits, job.grid.get("topology"), comm.size)
        check_storage(job, values.shape, traits, comm.size)
    return traits, passes, heights


def _volume(
    job: Job, comm: MPI.Intracomm, values: Values, part: tuple[range, ...], most: int, places: Places | None
) -> Volume:
    """The volume, of which one plane tells where its cells lie; `most` planes are read at once. Collective."""
    given = job.input
    axes = {key: value for key, value in job.grid.items() if key not in ("topology", "sizes", "weights")}
    plane = io.load(
        given.path, given.dataset, **given.choices, raw=given.raw, comm=comm, allow=given.allow,
        components="auto" if given.components is None else given.components,
        region=region_of(given, part[0][:1]), **axes,
    )  # fmt: skip
    about = plane.grid
    geometry: dict[str, Any] = {
        "comm": comm, "spacing": about.spacing, "origin": about.origin, "units": about.units, "axes": about.axes,
        "periodic": about.periodic,
    }  # fmt: skip
    whole = Grid(values.shape, **geometry)
    # Planes whole or not, but not shared out by number: of a slab with others around it, ranks would own little.
    usual = (1, *(None,) * (len(values.shape) - 1)) if len(values.shape) > 1 else None
    base = Grid((most, *values.shape[1:]), topology=job.grid.get("topology", usual), **geometry)
    return Volume(
        job=job, part=part, grid=whole, base=base, dtype=plane.dtype, components=plane.components, places=places
    )


def _identity(job: Job, values: Values) -> dict[str, Any]:
    """What decides the results, as far as it is known without reading the input."""
    path = Path(split_path(job.input.path)[0])
    seen = path.stat() if path.exists() else None
    return {
        "mpibatch": __version__,
        "seal": VERSION,  # of the digests that are noted
        "input": asdict(job.input),
        "file": [seen.st_size, seen.st_mtime_ns] if seen else None,
        "values": asdict(values),
        "grid": {key: value for key, value in job.grid.items() if key != "topology"},
        "steps": [asdict(step) for step in job.steps],
        "stored": [job.output.chunks, job.output.compression],
    }


class _SlabReports:
    """What is told and noted after every slab."""

    def __init__(self, report: Report, journal: SlabJournal, work: Work, counts: Sequence[int], caught: Caught) -> None:
        self._report, self._journal, self._work = report, journal, work
        self._caught, self._signal = caught, 0
        self._slabs, self._words, self._since = sum(counts[: work.state.number]), "", time.monotonic()
        self.total = sum(counts) + 1

    def begin(self, number: int, passes: int) -> None:
        self._words = f"pass {number + 1} of {passes}"
        name_step(self._words)
        self._report(self._slabs, self.total, self._words)

    def is_due(self) -> bool:
        """Whether the state is to be noted: it is time, or a signal has reached a rank. Collective."""
        comm = self._journal.comm
        is_time = comm.rank == 0 and time.monotonic() - self._since >= EVERY
        verdict: int = comm.allreduce(2 * self._caught.number + is_time, op=MPI.MAX)
        self._signal = verdict // 2
        return verdict > 0

    def tell(self) -> None:
        """Tell of another slab; raise Stopped if that was to be the last one. The same on all ranks."""
        self._slabs = min(self._slabs + 1, self.total - 1)
        self._report(self._slabs, self.total, self._words)
        if self._signal:
            self._stop(f"stopped at plane {self._work.state.plane} of {self._words}")

    def pause(self) -> None:
        """Raise Stopped if a signal has reached a rank while chunks are packed. Collective.

        The values of all slabs are on disk: from there another run goes on.
        """
        self._signal = self._journal.comm.allreduce(self._caught.number, op=MPI.MAX)
        if self._signal:
            self._journal.save(self._work.state)
            self._stop("stopped while chunks were packed")

    def _stop(self, words: str) -> None:
        if self._journal.comm.rank == 0:
            _log.warning("%s: %s. Start again with --resume (resume=True) to go on", signal_name(self._signal), words)
        raise Stopped

    def save(self, out: PlaneFile | PackedFile | None) -> None:
        """Note the state. Collective."""
        if out is not None:
            self._work.state.digests |= out.digests
        self._journal.save(self._work.state)
        self._since = time.monotonic()


class _Silence:
    """Nothing is noted of what begins anew."""

    def is_due(self) -> bool:
        return False

    def save(self, out: PlaneFile | PackedFile | None) -> None:
        pass

    def tell(self) -> None:
        pass


def _is_complete(job: Job, work: Work) -> bool:
    """Whether the output is the one that a run before has all but finished. Collective."""
    known, path = False, job.output.path
    with agreed(work.comm, f"reading {path}"):
        if work.comm.rank == 0 and work.state.content:
            known = not os.path.lexists(os.path.realpath(path) + PART) and content_of(path) == work.state.content
    result: bool = work.comm.bcast(known, root=0)
    return result


def _table_path(work: Work, name: str) -> str:
    return work.files[name].path.replace(".values", ".table.h5")


def _close_pass(work: Work, passes: list[SlabPass], journal: SlabJournal) -> None:
    """Note that a pass is complete, and remove what was read for the last time. Collective.

    While results are in memory alone, the last note stands: another run goes on from there.
    """
    state = work.state
    for kind, name in passes[state.number].scans:
        if kind == ROWS:
            contents.write(journal.comm, _table_path(work, name), {}, {"result": work.tables[name]}, {})
    state.number, state.plane = state.number + 1, 0
    unread = work.release(passes, state.number)
    if work.is_stored:
        journal.save(state)
        intermediates.remove(journal.comm, unread)


def _restore_tables(work: Work, passes: list[SlabPass]) -> None:
    """Read the tables that earlier runs have filled. Collective."""
    for slab_pass in passes[: work.state.number]:
        for kind, name in slab_pass.scans:
            if kind == ROWS:
                work.tables[name] = contents.restored_table(work.comm, _table_path(work, name), "result")


def _content(job: Job, comm: MPI.Intracomm) -> str | None:
    content: str | None = None
    with agreed(comm, f"reading {job.input.path}"):
        if comm.rank == 0:
            content = content_of(split_path(job.input.path)[0])
    result: str | None = comm.bcast(content, root=0)
    return result


def _attributes(job: Job, work: Work, content: str | None) -> dict[str, Any]:
    """The attributes of the output, as far as they are known; collective, as all must have them."""
    digest = UNKNOWN
    if work.is_input_read:
        volume = work.volume
        mine = digest_of(volume.dtype.str, volume.shape, work.state.digests[""]) if work.comm.rank == 0 else ""
        digest = work.comm.bcast(mine, root=0)
    return {**provenance(job), "inputs": inputs_text(job, digest, content)}


def _datasets(
    job: Job, shape: tuple[int, ...], traits: Mapping[str, Trait], attrs: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Dataset]:  # fmt: skip
    """What is saved of a volume of a shape, but tables; `attrs` by the names of steps."""
    return [
        Dataset(each.name, each.shape, each.dtype.str, (attrs or {}).get(each.step, {}), each.chunks, each.compression)
        for each in stored(job, shape, traits)
    ]


def _laid_out(job: Job, work: Work, content: str | None, pause: Callable[[], None]) -> Any:
    """The output, laid out for all that is known by now."""
    attrs, groups, tables, paths = {}, {}, {}, []
    for number, step in enumerate(job.steps):
        if not step.save:
            continue
        notes = work.state.numbers.get(step.name, {})
        if work.traits[step.name].kind == TABLE:
            name = normal_name(step.save)
            groups[name], tables[name] = notes, work.tables[step.name]
            continue
        attrs[step.name] = {**to_attributes(work.volume.grid), **notes}
        paths.append(f"{Path(work.files[step.name].path).parent}/step-{number + 1:02d}.saved")
    fields = _datasets(job, work.volume.grid.shape, work.traits, attrs)
    contents = PlaneContents(fields, tables, groups)
    if any(dataset.chunks for dataset in fields):
        is_new = work.state.offsets is None
        return packed(work.comm, job.output.path, contents, paths, work.volume.base, pause, is_new=is_new)
    return written(
        work.comm, job.output.path, contents, _attributes(job, work, content),
        offsets=work.state.offsets, keep=lambda: True,
    )  # fmt: skip


def _saved(name: str, work: Work, step: str) -> Saved:
    notes, trait = work.state.numbers.get(step, {}), work.traits[step]
    if trait.kind == TABLE:
        table = work.tables[step]
        nbytes = table.rows * sum(column.dtype.itemsize for column in table.values())
        return Saved(name, (table.rows, len(table)), "table", nbytes, notes)
    shape = work.volume.grid.shape + trait.components
    return Saved(name, shape, trait.dtype, math.prod(shape) * np.dtype(trait.dtype).itemsize, notes)
