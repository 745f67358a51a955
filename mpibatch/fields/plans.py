"""What is planned once for a grid, or made of it, and kept as long as it is: others' grids, and who sends what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from mpibatch.fields.grid import Grid

__all__ = ["planned"]

MOST = 64


def planned(grid: Grid, key: Hashable, make: Callable[[], Any]) -> Any:
    """Return what `make` returned for this key; the last few plans are kept. As collective as `make` is.

    All ranks ask for the same plans in the same order: what one has to make again, all have to.
    """
    plans = grid.plans
    plan = plans.pop(key, None)
    if plan is None:
        plan = make()
        while len(plans) >= MOST:
            del plans[next(iter(plans))]
    plans[key] = plan
    return plan
