"""Which steps go through the data together: passes over the slabs, what they read, write and count. Pure, no MPI.

A step is at the level of the first pass in which its result can be had slab by slab. Local steps have that of what they
read; what is above a threshold is known two passes later (extremes, then counts), a label one pass later (components
first). What a later pass reads waits in memory or in a file; what follows from one cell of that is computed again.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpibatch.job.file.schema import INPUT, Step
from mpibatch.job.passes.traits import LABEL, LOCAL, TABLE, THRESHOLD, Trait

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["COMPONENTS", "COUNTS", "EXTREMES", "ROWS", "SPANS", "SlabPass", "passes_of"]

# What a pass counts on its way: for a threshold; for labels; and for a table.
EXTREMES, COUNTS, COMPONENTS, SPANS, ROWS = "extremes", "counts", "components", "spans", "rows"


@dataclass(frozen=True)
class SlabPass:
    """A way through the data.

    Attributes
    ----------
    loads : results that are read: the input, and those kept by earlier passes (of labels, provisional numbers).
    computes : steps whose results are computed, in order.
    stores : results that are kept for later passes.
    writes : results that are written to the output.
    scans : (what is counted, for which step).
    reach : planes read below and above a slab.
    period : of which the first plane that is read is a multiple.
    """

    loads: tuple[str, ...] = ()
    computes: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    scans: tuple[tuple[str, str], ...] = ()
    reach: tuple[int, int] = (0, 0)
    period: int = 1

    @property
    def keeps(self) -> tuple[str, ...]:
        """Results that later passes read: those that it stores, and provisional numbers of components. Local."""
        return (*self.stores, *(name for kind, name in self.scans if kind == COMPONENTS))


@dataclass
class _Levels:
    """Levels of results, what is counted in which pass, and after which pass all numbers are known."""

    of: dict[str, int] = field(default_factory=lambda: {INPUT: 0})
    scans: dict[int, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    known: int = 0

    def add(self, level: int, kind: str, step: Step) -> None:
        self.scans[level].append((kind, step.name))
        self.known = max(self.known, level + 1)


def passes_of(steps: Sequence[Step], traits: Mapping[str, Trait]) -> list[SlabPass]:
    """Return the passes in which a job goes through its data. Local."""
    by_name = {step.name: step for step in steps}
    levels = _levels(steps, traits)
    # The output is laid out once all numbers in it are known, and how many rows its tables have.
    writes: dict[int, list[str]] = defaultdict(list)
    for step in steps:
        if step.save and traits[step.name].kind != TABLE:
            writes[max(levels.of[step.name], levels.known)].append(step.name)
    last = max(*levels.scans, *writes, 0, 0)
    stores: dict[int, set[str]] = defaultdict(set)
    result: list[SlabPass] = []
    for number in range(last, -1, -1):
        walk = _Walk(by_name, traits, levels.of, number)
        targets = [*writes[number], *sorted(stores[number])]
        for name in targets:
            walk.need(name, (0, 0))
        for kind, name in levels.scans[number]:
            for source in _counted(kind, by_name[name], levels.of, number):
                walk.need(source, (1, 0) if kind == COMPONENTS else (0, 0))
        for name in walk.loads:
            if name != INPUT:
                level = levels.of[name] - (traits[name].kind == LABEL)
                stores[level] |= set() if traits[name].kind == LABEL else {name}
        result.append(walk.made(steps, targets, writes[number], levels.scans[number]))
    return result[::-1]


def _levels(steps: Sequence[Step], traits: Mapping[str, Trait]) -> _Levels:
    levels = _Levels()
    for step in steps:
        trait, base = traits[step.name], max(levels.of[name] for name in step.inputs)
        if trait.kind == THRESHOLD:
            levels.add(base, EXTREMES, step)
            levels.add(base + 1, COUNTS, step)
            base += 2
        elif trait.kind == LABEL:
            levels.add(base, COMPONENTS, step)
            base += 1
        elif trait.kind == TABLE:
            base = _level_of_rows(step, steps, traits, levels)
        levels.of[step.name] = base
    return levels


def _level_of_rows(step: Step, steps: Sequence[Step], traits: Mapping[str, Trait], levels: _Levels) -> int:
    """Note when a table's rows are filled: after how large its numbers become is known. Return the level behind."""
    base = max(levels.of[name] for name in step.inputs)
    spans = [levels.of[step.fields["intensity"]]] if "intensity" in step.fields else []
    if step.input == INPUT or traits[step.input].kind != LABEL:
        spans.append(levels.of[step.input])
    if spans:
        levels.add(max(spans), SPANS, step)
        base = max(base, max(spans) + 1)
    levels.add(base, ROWS, step)
    return base + 1


def _counted(kind: str, step: Step, level: Mapping[str, int], number: int) -> tuple[str, ...]:
    """The results of which a scan counts something."""
    if kind == SPANS:
        # How many labels there are is known of those that are not there yet.
        return tuple(name for name in step.inputs if level[name] <= number)
    return step.inputs


class _Walk:
    """From what a pass has to make, back to what it reads."""

    def __init__(
        self, steps: Mapping[str, Step], traits: Mapping[str, Trait], level: Mapping[str, int], number: int
    ) -> None:
        self._steps, self._traits, self._level, self._number = steps, traits, level, number
        self._extent: dict[str, tuple[int, int]] = {}
        self.loads: dict[str, None] = {}
        self._computes: set[str] = set()

    def need(self, name: str, extent: tuple[int, int]) -> None:
        """Note that a result is needed so many planes beyond the slab."""
        known = self._extent.get(name)
        wide = extent if known is None else (max(known[0], extent[0]), max(known[1], extent[1]))
        if known == wide:
            return
        self._extent[name] = wide
        if name == INPUT or not self._is_computed(name):
            self.loads[name] = None
            return
        self._computes.add(name)
        trait = self._traits[name]
        if trait.kind == LABEL:
            self.loads[name] = None  # as provisional numbers
            return
        for source in self._steps[name].inputs:
            self.need(source, (wide[0] + trait.reach[0], wide[1] + trait.reach[1]))

    def _is_computed(self, name: str) -> bool:
        trait = self._traits[name]
        return self._level[name] == self._number or trait.kind != LOCAL or trait.reach == (0, 0)

    def made(
        self, steps: Sequence[Step], targets: Sequence[str], writes: Sequence[str], scans: Sequence[tuple[str, str]]
    ) -> SlabPass:
        """Return the pass."""
        periods = [self._traits[name].period for name in self._computes]
        reach = tuple(max((extent[side] for extent in self._extent.values()), default=0) for side in (0, 1))
        return SlabPass(
            loads=tuple(sorted(self.loads, key=lambda name: (name != INPUT, name))),
            computes=tuple(step.name for step in steps if step.name in self._computes),
            stores=tuple(name for name in targets if name not in writes),
            writes=tuple(writes),
            scans=tuple(scans),
            reach=(reach[0], reach[1]),
            period=math.lcm(*periods) if periods else 1,
        )
