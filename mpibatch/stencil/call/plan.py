"""What a kernel does with certain fields each time: exchanges, wall formulas, and which cells when."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError
from mpibatch.base.keys import key_of
from mpibatch.base.tally import Need, needed
from mpibatch.base.timing import phase
from mpibatch.domain import Box
from mpibatch.domain.regions import inner_box, outer_slabs
from mpibatch.fields.memory import HaloState, Width
from mpibatch.halo import Exchange
from mpibatch.stencil.call.halo_traffic import edges_of, exchanged, need_of, within_ranks
from mpibatch.stencil.call.state import state_of
from mpibatch.stencil.compiled.types import Stored
from mpibatch.stencil.walls import Sides, WallGeometry, WallTask, normal_walls, source_modes, tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from mpibatch.fields.field import Field
    from mpibatch.fields.grid import Grid
    from mpibatch.fields.memory import FieldMemory
    from mpibatch.stencil.compiled.edges import Edges
    from mpibatch.stencil.compiled.numba_run import LoopedKernel
    from mpibatch.stencil.kernel import Kernel
    from mpibatch.stencil.language.footprint import Footprint, Reach

__all__ = ["FrozenHalo", "Plan", "planned", "walls_key"]

# Plans kept per kernel: those of fields that take turns, not one for each of a thousand lambdas as walls.
MOST_PLANS = 16
MOST_LOOPS = 8  # of a plan: outputs that take turns


@dataclass(frozen=True, eq=False)
class FrozenHalo:
    """How the halo of cells that do not change is filled, unless it is known to hold what it should."""

    filled: HaloState
    walls: str | None  # None: they have a user's function, and may be others each time
    width: Width
    exchange: Exchange | None
    tasks: Sequence[WallTask]
    need: Need

    def __call__(self, time: float) -> None:
        """Fill it, if need be. Collective."""
        if self.walls is not None and self.filled.has(self.walls, self.width):
            return
        # An exchange makes what was known forgotten; walls and width tell what is still there.
        known = HaloState()
        known.walls, known.widths = self.filled.walls, self.filled.widths
        needed(self.need)
        if self.exchange is not None:
            self.exchange()
        if self.tasks:
            with phase("pack"):
                for task in self.tasks:
                    task(time)
        self.filled.forget()
        if self.walls is not None:
            known.note(self.walls, self.width)
            self.filled.walls, self.filled.widths = known.walls, known.widths

    def free(self) -> None:
        """Release the exchange. Local."""
        if self.exchange is not None:
            self.exchange.free()


@dataclass
class Plan:
    """One kernel on certain memory, whichever fields have it. Holds no field, so that the user's can go."""

    inputs: list[Stored]
    edges: list[Edges | None]  # per input, what the sweep fills itself
    copies: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]
    exchanges: list[Exchange]
    needs: list[Need]
    tasks: list[WallTask]
    standing: list[FrozenHalo]
    geometry: dict[tuple[str, int], Any]
    distant: tuple[int, ...]  # axes along which other ranks' cells are read
    everything: Box  # of local indices, from the first owned cell, as the others
    inner: Box  # reads no other rank's cells
    outer: list[Box]  # the slabs that hold the rest
    star: bool
    is_free: bool = False
    finalizers: list[Any] = field(default_factory=list)
    loops: dict[Any, tuple[LoopedKernel, list[Any]]] = field(default_factory=dict)  # by types and memory of outputs

    # Asked for in every call, and so known.
    cells: int = field(init=False)
    may_overlap: bool = field(init=False)  # whether any rank has cells to compute while messages fly
    can_overlap: bool = field(init=False)  # whether this rank has

    def __post_init__(self) -> None:
        """Look at the boxes once. Local."""
        self.cells = self.everything.size
        # With corners, most messages wait for those of an axis before: nothing to hide behind.
        self.may_overlap = bool(self.distant and self.star)
        self.can_overlap = self.may_overlap and self.inner.size > 0

    def keep(self, key: Any, looped: LoopedKernel, outputs: Sequence[FieldMemory]) -> None:
        """Keep what sweeps into certain memory as long as that is there, or until there is too much of it. Local."""
        loops = self.loops
        while len(loops) >= MOST_LOOPS:
            del loops[next(iter(loops))]
        # References that go with the entry: memory that is swept into again and again gathers none.
        loops[key] = looped, [weakref.ref(memory, lambda _: loops.pop(key, None)) for memory in outputs]

    def fill(self, time: float) -> None:
        """Fill what the kernel reads around the owned cells, but for what the sweep fills itself. Collective."""
        self._prepare(time)
        for exchange in self.exchanges:
            exchange()
        self._walls(time, None)

    def start(self, time: float) -> None:
        """Begin to fill, and finish along the axes that no other rank's cells come by. Collective."""
        self._prepare(time)
        for exchange in self.exchanges:
            exchange.start()
        self._walls(time, False)

    def finish(self, time: float) -> None:
        """Complete what `start` began. Collective."""
        for exchange in self.exchanges:
            exchange.finish()
        self._walls(time, True)

    def _prepare(self, time: float) -> None:
        if self.copies:
            with phase("pack"):
                for target, source in self.copies:
                    target[...] = source
        for need in self.needs:
            needed(need)
        for standing in self.standing:
            standing(time)

    def _walls(self, time: float, distant: bool | None) -> None:
        if self.tasks:
            with phase("pack"):
                for task in self.tasks:
                    if distant is None or (task.axis in self.distant) is distant:
                        task(time)

    def free(self) -> None:
        """Release the exchanges. Local."""
        self.is_free = True
        self.loops.clear()
        for exchange in self.exchanges:
            exchange.free()
        for standing in self.standing:
            standing.free()
        for finalizer in self.finalizers:
            finalizer.detach()


def planned(
    kernel: Kernel,
    fields: Mapping[str, Field],
    walls: Any,
    cval: Any,
    kept: Mapping[str, HaloState] = MappingProxyType({}),
) -> Plan:
    """Return the plan for these fields and walls, made at first and freed with the memory of any. Collective.

    `kept` are those that do not change until their `HaloState` is told to forget, besides frozen ones.
    """
    plans: dict[Any, Plan] = state_of(kernel).plans
    memories = [f.memory for f in fields.values()]
    key = (tuple(map(id, memories)), key_of(walls), key_of(cval), tuple(map(id, kept.values())))
    plan = plans.get(key)
    if plan is None:
        while len(plans) >= MOST_PLANS:
            _drop(plans, next(iter(plans)))
        plan = plans[key] = _plan(kernel, fields, walls, cval, kept)
        plan.finalizers += [weakref.finalize(memory, _drop, plans, key) for memory in set(memories)]
    return plan


def _drop(plans: dict[Any, Plan], key: Any) -> None:
    plan = plans.pop(key, None)
    if plan is not None:
        plan.free()


def walls_key(sides: Sides, periodic: Sequence[bool]) -> str | None:
    """Return what tells walls from others, None where they have a user's function. Local."""
    known: list[Any] = ["wrap" if wraps else pair for pair, wraps in zip(sides, periodic, strict=True)]
    if any(c.function is not None for pair in known if pair != "wrap" for c in pair):
        return None
    return repr(known)


def _plan(kernel: Kernel, fields: Mapping[str, Field], walls: Any, cval: Any, kept: Mapping[str, HaloState]) -> Plan:
    grid = next(iter(fields.values())).grid
    footprint = kernel.footprint_on(grid.ndim)
    sides = normal_walls(walls, tuple(fields), grid.ndim, cval)
    geometry = WallGeometry.of(grid)
    memories = _memories(fields, footprint, sides, kept)
    _check_grids(kernel.name, memories, grid)
    copies = _copies(memories, fields)
    standing: list[FrozenHalo] = []
    edges: dict[_InputMemory, Edges] = {}
    groups: dict[Any, list[Field]] = {}
    asking: dict[Any, list[Field]] = {}
    formulas: list[WallTask] = []
    for memory in dict.fromkeys(memories.values()):
        if not any(width for pair in memory.reach for width in pair):
            continue
        f = memory.field
        # Also says, on all ranks, which walls the field cannot have.
        own_tasks = tasks(f.memory.cells, f.origin, f.box, memory.reach, memory.sides, geometry, memory.corners)
        by_sweeps = kernel.backend == "numba" and within_ranks(grid, memory.sides, memory.reach)
        if by_sweeps:
            edges[memory] = edges_of(f, memory.sides, memory.reach, memory.corners)
            reach, modes = exchanged(grid, memory.sides, memory.reach)
            corners, own_tasks = memory.corners and sum(map(any, reach)) > 1, []
        else:
            reach, corners, modes = memory.reach, memory.corners, source_modes(memory.sides, geometry)
        if memory.filled is not None:
            by_axis = [list(pair) for pair in modes]
            own = Exchange(f, reach, by_axis, corners=corners, counted=False) if any(map(any, reach)) else None
            key, width = walls_key(memory.sides, grid.periodic), (memory.reach, memory.corners, by_sweeps)
            need = need_of([f], memory.sides, memory.reach, memory.corners)
            standing.append(FrozenHalo(memory.filled, key, width, own, own_tasks, need))
            continue
        formulas += own_tasks
        asking.setdefault((memory.sides, memory.reach, memory.corners), []).append(f)
        if any(map(any, reach)):
            groups.setdefault((reach, corners, modes), []).append(f)
    exchanges = [
        Exchange(together, reach, [list(pair) for pair in modes], corners=corners, counted=False)
        for (reach, corners, modes), together in groups.items()
    ]
    distant = tuple(a for a in range(grid.ndim) if grid.topology[a] > 1 and any(footprint.reach[a]))
    everything = Box((0,) * grid.ndim, grid.box.shape)
    shared = tuple(widths if axis in distant else (0, 0) for axis, widths in enumerate(footprint.reach))
    inner = inner_box(everything, shared)
    return Plan(
        inputs=[Stored(w.field.memory.cells, tuple(low for low, _ in w.field.halo)) for w in memories.values()],
        edges=[edges.get(memory) for memory in memories.values()],
        copies=list(copies.values()),
        exchanges=exchanges,
        needs=[need_of(together, *how) for how, together in asking.items()],
        tasks=formulas,
        standing=standing,
        geometry=geometry.numbers(grid.box.start),
        distant=distant,
        everything=everything,
        inner=inner,
        outer=[slab for pair in outer_slabs(everything, inner) for slab in pair if slab.size],
        star=not footprint.needs_corners,
    )


@dataclass(frozen=True, eq=False)
class _InputMemory:
    """One field's memory, for all parameters that it is given for."""

    field: Field
    reach: Reach
    corners: bool
    sides: Sides
    filled: HaloState | None  # for cells that do not change


def _memories(
    fields: Mapping[str, Field], footprint: Footprint, sides: Mapping[str, Sides], kept: Mapping[str, HaloState]
) -> dict[str, _InputMemory]:
    """Return for every parameter the memory that is read: the field's, or a copy where that will not do."""
    kinds: dict[tuple[int, Sides], list[str]] = {}
    for name, user in fields.items():
        is_local = footprint.fields[name].is_local
        key = (id(user), ()) if is_local else (id(user), sides[name])
        kinds.setdefault(key, []).append(name)
    memories: dict[str, _InputMemory] = {}
    taken: set[int] = set()
    for (number, conditions), names in kinds.items():
        user, reads = fields[names[0]], [footprint.fields[name] for name in names]
        reach = tuple(
            (max(r.reach[a][0] for r in reads), max(r.reach[a][1] for r in reads)) for a in range(footprint.ndim)
        )
        pairs = zip(reach, user.halo, strict=True)
        is_wide = all(w <= h for widths, halo in pairs for w, h in zip(widths, halo, strict=True))
        filled = user.memory.filled or kept.get(names[0])
        # A field that is given twice, with different walls, has two halos.
        if not is_wide or (conditions and number in taken):
            # When plans go depends on how long this rank keeps its fields: what a plan alone knows, others may not.
            filled, user = None, user.like(halo=reach)
            user.memory.is_reused = False
        elif conditions:
            taken.add(number)
        memory = _InputMemory(user, reach, any(r.needs_corners for r in reads), conditions, filled)
        memories |= dict.fromkeys(names, memory)
    return {name: memories[name] for name in fields}


def _check_grids(kernel: str, memories: Mapping[str, _InputMemory], grid: Grid) -> None:
    """Refuse fields whose halo would depend on whether it is filled by their own grid, or the first field's. Local."""
    for name, memory in memories.items():
        other = memory.field.grid
        if other is grid or not any(map(any, memory.reach)):
            continue
        has_slopes = any(condition.kind == "neumann" for pair in memory.sides for condition in pair)
        if other.periodic != grid.periodic or (has_slopes and other.spacing != grid.spacing):
            raise UsageError(
                f"stencil {kernel!r}: the grid of {name!r} has periodic={other.periodic}, spacing={other.spacing}, and "
                f"that of the first field {grid.periodic}, {grid.spacing}; walls would be filled by either: create all "
                "fields on one grid"
            )


def _copies(
    memories: Mapping[str, _InputMemory], fields: Mapping[str, Field]
) -> dict[int, tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Return (target, source) for memory that is not the user's, by the id of its field."""
    return {
        id(w.field): (w.field.memory.owned, fields[n].memory.owned)
        for n, w in memories.items()
        if w.field is not fields[n]
    }
