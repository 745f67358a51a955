"""Halos for several steps at once: of fields that change, for so many steps, and of those that stay, for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpibatch.base.tally import Need, needed
from mpibatch.halo import Exchange
from mpibatch.stencil.call.halo_traffic import need_of
from mpibatch.stencil.call.plan import FrozenHalo, walls_key
from mpibatch.stencil.walls import Condition, WallGeometry, source_modes, tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.fields.field import Field
    from mpibatch.stencil.fused.choice import FusionLayout
    from mpibatch.stencil.fused.step_plan import StepPlan

__all__ = ["WideHalos"]


class WideHalos:
    """Brings what fused steps read of other ranks. Its exchanges are its own, made at first and freed with it."""

    def __init__(self, plan: StepPlan, layout: FusionLayout) -> None:
        self.layout = layout
        self._plan = plan
        self._unchanged: list[FrozenHalo] | None = None
        self._exchanges: dict[Any, Exchange] = {}
        self._needs: dict[int, Need] = {}

    @property
    def is_ready(self) -> bool:
        """Whether it has seen the fields that stay. Local."""
        return self._unchanged is not None

    def prepare(self, unchanged: Mapping[int, Field]) -> None:
        """Plan the halos of the fields that stay, whose walls are known to be allowed. Collective."""
        self._unchanged = [_frozen_halo(self._plan, self.layout, n, field) for n, field in unchanged.items()]

    def fill(self, slots: Sequence[Sequence[Field]], number: int) -> None:
        """Bring the cells of other ranks, and those beyond periodic axes, for so many steps. Collective."""
        for halo in self._unchanged or ():
            halo(0.0)
        fields = [field for chain in slots for field in chain]
        needed(self._need(fields, number))
        layout = self.layout
        if not any(layout.wide):
            return
        key = (*map(id, fields), number)
        exchange = self._exchanges.get(key)
        if exchange is None:
            modes = ["wrap" if wraps else None for wraps in layout.wraps]
            corners = sum(layout.wide) > 1
            exchange = Exchange(fields, layout.exchanged(number), modes, corners=corners, counted=False)
            self._exchanges[key] = exchange
        exchange()

    def free(self) -> None:
        """Release the exchanges. Local."""
        for exchange in (*self._exchanges.values(), *(self._unchanged or ())):
            exchange.free()

    def _need(self, fields: Sequence[Field], number: int) -> Need:
        """Return what this many steps need from other ranks, if there were some along every axis. Local."""
        need = self._needs.get(number)
        if need is None:
            reach = tuple((number * r, number * r) for r in self.layout.reach)
            setting = self._plan.setting
            sides = setting.sides[self._plan.names[setting.chains[0].inputs[0]]]
            need = self._needs[number] = need_of(fields, sides, reach, corners=True, steps=number)
        return need


def _frozen_halo(plan: StepPlan, layout: FusionLayout, n: int, field: Field) -> FrozenHalo:
    """Return what fills the halo of a field that stays."""
    grid, name = plan.grid, plan.names[n]
    reach = plan.setting.kernel.footprint_on(grid.ndim).fields[name].reach
    geometry = WallGeometry.of(grid)
    sides = list(plan.setting.sides[name])
    for axis in range(grid.ndim):
        if layout.wraps[axis] or not any(reach[axis]):
            sides[axis] = (Condition("wrap" if layout.wraps[axis] else "nearest"),) * 2
    modes = [list(pair) for pair in source_modes(tuple(sides), geometry)]
    formulas = tasks(field.memory.cells, field.origin, field.box, plan.halo, tuple(sides), geometry, corners=True)
    key, width = walls_key(tuple(sides), grid.periodic), (plan.halo, True, False)
    need = need_of([field], tuple(sides), tuple((plan.most * r, plan.most * r) for r in layout.reach), corners=True)
    exchange = Exchange(field, plan.halo, modes, counted=False)
    return FrozenHalo(plan.filled[n], key, width, exchange, formulas, need)
