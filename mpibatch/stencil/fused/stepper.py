"""The memory of an iteration, and how it goes on by one step, or by several at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mpibatch.base.timing import phase
from mpibatch.stencil.call.evaluation import carry_out, check_ranges, sweep_of, typed_for, work_of
from mpibatch.stencil.fused.sweep import Sweeper, geometry_numbers
from mpibatch.stencil.fused.wide_halos import WideHalos

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.base.tally import KernelWork
    from mpibatch.fields.field import Field
    from mpibatch.stencil.call.plan import Plan
    from mpibatch.stencil.compiled.types import Sweep, Typed
    from mpibatch.stencil.fused.step_plan import StepPlan
    from mpibatch.stencil.fused.trials import Choice

__all__ = ["Stepper"]

PACK = phase("pack")


@dataclass(eq=False)
class _StepContext:
    """What holds for one call: fields that stay, numbers, and what its first steps worked out for those that follow."""

    unchanged: dict[int, Field]
    scalars: dict[str, Any]
    single: dict[Any, tuple[Plan, Sweep, KernelWork]] = field(
        default_factory=dict
    )  # by the order that the slots are in
    fused: tuple[Sweeper, KernelWork, list[Any]] | None = None


class Stepper:
    """Two sets of a kernel's changing fields with wide halos, in turn read and written.

    It holds the user's fields only between `begin` and `let_go`, so that it can end with them.
    """

    def __init__(self, plan: StepPlan, fields: Mapping[str, Field]) -> None:
        self.plan = plan
        self.finalizers: list[Any] = []
        of = [[fields[plan.names[n]] for n in chain.inputs] for chain in plan.setting.chains]
        self._slots = [[f.like(halo=plan.halo) for f in chain] for chain in of]
        self._spare = [[f.like(halo=plan.halo) for f in chain] for chain in of]
        layout = plan.setting.layout
        self._halos = WideHalos(plan, layout) if layout is not None and plan.most > 1 else None
        self._sweepers: dict[Typed, Sweeper] = {}
        self._call = _StepContext({}, {})

    def begin(self, fields: Mapping[str, Field], scalars: dict[str, Any]) -> None:
        """Take in the fields' owned cells, and bring the halos of those that stay. Collective."""
        plan = self.plan
        self._call = _StepContext(plan.unchanged(fields), scalars)
        for filled in plan.forgotten:
            filled.forget()
        with PACK:
            for chain, slots in zip(plan.setting.chains, self._slots, strict=True):
                for n, slot in zip(chain.inputs, slots, strict=True):
                    slot.owned[...] = fields[plan.names[n]].owned
            for n, copy in plan.copies.items():
                copy.owned[...] = fields[plan.names[n]].owned
        if self._halos is not None and not self._halos.is_ready:
            # Walls are checked where single steps are planned.
            plan.single(self._inputs())
            self._halos.prepare(self._call.unchanged)

    def end(self, results: Sequence[Field]) -> None:
        """Put out the owned cells, in the order of the kernel's parameters. Local."""
        count = len(self._slots)
        with PACK:
            for at, result in enumerate(results):
                result.owned[...] = self._slots[at % count][at // count].owned

    def let_go(self) -> None:
        """Forget the user's fields, and numbers. Local."""
        self._call = _StepContext({}, {})

    def free(self) -> None:
        """Release the exchanges. Local."""
        if self._halos is not None:
            self._halos.free()
        for finalizer in self.finalizers:
            finalizer.detach()

    def advance(self, choice: Choice, remaining: int, time: float) -> int:
        """Go on by as many steps as chosen, or fewer, and return how many. Collective."""
        number = min(choice.steps, remaining, self.plan.most)
        if self._halos is None or number < self.plan.least:
            self._one(time)
            return 1
        self._several(self._halos, number, choice)
        return number

    def _one(self, time: float) -> None:
        """One step, as the kernel's call does it; over the oldest field if that is read at the cell itself only."""
        plan, slots, spare, single = self.plan, self._slots, self._spare, self._call.single
        out = [slots[m][-1] if over else spare[m][0] for m, over in enumerate(plan.over_oldest)]
        key = (*(id(f) for chain in slots for f in chain), *map(id, out))
        ready = single.get(key)
        # Plans of a kernel that has too many go.
        if ready is None or ready[0].is_free:
            ready = single[key] = self._single(out)
        carry_out(plan.setting.kernel, *ready, plan.grid, time)
        for m, new in enumerate(out):
            old = slots[m].pop()
            if old is not new:
                spare[m][0] = old
            slots[m].insert(0, new)

    def _several(self, halos: WideHalos, number: int, choice: Choice) -> None:
        """As many steps as are fused, from the slots to the spare memory, whichever is which."""
        call = self._call
        halos.fill(self._slots, number)
        if call.fused is None:
            call.fused = self._fused(halos)
        sweeper, work, numbers = call.fused
        work.ran(number * self.plan.cells)
        with work:
            sweeper(self._slots, self._spare, call.unchanged, number, choice, numbers)
        self._slots, self._spare = self._spare, self._slots

    def _single(self, out: Sequence[Field]) -> tuple[Plan, Sweep, KernelWork]:
        """Return what a single step from the slots into `out` does. Collective."""
        kernel, fields, scalars = self.plan.setting.kernel, self._inputs(), self._call.scalars
        typed = typed_for(kernel, fields, scalars, out)
        check_ranges(typed, scalars)
        plan = self.plan.single(fields)
        return plan, sweep_of(kernel, typed, plan, out, scalars), work_of(kernel, typed)

    def _fused(self, halos: WideHalos) -> tuple[Sweeper, KernelWork, list[Any]]:
        """Return what computes fused steps, what they are counted as, and the numbers that it is given. Local."""
        setting, grid, values = self.plan.setting, self.plan.grid, self._call.scalars
        typed = typed_for(setting.kernel, self._inputs(), values, [spare[0] for spare in self._spare])
        check_ranges(typed, values)
        sweeper = self._sweepers.get(typed)
        if sweeper is None:
            sweeper = Sweeper(typed, setting.chains, halos.layout, grid, setting.kernel.threads)
            self._sweepers[typed] = sweeper
        scalars = [float(values[name]) if kind == "float" else values[name] for name, kind in typed.scalars]
        return sweeper, work_of(setting.kernel, typed), [*scalars, *geometry_numbers(typed, grid)]

    def _inputs(self) -> dict[str, Field]:
        """Return the fields that the kernel reads next, in its order."""
        inputs = dict(self._call.unchanged)
        for chain, slots in zip(self.plan.setting.chains, self._slots, strict=True):
            inputs |= dict(zip(chain.inputs, slots, strict=True))
        return {self.plan.names[n]: inputs[n] for n in sorted(inputs)}
