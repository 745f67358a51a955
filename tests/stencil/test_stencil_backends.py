"""The compiled back end and NumPy's shifted views give the same bits; without MPI, on plain arrays."""

from __future__ import annotations

import ast
import itertools
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.compiled import cache_folder
from mpibatch.base.errors import UsageError
from mpibatch.stencil import Kernel, cells, coordinate, index, spacing, stencil
from mpibatch.stencil.compiled.modules import DATED, load
from mpibatch.stencil.compiled.numba_run import LoopedKernel
from mpibatch.stencil.compiled.numba_source import signature_of
from mpibatch.stencil.compiled.numpy_run import shifted
from mpibatch.stencil.compiled.types import Array, Stored, Typed

ROOT = Path(__file__).resolve().parents[2]
HALO = 4
WORDS = np.array([0.1, 0.25, 0.3])


def values(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    kind = np.dtype(dtype).kind
    if kind == "f":
        found = random.normal(size=shape).astype(dtype)
        found[random.random(shape) < 0.02] = np.nan
        found[random.random(shape) < 0.02] = -0.0
        return found
    if kind == "b":
        return random.random(shape) < 0.5
    return random.integers(0 if kind == "u" else -90, 120, shape).astype(dtype)


def memory(cells: tuple[int, ...], array: Array, seed: int) -> Stored:
    shape = tuple(n + 2 * HALO for n in cells) + array.components
    return Stored(values(shape, array.dtype.str, seed), (HALO,) * len(cells))


def geometry(ndim: int) -> dict[tuple[str, int], Any]:
    per_axis = {
        "index": (5, 7, 11),
        "cells": (100, 90, 80),
        "coordinate": (0.3, -0.7, 0.1),
        "spacing": (0.1, 0.7, 1e-3),
    }
    return {(name, axis): numbers[axis] for name, numbers in per_axis.items() for axis in range(ndim)}


def kind_of(value: Any) -> str:
    return {bool: "bool", int: "int", float: "float"}[type(value)]


def both(
    kernel: Kernel, cells: tuple[int, ...], inputs: list[Array], threads: int = 1, **scalars: Any
) -> tuple[Typed, list[np.ndarray], list[np.ndarray]]:
    """Compute by both back ends; the compiled one block by block, with rows of every length."""
    kinds = {name: kind_of(scalars[name]) for name in kernel.program.scalars}
    typed = kernel.typed(len(cells), inputs, kinds, [None] * len(kernel.program.outputs))
    read = [memory(cells, array, seed) for seed, array in enumerate(inputs)]
    found, expected = ([memory(cells, array, 99) for array in typed.outputs] for _ in range(2))
    known = geometry(len(cells))
    shifted(typed, expected, read, scalars, known)((0,) * len(cells), cells)
    sweep = LoopedKernel(typed, found, read, known, threads).sweep(scalars)
    cuts = [sorted({0, n, n // 3, n - 1}) for n in cells]
    for block in itertools.product(*(itertools.pairwise(c) for c in cuts)):
        sweep([a for a, _ in block], [b for _, b in block])
    return typed, [s.array for s in found], [s.array for s in expected]


def assert_same_bits(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
        if a.dtype.kind == "f":
            signs = ~np.isnan(b)
            np.testing.assert_array_equal(np.signbit(a)[signs], np.signbit(b)[signs])


@stencil
def star1(u, k):
    return u[0] + k * (u[-2] - 3 * u[1]) / 7.0


@stencil
def star2(u, k):
    return u[0, 0] + k * (u[-2, 0] - 3 * u[1, 0] + u[0, -1] * u[0, 4]) / 7.0


@stencil
def star3(u, k):
    return u[0, 0, 0] + k * (u[-2, 0, 0] - 3 * u[1, 0, 0] + u[0, -1, 1] * u[0, 4, 0] - u[0, 0, -3]) / 7.0


# What a type becomes does not depend on the axes: all types in a plane, the kinds of them on other numbers of axes.
@pytest.mark.parametrize(
    ("kernel", "dtype"),
    [
        *((star2, dtype) for dtype in ("f4", "f8", "u1", "i2", "i4", "i8", "u8", "?")),
        *((kernel, dtype) for kernel in (star1, star3) for dtype in ("f4", "f8", "i2", "?")),
    ],
)
def test_arithmetic_has_the_same_bits(kernel: Kernel, dtype: str) -> None:
    shape = {1: (37,), 2: (9, 37), 3: (5, 6, 37)}[kernel.footprint.ndim]
    typed, found, expected = both(kernel, shape, [Array(np.dtype(dtype))], k=0.1)
    assert_same_bits(found, expected)
    assert typed.outputs[0].dtype == (dtype if dtype == "f4" else "f8")


@stencil
def mixed(a, b, flag, k, n, on):
    small = np.minimum(a[0, 0], b[0, 0]) if flag[0, 1] else max(a[1, 0], b[0, -1], 0.25)
    if (on and a[0, 0] > b[0, 0]) or not flag[0, 0]:
        small = -small * k
        other = abs(a[0, 0]) ** 3
    else:
        other = math.sqrt(abs(b[0, 0])) + n
    if small != small:
        return 0.0, other, flag[0, 0]
    return math.floor(small * 10) + np.copysign(0.5, a[0, 0]), other - 1 / a[0, 0], flag[0, 1] & (0 <= small < 1)


@pytest.mark.parametrize("types", [("f4", "f4"), ("f4", "f8"), ("f8", "i2"), ("i4", "f4"), ("u1", "i2")])
def test_choices_and_functions_have_the_same_bits(types: tuple[str, str]) -> None:
    inputs = [Array(np.dtype(t)) for t in (*types, "?")]
    typed, found, expected = both(mixed, (7, 41), inputs, k=1.5, n=3, on=True)
    assert_same_bits(found, expected)
    wide = np.result_type(*types)
    assert typed.outputs[0].dtype == (wide if wide.kind == "f" else "f8")
    assert typed.outputs[2].dtype == bool


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("c", [math.inf, -math.inf, math.nan, -0.0, -1.5e30])
def test_constants_have_the_same_bits_wherever_they_stand(c: float, dtype: str) -> None:
    @stencil
    def constants(u):
        x = u[0, 0]
        y = x if x > c else c
        return x / c, c / x, x - c, x * c, -c + x, abs(c) * x, y, (c if u[0, 1] > x else -x), np.maximum(x, c)

    _, found, expected = both(constants, (7, 41), [Array(np.dtype(dtype))])
    assert_same_bits(found, expected)


@stencil
def whole(u, n):
    return u[0] // 7 + u[1] % 5 - n, (u[0] & 12) | (u[1] ^ 3), -u[0] + ~u[1], u[0] * u[1] * u[0], u[0] / 3


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "u4", "i8"])
def test_whole_numbers_wrap_alike(dtype: str) -> None:
    typed, found, expected = both(whole, (200,), [Array(np.dtype(dtype))], n=3)
    assert_same_bits(found, expected)
    assert [a.dtype.str[1:] for a in typed.outputs] == [dtype] * 4 + ["f8"]


@stencil
def components(q, v):
    new = [q[0, 0, c] + WORDS[c] * (v[0, 1, 1, c] - v[-1, 0, 0, c]) for c in range(3)]
    return new, new[0] + new[2]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_components_in_and_out(dtype: str) -> None:
    inputs = [Array(np.dtype(dtype), (3,)), Array(np.dtype(dtype), (2, 3))]
    typed, found, expected = both(components, (6, 35), inputs)
    assert typed.outputs[0].components == (3,)
    assert_same_bits(found, expected)


@stencil
def located(u, k):
    return u[0, 0, 0] * coordinate(0) + index(1) * k - coordinate(2) / cells(2) + u[0, 0, 1] * spacing(1)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_coordinates_and_indices_do_not_depend_on_the_block(dtype: str) -> None:
    typed, found, expected = both(located, (4, 5, 33), [Array(np.dtype(dtype))], k=0.1)
    assert typed.outputs[0].dtype == dtype
    assert_same_bits(found, expected)


@stencil
def transcendental(u):
    x = abs(u[0]) + 0.5
    return (
        math.exp(u[0]) + math.log(x) + math.sin(u[0]) * math.cos(u[1]) - math.tanh(u[0]) + x**1.3,
        math.atan2(u[0], x) + math.hypot(u[0], u[1]) + math.log1p(x) + np.arctan(u[1]),
    )


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_transcendental_functions_agree_to_a_few_ulps(dtype: str) -> None:
    _, found, expected = both(transcendental, (300,), [Array(np.dtype(dtype))])
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=float(64 * np.finfo(dtype).eps))


@pytest.mark.parametrize("kernel", [star1, star2, star3], ids=["1-D", "2-D", "3-D"])
@pytest.mark.parametrize("threads", [2, 5])
def test_threads_do_not_change_bits(kernel: Kernel, threads: int) -> None:
    shape = {1: (37,), 2: (9, 37), 3: (5, 6, 37)}[kernel.footprint.ndim]
    _, found, expected = both(kernel, shape, [Array(np.dtype("f8"))], threads, k=0.1)
    assert_same_bits(found, expected)


def test_f4_stays_f4_and_strong_types_do_not() -> None:
    @stencil
    def widened(u, k):
        return u[0] * k * index(0) * coordinate(0), np.float64(u[0]) * k, np.float32(k) * 2

    typed, found, expected = both(widened, (30,), [Array(np.dtype("f4"))], k=1 / 3)
    assert [a.dtype.str[1:] for a in typed.outputs] == ["f4", "f8", "f4"]
    assert_same_bits(found, expected)


@pytest.mark.parametrize(
    ("kernel", "arrays", "wanted", "message"),
    [
        (star1, [Array(np.dtype("c16"))], None, "real and imaginary"),
        (star1, [Array(np.dtype("f2"))], None, "f4 and f8"),
        (star1, [Array(np.dtype("f8"))], Array(np.dtype("i4")), "cast in the kernel"),
        (star1, [Array(np.dtype("f8"))], Array(np.dtype("f8"), (2,)), r"components=\(\)"),
        (star1, [Array(np.dtype("f8"), (2,))], None, "number of the component"),
        (star2, [Array(np.dtype("f8"), (2,))], None, "number of the component"),
    ],
)
def test_fields_that_do_not_fit_are_refused(kernel: Kernel, arrays: list[Array], wanted: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kernel.typed(1, arrays, {"k": "float"}, [wanted])


def test_a_number_too_large_for_the_field_is_refused_with_its_place() -> None:
    @stencil
    def large(u):
        return u[0] + 300

    with pytest.raises(UsageError, match=r"300 does not fit into uint8(.|\n)*\^"):
        large.typed(1, [Array(np.dtype("u1"))], {}, [None])
    assert large.typed(1, [Array(np.dtype("u2"))], {}, [None]).outputs[0].dtype == "u2"


def test_floats_have_no_floor_division() -> None:
    @stencil
    def floored(u):
        return u[0] // 2

    with pytest.raises(UsageError, match="floor"):
        floored.typed(1, [Array(np.dtype("f8"))], {}, [None])


@stencil
def wrapping(u, n):
    far = u[0, 0] + 9_223_372_036_854_775_800
    return far > u[0, 0], far, u[0, 1] * 3_000_000_000 - n, -(u[0, 0] - 9_223_372_036_854_775_807 - n), -u[0, -1]


def test_whole_numbers_of_64_bits_wrap_around() -> None:
    """As NumPy's; numba, and LLVM after it, would take it that they never do."""
    typed = wrapping.typed(2, [Array(np.dtype("i8"))], {"n": "int"}, [None] * 5)
    ends = np.array([-(1 << 63), -(1 << 62), -5, -1, 0, 1, 7, 1 << 40, (1 << 63) - 1])
    read = memory((9, 9), Array(np.dtype("i8")), 0)
    read.array[...] = np.random.default_rng(1).choice(ends, read.array.shape)
    found, expected = ([memory((9, 9), array, 99) for array in typed.outputs] for _ in range(2))
    with np.errstate(over="ignore"):
        shifted(typed, expected, [read], {"n": 6}, geometry(2))((0, 0), (9, 9))
    LoopedKernel(typed, found, [read], geometry(2)).sweep({"n": 6})((0, 0), (9, 9))
    assert_same_bits([s.array for s in found], [s.array for s in expected])


def test_a_whole_number_beyond_64_bits_is_refused() -> None:
    u = mb.Grid((3, 4)).zeros("i8", halo=1)
    with pytest.raises(UsageError, match="n=9223372036854775808 does not fit into 64 bits"):
        wrapping(u, 1 << 63)


def test_generated_text_has_planes_and_no_fastmath() -> None:
    text = star3.generated(3)
    names = [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    assert names == ["cell", "plane", "turn", "sweep"]
    assert "fastmath" not in text
    typed = star3.typed(3, [Array(np.dtype("f8"))], {"k": "float"}, [None])
    assert signature_of(typed).planes == ((-2, 0, 1),)


def test_the_same_text_is_one_module_with_a_steady_date() -> None:
    text = star2.generated(2)
    module = load(text)
    assert load(text) is module
    path = Path(str(module.__file__))
    assert path.parent == cache_folder() / "stencils"
    assert path.stat().st_mtime == DATED
    assert path.read_text() == text


def test_many_processes_at_once_compile_into_one_cache(tmp_path: Path) -> None:
    code = (
        "import numpy as np; from tests.stencil.test_stencil_backends import both, star2\n"
        "from mpibatch.stencil.compiled.types import Array\n"
        "from mpibatch.stencil.compiled.wall_source import code_of_edges; assert code_of_edges(np.dtype('f4'))\n"
        "_, a, b = both(star2, (9, 9), [Array(np.dtype('f4'))], k=0.1); np.testing.assert_array_equal(a[0], b[0])"
    )
    environment = os.environ | {"MPIBATCH_CACHE_DIR": str(tmp_path)}
    started = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in started:
        _, error = process.communicate(timeout=100)
        assert process.returncode == 0, error
    assert len(list((tmp_path / "stencils").iterdir())) == 2  # the kernel's, and one of walls for all kernels
    assert len(list((tmp_path / "numba").rglob("*.nbc"))) == 3
