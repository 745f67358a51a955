"""Many steps of a kernel: halos of several steps at once, steps fused in the cache, bits as one step after another."""

from __future__ import annotations

import time as clock
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.base.host import caches
from mpibatch.base.keys import key_of
from mpibatch.base.units import shape_text
from mpibatch.fields.field import Field, check_field
from mpibatch.mpi import MPI
from mpibatch.stencil.call.evaluation import bound, compare
from mpibatch.stencil.choices import Topic
from mpibatch.stencil.compiled.ways import ways_for
from mpibatch.stencil.fused.choice import LEAST_BLOCK, FusionLayout, layout_of
from mpibatch.stencil.fused.step_plan import Setting, step_plan
from mpibatch.stencil.fused.stepper import Stepper
from mpibatch.stencil.fused.trials import BUDGETS, LEAST_SAMPLE, Choice, Tuning
from mpibatch.stencil.fused.wavefront import Chain
from mpibatch.stencil.kernel import Kernel
from mpibatch.stencil.walls import normal_walls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.grid import Grid

__all__ = ["chosen", "iterate"]

# Steppers kept per kernel, as plans are: for fields that come again.
MOST_STEPPERS = 2

_steppers: weakref.WeakKeyDictionary[Kernel, dict[Any, Stepper]] = weakref.WeakKeyDictionary()
_tunings: weakref.WeakKeyDictionary[Kernel, dict[Any, Tuning]] = weakref.WeakKeyDictionary()


def iterate(
    kernel: Kernel,
    u: Field | Sequence[Field],
    *args: Any,
    steps: int,
    fuse: int | str = "auto",
    walls: Any = "reflect",
    cval: Any = 0.0,
    time: float = 0.0,
    time_step: float = 0.0,
    out: Field | Sequence[Field] | None = None,
    **options: Any,
) -> Any:
    """Carry out many steps of a kernel; the bits are those of as many calls, however steps are fused.

    Parameters
    ----------
    kernel : Kernel
        A function under `mpibatch.stencil`.
    u : Field or sequence of Field
        What the steps change: a field, or a tuple of them, for the kernel's first parameters. What the kernel returns
        takes their place: ``a, b = kernel(a, b)``. If it returns fewer, the others move up, and the oldest go: ``u,
        before = kernel(u, before), u``.
    *args : number or Field
        The kernel's other parameters, in order, numbers and fields.
    steps : int
        How many, from 0.
    fuse : int or str, default "auto"
        Steps per exchange, at most: they are computed together, plane by plane, in the cache, and halos are as many
        times wider. "auto" finds the best by timing the first hundred steps or so, once per processor, kernel, shape
        and ranks (later runs know it), and goes step by step if little is to be done.
    walls : str, list, tuple, dict or callable, default "reflect"
        What halo cells beyond walls hold: a mode ("reflect", "mirror", "nearest", "wrap", "constant" and their
        synonyms), a pair such as ``("dirichlet", 0.0)``, or a function of coordinates and time
        (`mpibatch.stencil.walls` explains them); or a list with such an entry, or ``[low, high]``, for each axis; or a
        dict of any of these by name of the field.
    cval : float, default 0.0
        What "constant" walls hold.
    time : float, default 0.0
        That of the first step, for walls that are functions.
    time_step : float, default 0.0
        Step n is at ``time + n * time_step``.
    out : Field or sequence of Field, optional
        Fields for the result; may be those of `u`. Default: new ones, like those of `u`.
    **options : number or Field
        The kernel's other parameters, by name.

    Returns
    -------
    Field or tuple of Field
        The last state, a tuple of fields if `u` is one.

    Raises
    ------
    UsageError
        The same on every rank, for what the kernel cannot take.

    Notes
    -----
    Collective. Messages: those of one exchange for as many steps as are fused; with "auto" also a broadcast in each
    call, and an all-reduce for each way that is timed.

    Method: halos of several steps' reach (C. H. Q. Ding and Y. He, doi:10.1145/582034.582084), within which a wavefront
    of planes takes each tile through all of them, with rings of a few planes in the cache (A. Nguyen et al.,
    doi:10.1109/SC.2010.2).

    The fields among `args` and `options` are read only, and exchanged once in a call; not at all if they are frozen,
    were before, and have a halo as wide as the steps of an exchange read together.

    Memory: two more sets of the fields of `u` with wide halos, and copies of the other fields if their halo is
    narrower. They are kept while the fields that were given live, so that in a loop it is best to give the same fields
    again: ``iterate(heat, u, 0.1, steps=10, out=u)``.

    Steps are not fused, but computed one by one, where walls are functions; where a periodic axis is shared by ranks,
    or not the last of three, and the kernel asks for the index or coordinate on it; where an axis wraps on one side
    only; where one value is read under different walls; in the back end "numpy".

    Examples
    --------
    >>> import mpibatch as mb
    >>> @mb.stencil
    ... def heat(u, k):
    ...     return u[0] + k * (u[-1] - 2.0 * u[0] + u[1])
    >>> u = mb.Grid(6).from_function(lambda x: x * x, halo=1)
    >>> w = mb.iterate(heat, u, 0.25, steps=8)
    >>> mb.sum(u), mb.sum(w)
    (55.0, 55.0)
    """
    state = tuple(u) if isinstance(u, tuple | list) else (u,)
    _check(kernel, state, steps, fuse)
    fields, scalars = bound(kernel, (*state, *args), options)
    compare(
        kernel, fields, scalars, steps=steps, fuse=fuse, walls=walls, cval=cval, time=time, time_step=time_step,
        out=out is not None,
    )  # fmt: skip
    chains = _chains(kernel, fields, state)
    targets = _targets(kernel, state, out)
    grid = state[0].grid
    sides = normal_walls(walls, tuple(fields), grid.ndim, cval)
    layout = layout_of(kernel, grid, sides, chains)
    tuning = _tuning(kernel, fields, chains, layout) if fuse == "auto" else None
    most = tuning.most if tuning else min(int(fuse), max(int(steps), 1), layout.limit if layout else 1)
    users = (*fields.values(), *targets)
    stepper = _stepper(users, key_of((walls, cval)), Setting(kernel, sides, walls, cval, chains, layout), fields, most)
    results = targets or [field.like() for field in state]
    try:
        stepper.begin(fields, scalars)
        _run(stepper, grid, tuning, Choice(most, BUDGETS[0]), int(steps), (time, time_step))
        if tuning and grid.rank == 0:
            tuning.remember(_topic(kernel, fields, layout))
        stepper.end(results)
    finally:
        stepper.let_go()
    return results[0] if isinstance(u, Field) else tuple(results)


def chosen(kernel: Kernel, grid: Grid) -> Choice | None:
    """Return what "auto" found best on a grid so far, None if it has not run. Local."""
    choices = [tuning.best() for key, tuning in _tunings.get(kernel, {}).items() if key[0] == grid.decomposition]
    return choices[-1] if choices else None


def _run(
    stepper: Stepper, grid: Grid, tuning: Tuning | None, fixed: Choice, steps: int, times: tuple[float, float]
) -> None:
    done, tries = 0, tuning is not None
    # One thread of a rank alone waits for nobody: what else runs on its core need not count.
    is_alone = grid.size == 1 and stepper.plan.setting.kernel.threads == 1
    now = clock.process_time if is_alone else clock.perf_counter
    while done < steps:
        trial = tuning.trial(steps - done) if tuning and tries else None
        tries = trial is not None
        choice = trial or (tuning.best() if tuning else fixed)
        begin = now()
        number = stepper.advance(choice, steps - done, times[0] + done * times[1])
        # A single step of a small problem is over before it can be timed.
        while trial and number + choice.steps <= min(LEAST_SAMPLE, steps - done):
            number += stepper.advance(choice, steps - done - number, times[0] + (done + number) * times[1])
        if tuning:
            tuning.made += number
        if trial and tuning:
            tuning.add(trial, grid.comm.allreduce((now() - begin) / number, op=MPI.MAX))
        done += number


def _check(kernel: Any, state: Sequence[Any], steps: Any, fuse: Any) -> None:
    if not isinstance(kernel, Kernel):
        raise UsageError(f"cannot iterate {kernel!r}; give a function decorated with @stencil")
    for field in state:
        check_field(f"iterate of stencil {kernel.name!r}", field)
    if not state:
        raise UsageError(f"iterate of stencil {kernel.name!r} got nothing that changes; give a Field, or a tuple")
    if not isinstance(steps, int | np.integer) or steps < 0:
        raise UsageError(f"steps={steps!r} of stencil {kernel.name!r} are not valid; give a whole number from 0")
    if fuse != "auto" and (not isinstance(fuse, int | np.integer) or fuse < 1):
        raise UsageError(f'fuse={fuse!r} is not valid; give "auto", or how many steps to fuse, from 1')


def _chains(kernel: Kernel, fields: dict[str, Field], state: Sequence[Field]) -> tuple[Chain, ...]:
    """Return which inputs each output goes through; raise UsageError if it cannot."""
    program = kernel.program
    first = program.parameters[: len(state)]
    known = list(fields)
    if len(state) < len(program.outputs) or any(name not in known for name in first):
        raise UsageError(
            f"stencil {program.name!r} returns {len(program.outputs)} fields, reads the fields {', '.join(known)}, and "
            f"is to change {len(state)}; give at least as many as it returns, for its first parameters"
        )
    count = len(program.outputs)
    chains = tuple(Chain(tuple(known.index(name) for name in first[m::count])) for m in range(count))
    for chain in chains:
        for n in chain.inputs[1:]:
            newer, older = fields[known[chain.inputs[0]]], fields[known[n]]
            if (newer.dtype, newer.components) != (older.dtype, older.components):
                raise UsageError(
                    f"stencil {program.name!r}: {known[n]!r} is to become what {known[chain.inputs[0]]!r} was, and "
                    f"is {older.dtype} {older.components}, not {newer.dtype} {newer.components}; use one type for both"
                )
    return chains


def _targets(kernel: Kernel, state: Sequence[Field], out: Any) -> list[Field]:
    if out is None:
        return []
    results = list(out) if isinstance(out, tuple | list) else [out]
    for field in results:
        check_field(f"out= of iterate of stencil {kernel.name!r}", field)
    if len(results) != len(state):
        raise UsageError(
            f"stencil {kernel.name!r} changes {len(state)} fields, and out= has {len(results)}; give as many Fields"
        )
    for at, (result, field) in enumerate(zip(results, state, strict=True)):
        if not result.grid.matches(field.grid) or (result.dtype, result.components) != (field.dtype, field.components):
            raise UsageError(
                f"stencil {kernel.name!r}: out is {result.dtype} {result.components} on {result.grid}, what changes is "
                f"{field.dtype} {field.components} on {field.grid}; create out with u.like()"
            )
        if result.is_frozen:
            raise UsageError(f"stencil {kernel.name!r}: out has a frozen field; give one that can be written to")
        if any(result is other for other in results[:at]):
            raise UsageError(f"stencil {kernel.name!r}: out has a field twice; give one for each result")
    return results


def _stepper(users: Sequence[Field], walls: Any, setting: Setting, fields: dict[str, Field], most: int) -> Stepper:
    """Return the memory and plans for these fields, made at first and freed with any of them. Collective."""
    steppers = _steppers.setdefault(setting.kernel, {})
    key = (tuple(map(id, users)), walls)
    stepper = steppers.get(key)
    # Not a wider one either: whether this rank still has that depends on how long it keeps its fields, and the width
    # of what stays is exchanged by `most`.
    if stepper is None or stepper.plan.most != most:
        _drop(steppers, key)
        while len(steppers) >= MOST_STEPPERS:
            _drop(steppers, next(iter(steppers)))
        stepper = steppers[key] = Stepper(step_plan(setting, fields, most), fields)
        stepper.finalizers += [weakref.finalize(field, _drop, steppers, key) for field in set(users)]
    return stepper


def _drop(steppers: dict[Any, Stepper], key: Any) -> None:
    stepper = steppers.pop(key, None)
    if stepper is not None:
        stepper.free()


def _tuning(kernel: Kernel, fields: dict[str, Field], chains: tuple[Chain, ...], layout: FusionLayout | None) -> Tuning:
    """Return what was measured so far, the same on all ranks. Collective."""
    grid = next(iter(fields.values())).grid
    kinds = tuple((field.dtype, field.components) for field in fields.values())
    tunings = _tunings.setdefault(kernel, {})
    key = (grid.decomposition, kinds, chains, layout)
    tuning = tunings.get(key)
    if tuning is None:
        limit = 1
        if layout is not None:
            shares = (n // parts for n, parts in zip(grid.shape, grid.topology, strict=True))
            blocks = zip(layout.reach, layout.wide, shares, strict=True)
            limit = min([layout.limit, *(n // (r * LEAST_BLOCK) for r, wide, n in blocks if wide)])
        nbytes = sum(field.memory.cells.nbytes for field in fields.values())
        ways = ways_for(grid.ndim) if nbytes > caches().share else (0,)
        tuning = tunings[key] = Tuning(limit, max(chain.depth for chain in chains), BUDGETS, ways)
        if grid.rank == 0 and limit > 1:
            tuning.recall(_topic(kernel, fields, layout))
    # Ranks may have met before in other communicators, and measured other times there; hosts may have other caches.
    mine = (tuning.budgets, tuning.ways, tuning.times, tuning.made, tuning.settled)
    tuning.budgets, tuning.ways, tuning.times, tuning.made, tuning.settled = grid.comm.bcast(mine)
    return tuning


def _topic(kernel: Kernel, fields: dict[str, Field], layout: FusionLayout | None) -> Topic:
    """Return by what the choice for these fields is remembered. Local."""
    grid, program = next(iter(fields.values())).grid, kernel.program
    kinds = [(field.dtype.str, field.components) for field in fields.values()]
    details = (program.ops, program.outputs, kinds, layout, grid.decomposition, kernel.threads, LEAST_BLOCK)
    return Topic("fused steps, bytes of rings, way", f"{kernel.name} on {shape_text(grid.shape)}", repr(details))
