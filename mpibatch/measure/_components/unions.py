"""Components over ranks: which places belong together, decided where each lies.

A component of a block has the place of its first cell for a name, and the owner of that cell keeps on which lesser
place it hangs. Contacts are edges (greater, lesser) that run down to where they say something new (F. Manne, Md. M. A.
Patwary, "A scalable parallel union-find algorithm for distributed memory computers",
doi:10.1007/978-3-642-14390-8_20); between times every place is hung on what its own hangs on (S. Liu, R. E. Tarjan,
"Simple concurrent labeling algorithms for connected components", doi:10.4230/OASIcs.SOSA.2019.3), so that ways get
shorter by half. Least names win: the order in which messages arrive cannot matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mpibatch.base.progress.rounds import note
from mpibatch.base.tally import REDUCTION
from mpibatch.base.timing import phase
from mpibatch.measure._engine.places import owners
from mpibatch.mpi import MPI
from mpibatch.mpi.routes import ask, forward

if TYPE_CHECKING:
    from mpibatch.fields.grid import Grid

__all__ = ["merged"]

Ints = npt.NDArray[np.int64]


def merged(grid: Grid, mine: Ints, pairs: Ints) -> Ints:
    """Return for each of `mine` the least place of its component. Collective.

    Parameters
    ----------
    grid : whose decomposition says where a place is known.
    mine : sorted places of this rank's cells; all that any rank mentions.
    pairs : places that belong together, a pair each row, as this rank has seen them.
    """
    # Late, because numba takes a second to load.
    from mpibatch.measure._loops import sets

    decomposition, comm = grid.decomposition, grid.comm
    parent = mine.copy()
    edges = _stars(pairs)
    busy = 1
    while busy:
        with phase("compute"):
            edges = _hooked(mine, parent, edges)
        with phase("halo"):
            edges = _different(forward(comm, owners(decomposition, edges[:, 0]), edges))
        with phase("compute"):
            edges = _hooked(mine, parent, edges)
            away = int(sets.follow(mine, parent))
        changed = len(edges)
        with phase("halo"):
            changed += _shorten(grid, mine, parent, away)
        with REDUCTION:
            busy = comm.allreduce(changed, op=MPI.SUM)
        note(busy)
    return parent


def _hooked(mine: Ints, parent: Ints, edges: Ints) -> Ints:
    """Hang places by these edges, and return those that must go on to other ranks. Local."""
    from mpibatch.measure._loops import sets

    passed = np.empty_like(edges)
    count = int(sets.hook(mine, parent, edges, passed))
    return _different(passed[:count])


def _stars(pairs: Ints) -> Ints:
    """Return as few edges as say the same: from each place to the least of those which it belongs to. Local."""
    from mpibatch.measure._loops import sets

    names, index = np.unique(pairs, return_inverse=True)
    parent = np.arange(len(names))
    sets.contract(index.reshape(-1, 2), parent)
    is_hung = names != names[parent]
    return np.column_stack([names[is_hung], names[parent[is_hung]]])


def _different(edges: Ints) -> Ints:
    """Return the edges, each once. Local."""
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    is_new = np.ones(len(edges), np.bool_)
    is_new[1:] = (edges[1:] != edges[:-1]).any(axis=1)
    return edges[is_new]


def _shorten(grid: Grid, mine: Ints, parent: Ints, away: int) -> int:
    """Hang places on what those on other ranks hang on which they hang on; return how many changed. Collective."""
    theirs = ~np.isin(parent, mine) if away else np.zeros(len(mine), np.bool_)
    keys = np.unique(parent[theirs])
    higher = ask(
        grid.comm,
        owners(grid.decomposition, keys),
        keys,
        lambda places: parent[np.searchsorted(mine, places)].reshape(-1, 1),
    )[:, 0]
    new = higher[np.searchsorted(keys, parent[theirs])]
    changed = int(np.count_nonzero(new != parent[theirs]))
    parent[theirs] = new
    return changed
