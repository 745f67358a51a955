"""One pass over the slabs of a volume: what is read, computed, counted and written of each."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

import mpibatch.io as io
from mpibatch.base.timing import phase
from mpibatch.io.base.names import normal_name
from mpibatch.io.seal.digests import of_field
from mpibatch.job.document.checks import slices
from mpibatch.job.execution.pipeline import apply
from mpibatch.job.execution.steps import above, computed, numbers_of_limits, plain_number
from mpibatch.job.file.schema import INPUT, Input, Job, Step
from mpibatch.job.passes.schedule import COMPONENTS, COUNTS, EXTREMES, SPANS, SlabPass
from mpibatch.job.passes.traits import LABEL, LOCAL, Trait
from mpibatch.job.slabs import intermediates
from mpibatch.job.slabs.components import Components, Renumbering
from mpibatch.job.slabs.intermediates import HeldResult, Intermediate
from mpibatch.job.slabs.planes import add_digests
from mpibatch.job.slabs.regions import Rows, Spans
from mpibatch.job.slabs.scans import Counts, Extremes
from mpibatch.job.slabs.slab import Slab, converted, cropped, slabs_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mpibatch.fields.field import Field
    from mpibatch.fields.grid import Grid
    from mpibatch.io.write.tables.region_table import RegionTable
    from mpibatch.job.passes.schedule import SlabPass
    from mpibatch.job.slabs.chunks import PackedFile
    from mpibatch.job.slabs.journal import State
    from mpibatch.job.slabs.page_cache import Places
    from mpibatch.job.slabs.planes import PlaneFile
    from mpibatch.mpi import MPI

__all__ = ["Volume", "Work", "applied", "region_of"]

Scan = Extremes | Counts | Components | Spans | Rows


def applied(step: Step, kind: str, values: list[Field], numbers: Mapping[str, Mapping[str, float]]) -> Field:
    """Return the result of a local step, or of a threshold that is known, on a part of the whole. Collective."""
    if kind == LOCAL:
        result: Any = apply(step, values).value
    elif step.filter == "binarize":
        result, _ = computed(step.filter, values, {}, {**step.parameters, **numbers[step.name]})
    else:
        result, _ = above(step.filter, values[0], [*numbers[step.name].values()])
    field: Field = result
    return field


class Volume:
    """What a job reads, by slabs; `part`: which planes of the file, and which rows of them.

    Attributes
    ----------
    grid : of the whole; no field is on it.
    base : of a slab: those of other heights are cut as it is.
    dtype, components : of a cell.
    """

    def __init__(
        self, job: Job, part: tuple[range, ...], grid: Grid, base: Grid, dtype: np.dtype[Any],
        components: tuple[int, ...], places: Places | None = None,
    ) -> None:  # fmt: skip
        self._places = places
        self.grid, self.base, self.dtype, self.components = grid, base, dtype, components
        self._input, self._planes = job.input, part[0]
        self._rows = part[1] if len(part) > 1 else range(1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole, components last. Local."""
        return self.grid.shape + self.components

    def read_ahead(self, low: int, high: int, rows: tuple[int, int]) -> None:
        """Have the system fetch rows of planes that are read next. Local."""
        inside = self._rows[slice(*rows)]
        if self._places is not None and inside:
            self._places.read_ahead(self._planes[low:high], (inside[0], inside[-1] + 1))

    def load(self, low: int, high: int, grid: Grid) -> Field:
        """Read planes onto a grid of their shape. Collective."""
        given = self._input
        field: Field = io.load(
            given.path, given.dataset, **given.choices, raw=given.raw, allow=given.allow, grid=grid,
            region=region_of(self._input, self._planes[low:high]),
        )  # fmt: skip
        return field


def region_of(given: Input, planes: range) -> tuple[slice, ...]:
    """Return what is read of an input for some of its planes. Local."""
    region = (slices(given.region) if given.region else None) or (slice(None),)
    return slice(planes.start, planes.stop, planes.step), *region[1:]


class Notes(Protocol):
    """What becomes of a slab that is done."""

    def is_due(self) -> bool:
        """Whether the state is to be saved. Collective."""

    def save(self, out: PlaneFile | PackedFile | None) -> None:
        """Save it. Collective."""

    def tell(self) -> None:
        """Tell the reader. Collective."""


class Work:
    """The passes of a job over a volume, with what is known between them.

    Attributes
    ----------
    comm, volume, traits, state : as given.
    steps, files : by name: of those that are no table, where results wait between passes; in memory if it `holds` them.
    tables : those that are filled, by name.
    """

    def __init__(
        self, job: Job, comm: MPI.Intracomm, volume: Volume, traits: Mapping[str, Trait], state: State, folder: str, *,
        holds: bool = False,
    ) -> None:  # fmt: skip
        self.comm, self.volume, self.traits, self.state = comm, volume, traits, state
        self.steps: dict[str, Step] = {step.name: step for step in job.steps}
        self.tables: dict[str, RegionTable] = {}
        self._numbers: dict[str, Renumbering] = {}
        self.files: dict[str, Intermediate | HeldResult] = {}
        for number, step in enumerate(job.steps):
            trait, place = traits[step.name], f"{folder}/step-{number + 1:02d}.values"
            file = Intermediate(place, volume.grid.shape + trait.components, trait.waiting)
            self.files[step.name] = HeldResult(file) if holds else file

    def run(self, slab_pass: SlabPass, height: int, out: PlaneFile | PackedFile | None, notes: Notes) -> None:
        """Make a pass, from the plane on that is not done yet. Collective.

        `notes` are asked after each slab whether the state is to be saved, which is done when results are on disk.
        """
        state, planes = self.state, self.volume.grid.shape[0]
        scans = {(kind, name): self._scan(kind, name) for kind, name in slab_pass.scans}
        goes_on = state.plane > 0
        with ExitStack() as stack:
            writers: dict[str, intermediates.Writer | HeldResult] = {}
            for name in slab_pass.keeps:
                file = self.files[name]
                if isinstance(file, HeldResult):
                    writers[name] = file
                else:
                    opened = intermediates.opened(self.comm, file, is_new=not goes_on)
                    writers[name] = stack.enter_context(opened)
            slabs = [*slabs_of(slab_pass, planes, height, state.plane)]
            for slab, following in itertools.zip_longest(slabs, slabs[1:]):
                fields = self._computed(slab_pass, slab, following)
                for name in slab_pass.stores:
                    writers[name].put(fields[name], slab)
                for (kind, name), scan in scans.items():
                    self._count(kind, name, scan, fields, slab, writers)
                for name in slab_pass.writes:
                    assert out is not None
                    saved = self.steps[name].save
                    out.put(normal_name(str(saved)), fields[name], slab.inside(fields[name].grid), slab.start)
                del fields
                state.plane = slab.stop
                self._note(scans)
                if notes.is_due():
                    with phase("io"):
                        self._store(writers.values())
                        if out is not None:
                            out.flush()
                    notes.save(out)
                notes.tell()
        for (kind, name), scan in scans.items():
            self._finish(kind, name, scan)

    def _store(self, writers: Iterable[intermediates.Writer | HeldResult]) -> None:
        """Bring to disk what later slabs and passes read. Collective."""
        for writer in writers:
            if not isinstance(writer, HeldResult):
                writer.flush()
        for file in self.files.values():
            if isinstance(file, HeldResult):
                file.store(self.volume.base)

    def _computed(self, slab_pass: SlabPass, slab: Slab, following: Slab | None) -> dict[str, Field]:
        """The results that a slab's targets need, and its targets, with the planes around it.

        The system is told what the following slab reads.
        """
        grid = slab.grid(self.volume.base)
        fields: dict[str, Field] = {}
        numbered = {name for name in slab_pass.computes if self.traits[name].kind == LABEL}
        with phase("io"):
            for name in slab_pass.loads:
                giver: Volume | Intermediate | HeldResult = self.volume if name == INPUT else self.files[name]
                fields[name] = giver.load(slab.low, slab.high, grid)
                if following is not None:
                    rows = (grid.box.start[1], grid.box.stop[1]) if grid.ndim > 1 else (0, 1)
                    giver.read_ahead(slab.high, following.high, rows)
            if INPUT in fields and self.state.number == 0:
                self._digest(fields[INPUT], slab)
        uses = {
            source: name for name in slab_pass.computes if name not in numbered for source in self.steps[name].inputs
        }
        targets = {
            *slab_pass.stores,
            *slab_pass.writes,
            *(s for _, name in slab_pass.scans for s in self.steps[name].inputs),
        }
        for name in slab_pass.computes:
            fields[name] = self._renumbered(name, fields[name]) if name in numbered else self._apply(name, fields)
            for source in [source for source, last in uses.items() if last == name and source not in targets]:
                del fields[source], uses[source]
        return fields

    def _apply(self, name: str, fields: Mapping[str, Field]) -> Field:
        step = self.steps[name]
        trait = self.traits[name]
        result = applied(step, trait.kind, [fields[source] for source in step.inputs], self.state.numbers)
        assert result.dtype == trait.dtype  # files are laid out for it
        return result

    def _renumbered(self, name: str, provisional: Field) -> Field:
        if name not in self._numbers:
            self._numbers[name] = Renumbering(self.state.scans[f"{COMPONENTS} {name}"])
            self._numbers[name].finish()
        return self._numbers[name].apply(converted(provisional, self.traits[name].dtype))

    def _digest(self, u: Field, slab: Slab) -> None:
        """Add a slab's own planes to the digests of the input."""
        cells = int(np.prod(u.shape[1:], dtype=object))
        total = self.volume.grid.shape[0] * cells * u.dtype.itemsize
        part = of_field(self.comm, u, slab.inside(u.grid), slab.low * cells, total)
        add_digests(self.state.digests, "", part)

    def _scan(self, kind: str, name: str) -> Scan:
        step, scans = self.steps[name], self.state.scans
        known = scans.get(f"{kind} {name}", {})
        if kind == EXTREMES:
            return Extremes(known)
        if kind == COUNTS:
            return Counts(step, scans[f"{EXTREMES} {name}"]["ends"], known)
        if kind == COMPONENTS:
            return Components(step.parameters, self.traits[name].dtype, known)
        if kind == SPANS:
            return Spans(known)
        spans = Spans(scans.get(f"{SPANS} {name}", {})).ends.copy()
        if step.input in self.steps and self.traits[step.input].kind == LABEL:
            spans[0] = self.state.numbers[step.input]["objects"]
        rows = Rows(step, self.volume.grid, self._dtype(step.fields.get("intensity")), spans, known)
        rows.open(self.files[name].path.replace(".values", ".rows"))
        return rows

    def _dtype(self, name: str | None) -> np.dtype[Any] | None:
        if name is None:
            return None
        return self.volume.dtype if name == INPUT else np.dtype(self.traits[name].dtype)

    def _count(
        self, kind: str, name: str, scan: Scan, fields: Mapping[str, Field], slab: Slab,
        writers: Mapping[str, intermediates.Writer | HeldResult],
    ) -> None:  # fmt: skip
        """Take a slab in."""
        step = self.steps[name]

        def own(source: str | None) -> Field | None:
            field = fields.get(source or "")
            return None if field is None else cropped(field, slab.start - slab.low, slab.stop - slab.low)

        first = own(step.input)
        if isinstance(scan, Spans):
            scan.add(first, own(step.fields.get("intensity")))
            return
        assert first is not None
        if isinstance(scan, Components):
            labels, inside = scan.add(fields[step.input], slab, self.files[name])
            writers[name].put(converted(labels, self.traits[name].waiting), inside)
        elif isinstance(scan, Rows):
            scan.add(first, own(step.fields.get("intensity")), slab.start)
        else:
            scan.add(first)

    def _note(self, scans: Mapping[tuple[str, str], Scan]) -> None:
        for (kind, name), scan in scans.items():
            self.state.scans[f"{kind} {name}"] = scan.arrays()

    def _finish(self, kind: str, name: str, scan: Scan) -> None:
        """Draw the conclusion from all slabs."""
        step = self.steps[name]
        if isinstance(scan, Counts):
            limits = np.asarray(scan.threshold())
            is_one = step.filter == "binarize"
            self.state.numbers[name] = {"threshold": plain_number(limits)} if is_one else numbers_of_limits(limits)
        elif isinstance(scan, Components):
            self.state.numbers[name] = {"objects": scan.count}
        elif isinstance(scan, Rows):
            self.tables[name] = scan.table()

    @property
    def is_input_read(self) -> bool:
        """Whether all of it has been. Local."""
        return self.state.number > 0 or self.state.plane == self.volume.grid.shape[0]

    @property
    def is_stored(self) -> bool:
        """Whether all that later passes read is on disk, so that the state may be noted. Local, and all agree."""
        return all(file.is_stored for file in self.files.values() if isinstance(file, HeldResult))

    def release(self, passes: list[SlabPass], number: int) -> list[str]:
        """Let go of results that no pass from a number on reads; return their files, to be removed. Local."""
        read = {name for slab_pass in passes[number:] for name in slab_pass.loads}
        written = {name for slab_pass in passes[:number] for name in slab_pass.keeps}
        unread = [self.files[name] for name in sorted(written - read)]
        for file in unread:
            if isinstance(file, HeldResult):
                file.release()
        return [file.path for file in unread]
