"""Fields of random numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.fields.field import Field, HaloLike, check_field
from mpibatch.fields.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Generator"]


class Generator:
    """Draws fields of random numbers; see `mpibatch.random`.

    In every method `where` is a Grid, or a Field whose grid, halo and components the result takes on. All ranks must
    make the same calls in the same order.

    Parameters
    ----------
    seed : int
        0 to 2^64 - 1; other seeds give unrelated numbers. Also an attribute.

    Attributes
    ----------
    draws : int
        How many fields were drawn.

    Raises
    ------
    UsageError
        If the seed is out of range.

    Notes
    -----
    Local: nothing is communicated. Every value is a function of the seed, the number of the draw (the calls before) and
    the cell's place in the global array, by Philox4x32-10, doi:10.1145/2063384.2063405. So it has the same bits on any
    number of ranks, and no two draws share a number.

    Examples
    --------
    >>> import mpibatch as mb
    >>> rng = mb.random.Generator(seed=7)
    >>> print(mb.gather_all(rng.integers(mb.Grid(6), 0, 100)))
    [95 40  0 39 28 33]
    """

    def __init__(self, seed: int) -> None:
        if not 0 <= seed < 1 << 64:
            raise UsageError(f"the seed {seed} is not valid; give a whole number from 0 to 2^64 - 1")
        self.seed, self.draws = int(seed), 0

    @property
    def state(self) -> tuple[int, int]:
        """Seed and draws, a tuple of two int: all that it takes to go on from here. Local.

        It can be set, to what it was in a generator of the same seed; of another seed raises UsageError.

        Examples
        --------
        >>> import mpibatch as mb
        >>> rng, grid = mb.random.Generator(seed=7), mb.Grid(4)
        >>> before = rng.state
        >>> before
        (7, 0)
        >>> u = rng.uniform(grid)
        >>> rng.state = before
        >>> mb.count_nonzero(u != rng.uniform(grid))
        0
        """
        return self.seed, self.draws

    @state.setter
    def state(self, state: Sequence[int]) -> None:
        seed, draws = state
        if seed != self.seed:
            raise UsageError(f"random numbers of seed {seed} were to go on from a generator of seed {self.seed}")
        self.draws = int(draws)

    def uniform(
        self,
        where: Grid | Field,
        low: float = 0.0,
        high: float = 1.0,
        *,
        dtype: npt.DTypeLike = "f8",
        halo: HaloLike | None = None,
        components: Sequence[int] | None = None,
    ) -> Field:
        """Draw numbers that are evenly spread over an interval.

        Parameters
        ----------
        where : Grid or Field
            Where to draw; of a Field the grid, halo and components are taken on.
        low : float, default 0.0
            The least number.
        high : float, default 1.0
            The end of the interval [low, high), at least `low`.
        dtype : dtype_like, default "f8"
            f8, of 53 random bits, or f4, of 24.
        halo : int or sequence of (int or (int, int)), optional
            Width of the result's halo; it is not filled. Default: that of `where`, 0 for a Grid.
        components : sequence of int, optional
            Shape of the axes behind the grid's. Default: those of `where`, none for a Grid.

        Returns
        -------
        Field
            A new one. Every call is another draw.

        Raises
        ------
        UsageError
            If the interval is not one of finite numbers in order, or the dtype neither f8 nor f4.

        Notes
        -----
        Local; but all ranks must make the same calls. One pass through the owned cells.

        Where `low` is not 0, adding it may round to `high` itself: about once in 2^24 numbers of f4, in 2^53 of f8.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.random.Generator(seed=7).uniform(mb.Grid(4), -1.0, 1.0)
        >>> print(mb.gather_all(u).round(3))
        [ 0.909 -0.186 -0.988 -0.22 ]
        """
        from mpibatch.random._loops import philox

        field = _field(where, dtype, "f", halo, components)
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise UsageError(f"the range [{low}, {high}) is not valid; give two finite numbers in ascending order")
        rows, starts = _rows(field)
        is_single = field.dtype.itemsize == 4
        philox.uniform(rows, starts, *self._next(), float(low), float(high) - float(low), is_single)
        return _filled(field, rows)

    def normal(
        self,
        where: Grid | Field,
        mean: float = 0.0,
        sd: float = 1.0,
        *,
        dtype: npt.DTypeLike = "f8",
        halo: HaloLike | None = None,
        components: Sequence[int] | None = None,
    ) -> Field:
        """Draw normal deviates.

        Parameters
        ----------
        where : Grid or Field
            Where to draw; of a Field the grid, halo and components are taken on.
        mean : float, default 0.0
            Their mean.
        sd : float, default 1.0
            Their standard deviation.
        dtype : dtype_like, default "f8"
            f8, or f4, rounded from f8.
        halo : int or sequence of (int or (int, int)), optional
            Width of the result's halo; it is not filled. Default: that of `where`, 0 for a Grid.
        components : sequence of int, optional
            Shape of the axes behind the grid's. Default: those of `where`, none for a Grid.

        Returns
        -------
        Field
            A new one, computed in f8. Every call is another draw.

        Raises
        ------
        UsageError
            If the dtype is neither f8 nor f4.

        Notes
        -----
        Local; but all ranks must make the same calls. One pass through the owned cells. Method: Box and Muller,
        doi:10.1214/aoms/1177706645.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.random.Generator(seed=7).normal(mb.Grid(4), sd=0.1)
        >>> print(mb.gather_all(u).round(3))
        [0.187 0.048 0.004 0.06 ]
        """
        from mpibatch.random._loops import philox

        field = _field(where, dtype, "f", halo, components)
        rows, starts = _rows(field)
        philox.normal(rows, starts, *self._next(), float(mean), float(sd))
        return _filled(field, rows)

    def integers(
        self,
        where: Grid | Field,
        low: int,
        high: int,
        *,
        dtype: npt.DTypeLike = "i8",
        halo: HaloLike | None = None,
        components: Sequence[int] | None = None,
    ) -> Field:
        """Draw whole numbers of an interval, all equally likely (to ``(high - low) / 2^64``).

        Parameters
        ----------
        where : Grid or Field
            Where to draw; of a Field the grid, halo and components are taken on.
        low : int
            The least number.
        high : int
            The end of the interval [low, high).
        dtype : dtype_like, default "i8"
            Integers, signed or unsigned, that hold the interval.
        halo : int or sequence of (int or (int, int)), optional
            Width of the result's halo; it is not filled. Default: that of `where`, 0 for a Grid.
        components : sequence of int, optional
            Shape of the axes behind the grid's. Default: those of `where`, none for a Grid.

        Returns
        -------
        Field
            A new one. Every call is another draw.

        Raises
        ------
        UsageError
            If the interval is empty or the dtype does not hold it.

        Notes
        -----
        Local; but all ranks must make the same calls. One pass through the owned cells. Method: doi:10.1145/3230636.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.random.Generator(seed=7).integers(mb.Grid(6), 1, 7, dtype="u1")
        >>> print(mb.gather_all(u))
        [6 3 1 3 2 3]
        """
        from mpibatch.random._loops import philox

        field = _field(where, dtype, "iu", halo, components)
        allowed = np.iinfo(field.dtype)
        if not allowed.min <= low < high <= int(allowed.max) + 1:
            raise UsageError(
                f"cannot draw integers from [{low}, {high}) as {field.dtype}, which holds {allowed.min} to "
                f"{allowed.max}; give low < high within this range"
            )
        rows, starts = _rows(field)
        first, count = np.uint64(low % (1 << 64)), np.uint64((high - low) % (1 << 64))
        philox.integers(rows, starts, *self._next(), first, count)
        return _filled(field, rows)

    def _next(self) -> tuple[np.uint64, np.uint64]:
        self.draws += 1
        return np.uint64(self.draws - 1), np.uint64(self.seed)

    def __repr__(self) -> str:
        return f"Generator(seed={self.seed}, draws={self.draws})"


def _field(
    where: Grid | Field, dtype: npt.DTypeLike, kinds: str, halo: HaloLike | None, components: Sequence[int] | None
) -> Field:
    kind = np.dtype(dtype)
    if kind.kind not in kinds or (kind.kind == "f" and kind.itemsize not in (4, 8)):
        raise UsageError(
            f"random numbers of {kind} are not supported; take {'f8 or f4' if kinds == 'f' else 'integers'}"
        )
    if not isinstance(where, Grid):
        check_field("random numbers", where)
        return where.like(kind, halo, components)
    return Field(where, kind, 0 if halo is None else halo, () if components is None else components)


def _rows(field: Field) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint64]]:
    """An array for the owned values, one row for each run of neighbors in the global array, and where rows begin."""
    grid, box = field.grid, field.box
    each = math.prod(field.components)
    starts = np.zeros((1,) * (grid.ndim - 1), np.uint64)
    for axis in range(grid.ndim - 1):
        along = np.arange(box.start[axis], box.stop[axis], dtype=np.uint64) * np.uint64(
            math.prod(grid.shape[axis + 1 :]) * each
        )
        starts = starts + along.reshape([-1 if axis == other else 1 for other in range(grid.ndim - 1)])
    starts = starts.reshape(-1) + np.uint64(box.start[-1] * each)
    row = box.shape[-1] * each
    if not field.owned.size:
        return np.empty((0, row), field.dtype), np.empty(0, np.uint64)
    # Drawn where they belong, if no halo lies between.
    if field.owned.flags.c_contiguous:
        return field.owned.reshape(starts.size, row), starts
    return np.empty((starts.size, row), field.dtype), starts


def _filled(field: Field, rows: npt.NDArray[Any]) -> Field:
    if not np.shares_memory(field.owned, rows):
        field.owned[...] = rows.reshape(field.owned.shape)
    return field
