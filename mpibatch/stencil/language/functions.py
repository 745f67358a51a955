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
    """In a kernel: the global index of the cell along `axis`, a whole number. Local."""
    return int(_outside(f"index({axis})"))


def coordinate(axis: int) -> float:
    """In a kernel: the cell's coordinate along `axis`, the grid's ``origin + spacing * index``. Local."""
    return float(_outside(f"coordinate({axis})"))


def spacing(axis: int) -> float:
    """In a kernel: the grid's cell spacing along `axis`. Local."""
    return float(_outside(f"spacing({axis})"))


def cells(axis: int) -> int:
    """In a kernel: the global number of cells along `axis`. Local."""
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
