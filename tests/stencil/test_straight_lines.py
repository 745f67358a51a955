"""Cells that are given to LLVM line by line are those that numba makes of the same text."""

import math
from pathlib import Path

import numpy as np
import pytest

import mpibatch as mb
from mpibatch import stencil
from mpibatch.stencil.compiled import numba_run, straight_lines
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


@stencil
def converted(u, n):
    a = u[0, 0] + n
    for _ in range(24):
        a = np.int64(a * 0.5 + 1.0)
    return a


def test_conversions_within_conversions_are_lowered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each twice would be many times the innermost."""
    monkeypatch.setenv("MPIBATCH_CACHE_DIR", str(tmp_path))  # where nothing is compiled yet
    lowered, apply = [], straight_lines._Lowering._applied

    def applied(lines, function, values):
        lowered.append(function)
        return apply(lines, function, values)

    monkeypatch.setattr(straight_lines._Lowering, "_applied", applied)

    @stencil
    def halved(u, n):
        return converted(u, n) - 1

    typed, ours, expected = both(halved, (3, 4), [Array(np.dtype("i8"))], n=3)
    assert_same_bits(ours, expected)
    assert len(typed.ops) / 2 < len(lowered) < 2 * len(typed.ops)


def test_whole_scalars_are_those_of_each_call() -> None:
    u = mb.Grid((3, 4)).from_function(lambda y, x: 2.0**40 * (1.0 + y * x), "i8", halo=1)
    found = [converted(u, n).owned.tobytes() for n in (5, 1 << 50, 5)]
    assert found[0] == found[2] != found[1]


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
