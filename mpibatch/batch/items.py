"""What items are called, and by what a batch is told from others."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import hashlib
import inspect
import os
import textwrap
import types
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["identity_of", "name_of", "text_of"]

LONGEST = 120  # signs of a name


def text_of(item: Any) -> str:
    """Return what stands for an item, the same in every process. Local."""
    match item:
        case np.generic():
            return repr(item.item())
        case str() | int() | float() | complex() | bytes() | None:
            return repr(item)
        case os.PathLike():
            return repr(os.fspath(item))
        case np.ndarray():
            sum_ = hashlib.blake2b(np.ascontiguousarray(item).tobytes(), digest_size=8).hexdigest()
            return f"array({item.shape}, {item.dtype.str}, {sum_})"
        case Mapping():
            return "{" + ", ".join(f"{text_of(key)}: {text_of(value)}" for key, value in item.items()) + "}"
        case list() | tuple():
            return "(" + ", ".join(map(text_of, item)) + ")"
        case set() | frozenset():
            return "{" + ", ".join(sorted(map(text_of, item))) + "}"
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        fields = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
        return f"{type(item).__qualname__}{text_of(fields)}"
    text = repr(item)
    # Where an object lies in memory tells nothing.
    return type(item).__qualname__ if " at 0x" in text else text


def name_of(number: int, item: Any) -> str:
    """Return what an item is called in messages and tables. Local."""
    match item:
        case str() | os.PathLike():
            text = os.fspath(item)
            text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        case int() | float() | np.generic():
            text = str(item)
        case list() | tuple() | Mapping():
            text = text_of(item)
        case _:
            text = f"item {number}"
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def identity_of(
    function: Callable[..., Any], items: Sequence[Any], seed: int, *, encrypts: bool = False
) -> dict[str, Any]:
    """Return what changes a batch's results, as a table for `mpibatch.checkpoint.identity`. Local.

    A function is told from another of the same name by its text, or by its code where there is no text. Where the
    batch `encrypts`, arguments that are bound to it are not told in plain.
    """
    digest = hashlib.blake2b(digest_size=16)
    for item in items:
        digest.update(text_of(item).encode("utf-8", "surrogatepass") + b"\0")
    inner = function
    parts = []
    while isinstance(inner, functools.partial):
        parts += [text_of(inner.args), text_of(inner.keywords)]
        inner = inner.func
    if encrypts and parts:
        parts = [hashlib.blake2b(text_of(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()]
    name = f"{getattr(inner, '__module__', '')}.{getattr(inner, '__qualname__', type(inner).__qualname__)}"
    own = getattr(inner, "identity", None)  # of a callable that knows what it depends on
    return {
        "function": " ".join([name.removeprefix("__main__."), *parts]),
        "items": f"{len(items)} ({digest.hexdigest()})",
        "seed": seed,
        **({"encrypted": True} if encrypts else {}),
        **(own if isinstance(own, Mapping) else {"the function's text": _digest_of_text(inner)}),
    }


def _digest_of_text(function: Callable[..., Any]) -> str:
    if not hasattr(function, "__code__") and not inspect.isroutine(function) and not isinstance(function, type):
        function = type(function).__call__  # of an object that can be called
    text = ""
    if getattr(function, "__name__", "") != "<lambda>":  # of which there is only its whole line
        with contextlib.suppress(OSError, TypeError, SyntaxError):
            # Whatever its comments and line breaks.
            text = ast.dump(ast.parse(textwrap.dedent(inspect.getsource(function))))
    text = text or _text_of_code(getattr(function, "__code__", None))
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest() if text else ""


def _text_of_code(code: Any) -> str:
    """What compiled code does, functions within it included; "" for what is not Python's. Local."""
    if not isinstance(code, types.CodeType):
        return ""
    constants = [_text_of_code(c) if isinstance(c, types.CodeType) else text_of(c) for c in code.co_consts]
    return text_of([code.co_code, code.co_names, code.co_varnames, constants])
