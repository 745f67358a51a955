"""NumPy's expressions of fields, cell by cell: ufuncs, and the few functions that are none but work as they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.fields.remedies import instead

if TYPE_CHECKING:
    from mpibatch.fields.field import Field
    from mpibatch.fields.memory import Halo

__all__ = ["CellByCell"]


class CellByCell(np.lib.mixins.NDArrayOperatorsMixin):
    """What makes a Field take part in NumPy's expressions."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        if method != "__call__" or ufunc.signature is not None:
            raise UsageError(
                f"np.{ufunc.__name__}.{method} was asked of a Field; it combines cells of different ranks: "
                f"{instead(f'{ufunc.__name__}.{method}')}"
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
                f"np.{function.__name__} was asked of a Field, which ranks share; {instead(function.__name__)}. Of "
                "NumPy's functions only those that work cell by cell take fields: ufuncs, and "
                + ", ".join(sorted(f.__name__ for f in _CELL_BY_CELL))
            )
        return _cell_by_cell(function, function.__name__, args, kwargs)


# Functions of NumPy that are no ufuncs but work cell by cell.
_CELL_BY_CELL = frozenset({np.clip, np.imag, np.nan_to_num, np.real, np.round, np.where})


def _cell_by_cell(function: Any, name: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function of NumPy on the owned cells, and make fields of what it returns."""
    arrays, first, halo = _operands(name, inputs)
    values = function(*arrays, **kwargs)
    if isinstance(values, tuple):
        return tuple(_wrap(value, first, halo) for value in values)
    return _wrap(values, first, halo)


def _is_field(value: Any) -> TypeGuard[Field]:
    return isinstance(value, CellByCell)


def _operands(name: str, inputs: tuple[Any, ...]) -> tuple[list[Any], Field, Halo]:
    """Return what NumPy is to work on for each input, the first field among them, and the halo of the result."""
    fields = [x for x in inputs if _is_field(x)]
    grid = fields[0].grid
    for other in fields[1:]:
        if not grid.matches(other.grid):
            raise UsageError(
                f"np.{name} of fields over {grid} and {other.grid}; bring them to one grid with mpibatch.redistribute"
            )
    components = max((f.components for f in fields), key=len)
    halo = tuple((max(f.halo[a][0] for f in fields), max(f.halo[a][1] for f in fields)) for a in range(grid.ndim))
    return [_operand(x, components, name) for x in inputs], fields[0], halo


def _operand(value: Any, components: tuple[int, ...], name: str) -> Any:
    if _is_field(value):
        # A field without components meets one with: the same value for each of them.
        missing = len(components) - len(value.components)
        return value.owned.reshape(value.owned.shape + (1,) * missing) if missing else value.owned
    if np.ndim(value) and np.shape(value) != components:
        raise UsageError(
            f"np.{name} of a Field and an array of shape {np.shape(value)}; only scalars, other fields, and "
            f"one value per component {components} combine with a Field: scatter the array first"
        )
    return value


def _wrap(value: npt.NDArray[Any], first: Field, halo: Halo) -> Field:
    result = first.like(value.dtype, halo, value.shape[first.grid.ndim :])
    result.owned[...] = value
    return result
