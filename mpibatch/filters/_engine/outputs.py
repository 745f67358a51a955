"""Results in fields that exist: `output` of a filter is a dtype, or a Field that is written to."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from mpibatch.base.errors import UsageError
from mpibatch.fields.field import Field, check_field
from mpibatch.filters._engine.work import running

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["fills_output"]

P = ParamSpec("P")
F = TypeVar("F", bound=Field)


def fills_output(function: Callable[P, F]) -> Callable[P, F]:
    """Let the `output` of a filter of one field be a Field: it is written to, and returned. Local.

    The filter gets the Field itself where it may write to it from the start, else its dtype, and is copied. What it
    computes is counted under its name.
    """
    place = function.__code__.co_varnames.index("output")

    @functools.wraps(function)
    def filtered(*args: P.args, **options: P.kwargs) -> F:
        given = options.get("output", args[place] if place < len(args) else None)
        if not isinstance(given, Field) or not (args or "u" in options):
            with running(function.__name__):
                return function(*args, **options)
        values = [*args, *options.values()]
        source: Any = options["u"] if "u" in options else args[0]
        _check(function.__name__, given, source)
        is_read = sum(value is given for value in values) > 1
        # Passes but the first read what was written, with its grid's walls: they are to be those of `u`.
        has_walls = given.grid.periodic == source.grid.periodic
        output = given if has_walls and not is_read and not any(map(any, given.halo)) else given.dtype
        with running(function.__name__):
            if place < len(args):
                result = cast("Any", function)(*args[:place], output, *args[place + 1 :], **options)
            else:
                result = cast("Any", function)(*args, **{**options, "output": output})
        if result is not given:
            given.owned[...] = result.owned
        return cast("F", given)

    return filtered


def _check(name: str, output: Field, u: Any) -> None:
    """Raise UsageError unless a field can take what becomes of `u`. Local."""
    check_field(name, u)
    if not output.grid.matches(u.grid) or output.components != u.components:
        raise UsageError(
            f"{name}: output is a Field of shape {output.shape} over {output.grid}, and u one of shape {u.shape} over "
            f"{u.grid}; give one whose ranks own the same cells, such as u.like(dtype)"
        )
    if output.is_frozen:
        raise UsageError(f"{name}: output is frozen, so that nobody can write to it; give another Field, or a dtype")
