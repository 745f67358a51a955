"""How long a step may be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mpibatch import reduce
from mpibatch.base.errors import RunError, UsageError
from mpibatch.fields.field import Field, check_field

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cfl_step"]


def cfl_step(speed: Field | Sequence[Field], courant: float) -> float:
    """Return ``courant / Σ max|speed| / spacing`` over the axes, the Courant–Friedrichs–Lewy step.

    Parameters
    ----------
    speed : Field or sequence of Field
        The largest signal speed in every cell, of either sign, in units of length over time: one field for all axes,
        or one for each axis of the grid.
    courant : float
        The share of the grid spacing that a signal may cross in a step, above 0; 1 is the limit of the simplest
        schemes.

    Returns
    -------
    float
        A length of time, the same on every rank.

    Raises
    ------
    UsageError
        If the speeds do not fit the grid's axes, or `courant` is not above 0.
    RunError
        If no speed is above 0, or if one is not finite.

    Notes
    -----
    Collective: an exact minimum and maximum of each field, so that the step has the same bits on any number of ranks.
    Method: doi:10.1007/BF01448839.

    Examples
    --------
    >>> import mpibatch as mb
    >>> speed = mb.Grid(4, spacing=0.5).from_function(lambda x: 1.0 + 2.0 * x)
    >>> mb.simulate.cfl_step(speed, courant=0.8)
    0.1
    """
    fields: list[Any] = list(speed) if isinstance(speed, list | tuple) else [speed]
    for given in fields:
        check_field("a CFL step", given)
    if not fields:
        raise UsageError("a CFL step needs speeds, and none were given; give one, or one for each axis")
    spacing = fields[0].grid.spacing
    if not courant > 0:
        raise UsageError(f"a Courant number of {courant} is not valid; give one above 0")
    if len(fields) not in (1, len(spacing)):
        raise UsageError(f"{len(fields)} speeds were given for {len(spacing)} axes; give one, or one for each axis")
    largest = [max(abs(float(reduce.max(field))), abs(float(reduce.min(field)))) for field in fields]
    rate = math.fsum(s / h for s, h in zip(largest * (len(spacing) // len(largest)), spacing, strict=True))
    if not 0 < rate < math.inf:
        raise RunError(
            f"no CFL step follows from a largest signal speed of {max(largest)}: nothing moves, or the values "
            "are not finite; give a step length, or check the initial data"
        )
    return courant / rate
