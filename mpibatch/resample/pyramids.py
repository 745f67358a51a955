"""Fields at half, a quarter, … of their cells, for viewers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError
from mpibatch.fields.block_means import coarsened
from mpibatch.fields.field import check_field
from mpibatch.filters._engine.arguments import whole

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["pyramid"]

MOST = 2**30  # cells of a block


def pyramid(u: Field, levels: int) -> list[Field]:
    """Return a field at full resolution, and as means of blocks of 2, 4, … cells along each axis. Collective.

    Parameters
    ----------
    u : Field
        Of any dtype. Of components each is averaged alone.
    levels : int
        How many coarser fields.

    Returns
    -------
    list of Field
        The first is `u` itself; of level k each cell is the mean of a block of 2**k cells along each axis, or of what
        is left of one at the end of an axis. Each on a grid of its own, with spacing and origin to match, of the dtype
        of `u`.

    Raises
    ------
    UsageError
        On all ranks alike, if `levels` is no such number, or blocks would be too large to be summed up exactly.

    Notes
    -----
    Collective. The same bits on any decomposition. Means of integers are exact, and rounded once, half to even. Floats
    are added in float64, neighbors first, along the first axis, then along the next, and level by level; the sum is
    divided by the number of cells, and rounded to the dtype. A rank receives at most one face of cells along each axis
    and level; it needs the memory of its block in 8 bytes a cell (16 for integers of 64 bits).

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(5).from_function(lambda x: 10 * x, "i4")
    >>> for v in mb.pyramid(u, 2):
    ...     print(mb.gather_all(v), v.grid.spacing, v.grid.origin)
    [ 0 10 20 30 40] (1.0,) (0.0,)
    [ 5 25 40] (2.0,) (0.5,)
    [15 40] (4.0,) (1.5,)
    """
    check_field("pyramid", u)
    many = whole("pyramid", "levels", levels)
    if many < 0 or 2 ** (many * u.grid.ndim) > MOST:
        raise UsageError(
            f"pyramid: levels = {many} of a field of {u.grid.ndim} axes; give a number from 0 to {30 // u.grid.ndim}"
        )
    return coarsened(u, many, range(u.grid.ndim))
