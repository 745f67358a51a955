"""Exact sums of many rows in one call, and of their products, a block at a time while it is in the L1 cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.apps.risk._loops.rows import CONTROL, OUTPUTS, VALUE
from mpibatch.base.compiled import compiled
from mpibatch.reduce._loops.exact_sums import BLOCK, PARTS, add_block, carry, empty_bins

__all__ = ["PARTS", "sum_outputs", "sum_rows"]

Values = npt.NDArray[np.float64]
Table = npt.NDArray[np.float64]
Parts = npt.NDArray[np.int64]


@compiled
def _multiply(a: Values, b: Values, products: Values) -> None:
    for i in range(products.shape[0]):
        products[i] = a[i] * b[i]


@compiled
def _sum(a: Values, b: Values, is_product: bool, products: Values, bins: Parts, parts: Parts) -> None:
    """Add a row, or the products of two, to the parts of its sum, of less than 2^30 numbers. Bins are left empty."""
    top: Any = np.int64(1)
    skip: Any = np.int64(0)
    is_binned = False
    for begin in range(0, a.shape[0], BLOCK):
        end = min(begin + BLOCK, a.shape[0])
        block = a[begin:end]
        if is_product:
            block = products[: end - begin]
            _multiply(a[begin:end], b[begin:end], block)
        is_binned = is_binned or skip > 0
        top, skip = add_block(block, parts, bins, top, skip)
        is_binned = is_binned or skip > 0
    if is_binned:
        empty_bins(bins, parts)
    else:
        carry(parts)


@compiled
def sum_rows(rows: Table, parts: Parts) -> None:
    """Add each row to the parts of its sum. Local."""
    bins, products = np.zeros((2048, 2), np.int64), np.empty(0)
    for k in range(rows.shape[0]):
        _sum(rows[k], rows[k], False, products, bins, parts[k])


@compiled
def sum_outputs(out: Table, parts: Parts) -> None:
    """Add all outputs, their squares, and value times control to the parts of their sums. Local."""
    bins, products = np.zeros((2048, 2), np.int64), np.empty(BLOCK)
    for k in range(OUTPUTS):
        _sum(out[k], out[k], False, products, bins, parts[k])
        _sum(out[k], out[k], True, products, bins, parts[OUTPUTS + k])
    _sum(out[VALUE], out[CONTROL], True, products, bins, parts[2 * OUTPUTS])
