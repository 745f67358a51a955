"""The memory of an iteration, and how it goes on by one step, or by several at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpibatch.base.tally import Need, Work, needed
from mpibatch.base.timing import phase
from mpibatch.fields.memory import HaloState
from mpibatch.halo import Exchange
from mpibatch.stencil.call.bind import carry_out, check_ranges, sweep_of, typed_for, work_of
from mpibatch.stencil.call.halo_traffic import need_of
from mpibatch.stencil.call.plan import FrozenHalo, Plan, planned, walls_key
from mpibatch.stencil.fused.sweep import Sweeper, geometry_numbers
from mpibatch.stencil.walls import Condition, Geometry, Sides, source_modes, tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.fields.field import Field
    from mpibatch.stencil.compiled.types import Sweep, Typed
    from mpibatch.stencil.fused.choice import Layout
    from mpibatch.stencil.fused.trials import Choice
    from mpibatch.stencil.fused.wavefront import Chain
    from mpibatch.stencil.kernel import Kernel

__all__ = ["Setting", "Stepper"]

PACK = phase("pack")


@dataclass(frozen=True, eq=False)
class Setting:
    """What is iterated: a kernel, its walls as given and by field and side, its chains, and how steps can be fused."""

    kernel: Kernel
    sides: Mapping[str, Sides]
    walls: Any
    cval: Any
    chains: tuple[Chain, ...]
    layout: Layout | None


class Stepper:
    """Two sets of a kernel's changing fields with wide halos, in turn read and written.

    It holds the user's fields only between `begin` and `let_go`, so that it can end with them.
    """

    def __init__(self, setting: Setting, fields: Mapping[str, Field], most: int) -> None:
        self.most = most
        self.finalizers: list[Any] = []
        self._setting = setting
        self._names = list(fields)
        self._grid = next(iter(fields.values())).grid
        self._cells = self._grid.box.size
        footprint = setting.kernel.footprint_on(self._grid.ndim)
        self._local = {name for name, reads in footprint.fields.items() if reads.is_local}
        self._halo = setting.layout.halo(most) if setting.layout else footprint.reach
        of = [[fields[self._names[n]] for n in chain.inputs] for chain in setting.chains]
        self._slots = [[field.like(halo=self._halo) for field in chain] for chain in of]
        self._spare = [[field.like(halo=self._halo) for field in chain] for chain in of]
        changing = {n for chain in setting.chains for n in chain.inputs}
        kept = {n: field for n, field in enumerate(fields.values()) if n not in changing}
        # Memory with a halo, where the user's field has none, or is read under two names with walls of each.
        halos = dict.fromkeys(kept, self._halo)
        if setting.layout is None or most < 2:
            halos = {n: footprint.fields[self._names[n]].reach for n in kept if self._names[n] not in self._local}
        narrow = [n for n, halo in halos.items() if not _is_wide(kept[n], halo, kept)]
        self._copies = {n: kept[n].like(halo=self._halo) for n in narrow}
        self._kept: dict[int, Field] = {}
        # They do not change within a call, so that their halos are filled once in each; frozen ones know by themselves.
        # A copy does not last longer than a call: when steppers go depends on how long this rank keeps its fields.
        own = {n: HaloState() for n, field in kept.items() if n in self._copies or field.memory.filled is None}
        self._filled = {n: own.get(n) or field.memory.filled or HaloState() for n, field in kept.items()}
        self._forgotten = list(own.values())
        self._fillings: list[FrozenHalo] | None = None
        self._exchanges: dict[Any, Exchange] = {}
        self._needs: dict[int, Need] = {}
        self._sweepers: dict[Typed, Sweeper] = {}
        self._scalars: dict[str, Any] = {}
        # Worked out at the first step of a call, for those that follow: by the order that the slots are in.
        self._single: dict[Any, tuple[Plan, Sweep, Work]] = {}
        self._fused: tuple[Sweeper, Work, list[Any]] | None = None

    def begin(self, fields: Mapping[str, Field], scalars: dict[str, Any]) -> None:
        """Take in the fields' owned cells, and bring the halos of those that stay. Collective."""
        self._scalars = scalars
        with PACK:
            for chain, slots in zip(self._setting.chains, self._slots, strict=True):
                for n, slot in zip(chain.inputs, slots, strict=True):
                    slot.owned[...] = fields[self._names[n]].owned
        changing = {n for chain in self._setting.chains for n in chain.inputs}
        self._kept = {n: self._copies.get(n, f) for n, f in enumerate(fields.values()) if n not in changing}
        for filled in self._forgotten:
            filled.forget()
        with PACK:
            for n, copy in self._copies.items():
                copy.owned[...] = fields[self._names[n]].owned
        layout = self._setting.layout
        if layout is None or self.most < 2:
            return
        if self._fillings is None:
            # Walls are checked where single steps are planned.
            self._plan(self._inputs())
            self._fillings = [self._filling(layout, n, field) for n, field in self._kept.items()]

    def end(self, results: Sequence[Field]) -> None:
        """Put out the owned cells, in the order of the kernel's parameters. Local."""
        count = len(self._slots)
        with PACK:
            for at, result in enumerate(results):
                result.owned[...] = self._slots[at % count][at // count].owned

    def let_go(self) -> None:
        """Forget the user's fields, and numbers. Local."""
        self._kept = {}
        self._single = {}
        self._fused = None

    def free(self) -> None:
        """Release the exchanges. Local."""
        for exchange in (*self._exchanges.values(), *(self._fillings or ())):
            exchange.free()
        for finalizer in self.finalizers:
            finalizer.detach()

    def advance(self, choice: Choice, remaining: int, time: float) -> int:
        """Go on by as many steps as chosen, or fewer, and return how many. Collective."""
        number = min(choice.steps, remaining, self.most)
        if self._setting.layout is None or number < max(2, *(chain.depth for chain in self._setting.chains)):
            self._one(time)
            return 1
        self._several(self._setting.layout, number, choice.budget)
        return number

    def _inputs(self) -> dict[str, Field]:
        inputs = dict(self._kept)
        for chain, slots in zip(self._setting.chains, self._slots, strict=True):
            inputs |= dict(zip(chain.inputs, slots, strict=True))
        return {self._names[n]: inputs[n] for n in sorted(inputs)}

    def _one(self, time: float) -> None:
        """One step, as the kernel's call does it; over the oldest field if that is read at the cell itself only."""
        setting = self._setting
        out = []
        for m, chain in enumerate(setting.chains):
            oldest = self._names[chain.inputs[-1]]
            out.append(self._slots[m][-1] if oldest in self._local else self._spare[m][0])
        key = (*(id(field) for slots in self._slots for field in slots), *map(id, out))
        ready = self._single.get(key)
        # Plans of a kernel that has too many go.
        if ready is None or ready[0].is_free:
            ready = self._single[key] = self._planned(out)
        plan, sweep, work = ready
        carry_out(setting.kernel, plan, sweep, work, out[0].grid, time)
        for m, new in enumerate(out):
            old = self._slots[m].pop()
            if old is not new:
                self._spare[m][0] = old
            self._slots[m].insert(0, new)

    def _planned(self, out: Sequence[Field]) -> tuple[Plan, Sweep, Work]:
        """Return what a single step from the slots into `out` does. Collective."""
        setting, fields = self._setting, self._inputs()
        typed = typed_for(setting.kernel, fields, self._scalars, out)
        check_ranges(typed, self._scalars)
        plan = self._plan(fields)
        return plan, sweep_of(setting.kernel, typed, plan, out, self._scalars), work_of(setting.kernel, typed)

    def _plan(self, fields: Mapping[str, Field]) -> Plan:
        kept = {self._names[n]: filled for n, filled in self._filled.items()}
        return planned(self._setting.kernel, fields, self._setting.walls, self._setting.cval, kept)

    def _several(self, layout: Layout, number: int, budget: int) -> None:
        for filling in self._fillings or ():
            filling(0.0)
        self._exchange(layout, number)
        if self._fused is None:
            self._fused = self._sweeper(layout)
        sweeper, work, numbers = self._fused
        work.ran(number * self._cells)
        with work:
            sweeper(self._slots, self._spare, self._kept, number, budget, numbers)
        self._slots, self._spare = self._spare, self._slots

    def _sweeper(self, layout: Layout) -> tuple[Sweeper, Work, list[Any]]:
        """Return what computes fused steps, what they are counted as, and the numbers that it is given. Local."""
        setting = self._setting
        # Fused steps go from slots to spare memory, whichever is which.
        typed = typed_for(setting.kernel, self._inputs(), self._scalars, [spare[0] for spare in self._spare])
        check_ranges(typed, self._scalars)
        sweeper = self._sweepers.get(typed)
        if sweeper is None:
            sweeper = Sweeper(typed, setting.chains, layout, self._grid, setting.kernel.threads)
            self._sweepers[typed] = sweeper
        scalars = [
            float(self._scalars[name]) if kind == "float" else self._scalars[name] for name, kind in typed.scalars
        ]
        return sweeper, work_of(setting.kernel, typed), [*scalars, *geometry_numbers(typed, self._grid)]

    def _exchange(self, layout: Layout, number: int) -> None:
        """Bring the cells of other ranks, and those beyond periodic axes, for so many steps. Collective."""
        fields = [field for slots in self._slots for field in slots]
        needed(self._need(layout, fields, number))
        width = layout.exchanged(number)
        if not any(layout.wide):
            return
        key = (*map(id, fields), number)
        exchange = self._exchanges.get(key)
        if exchange is None:
            modes = ["wrap" if wraps else None for wraps in layout.wraps]
            exchange = self._exchanges[key] = Exchange(
                fields, width, modes, corners=sum(layout.wide) > 1, counted=False
            )
        exchange()

    def _need(self, layout: Layout, fields: Sequence[Field], number: int) -> Need:
        """Return what this many steps need from other ranks, if there were some along every axis. Local."""
        need = self._needs.get(number)
        if need is None:
            reach = tuple((number * r, number * r) for r in layout.reach)
            sides = self._setting.sides[self._names[self._setting.chains[0].inputs[0]]]
            need = self._needs[number] = need_of(fields, sides, reach, corners=True, steps=number)
        return need

    def _filling(self, layout: Layout, n: int, field: Field) -> FrozenHalo:
        """Return what fills the halo of a field that stays."""
        grid, name = self._grid, self._names[n]
        reach = self._setting.kernel.footprint_on(grid.ndim).fields[name].reach
        geometry = Geometry(grid.shape, grid.periodic, grid.spacing, grid.origin)
        sides = list(self._setting.sides[name])
        for axis in range(grid.ndim):
            if layout.wraps[axis] or not any(reach[axis]):
                sides[axis] = (Condition("wrap" if layout.wraps[axis] else "nearest"),) * 2
        modes = [list(pair) for pair in source_modes(tuple(sides), geometry)]
        formulas = tasks(field.memory.cells, field.origin, field.box, self._halo, tuple(sides), geometry, corners=True)
        key, width = walls_key(tuple(sides), grid.periodic), (self._halo, True, False)
        need = need_of([field], tuple(sides), tuple((self.most * r, self.most * r) for r in layout.reach), corners=True)
        exchange = Exchange(field, self._halo, modes, counted=False)
        return FrozenHalo(self._filled[n], key, width, exchange, formulas, need)


def _is_wide(field: Field, halo: Sequence[tuple[int, int]], kept: Mapping[int, Field]) -> bool:
    wide = all(h >= w for have, want in zip(field.halo, halo, strict=True) for h, w in zip(have, want, strict=True))
    return wide and sum(other is field for other in kept.values()) == 1
