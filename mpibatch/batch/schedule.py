"""In which order items are handed out, and to teams of how many ranks. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ALONE", "TeamPhase", "costs_of", "phases", "shares", "sizes_of"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Items that may have ended their rank run one after another, so that the next end blames one of them alone. So many at
# most: more have been in flight when something else ended all ranks, and would take too long so.
ALONE = 64


@dataclass(frozen=True)
class TeamPhase:
    """Items for teams of one size, in order. `most` limits the number of teams."""

    size: int
    items: Ints
    costs: Floats | None
    most: int | None = None


def costs_of(costs: Sequence[float] | Callable[[Any], float] | None, items: Sequence[Any]) -> Floats | None:
    """Return the cost hint of each item. Local. UsageError."""
    if costs is None:
        return None
    given = [costs(item) for item in items] if callable(costs) else costs
    try:
        values = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"costs = {costs!r} are not numbers; give a number for each item, or a function") from None
    if values.shape != (len(items),):
        raise UsageError(f"costs were given for {values.size} items, and there are {len(items)}; give one for each")
    if not np.all(np.isfinite(values) & (values >= 0)):
        wrong = int(np.argmin(np.isfinite(values) & (values >= 0)))
        raise UsageError(f"the cost of item {wrong} is {values[wrong]}; give a finite number, 0 or more")
    return values


def sizes_of(ranks_per_item: int | Sequence[int] | Callable[[Any], int], items: Sequence[Any], ranks: int) -> Ints:
    """Return the number of ranks for each item. Local. UsageError."""
    if callable(ranks_per_item):
        given: Any = [ranks_per_item(item) for item in items]
    elif isinstance(ranks_per_item, Sequence | np.ndarray):
        given = ranks_per_item
    else:
        given = [ranks_per_item] * len(items)
    whole = np.asarray(given)
    if len(whole) == 0 == len(items):
        return np.empty(0, np.int64)
    if whole.ndim != 1 or whole.dtype.kind not in "iu" or len(whole) != len(items):
        raise UsageError(
            f"ranks_per_item is {ranks_per_item!r}; give a whole number, one for each item, or a function of an item"
        )
    sizes = np.asarray(whole, np.int64)
    if sizes.min() < 1 or sizes.max() > ranks:
        wrong = int(np.argmax((sizes < 1) | (sizes > ranks)))
        raise UsageError(
            f"item {wrong} was to run on {sizes[wrong]} of the {ranks} ranks that were started; give 1 to {ranks}, or "
            "start more"
        )
    return sizes


def phases(todo: Ints, suspects: Ints, sizes: Ints, costs: Floats | None) -> list[TeamPhase]:
    """Return what is to be run, the largest teams and the longest items first, and suspects last. Local."""
    made = []
    for numbers, is_alone in ((todo, False), (suspects, len(suspects) <= ALONE)):
        for size in sorted({*sizes[numbers].tolist()}, reverse=True):
            group = numbers[sizes[numbers] == size]
            if costs is not None:
                group = group[np.argsort(-costs[group], kind="stable")]
            made.append(TeamPhase(size, group, None if costs is None else costs[group], 1 if is_alone else None))
    return made


def shares(plan: Sequence[TeamPhase], ranks: int) -> Floats:
    """Return for each item, as they are handed out, the share of the run that is over when it begins. Local.

    Each team takes the next item when it is done with one, and these take as long as their costs say, or all alike.
    """
    costs = [np.ones(len(phase.items)) if phase.costs is None else phase.costs for phase in plan]
    most = max((float(part.max(initial=0.0)) for part in costs), default=0.0)
    begins, end = [np.empty(0)], 0.0
    for phase, part in zip(plan, costs, strict=True):
        # Of costs that are all 0 nothing is known; beside the largest one no sum is beyond floats.
        took = part / most if most > 0 else np.ones(len(part))
        teams = ranks // phase.size if phase.most is None else min(phase.most, ranks // phase.size)
        free = [end] * min(teams, len(took))  # when each team is done with what it has
        begun = np.empty(len(took))
        for number, seconds in enumerate(took.tolist()):
            begun[number] = free[0]
            heapq.heapreplace(free, free[0] + seconds)
        begins.append(begun)
        end = max(free, default=end)
    return np.concatenate(begins) / (end or 1.0)
