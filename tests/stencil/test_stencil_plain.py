"""A kernel is what its text is: whatever would run something else is refused."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numba import njit

from mpibatch.base.errors import UsageError
from mpibatch.stencil import Kernel, stencil

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def doubled(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return 2.0 * function(*args)

    return wrapper


def bare_doubled(function):
    def wrapper(u):
        return 2.0 * function(u)

    return wrapper


def plain(u):
    return u[0] + 1.0


async def coroutine(u):
    return u[0]


def generator(u):
    yield u[0]


async def async_generator(u):
    yield u[0]


class Methods:
    def one(self, u):
        return u[0]


class Callable_:
    def __call__(self, u):
        return u[0]


first, second = lambda u: u[0], lambda u: u[0] + 1

REFUSED = {
    "wraps": (doubled(plain), "another decorator"),
    "cache": (functools.lru_cache(plain), "another decorator"),
    "static": (staticmethod(plain), "another decorator"),
    "partial": (functools.partial(plain), "partial"),
    "method": (Methods().one, "method"),
    "unbound": (Methods.one, "method"),
    "object": (Callable_(), "Callable_"),
    "class": (Methods, "type"),
    "builtin": (np.sin, "ufunc"),
    "lambda": (second, "lambda"),
    "async": (coroutine, "coroutine"),
    "generator": (generator, "generator"),
    "async generator": (async_generator, "async generator"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_plain_function_is_refused(kind: str) -> None:
    function, words = REFUSED[kind]
    with pytest.raises(UsageError, match=words):
        stencil(function)


@pytest.mark.parametrize("kind", [k for k in REFUSED if k not in ("unbound", "builtin")])
def test_what_is_no_plain_function_is_refused_as_a_helper(kind: str) -> None:
    helper: Any = REFUSED[kind][0]

    def kernel(u):
        return helper(u)

    with pytest.raises(UsageError):
        stencil(kernel)


def test_a_decorator_whose_own_text_is_read_takes_part() -> None:
    kernel = stencil(bare_doubled(plain))
    assert [op.name for op in kernel.program.ops].count("*") == 1
    assert isinstance(stencil(njit(plain)), Kernel)


def test_text_of_another_function_is_refused(tmp_path: Path) -> None:
    space: dict[str, Any] = {}
    exec("def other(u, v):\n    return u[0]", space)
    with pytest.raises(UsageError, match="define it in a file"):
        stencil(space["other"])
    exec(compile("\n" * 20 + "def other(u, v):\n    return u[0]", __file__, "exec"), space)
    with pytest.raises(UsageError, match=r"where .* was defined"):
        stencil(space["other"])
