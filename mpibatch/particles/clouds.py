"""Between particles and cells: mass that they have there, and values that cells have for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError, nearest
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field, check_field
from mpibatch.halo.exchanges import exchange
from mpibatch.halo.sums import add_halo

if TYPE_CHECKING:
    from mpibatch.particles.particles import Particles

__all__ = ["deposit", "interpolate"]

CLOUDS = ("cic", "tsc")
REACH = 1  # cells beyond that of a particle
EXACT = 52  # bits of a whole number whose product with a share is rounded once
MOST = 62  # bits of a sum


def deposit(particles: Particles, cloud: str = "cic") -> Field:
    """Return how many particles are in each cell, each of them as a cloud over the cells around it.

    Parameters
    ----------
    particles : Particles
        Of mass 1 each.
    cloud : str, default "cic"
        "cic": cloud in cell, a cube as large as a cell, over 8 cells; "tsc": triangular-shaped cloud, over 27.

    Returns
    -------
    Field
        Of f8, on the particles' grid, without halo.

    Raises
    ------
    UsageError
        The same on every rank, if the cloud is unknown.

    Notes
    -----
    Collective: each rank adds what its particles have in its neighbors' cells to theirs. Shares are whole multiples of
    2^-b and those of a particle add up to 1; sums are of integers, in any order, and rounded once where they have more
    than 53 bits. With N particles b is 52, or 62 less the bits of N: no sum can overflow, wherever particles are.
    Method: R. W. Hockney and J. W. Eastwood 1988, doi:10.1201/9780367806934.

    Examples
    --------
    >>> import mpibatch as mb
    >>> one = mb.Grid(1)
    >>> position = one.from_function(lambda n: n[:, None] + [0.5, 0.5, 1.75], components=(3,))
    >>> grid = mb.Grid((1, 1, 4), periodic=True)
    >>> particles = mb.particles.Particles(grid, position, one.zeros(components=(3,)))
    >>> print(mb.gather_all(mb.particles.deposit(particles))[0, 0])
    [0.   0.75 0.25 0.  ]
    """
    from mpibatch.particles._loops import clouds as loops

    _check_cloud("deposit", cloud)
    bits = min(EXACT, MOST - particles.count.bit_length())
    sums = particles.grid.zeros("i8", halo=REACH)
    sums.padded[...] = 0
    add = loops.deposit_linear if cloud == "cic" else loops.deposit_quadratic
    with timed("compute"):
        add(particles.position, np.array(sums.origin, np.int64), 1 << bits, sums.padded)
    add_halo(sums)
    result = particles.grid.empty()
    with timed("compute"):
        np.multiply(sums.owned, 2.0**-bits, out=result.owned)
    return result


def interpolate(particles: Particles, u: Field, cloud: str = "cic") -> npt.NDArray[np.float64]:
    """Return the vectors of a field at particles: the mean over the cloud that `deposit` makes of each.

    Parameters
    ----------
    particles : Particles
        At whose positions.
    u : Field
        Of f8 and three components, on the particles' grid. If it has a halo of 1 or more, that is filled.
    cloud : str, default "cic"
        "cic": cloud in cell, a cube as large as a cell, over 8 cells; "tsc": triangular-shaped cloud, over 27.

    Returns
    -------
    ndarray of float64
        Of this rank's particles, in their order, three columns.

    Raises
    ------
    UsageError
        The same on every rank, if field and particles do not fit one another, or the cloud is unknown.

    Notes
    -----
    Collective: one halo exchange of one cell, and a copy of the field if its halo is narrower. A rank's time grows with
    its particles, 8 or 27 cells each.

    Examples
    --------
    >>> import mpibatch as mb
    >>> one = mb.Grid(1)
    >>> position = one.from_function(lambda n: n[:, None] + [0.5, 0.5, 1.75], components=(3,))
    >>> grid = mb.Grid((1, 1, 4), periodic=True)
    >>> particles = mb.particles.Particles(grid, position, one.zeros(components=(3,)))
    >>> u = grid.from_function(lambda z, y, x: x[..., None] * [1.0, 0.0, 2.0], components=(3,))
    >>> particles.kick(mb.particles.interpolate(particles, u), 1.0)
    >>> print(mb.gather_all(particles.to_fields()["velocity"]))
    [[1.25 0.   2.5 ]]
    """
    from mpibatch.particles._loops import clouds as loops

    _check_cloud("interpolate", cloud)
    check_field("interpolate", u)
    if not u.grid.matches(particles.grid) or u.components != (3,) or u.dtype != np.float64:
        raise UsageError(
            f"interpolate: a field of {u.dtype} with components {u.components} over {u.grid} for particles in "
            f"{particles.grid}; give f8 and three components on their grid"
        )
    wide = u
    if any(width < REACH for pair in u.halo for width in pair):
        wide = u.like(halo=REACH)
        wide.owned[...] = u.owned
    exchange(wide, REACH)
    result = np.empty((len(particles.ids), 3))
    find = loops.interpolate_linear if cloud == "cic" else loops.interpolate_quadratic
    with timed("compute"):
        find(particles.position, np.array(wide.origin, np.int64), wide.padded, result)
    return result


def _check_cloud(name: str, cloud: str) -> None:
    if cloud not in CLOUDS:
        raise UsageError(f"{name}: cloud = {cloud!r} is unknown{nearest(str(cloud), CLOUDS)}")
