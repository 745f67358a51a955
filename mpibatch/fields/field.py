"""This rank's part of a global array: owned cells and a halo around them."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.casts import cast
from mpibatch.base.errors import UsageError
from mpibatch.domain import Box

if TYPE_CHECKING:
    from mpibatch.fields.grid import Grid

__all__ = ["Field", "Filled", "HaloLike", "Width", "check_field", "normal_halo", "staggered"]

HaloLike = int | Sequence[int | tuple[int, int]]
Halo = tuple[tuple[int, int], ...]

# Allocators let large arrays begin at the same place of a page. The same cell of many fields would then meet in the
# same few lines of the L1 cache, and loads would wait for stores that only look like theirs.
LARGE, PAGE = 32 * 1024, 4096
STAGGER = 192  # three lines of 64 bytes: 64 fields before a place comes again
_turns = itertools.count()


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


class _Memory(np.ndarray[Any, np.dtype[np.uint8]]):
    """What an array lies in; of a type of its own, since NumPy then takes that array as the base of its views."""


def staggered(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return an undefined array; large ones begin at different cache lines of their pages. Local."""
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < LARGE:
        return np.empty(shape, dtype)
    memory = _Memory(nbytes + PAGE, "u1")
    return np.ndarray(shape, dtype, memory, (next(_turns) * STAGGER - memory.ctypes.data) % PAGE)


Width = tuple[Halo, bool, bool]  # how far it is read, with corners or without, and whether sweeps fill the walls


class Filled:
    """What the halo of cells that do not change holds, so that it is not brought again.

    It follows from the calls that all ranks make, and never from the cells: every rank comes to the same answer.
    """

    __slots__ = ("held", "walls")

    def __init__(self) -> None:
        self.walls = ""
        self.held: list[Width] = []

    def has(self, walls: str, width: Width) -> bool:
        """Whether it is filled for these walls, and as far. Local."""
        reach, corners, by_sweeps = width
        return walls == self.walls and any(
            (has_corners or not corners)
            and (by_sweeps or not is_swept)
            and all(w <= h for pair, held in zip(reach, widths, strict=True) for w, h in zip(pair, held, strict=True))
            for widths, has_corners, is_swept in self.held
        )

    def note(self, walls: str, width: Width) -> None:
        """Note that it was filled; what was filled for other walls is no more. Local."""
        self.walls, self.held = walls, [*(self.held if walls == self.walls else ()), width]

    def forget(self) -> None:
        """Note that it may hold anything. Local."""
        self.held = []


class Field(np.lib.mixins.NDArrayOperatorsMixin):
    """A global array over a Grid, of which this rank holds its owned cells and a halo.

    Fields take part in NumPy expressions (``2 * u + v``, ``np.sqrt(u)``, ``u > 0.5``) cell by cell, with scalars
    and with fields on a grid that gives every rank the same cells; the result is a new Field. Halos are scratch:
    whatever reads a halo fills it first.

    Attributes
    ----------
    grid, dtype : where the cells lie, and their type.
    components : shape of the trailing axes that are not decomposed, such as (3,) for RGB; () for none.
    halo : (low, high) widths along each grid axis.
    padded : C-contiguous array of owned cells and halo, components last.
    owned : the view of `padded` without the halo; its size may be 0.

    Both arrays of a frozen field are read-only; see `frozen`.
    """

    __slots__ = (
        "__weakref__",
        "_cells",
        "_engines",
        "_filled",
        "components",
        "dtype",
        "grid",
        "halo",
        "owned",
        "padded",
    )

    def __init__(
        self, grid: Grid, dtype: npt.DTypeLike = "f8", halo: HaloLike = 0, components: Sequence[int] = ()
    ) -> None:
        self.grid = grid
        self.dtype = np.dtype(dtype)
        if self.dtype.kind not in "biufc":
            raise UsageError(f"a field of dtype {self.dtype} was asked for; use bool, integers, floats or complex")
        self.halo: Halo = normal_halo(halo, grid.ndim)
        self.components: tuple[int, ...] = tuple(int(c) for c in components)
        box = grid.box
        # A rank without cells has no halo either: nothing of its would ever read it.
        shape = box.grow(self.halo).shape if box.size else box.shape
        self.padded: npt.NDArray[Any] = staggered(shape + self.components, self.dtype)
        inside = tuple(slice(low, low + n) for (low, _), n in zip(self.halo, box.shape, strict=True))
        self.owned: npt.NDArray[Any] = self.padded[inside] if box.size else self.padded
        # For those who fill halos, also of a frozen field; of which is known what its halo holds.
        self._cells = self.padded
        self._filled: Filled | None = None
        # Halo engines bound to this field's memory, kept by mpibatch.halo.
        self._engines: dict[Any, Any] = {}

    @property
    def box(self) -> Box:
        """The global indices of the owned cells. Local."""
        return self.grid.box

    @property
    def shape(self) -> tuple[int, ...]:
        """The GLOBAL shape, components last. Local."""
        return self.grid.shape + self.components

    @property
    def ndim(self) -> int:
        """Number of axes, components included. Local."""
        return self.grid.ndim + len(self.components)

    @property
    def local_shape(self) -> tuple[int, ...]:
        """The shape of `owned`. Local."""
        return self.owned.shape

    @property
    def origin(self) -> tuple[int, ...]:
        """The global index of the first cell of `padded`. Local."""
        if not self.box.size:
            return self.box.start
        return tuple(start - low for start, (low, _) in zip(self.box.start, self.halo, strict=True))

    def like(
        self,
        dtype: npt.DTypeLike | None = None,
        halo: HaloLike | None = None,
        components: Sequence[int] | None = None,
    ) -> Field:
        """Return a Field on the same grid with undefined values; what is not given is as here. Local."""
        return Field(
            self.grid,
            self.dtype if dtype is None else dtype,
            self.halo if halo is None else halo,
            self.components if components is None else components,
        )

    def copy(self) -> Field:
        """Return a Field with the same owned cells. Local."""
        return self.astype(self.dtype)

    @property
    def is_frozen(self) -> bool:
        """Whether nobody can write to it. Local."""
        return self._filled is not None

    def frozen(self, halo: HaloLike | None = None) -> Field:
        """Return a copy that nobody can write to, for what stays as it is: a medium, a mask, a coefficient. Local.

            speed = mb.load("model.h5", "speed", grid=grid, halo=4).frozen()

        Kernels exchange its halo once, as wide as they read it, and know from then on that it holds what it should;
        they do so again only for other walls or a wider reach, and in every call where walls are functions. A field
        that can be written to is exchanged in every call: a view of its memory may have been written to unnoticed.
        `halo` is that of the copy, by default this field's: only where it is as wide as kernels read the field (for
        `iterate`, times the steps that are fused) are exchanges spared; and where a kernel is given the field twice,
        with different walls, for the first only.
        All ranks must freeze the same fields. A frozen field's `copy` and `like` can be written to.
        """
        if self.is_frozen and halo is None:
            return self
        result = self.like(halo=halo)
        result.owned[...] = self.owned
        result._filled = Filled()
        result.padded, result.owned = result._cells.view(), result.owned.view()
        result.padded.flags.writeable = result.owned.flags.writeable = False
        return result

    def astype(self, dtype: npt.DTypeLike) -> Field:
        """Return a Field with the owned cells cast to `dtype`. Local.

        As NumPy casts; floats that an integer `dtype` cannot hold, where NumPy's result depends on the place in the
        array, have a defined one: see `mpibatch.base.casts`. UsageError if an imaginary part would be lost.
        """
        result = self.like(dtype=dtype)
        result.owned[...] = cast(self.owned, dtype)
        return result

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        if method != "__call__" or ufunc.signature is not None:
            raise UsageError(
                f"np.{ufunc.__name__}.{method} was asked of a Field; it combines cells of different ranks: "
                f"{_instead(f'{ufunc.__name__}.{method}')}"
            )
        name = ufunc.__name__
        if kwargs.get("casting", "same_kind") in ("unsafe", "same_value"):
            raise UsageError(
                f"np.{name} of a Field with casting={kwargs['casting']!r}; how NumPy casts depends on a cell's "
                "place in the array: leave casting out, and cast with u.astype"
            )
        if "where" in kwargs:
            if out is None:
                raise UsageError(
                    f"np.{name} of a Field with where=, but without out=, leaves cells undefined; use np.where, "
                    "or give out="
                )
            kwargs["where"] = _operands(name, (*inputs, kwargs["where"]))[0][-1]
        if out is not None:
            arrays, _, _ = _operands(ufunc.__name__, (*inputs, *out))
            ufunc(*arrays[: len(inputs)], out=tuple(arrays[len(inputs) :]), **kwargs)
            return out[0] if len(out) == 1 else out
        return _cell_by_cell(ufunc, ufunc.__name__, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if function not in _CELL_BY_CELL or "out" in kwargs:
            raise UsageError(
                f"np.{function.__name__} was asked of a Field, which ranks share; {_instead(function.__name__)}. Of "
                "NumPy's functions only those that work cell by cell take fields: ufuncs, and "
                + ", ".join(sorted(f.__name__ for f in _CELL_BY_CELL))
            )
        return _cell_by_cell(function, function.__name__, args, kwargs)

    # Comparisons return Fields, so identity is the only hash that makes sense.
    __hash__ = object.__hash__

    if not TYPE_CHECKING:  # else a type checker would take NumPy's functions of Fields for arrays

        def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
            raise UsageError(
                "a Field cannot become a NumPy array by itself, since this rank holds only a part of it; "
                "use u.owned (local) or mpibatch.gather(u) (global)"
            )

        def __getattr__(self, name: str) -> Any:
            remedy = f"; {_instead(name)}" if name in _INSTEAD or hasattr(np.ndarray, name) else ""
            raise AttributeError(f"a Field has no attribute {name!r}{remedy}")

    def __bool__(self) -> bool:
        raise UsageError("the truth of a Field is not one value; use mpibatch.count_nonzero(u)")

    def __repr__(self) -> str:
        return f"Field(shape={self.shape}, dtype={self.dtype}, box={self.box}, halo={self.halo})"


def check_field(asked: str, value: Any) -> None:
    """Raise UsageError unless `value` is a Field, which `asked` takes. Local."""
    if not isinstance(value, Field):
        shape = f" of shape {value.shape}" if isinstance(value, np.ndarray) else ""
        raise UsageError(
            f"{asked}: got {type(value).__name__}{shape}, not a Field; give a Field "
            "(mpibatch.scatter(array, grid) makes one of an array)"
        )


# What does for fields what a function or method of NumPy, or the reduction of a ufunc, does for arrays.
_INSTEAD = {
    **{
        name: f"mpibatch.{name}(u)"
        for name in (
            *("sum", "mean", "var", "std", "min", "max", "argmin", "argmax", "count_nonzero", "any", "all", "unique"),
            *("nansum", "nanmean", "nanvar", "nanstd", "nanmin", "nanmax", "bincount"),
        )
    },
    "histogram": "mpibatch.histogram(u, ...)",
    **dict.fromkeys(("dot", "vdot", "inner"), "mpibatch.dot(u, v)"),
    "norm": "mpibatch.norm(u)",
    **dict.fromkeys(("save", "savez", "tofile", "dump"), "mpibatch.save(path, u=u)"),
    **dict.fromkeys(("copy", "copyto"), "u.copy()"),
    **dict.fromkeys(("zeros_like", "ones_like", "empty_like", "full_like"), "u.like() or u.grid.full(value, dtype)"),
    **dict.fromkeys(("allclose", "array_equal"), "mpibatch.max(abs(u - v))"),
    **dict.fromkeys(("convolve", "correlate"), "mpibatch.filters.convolve1d and correlate1d"),
    "add.reduce": "mpibatch.sum(u)",
    "minimum.reduce": "mpibatch.min(u)",
    "maximum.reduce": "mpibatch.max(u)",
    "amin": "mpibatch.min(u)",
    "amax": "mpibatch.max(u)",
    "average": "mpibatch.mean(u)",
    "median": "mpibatch.median(u), or mpibatch.filters.median_filter (of windows)",
    **{
        name: f"mpibatch.{name}(u, q)".replace("median(u, q)", "median(u)")
        for name in ("quantile", "percentile", "nanquantile", "nanmedian")
    },
    "gradient": "mpibatch.filters.correlate1d",
    "clip": "np.clip(u, low, high)",
    "round": "np.round(u)",
    "real": "np.real(u)",
    "imag": "np.imag(u)",
    "conj": "np.conj(u)",
}


def _instead(name: str) -> str:
    return f"use {_INSTEAD.get(name, 'mpibatch.sum, min, max, mean, histogram, or work on u.owned')}"


# Functions of NumPy that are no ufuncs but work cell by cell.
_CELL_BY_CELL = frozenset({np.clip, np.imag, np.nan_to_num, np.real, np.round, np.where})


def _cell_by_cell(function: Any, name: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function of NumPy on the owned cells, and make fields of what it returns."""
    arrays, grid, halo = _operands(name, inputs)
    values = function(*arrays, **kwargs)
    if isinstance(values, tuple):
        return tuple(_wrap(value, grid, halo) for value in values)
    return _wrap(values, grid, halo)


def _operands(name: str, inputs: tuple[Any, ...]) -> tuple[list[Any], Grid, Halo]:
    """Return what NumPy is to work on for each input, and grid and halo of the result."""
    fields = [x for x in inputs if isinstance(x, Field)]
    grid = fields[0].grid
    for other in fields[1:]:
        if not grid.matches(other.grid):
            raise UsageError(
                f"np.{name} of fields over {grid} and {other.grid}; bring them to one grid with mpibatch.redistribute"
            )
    components = max((f.components for f in fields), key=len)
    halo = tuple((max(f.halo[a][0] for f in fields), max(f.halo[a][1] for f in fields)) for a in range(grid.ndim))
    return [_operand(x, components, name) for x in inputs], grid, halo


def _operand(value: Any, components: tuple[int, ...], name: str) -> Any:
    if isinstance(value, Field):
        # A field without components meets one with: the same value for each of them.
        missing = len(components) - len(value.components)
        return value.owned.reshape(value.owned.shape + (1,) * missing) if missing else value.owned
    if np.ndim(value) and np.shape(value) != components:
        raise UsageError(
            f"np.{name} of a Field and an array of shape {np.shape(value)}; only scalars, other fields, and "
            f"one value per component {components} combine with a Field: scatter the array first"
        )
    return value


def _wrap(value: npt.NDArray[Any], grid: Grid, halo: Halo) -> Field:
    result = Field(grid, value.dtype, halo, value.shape[grid.ndim :])
    result.owned[...] = value
    return result
