"""Cells that are given to LLVM line by line are those that numba makes of the same text."""

import math

import numpy as np
import pytest

from mpibatch import stencil
from mpibatch.stencil.compiled import numba_run
from mpibatch.stencil.compiled.numba_source import kernel_text
from mpibatch.stencil.compiled.types import Array
from tests.stencil.test_stencil_backends import assert_same_bits, both


@stencil
def floats(u, k, is_on):
    a, b = u[0, 0], u[-1, 1]
    mean = (a + b) / 2.0 if is_on else -a
    steep = math.sqrt(abs(a * b)) + math.exp(-a * a) - math.atan2(a, b + 3.0)
    limited = min(abs(a), abs(b)) / (1.0 + abs(u[0, -1])) if a * b > 0.0 else 0.0
    return max(mean, steep), np.floor(limited * 7.0) + k, not (a < b) or a != a


@stencil
def integers(u, n):
    a, b = u[0, 0], u[0, 1]
    both_bits = (a & b) | (a ^ n)
    kept = ~a if a > b else a // 3 + b % 5
    return both_bits, kept * a - n, a / 4, a == b and n > 2


@pytest.mark.parametrize(("kernel", "dtype"), [(floats, "f4"), (floats, "f8"), (integers, "i2"), (integers, "u4")])
def test_cells_are_numbas(kernel, dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    scalars = {"k": 0.25, "is_on": True} if kernel is floats else {"n": 3}
    _, ours, _ = both(kernel, (5, 9), [Array(np.dtype(dtype))], **scalars)
    numba_run._compiled.cache_clear()
    texts = []

    def by_numba(*args: object) -> str:
        texts.append(kernel_text(*args).replace("@straight\ndef cell", "@compiled_within\ndef cell"))
        return texts[-1]

    monkeypatch.setattr(numba_run, "kernel_text", by_numba)
    _, theirs, _ = both(kernel, (5, 9), [Array(np.dtype(dtype))], **scalars)
    numba_run._compiled.cache_clear()
    assert "@compiled_within\ndef cell" in texts[0]
    assert_same_bits(ours, theirs)
