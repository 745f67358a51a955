"""The NumPy back end: every read is a shifted view, every operation one ufunc. Slow, obvious, and the oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.stencil.language.ir import MARKERS, Op

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.stencil.compiled.types import Load, Stored, Sweep, Typed

__all__ = ["shifted"]

_UFUNCS: dict[str, Any] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "//": np.floor_divide,
    "%": np.remainder,
    "&": np.bitwise_and,
    "|": np.bitwise_or,
    "^": np.bitwise_xor,
    "~": np.invert,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
    "neg": np.negative,
    "abs": np.abs,
    "not": np.logical_not,
    "where": np.where,
    "pow": np.power,
}


def shifted(
    typed: Typed,
    outputs: Sequence[Stored],
    inputs: Sequence[Stored],
    scalars: Mapping[str, Any],
    geometry: Mapping[tuple[str, int], Any],
) -> Sweep:
    """Return a function that computes the owned cells [start, stop) of the outputs. Local.

    `geometry` has for each axis ("index", axis), the global index of owned cell 0, and so on for the other MARKERS;
    "coordinate" is that of global cell 0.
    """

    def sweep(start: Sequence[int], stop: Sequence[int]) -> None:
        shape = tuple(b - a for a, b in zip(start, stop, strict=True))
        if all(n > 0 for n in shape):
            values = _values(typed, inputs, scalars, geometry, start, shape)
            if len(outputs) > 1 and any(n >= 0 for n in typed.in_place):
                values = [np.array(value) for value in values]  # what is only a view may be written to below
            for stored, parts in zip(outputs, typed.results, strict=True):
                view = stored.array[
                    tuple(slice(f + a, f + b) for f, a, b in zip(stored.first, start, stop, strict=True))
                ]
                by_component = view[..., np.newaxis] if view.ndim == len(shape) else view
                for component, part in enumerate(parts):
                    by_component[..., component] = values[part]

    return sweep


def _values(
    typed: Typed,
    inputs: Sequence[Stored],
    scalars: Mapping[str, Any],
    geometry: Mapping[tuple[str, int], Any],
    start: Sequence[int],
    shape: tuple[int, ...],
) -> list[Any]:
    """Return the result of every operation, for all cells at once."""
    weak = {"int": np.int64, "float": np.float64, "bool": np.bool_}
    known = {name: weak[kind](scalars[name]) for name, kind in typed.scalars}
    values: list[Any] = []
    with np.errstate(all="ignore"):
        for number, op in enumerate(typed.ops):
            if op.name == "const":
                values.append(op.data)
            elif op.name == "param":
                values.append(known[op.data])
            elif op.name == "read":
                values.append(_view(inputs[op.data.array], op.data, start, shape))
            elif op.name in MARKERS:
                values.append(_marker(op, geometry, start, shape))
            elif op.name == "cast":
                values.append(np.asarray(values[op.args[0]]).astype(typed.types[number])[()])
            else:
                ufunc = _UFUNCS.get(op.name) or getattr(np, op.name)
                values.append(ufunc(*(values[a] for a in op.args)))
    return values


def _view(stored: Stored, load: Load, start: Sequence[int], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    cut = tuple(
        slice(f + a + d, f + a + d + n) for f, a, d, n in zip(stored.first, start, load.offsets, shape, strict=True)
    )
    components = stored.array.shape[len(shape) :]
    view = stored.array[cut]
    place: Any = (..., *np.unravel_index(load.component, components))
    return view[place] if components else view


def _marker(op: Op, geometry: Mapping[tuple[str, int], Any], start: Sequence[int], shape: tuple[int, ...]) -> Any:
    axis = op.data
    if op.name in ("spacing", "cells"):
        return (np.float64 if op.name == "spacing" else np.int64)(geometry[op.name, axis])
    line = geometry["index", axis] + start[axis] + np.arange(shape[axis], dtype="i8")
    if op.name == "coordinate":
        line = geometry["coordinate", axis] + geometry["spacing", axis] * line.astype("f8")
    return line.reshape([-1 if a == axis else 1 for a in range(len(shape))])
