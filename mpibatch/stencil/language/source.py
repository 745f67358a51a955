"""The text of a function as a syntax tree, and refusals that point into it."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from mpibatch.base.errors import UsageError
from mpibatch.stencil.language.ir import TextPlace

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FunctionText", "read_function", "refusal"]


def refusal(place: TextPlace | None, problem: str, hint: str) -> UsageError:
    """Return the error for something that the language does not have, with file, line and caret. Local."""
    return UsageError(f"{problem}\n{place}\n{hint}" if place else f"{problem}; {hint}")


@dataclass(frozen=True, slots=True)
class FunctionText:
    """The lines of one function, `first` being the number of the first of them in the file."""

    file: str
    first: int
    lines: tuple[str, ...]

    def place(self, node: ast.AST) -> TextPlace:
        """Where `node` stands. Local."""
        number = getattr(node, "lineno", 1)
        line = self.lines[min(number, len(self.lines)) - 1]
        # The tree counts bytes, the caret counts characters.
        raw = line.encode()
        begin = len(raw[: getattr(node, "col_offset", 0)].decode(errors="replace"))
        same_line = getattr(node, "end_lineno", number) == number
        end = len(raw[: getattr(node, "end_col_offset", 0)].decode(errors="replace")) if same_line else len(line)
        text = line.lstrip()
        margin = len(line) - len(text)
        return TextPlace(self.file, self.first + number - 1, text.rstrip(), begin - margin, max(1, end - begin))

    def refuse(self, node: ast.AST, problem: str, hint: str) -> NoReturn:
        """Raise UsageError for `node`. Local."""
        raise refusal(self.place(node), problem, hint)


@functools.lru_cache(maxsize=256)
def read_function(function: Callable[..., Any]) -> tuple[ast.FunctionDef, FunctionText]:
    """Return the syntax tree of a Python function and the text it came from. Local."""
    name = getattr(function, "__name__", repr(function))
    _check_plain(function, name)
    try:
        lines, first = inspect.getsourcelines(function)
        file = inspect.getsourcefile(function) or "?"
    except (OSError, TypeError):
        raise UsageError(
            f"the source of {name!r} is not available; a stencil is read from its source, so define it in "
            "a file or a notebook, not in exec() or a bare prompt"
        ) from None
    text = textwrap.dedent("".join(lines))
    source = FunctionText(file, max(first, 1), tuple(text.splitlines()))
    tree = ast.parse(text).body[0]
    if not isinstance(tree, ast.FunctionDef):
        source.refuse(tree, f"{name!r} cannot be a stencil: {type(tree).__name__}", "use a plain function")
    # Text that was compiled under the name of a file, or a file that was edited since, has other lines there.
    code, given = function.__code__, tree.args
    parameters = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    if tree.name != code.co_name or tuple(parameters) != code.co_varnames[: len(parameters)]:
        problem = f"the file has {tree.name!r} where {code.co_name!r} was defined"
        source.refuse(tree, problem, "define the stencil in a file that does not change while the program runs")
    return tree, source


def _check_plain(function: Any, name: str) -> None:
    """Refuse whatever runs something else than the text that would be read."""
    rule = "a stencil, and what it calls, is read from its text"
    if hasattr(function, "__wrapped__"):
        raise UsageError(
            f"{name!r} is wrapped by another decorator, which would be dropped: {rule}; remove that decorator, or give "
            f"its work a place in the function's own text"
        )
    if isinstance(function, functools.partial):
        raise UsageError(f"a functools.partial was given: {rule}; write a function with def that calls {function.func}")
    if inspect.ismethod(function):
        raise UsageError(f"the method {name!r} was given: {rule}; write a plain function, and pass it what it needs")
    if not inspect.isfunction(function):
        raise UsageError(f"{name!r}, a {type(function).__name__}, was given: {rule}; write a plain function with def")
    if function.__code__.co_name == "<lambda>":
        raise UsageError("a lambda cannot be a stencil, since its text is read; write it as a function with def")
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        kind = "generator" if inspect.isgeneratorfunction(function) else "coroutine"
        raise UsageError(f"{name!r} is a {kind}, and a stencil computes one value per cell; use a plain def and return")
    if inspect.isasyncgenfunction(function):
        raise UsageError(f"{name!r} is an async generator, and a stencil computes one value per cell; use a plain def")
