"""Constants that a kernel was read with, and what happens when they change."""

from __future__ import annotations

import time
import types
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.errors import UsageError
from mpibatch.stencil import Kernel, stencil
from mpibatch.stencil.language.captures import check_captured

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER, TABLE, DICT = 2.0, np.array([1.0, 2.0]), {"k": 3.0}
LIST: Any = [1.0, [2.0]]
LARGE = np.arange(4000.0)
SETTINGS = types.SimpleNamespace(k=2.0, table=np.array([1.0, 2.0]))
INNER = 5.0


def helper(u):
    return INNER * u[0]


def by_helper(u):
    return helper(u)


def by_number(u):
    return NUMBER * u[0]


def by_table(u):
    return TABLE[1] * u[0]


def by_large(u):
    return LARGE[3] * u[0]


def by_list(u):
    return LIST[1][0] * u[0]


def by_dict(u):
    return DICT["k"] * u[0]


def by_object(u):
    return SETTINGS.k * SETTINGS.table[0] * u[0]


def _set(name: str, value: Any) -> Callable[[], None]:
    return lambda: globals().__setitem__(name, value)


# What is read, and changes of it by name: those that keep the values are none.
SAME = {
    "number": (by_number, [_set("NUMBER", float("2.0"))]),
    "table": (by_table, [_set("TABLE", np.array([1.0, 2.0]))]),
    "list": (by_list, [_set("LIST", [1.0, [2.0]])]),
    "helper": (by_helper, [_set("INNER", float("5"))]),
    "object": (by_object, [lambda: setattr(SETTINGS, "other", 1)]),
}
CHANGED = {
    "number": (by_number, _set("NUMBER", 3.0), "NUMBER"),
    "type": (by_number, _set("NUMBER", 2), "NUMBER"),
    "table anew": (by_table, _set("TABLE", np.array([1.0, 3.0])), "TABLE"),
    "table in place": (by_table, lambda: TABLE.__setitem__(0, 9.0), "TABLE"),
    "table's type": (by_table, _set("TABLE", np.array([1.0, 2.0], "f4")), "TABLE"),
    "large": (by_large, lambda: LARGE.__imul__(2.0), "LARGE"),
    "list": (by_list, lambda: LIST[1].__setitem__(0, 9.0), "LIST"),
    "dict": (by_dict, lambda: DICT.__setitem__("k", 9.0), "DICT"),
    "attribute": (by_object, lambda: setattr(SETTINGS, "k", 9.0), "SETTINGS.k"),
    "attribute in place": (by_object, lambda: SETTINGS.table.__setitem__(0, 9.0), "SETTINGS.table"),
    "constant of a helper": (by_helper, _set("INNER", 9.0), "INNER"),
    "function": (by_helper, _set("helper", by_table), "helper"),
}


@pytest.fixture(autouse=True)
def restored():
    before = {k: v for k, v in globals().items() if k.isupper() or k == "helper"}
    copies = {"TABLE": TABLE.copy(), "LARGE": LARGE.copy(), "LIST": [1.0, [2.0]], "DICT": {"k": 3.0}}
    copies["SETTINGS"] = types.SimpleNamespace(k=2.0, table=np.array([1.0, 2.0]))
    yield
    globals().update(before | copies)


@pytest.fixture(scope="module")
def field() -> mb.Field:
    u = mb.Grid((8,)).zeros()
    u.owned[...] = 1.0
    return u


def made(function: Callable[..., Any]) -> Kernel:
    return stencil(backend="numpy")(function)


@pytest.mark.parametrize("kind", CHANGED)
def test_what_changed_is_refused_in_calls_and_in_iterate(kind: str, field: mb.Field) -> None:
    function, change, name = CHANGED[kind]
    kernel = made(function)
    kernel(field)
    change()
    with pytest.raises(UsageError, match=f"constant ['\"]{name}.*define the stencil anew"):
        kernel(field)
    with pytest.raises(UsageError, match="define the stencil anew"):
        mb.iterate(kernel, field, steps=2)
    if kind != "function":
        made(function)(field)


@pytest.mark.parametrize("kind", SAME)
def test_equal_values_are_no_change(kind: str, field: mb.Field) -> None:
    function, changes = SAME[kind]
    kernel = made(function)
    for change in changes:
        change()
    kernel(field)


def test_names_of_functions_around_the_kernel(field: mb.Field) -> None:
    k = 2.0

    @stencil(backend="numpy")
    def scaled(u):
        return k * u[0]

    assert scaled(field).owned[0] == 2.0
    k = 3.0
    with pytest.raises(UsageError, match=r"'k' has changed from 2\.0 to 3\.0"):
        scaled(field)


def test_a_kernel_that_names_itself_or_what_is_set_later() -> None:
    with pytest.raises(UsageError, match="names itself"):

        @stencil
        def again(u):
            return again(u)

    with pytest.raises(UsageError, match="no value yet"):

        @stencil
        def early(u):
            return late * u[0]

    late = 1.0


def test_looking_costs_little() -> None:
    kernel = made(by_object)
    shortest = np.inf
    for _ in range(20):
        begin = time.perf_counter()
        for _ in range(100):
            check_captured("k", kernel.program.captured)
        shortest = min(shortest, time.perf_counter() - begin)
    assert len(kernel.program.captured) == 3
    assert shortest / 300 < 5e-6  # about 0.4 µs where nothing else runs
