"""What an iteration knows before its first step, and what stays from call to call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpibatch.fields.memory import HaloState
from mpibatch.stencil.call.plan import Plan, planned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.fields.field import Field
    from mpibatch.fields.grid import Grid
    from mpibatch.stencil.fused.choice import FusionLayout
    from mpibatch.stencil.fused.wavefront import Chain
    from mpibatch.stencil.kernel import Kernel
    from mpibatch.stencil.walls import Sides

__all__ = ["Setting", "StepPlan", "step_plan"]


@dataclass(frozen=True, eq=False)
class Setting:
    """What is iterated: a kernel, its walls as given and by field and side, its chains, and how steps can be fused."""

    kernel: Kernel
    sides: Mapping[str, Sides]
    walls: Any
    cval: Any
    chains: tuple[Chain, ...]
    layout: FusionLayout | None


@dataclass(frozen=True, eq=False)
class StepPlan:
    """How a setting is iterated on certain fields. It holds none of the user's, so that it can end with them."""

    setting: Setting
    most: int  # steps of one exchange
    least: int  # steps that are worth fusing: fewer would not fill the chains
    grid: Grid
    cells: int  # of this rank
    names: tuple[str, ...]  # of the kernel's fields, by number
    over_oldest: tuple[bool, ...]  # by chain: a single step may write where the oldest values are
    halo: tuple[tuple[int, int], ...]
    copies: Mapping[int, Field]  # wide memory for fields that stay, and have no such halo for themselves alone
    filled: Mapping[int, HaloState]  # of the fields that stay
    forgotten: tuple[HaloState, ...]  # those of them that hold for one call only

    def unchanged(self, fields: Mapping[str, Field]) -> dict[int, Field]:
        """Return the memory of the fields that stay, by number. Local."""
        return {n: self.copies.get(n, fields[self.names[n]]) for n in self.filled}

    def single(self, fields: Mapping[str, Field]) -> Plan:
        """Return the plan of a single step, as the kernel's call has it. Collective."""
        filled = {self.names[n]: state for n, state in self.filled.items()}
        return planned(self.setting.kernel, fields, self.setting.walls, self.setting.cval, filled)


def step_plan(setting: Setting, fields: Mapping[str, Field], most: int) -> StepPlan:
    """Return the plan for these fields, with memory for those that need some. Local."""
    names, layout = tuple(fields), setting.layout
    grid = fields[names[0]].grid
    footprint = setting.kernel.footprint_on(grid.ndim)
    local = {name for name, reads in footprint.fields.items() if reads.is_local}
    halo = layout.halo(most) if layout else footprint.reach
    changing = {n for chain in setting.chains for n in chain.inputs}
    kept = {n: field for n, field in enumerate(fields.values()) if n not in changing}
    # Memory with a halo, where the user's field has none, or is read under two names with walls of each.
    halos = dict.fromkeys(kept, halo)
    if layout is None or most < 2:
        halos = {n: footprint.fields[names[n]].reach for n in kept if names[n] not in local}
    narrow = [n for n, width in halos.items() if not _is_wide(kept[n], width, kept)]
    copies = {n: kept[n].like(halo=halo) for n in narrow}
    # They do not change within a call, so that their halos are filled once in each; frozen ones know by themselves.
    # A copy does not last longer than a call: when steppers go depends on how long this rank keeps its fields.
    own = {n: HaloState() for n, field in kept.items() if n in copies or field.memory.filled is None}
    return StepPlan(
        setting=setting,
        most=most,
        least=max(2, *(chain.depth for chain in setting.chains)),
        grid=grid,
        cells=grid.box.size,
        names=names,
        over_oldest=tuple(names[chain.inputs[-1]] in local for chain in setting.chains),
        halo=halo,
        copies=copies,
        filled={n: own.get(n) or field.memory.filled or HaloState() for n, field in kept.items()},
        forgotten=tuple(own.values()),
    )


def _is_wide(field: Field, halo: Sequence[tuple[int, int]], kept: Mapping[int, Field]) -> bool:
    wide = all(h >= w for have, want in zip(field.halo, halo, strict=True) for h, w in zip(have, want, strict=True))
    return wide and sum(other is field for other in kept.values()) == 1
