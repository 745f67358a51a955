"""A kernel's call: arguments in, plan looked up, halos filled, cells computed."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base import tally
from mpibatch.base.errors import UsageError
from mpibatch.base.units import shape_text
from mpibatch.fields.field import Field, check_field
from mpibatch.mpi import MPI, is_checking, same
from mpibatch.stencil.call.overlap import AUTO, Trials
from mpibatch.stencil.call.plan import Plan, planned
from mpibatch.stencil.call.state import state_of
from mpibatch.stencil.choices import Topic
from mpibatch.stencil.compiled.numba_run import LoopedKernel
from mpibatch.stencil.compiled.numpy_run import shifted
from mpibatch.stencil.compiled.types import Array, Stored, Sweep, Typed
from mpibatch.stencil.language.captures import check_captured
from mpibatch.stencil.language.parser import RESERVED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.base.tally import KernelWork
    from mpibatch.fields.grid import Grid
    from mpibatch.stencil.kernel import Kernel

__all__ = ["bound", "call", "carry_out", "check_ranges", "compare", "sweep_of", "typed_for", "work_of"]

_CONTEXTS = {overlaps: nullcontext(overlaps) for overlaps in (False, True)}


def call(kernel: Kernel, args: Sequence[Any], options: dict[str, Any]) -> Field | tuple[Field, ...]:
    """Carry out a kernel call. Collective."""
    out = options.pop("out", None)
    walls, cval, time = options.pop("walls", "reflect"), options.pop("cval", 0.0), options.pop("time", 0.0)
    fields, scalars = bound(kernel, args, options)
    compare(kernel, fields, scalars, walls=walls, cval=cval, time=time, out=out is not None)
    targets = _targets(kernel, fields, out)
    typed = typed_for(kernel, fields, scalars, targets)
    check_ranges(typed, scalars)
    plan = planned(kernel, fields, walls, cval)
    first = next(iter(fields.values()))
    outputs = targets or _results(first, typed)
    sweep = sweep_of(kernel, typed, plan, outputs, scalars)
    carry_out(kernel, plan, sweep, work_of(kernel, typed), first.grid, time)
    return tuple(outputs) if kernel.program.returns_tuple else outputs[0]


def _results(first: Field, typed: Typed) -> list[Field]:
    """Return new fields, whose memory may be that of fields before; in ``u = k(u)``, of the last but one `u`. Local."""
    return [first.like(a.dtype, components=a.components) for a in typed.outputs]


def compare(kernel: Kernel, fields: Mapping[str, Field], scalars: Mapping[str, Any], **options: Any) -> None:
    """Raise UsageError unless all ranks call the kernel alike; looked at, and written down, if checking. Collective."""
    if is_checking():
        more = ", ".join(f"{name}={value!r}" for name, value in options.items())
        given = [f"{name}={value!r}" for name, value in scalars.items()]
        given += [f"{name}: {field.dtype} {field.shape}" for name, field in fields.items()]
        text = re.sub(" at 0x[0-9a-f]+", "", f"stencil {kernel.name!r} ({', '.join(given)}; {more})")  # of functions
        same(next(iter(fields.values())).grid.comm, text)


def carry_out(kernel: Kernel, plan: Plan, sweep: Sweep, work: KernelWork, grid: Grid, time: float) -> None:
    """Fill halos and compute all owned cells; the inner ones while messages fly where that is faster. Collective."""
    work.ran(plan.cells)
    with _turn(kernel, plan, grid) as overlaps:
        if not (overlaps and plan.can_overlap):
            plan.fill(time)
            with work:
                sweep(plan.everything.start, plan.everything.stop)
            return
        plan.start(time)
        with work:
            sweep(plan.inner.start, plan.inner.stop)
        plan.finish(time)
        with work:
            for slab in plan.outer:
                sweep(slab.start, slab.stop)


def _turn(kernel: Kernel, plan: Plan, grid: Grid) -> AbstractContextManager[bool]:
    """Return the context of a sweep, which says whether inner cells are computed while messages fly."""
    if kernel.overlap != AUTO or not plan.may_overlap:
        return _CONTEXTS[bool(kernel.overlap)]
    known = state_of(kernel).trials
    trials = known.get(grid)
    if trials is None:
        kinds = [(stored.array.dtype.str, stored.array.shape) for stored in plan.inputs]
        details = repr((kernel.program.ops, kinds, grid.decomposition, kernel.threads, MPI.Get_library_version()))
        topic = Topic("overlap of messages", f"{kernel.name} on {shape_text(grid.shape)}", details)
        trials = known[grid] = Trials(grid.comm, topic)
    return trials.turn(grid.comm)


def sweep_of(kernel: Kernel, typed: Typed, plan: Plan, outputs: Sequence[Field], scalars: Mapping[str, Any]) -> Sweep:
    """Return what computes the outputs' owned cells in a local range. Local."""
    memories = [f.memory for f in outputs]
    key = (typed, tuple(map(id, memories)))
    if key in plan.loops:
        return plan.loops[key][0].sweep(scalars)
    written = [Stored(f.memory.cells, tuple(low for low, _ in f.halo)) for f in outputs]
    if kernel.backend == "numpy":
        return shifted(typed, written, plan.inputs, scalars, plan.geometry)
    looped = LoopedKernel(typed, written, plan.inputs, plan.geometry, kernel.threads, plan.edges)
    plan.keep(key, looped, memories)
    return looped.sweep(scalars)


def work_of(kernel: Kernel, typed: Typed) -> KernelWork:
    """Return what the kernel's sweeps over such fields are counted as. Local."""
    works = state_of(kernel).works
    work = works.get(typed)
    if work is None:
        footprint = kernel.footprint_on(typed.ndim)
        read = zip(footprint.fields.values(), typed.inputs, strict=True)
        nbytes = sum(reads.words * array.dtype.itemsize for reads, array in read)
        nbytes += sum(array.words * array.dtype.itemsize for array in typed.outputs)
        work = works[typed] = tally.work(kernel.name, footprint.flops, nbytes, kernel.threads)
    return work


def bound(kernel: Kernel, args: Sequence[Any], options: Mapping[str, Any]) -> tuple[dict[str, Field], dict[str, Any]]:
    """Return fields and scalars by name; raise UsageError for what the kernel cannot take. Local."""
    program = kernel.program
    check_captured(program.name, program.captured)
    try:
        given = kernel.signature.bind(*args, **options)
    except TypeError as error:
        raise UsageError(
            f"stencil {program.name!r}: {error}; its parameters are {', '.join(program.parameters)}, and its options "
            f"{', '.join(RESERVED)}"
        ) from None
    given.apply_defaults()
    values = given.arguments
    fields: dict[str, Field] = {}
    for name in program.fields:
        value = values[name]
        check_field(f"stencil {program.name!r}, which reads {name!r} with an index", value)
        fields[name] = value
    grid = next(iter(fields.values())).grid
    for name, field in fields.items():
        if not field.grid.matches(grid):
            raise UsageError(
                f"stencil {program.name!r}: field {name!r} is on {field.grid}, the first on {grid}; bring them to one "
                "grid with mpibatch.redistribute"
            )
    return fields, {name: _scalar(program.name, name, values[name]) for name in program.scalars}


def _scalar(kernel: str, name: str, value: Any) -> bool | int | float:
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if not isinstance(value, bool | int | float):
        raise UsageError(
            f"stencil {kernel!r} uses {name!r} without an index and got {type(value).__name__}; give a number, or read "
            f"a field as {name}[0, 0]"
        )
    return value


def _kind(value: bool | int | float) -> str:
    return "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float"


def typed_for(
    kernel: Kernel, fields: Mapping[str, Field], scalars: Mapping[str, Any], targets: Sequence[Field]
) -> Typed:
    """Return the kernel typed for these fields, and for outputs `targets` if there are any. Local."""
    outputs: Sequence[Array | None] = [Array(f.dtype, f.components) for f in targets]
    return kernel.typed(
        next(iter(fields.values())).grid.ndim,
        [Array(f.dtype, f.components) for f in fields.values()],
        {name: _kind(value) for name, value in scalars.items()},
        outputs or [None] * len(kernel.program.outputs),
        [next((n for n, f in enumerate(fields.values()) if f is out), -1) for out in targets],
    )


def _targets(kernel: Kernel, fields: Mapping[str, Field], out: Any) -> list[Field]:
    """Return the fields to write to, checked; none if new ones are to be made."""
    if out is None:
        return []
    outputs = list(out) if isinstance(out, tuple | list) else [out]
    expected = len(kernel.program.outputs)
    for field in outputs:
        check_field(f"out= of stencil {kernel.name!r}", field)
    if len(outputs) != expected:
        raise UsageError(
            f"stencil {kernel.name!r} returns {expected} fields, and out= has {len(outputs)}; give as many Fields"
        )
    grid = next(iter(fields.values())).grid
    for at, field in enumerate(outputs):
        if not field.grid.matches(grid):
            raise UsageError(f"stencil {kernel.name!r}: out is on {field.grid}, the fields on {grid}; use that grid")
        if field.is_frozen:
            raise UsageError(f"stencil {kernel.name!r}: out is a frozen field; give one that can be written to")
        # A field owns its memory, so that two of them share all of it or none.
        reads = kernel.footprint_on(grid.ndim).fields
        shared = [n for n, other in fields.items() if other.padded is field.padded and not reads[n].is_local]
        if shared or any(other.padded is field.padded for other in outputs[:at]):
            raise UsageError(
                f"stencil {kernel.name!r}: out is also {shared[0] if shared else 'another output'!r}; cells would be "
                "read by others after they were written: give another Field, and swap the two after each step"
            )
    return outputs


def check_ranges(typed: Typed, scalars: Mapping[str, Any]) -> None:
    """Raise UsageError for a whole number that does not fit into the type of the field that it meets. Local."""
    for name, dtype in typed.narrow:
        info = np.iinfo(dtype)
        if not info.min <= scalars[name] <= info.max:
            raise UsageError(
                f"stencil {typed.name!r}: {name}={scalars[name]} does not fit into the field's type {dtype}; "
                "convert the field in the kernel: np.int64(u[0])"
            )
    for name, kind in typed.scalars:
        if kind == "int" and not -(1 << 63) <= scalars[name] < 1 << 63:
            raise UsageError(
                f"stencil {typed.name!r}: {name}={scalars[name]} does not fit into 64 bits; give it as a float"
            )
