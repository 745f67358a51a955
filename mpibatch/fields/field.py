"""This rank's part of a global array: owned cells and a halo around them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import cast
from mpibatch.base.errors import UsageError
from mpibatch.fields.memory import FieldMemory, Halo
from mpibatch.fields.operators import CellByCell
from mpibatch.fields.remedies import INSTEAD, instead

if TYPE_CHECKING:
    from mpibatch.domain import Box
    from mpibatch.fields.grid import Grid

__all__ = ["Field", "HaloLike", "check_field", "normal_halo"]

HaloLike = int | Sequence[int | tuple[int, int]]


def normal_halo(halo: HaloLike, ndim: int) -> Halo:
    """Return (low, high) widths for each axis from one width, one per axis, or one pair per axis. Local."""
    entries: Sequence[Any] = tuple(halo) if isinstance(halo, list | tuple) else (halo,) * ndim
    if len(entries) != ndim:
        raise UsageError(
            f"halo={halo!r} has {len(entries)} entries for a grid of {ndim} axes; give one, or one per axis"
        )
    try:
        pairs = tuple(
            (operator.index(e[0]), operator.index(e[1])) if isinstance(e, tuple | list) else (operator.index(e),) * 2
            for e in entries
        )
    except (TypeError, IndexError):
        raise UsageError(f"halo={halo!r}: give whole numbers of cells, or (low, high) pairs of them") from None
    if any(width < 0 for pair in pairs for width in pair):
        raise UsageError(f"halo={halo!r} has a negative width; give widths >= 0")
    return pairs


class Field(CellByCell):
    """A global array over a Grid, of which this rank holds its owned cells and a halo.

    Fields take part in NumPy expressions (``2 * u + v``, ``np.sqrt(u)``, ``u > 0.5``) cell by cell, with scalars and
    with fields on a grid that gives every rank the same cells; the result is a new Field. So do ``np.where``, ``clip``,
    ``round``, ``real``, ``imag`` and ``nan_to_num``. A field without components meets one with: each component meets
    the same value. Halos are scratch: whatever reads a halo fills it first.

    Parameters
    ----------
    grid : Grid
        Where the cells lie.
    dtype : dtype_like, default "f8"
        Bool, integers, floats or complex.
    halo : int or sequence of (int or (int, int)), default 0
        Width of the halo in cells: of all sides, of each axis, or of each axis a pair (low, high).
    components : sequence of int, default ()
        Shape of the trailing axes that are not decomposed, such as (3,) for RGB; () for none.

    Attributes
    ----------
    grid : Grid
        Where the cells lie.
    dtype : numpy.dtype
        Their type.
    components : tuple of int
        Shape of the trailing axes that are not decomposed.
    halo : tuple of (int, int)
        The (low, high) widths along each grid axis.
    padded : ndarray
        C-contiguous array of owned cells and halo, components last.
    owned : ndarray
        The view of `padded` without the halo; its size may be 0. Both arrays of a frozen field are read-only; see
        `frozen`.
    memory : mpibatch.fields.memory.FieldMemory
        Where they lie, for those who plan for it.

    Raises
    ------
    UsageError
        If the dtype or the halo is not valid.

    Notes
    -----
    Local. The values are undefined: `Grid.zeros`, `Grid.full`, `Grid.from_function`, `mpibatch.scatter` and
    `mpibatch.load` make fields with values. A rank without cells has no halo either.

    What combines cells of different ranks, such as ``np.sum(u)`` or ``np.asarray(u)``, raises UsageError with the words
    what to use instead.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> grid = mb.Grid((2, 3))
    >>> u = grid.from_function(lambda y, x: y + x, halo=1)
    >>> print(mb.gather_all(2 * u + np.sqrt(u)))
    [[0.         3.         5.41421356]
     [3.         5.41421356 7.73205081]]
    """

    __slots__ = (
        "__weakref__",
        "components",
        "dtype",
        "grid",
        "halo",
        "memory",
        "owned",
        "padded",
    )

    def __init__(
        self, grid: Grid, dtype: npt.DTypeLike = "f8", halo: HaloLike = 0, components: Sequence[int] = ()
    ) -> None:
        self._take(grid, np.dtype(dtype), normal_halo(halo, grid.ndim), tuple(int(c) for c in components))

    def _take(self, grid: Grid, dtype: np.dtype[Any], halo: Halo, components: tuple[int, ...]) -> None:
        if dtype.kind not in "biufc":
            raise UsageError(f"fields of dtype {dtype} are not supported; use bool, integers, floats or complex")
        self.grid, self.dtype, self.halo, self.components = grid, dtype, halo, components
        memory, padded = grid.memories.lend((dtype, halo, components), self._lay_out)
        self.memory: FieldMemory = memory
        self.padded: npt.NDArray[Any] = padded
        self.owned: npt.NDArray[Any] = padded[memory.inside]

    def _lay_out(self) -> FieldMemory:
        box = self.grid.box
        if not box.size:
            # A rank without cells has no halo either: nothing of its would ever read it.
            return FieldMemory(box.shape + self.components, self.dtype, ())
        inside = tuple(slice(low, low + n) for (low, _), n in zip(self.halo, box.shape, strict=True))
        return FieldMemory(box.grow(self.halo).shape + self.components, self.dtype, inside)

    @property
    def box(self) -> Box:
        """The global indices of the owned cells, a Box. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.Grid((4, 6)).zeros()
        >>> u.box == u.grid.box
        True
        """
        return self.grid.box

    @property
    def shape(self) -> tuple[int, ...]:
        """The GLOBAL shape, components last, a tuple of int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Grid((4, 6)).zeros(components=(3,)).shape
        (4, 6, 3)
        """
        return self.grid.shape + self.components

    @property
    def ndim(self) -> int:
        """Number of axes, components included, an int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> mb.Grid((4, 6)).zeros(components=(3,)).ndim
        3
        """
        return self.grid.ndim + len(self.components)

    @property
    def local_shape(self) -> tuple[int, ...]:
        """The shape of `owned`, a tuple of int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.Grid((4, 6), topology=(None, 1)).zeros(halo=1)
        >>> u.grid.comm.allreduce(u.local_shape[0]), u.local_shape[1]
        (4, 6)
        """
        return self.owned.shape

    @property
    def origin(self) -> tuple[int, ...]:
        """The global index of the first cell of `padded`, a tuple of int. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.Grid((4, 6)).zeros(halo=2)
        >>> u.origin == tuple(start - 2 for start in u.box.start)
        True
        """
        if not self.box.size:
            return self.box.start
        return tuple(start - low for start, (low, _) in zip(self.box.start, self.halo, strict=True))

    def like(
        self,
        dtype: npt.DTypeLike | None = None,
        halo: HaloLike | None = None,
        components: Sequence[int] | None = None,
    ) -> Field:
        """Return a Field on the same grid with undefined values; what is not given is as here.

        Parameters
        ----------
        dtype : dtype_like, optional
            Default: this field's.
        halo : int or sequence of (int or (int, int)), optional
            Default: this field's.
        components : sequence of int, optional
            Default: this field's.

        Returns
        -------
        Field
            A new one, which can be written to even if this one is frozen.

        Raises
        ------
        UsageError
            If the dtype or the halo is not valid.

        Notes
        -----
        Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.Grid((4, 6)).zeros("f4", halo=1)
        >>> v = u.like("i8", halo=0)
        >>> v.shape, v.dtype.name, v.halo
        ((4, 6), 'int64', ((0, 0), (0, 0)))
        """
        field = Field.__new__(Field)
        field._take(  # noqa: SLF001 - it is one of this class
            self.grid,
            self.dtype if dtype is None else np.dtype(dtype),
            self.halo if halo is None else normal_halo(halo, self.grid.ndim),
            self.components if components is None else tuple(int(c) for c in components),
        )
        return field

    def copy(self) -> Field:
        """Return a Field with the same owned cells.

        Returns
        -------
        Field
            A new one of the same halo, which is not copied; it can be written to even if this one is frozen.

        Notes
        -----
        Local. One pass through the owned cells.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.Grid(4).zeros()
        >>> v = u.copy()
        >>> v.owned[...] = 1.0
        >>> mb.sum(u), mb.sum(v)
        (0.0, 4.0)
        """
        return self.astype(self.dtype)

    @property
    def is_frozen(self) -> bool:
        """Whether nobody can write to it, a bool. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.Grid(4).zeros()
        >>> u.is_frozen, u.frozen().is_frozen
        (False, True)
        """
        return self.memory.filled is not None

    def frozen(self, halo: HaloLike | None = None) -> Field:
        """Return a copy that nobody can write to, for what stays as it is: a medium, a mask, a coefficient.

        Parameters
        ----------
        halo : int or sequence of (int or (int, int)), optional
            Width of the copy's halo. Default: this field's. Only where it is as wide as kernels read the field (for
            `mpibatch.iterate`, times the steps that are fused) are exchanges spared.

        Returns
        -------
        Field
            A frozen one; this one itself if it is frozen and no halo is given.

        Raises
        ------
        UsageError
            If the halo is not valid.

        Notes
        -----
        Local; but all ranks must freeze the same fields.

        Kernels exchange its halo once, as wide as they read it, and know from then on that it holds what it should;
        they do so again only for other walls or a wider reach, and in every call where walls are functions. Where a
        kernel is given the field twice, with different walls, exchanges are spared for the first only. A field that can
        be written to is exchanged in every call: a view of its memory may have been written to unnoticed. A frozen
        field's `copy` and `like` can be written to.

        Examples
        --------
        >>> import mpibatch as mb
        >>> speed = mb.Grid(4).full(1.5).frozen(halo=2)
        >>> speed.halo, speed.owned.flags.writeable
        (((2, 2),), False)
        """
        if self.is_frozen and halo is None:
            return self
        result = self.like(halo=halo)
        result.owned[...] = self.owned
        result.memory.freeze()
        result.padded.flags.writeable = result.owned.flags.writeable = False
        return result

    def astype(self, dtype: npt.DTypeLike) -> Field:
        """Return a Field with the owned cells cast to another dtype.

        Parameters
        ----------
        dtype : dtype_like
            Bool, integers, floats or complex.

        Returns
        -------
        Field
            A new one, of the same halo, which is not filled.

        Raises
        ------
        UsageError
            If no field can have this dtype, or an imaginary part would be lost.

        Notes
        -----
        Local. One pass through the owned cells.

        As NumPy casts; floats that an integer dtype cannot hold, where NumPy's result depends on the place in the
        array, have a defined one, that of C's scalar conversion on x86: rounded toward zero, converted to a signed
        integer of 32 bits (of 64 for 32-bit unsigned and 64-bit types), and cut to the bits of the type. What that
        signed integer cannot hold, NaN included, is its least value.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.Grid(3).from_function(lambda x: 1.75 * x - 1.0)
        >>> print(mb.gather_all(u.astype("i4")))
        [-1  0  2]
        """
        result = self.like(dtype=dtype)
        result.owned[...] = cast(self.owned, dtype)
        return result

    # Comparisons return Fields, so identity is the only hash that makes sense.
    __hash__ = object.__hash__

    if not TYPE_CHECKING:  # else a type checker would take NumPy's functions of Fields for arrays

        def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
            raise UsageError(
                "a Field cannot become a NumPy array by itself, since this rank holds only a part of it; "
                "use u.owned (local) or mpibatch.gather(u) (global)"
            )

        def __getattr__(self, name: str) -> Any:
            remedy = f"; {instead(name)}" if name in INSTEAD or hasattr(np.ndarray, name) else ""
            raise AttributeError(f"a Field has no attribute {name!r}{remedy}")

    def __bool__(self) -> bool:
        raise UsageError("the truth of a Field is not one value; use mpibatch.count_nonzero(u)")

    def __repr__(self) -> str:
        return f"Field(shape={self.shape}, dtype={self.dtype}, box={self.box}, halo={self.halo})"


def check_field(operation: str, value: Any) -> None:
    """Raise UsageError unless `value` is a Field, which `asked` takes. Local."""
    if not isinstance(value, Field):
        shape = f" of shape {value.shape}" if isinstance(value, np.ndarray) else ""
        raise UsageError(
            f"{operation}: got {type(value).__name__}{shape}, not a Field; give a Field "
            "(mpibatch.scatter(array, grid) makes one of an array)"
        )
