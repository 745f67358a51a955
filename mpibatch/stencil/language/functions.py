"""The functions that a kernel may call, by identity, and what a kernel asks about its cell."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

__all__ = ["CASTS", "FUNCTIONS", "MARKER_FUNCTIONS", "cells", "coordinate", "index", "spacing"]


def _outside(name: str) -> Any:
    from mpibatch.base.errors import UsageError

    raise UsageError(f"{name}() was called outside a stencil; it means the cell that a kernel computes: use it in one")


def index(axis: int) -> int:
    """Return, in a kernel, the global index of the cell along an axis, a whole number.

    Parameters
    ----------
    axis : int
        A grid axis, from 0; a constant.

    Returns
    -------
    int
        From 0, below `cells`.

    Raises
    ------
    UsageError
        Outside a kernel, where there is no cell.

    Notes
    -----
    Local.

    Examples
    --------
    >>> import mpibatch as mb
    >>> @mb.stencil
    ... def place(u):
    ...     return u[0] + 10 * mb.index(0)
    >>> print(mb.gather_all(place(mb.Grid(4).full(1.0))))
    [ 1. 11. 21. 31.]
    """
    return int(_outside(f"index({axis})"))


def coordinate(axis: int) -> float:
    """Return, in a kernel, the cell's coordinate along an axis, the grid's ``origin + spacing * index``.

    Parameters
    ----------
    axis : int
        A grid axis, from 0; a constant.

    Returns
    -------
    float
        In the grid's units of length.

    Raises
    ------
    UsageError
        Outside a kernel, where there is no cell.

    Notes
    -----
    Local.

    Examples
    --------
    >>> import mpibatch as mb
    >>> @mb.stencil
    ... def ramp(u):
    ...     return u[0] * mb.coordinate(0)
    >>> print(mb.gather_all(ramp(mb.Grid(4, spacing=0.5, origin=1.0).full(2.0))))
    [2. 3. 4. 5.]
    """
    return float(_outside(f"coordinate({axis})"))


def spacing(axis: int) -> float:
    """Return, in a kernel, the grid's cell spacing along an axis.

    Parameters
    ----------
    axis : int
        A grid axis, from 0; a constant.

    Returns
    -------
    float
        In the grid's units of length.

    Raises
    ------
    UsageError
        Outside a kernel, where there is no grid.

    Notes
    -----
    Local.

    Examples
    --------
    >>> import mpibatch as mb
    >>> @mb.stencil
    ... def slope(u):
    ...     return (u[1] - u[-1]) / (2.0 * mb.spacing(0))
    >>> u = mb.Grid(4, spacing=0.5, periodic=True).from_function(lambda x: x * (2.0 - x))
    >>> print(mb.gather_all(slope(u)))
    [ 0.  1.  0. -1.]
    """
    return float(_outside(f"spacing({axis})"))


def cells(axis: int) -> int:
    """Return, in a kernel, the global number of cells along an axis.

    Parameters
    ----------
    axis : int
        A grid axis, from 0; a constant.

    Returns
    -------
    int
        The grid's ``shape[axis]``.

    Raises
    ------
    UsageError
        Outside a kernel, where there is no grid.

    Notes
    -----
    Local.

    Examples
    --------
    >>> import mpibatch as mb
    >>> @mb.stencil
    ... def fraction(u):
    ...     return u[0] / mb.cells(0)
    >>> print(mb.gather_all(fraction(mb.Grid(4).from_function(lambda x: x))))
    [0.   0.25 0.5  0.75]
    """
    return int(_outside(f"cells({axis})"))


MARKER_FUNCTIONS: dict[Any, str] = {index: "index", coordinate: "coordinate", spacing: "spacing", cells: "cells"}

# Name of the operation, and operands (None: any number, two or more).
FUNCTIONS: dict[Any, tuple[str, int | None]] = {
    builtins.min: ("min", None),
    builtins.max: ("max", None),
    np.minimum: ("minimum", 2),
    np.maximum: ("maximum", 2),
    np.where: ("where", 3),
    builtins.pow: ("pow", 2),
    math.pow: ("pow", 2),
    np.power: ("pow", 2),
}
for _name, _math, _operands in (
    ("abs", "fabs", 1),
    ("sqrt", "sqrt", 1),
    ("floor", "floor", 1),
    ("ceil", "ceil", 1),
    ("copysign", "copysign", 2),
    ("exp", "exp", 1),
    ("expm1", "expm1", 1),
    ("log", "log", 1),
    ("log1p", "log1p", 1),
    ("log10", "log10", 1),
    ("sin", "sin", 1),
    ("cos", "cos", 1),
    ("tan", "tan", 1),
    ("arcsin", "asin", 1),
    ("arccos", "acos", 1),
    ("arctan", "atan", 1),
    ("arctan2", "atan2", 2),
    ("sinh", "sinh", 1),
    ("cosh", "cosh", 1),
    ("tanh", "tanh", 1),
    ("hypot", "hypot", 2),
):
    FUNCTIONS[getattr(math, _math)] = FUNCTIONS[getattr(np, _name)] = (_name, _operands)
FUNCTIONS[builtins.abs] = FUNCTIONS[np.fabs] = ("abs", 1)

# Written in a kernel, these change the type of an expression.
CASTS: dict[Any, str] = {t: np.dtype(t).name for t in (np.float32, np.float64, np.int32, np.int64, np.uint8, np.uint16)}
