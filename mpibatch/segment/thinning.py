"""Skeletons of pictures and volumes, and thinning of pictures: scikit-image's names, parameters and values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field
from mpibatch.filters._engine.arguments import whole
from mpibatch.filters._engine.memory import check_memory, padded_bytes
from mpibatch.halo import Exchange
from mpibatch.mpi import same
from mpibatch.segment._engine.arguments import check_picture
from mpibatch.segment._engine.lee import thinned
from mpibatch.segment._engine.relaxation import lines_of, total

__all__ = ["skeletonize", "thin"]

Bools = npt.NDArray[np.bool_]
# Around a cell: north, then clockwise.
RING = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
Rule = Callable[[list[int]], bool]
# Where scikit-image departs from Zhang and Suen, as its results show: rings by number (see `_table`), and in which half
# steps their cell goes. So corners of staircases go, and of a slanting line two cells wide one side stays.
DEPARTURES = {
    (False, False): (24, 192),
    (True, False): (3, 5, 6, 7, 67, 97, 99, 129, 133, 193, 208),
    (False, True): (12, 13, 28, 48, 52, 54, 88, 96, 112),
    (True, True): (20, 65, 80),
}


def skeletonize(u: Field, *, method: str | None = None) -> Field:
    """Return the skeleton of a picture or a volume: lines of one cell, where its objects were.

    Parameters
    ----------
    u : Field
        Of two or three axes, without components; nonzero cells are set.
    method : {"zhang", "lee", None}, optional
        Zhang and Suen's method for pictures, or Lee, Kashyap and Chu's for both, the default in volumes.

    Returns
    -------
    Field
        Of bool, without a halo.

    Raises
    ------
    UsageError
        On all ranks: another number of axes, a method that there is not, or Zhang's for a volume; Lee's where an axis
        is periodic: it takes cells in raster order, which has no beginning there.

    Notes
    -----
    Collective. As many steps as half the widest object has cells. One of Zhang's takes two exchanges of faces and an
    all-reduce of 8 bytes; one of Lee's has six parts (four in a plane), of which each takes about as many of both as
    cells wait for one another from rank to rank.

    Equal to ``skimage.morphology.skeletonize``, its departures from the methods included. Methods:
    doi:10.1145/357994.358023, doi:10.1006/cgip.1994.1042.

    Examples
    --------
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> bar = mb.Grid((5, 9)).from_function(lambda y, x: (y > 0) & (y < 4) & (x > 0) & (x < 8), "?")
    >>> mb.gather_all(segment.skeletonize(bar)).astype(int).tolist()[2]
    [0, 1, 1, 1, 1, 1, 0, 0, 0]
    """
    name = "skeletonize"
    check_picture(name, u)
    if method not in (None, "zhang", "lee"):
        raise UsageError(f"{name}: method = {method!r}; give 'zhang' or 'lee'")
    if method == "lee" or (method is None and u.grid.ndim == 3):
        return _skeletonized_by_lee(name, u)
    _check(name, u)
    first, second = _table(_zhang_first), _table(_zhang_second)
    for (in_first, in_second), rings in DEPARTURES.items():
        first[list(rings)], second[list(rings)] = in_first, in_second
    return _thinned(name, u, (first, second), None)


def thin(u: Field, max_num_iter: int | None = None) -> Field:
    """Return a thinned picture: every object as lines of one cell, its ends and connections kept.

    Parameters
    ----------
    u : Field
        Two-dimensional, without components; nonzero cells are set.
    max_num_iter : int, optional
        At most so many steps; as many as change anything unless given (or 0).

    Returns
    -------
    Field
        Of bool, without a halo.

    Raises
    ------
    UsageError
        On all ranks: a volume, or a number of steps that is not valid.

    Notes
    -----
    Collective; cost as `skeletonize`. Equal to ``skimage.morphology.thin``. Method: doi:10.1145/62065.62074.

    Examples
    --------
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> bar = mb.Grid((5, 9)).from_function(lambda y, x: (y > 0) & (y < 4) & (x > 0) & (x < 8), "?")
    >>> mb.count_nonzero(segment.thin(bar, 1)) < mb.count_nonzero(bar)
    True
    """
    name = "thin"
    _check(name, u)
    steps = whole(name, "max_num_iter", max_num_iter or 0)
    if steps < 0:
        raise UsageError(f"{name}: max_num_iter = {max_num_iter}; give 1 or more, or None")
    return _thinned(name, u, (_table(_guo_first), _table(_guo_second)), steps or None)


def _skeletonized_by_lee(name: str, u: Field) -> Field:
    if u.grid.ndim not in (2, 3):
        raise UsageError(f"{name}: the field has {u.grid.ndim} grid axes; give one of two or three")
    if any(u.grid.periodic):
        raise UsageError(
            f"{name}: the grid is periodic along {u.grid.periodic}, and Lee's method takes cells in raster order; give "
            "a field on a grid that is not, such as a copy of its cells"
        )
    same(u.grid.comm, f"{name} of {u.shape} by Lee's method")
    check_memory(u.grid, name, 2 * padded_bytes(u, ((1, 1),) * u.grid.ndim, 1))
    return thinned(u)


def _check(name: str, u: Field) -> None:
    check_picture(name, u)
    if u.grid.ndim != 2:
        raise UsageError(f"{name}: the field has {u.grid.ndim} grid axes; give a two-dimensional one")


def _thinned(name: str, u: Field, tables: tuple[Bools, Bools], most: int | None) -> Field:
    """Clear cells by one table and the other in turn, until nothing changes. Collective."""
    from mpibatch.segment._loops.thinning import set_around, thin_all, thin_some

    same(u.grid.comm, f"{name} of {u.shape} in {most} steps")
    # Three arrays with a halo, and the places around what is cleared: of two half steps, old and new.
    check_memory(u.grid, name, padded_bytes(u, ((1, 1),) * u.grid.ndim, 3 + 2 * 8))
    state = Field(u.grid, np.uint8, 1)
    np.not_equal(u.owned, 0, out=state.owned.view(np.bool_))
    lines, cells = lines_of(state), state.padded.reshape(-1)
    ring = np.array([dy * state.padded.shape[1] + dx for dy, dx in RING], np.int64)
    # A bit for each of two lists: of cells on it, and of those on none, in the halo and (always looked at) near it.
    marks = np.full(state.padded.shape, 3, np.uint8)
    rim = np.zeros(state.padded.shape, np.bool_)
    for array, frame, value in ((rim, 0, True), (rim, 1, False), (marks, 1, 0)):
        inner = [
            slice(low + frame, low + max(frame, n - frame))
            for (low, _), n in zip(state.halo, state.box.shape, strict=True)
        ]
        array[tuple(inner)] = value
    marked, around = marks.reshape(-1), np.flatnonzero(rim)
    older = newer = np.empty(0, np.int64)  # cells around those cleared in the last two half steps
    done = 0
    with Exchange(state, mode="constant", cval=0) as fill:
        while most is None or done < most:
            count = 0
            for turn, goes in enumerate(tables):
                fill()
                with timed("compute"):
                    if done:
                        cleared = thin_some(cells, older, newer, around, ring, goes)
                    else:
                        cleared = thin_all(cells, lines.bases, lines.length, ring, goes)
                    older, newer = newer, set_around(cells, marked, 1 + turn, older, cleared, ring)
                    count += cleared.size
            done += 1
            if not total(state, count):
                break
    out = Field(u.grid, np.bool_)
    np.not_equal(state.owned, 0, out=out.owned)
    return out


def _table(rule: Rule) -> Bools:
    """Return for each pattern of the ring whether the cell in its middle goes. Local."""
    return np.array([rule([pattern >> k & 1 for k in range(8)]) for pattern in range(256)], np.bool_)


def _is_contour(ring: list[int]) -> bool:
    """Whether two to six neighbors are set, in one run around the cell (Zhang and Suen's A and B). Local."""
    runs = sum(not ring[k - 1] and ring[k] for k in range(8))
    return runs == 1 and 2 <= sum(ring) <= 6


def _zhang_first(ring: list[int]) -> bool:
    north, _, east, _, south, _, west, _ = ring
    return _is_contour(ring) and not (north and east and south) and not (east and south and west)


def _zhang_second(ring: list[int]) -> bool:
    north, _, east, _, south, _, west, _ = ring
    return _is_contour(ring) and not (north and east and west) and not (north and south and west)


def _is_simple(ring: list[int]) -> bool:
    """Whether the cell joins nothing, and is no end of a line (Guo and Hall's conditions 1 and 2). Local."""
    joined = sum(not ring[k] and (ring[k + 1] or ring[(k + 2) % 8]) for k in (0, 2, 4, 6))
    pairs = (sum(ring[k - shift] or ring[k - shift + 1] for k in (0, 2, 4, 6)) for shift in (0, 1))
    return joined == 1 and 2 <= min(pairs) <= 3


def _guo_first(ring: list[int]) -> bool:
    north, northeast, east, southeast = ring[:4]
    return _is_simple(ring) and not ((north or northeast or not southeast) and east)


def _guo_second(ring: list[int]) -> bool:
    south, southwest, west, northwest = ring[4:]
    return _is_simple(ring) and not ((south or southwest or not northwest) and west)
