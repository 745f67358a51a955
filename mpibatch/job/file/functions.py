"""What the functions take that a step may name, and what is wrong with what a job gives them."""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import nearest
from mpibatch.job.document import checks
from mpibatch.job.file.arithmetic import EXPRESSION, OPERATIONS
from mpibatch.job.file.signatures import definition_of, is_step, module_of, results_of, step_functions

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from mpibatch.job.document.checks import Check

__all__ = [
    "Parameter",
    "check_axes",
    "check_parameters",
    "function",
    "is_filter",
    "known_filters",
    "parameters_of",
    "results_taken",
]

_MODES = ("reflect", "mirror", "nearest", "wrap", "constant", "grid-mirror", "grid-wrap", "grid-constant")


def _nested(value: Any) -> str | None:
    """Expect a list of numbers or flags, or lists of them, of equal length: a footprint, weights."""
    return None if _extents(value) else "a list of numbers, or lists of them of equal length"


def _extents(value: Any) -> tuple[int, ...] | None:
    """Return the shape of nested lists of numbers, () for a number, None for anything else."""
    if isinstance(value, (int, float)):
        return ()
    inner = {_extents(item) for item in value} if isinstance(value, list) else set()
    within = inner.pop() if len(inner) == 1 else None
    return None if within is None else (len(value), *within)


# The same name means the same thing in every filter, as in scipy.
_BY_NAME: Mapping[str, Check] = {
    "sigma": checks.one_or_list(checks.real(0)),
    "truncate": checks.real(0),
    "radius": checks.one_or_list(checks.integer(0)),
    "order": checks.one_or_list(checks.integer(0)),
    "mode": checks.one_or_list(checks.one_of(*_MODES)),
    "cval": checks.real(finite=False),
    "size": checks.one_or_list(checks.integer(1)),
    "origin": checks.one_or_list(checks.integer()),
    "axis": checks.one_or_list(checks.integer()),
    "axes": checks.one_or_list(checks.integer()),
    "rank": checks.integer(),
    "footprint": _nested,
    "structure": _nested,
    "weights": _nested,
    "percentile": checks.real(-100, most=100),
    "iterations": checks.integer(),
    "dtype": checks.dtype_name,
    "output": checks.dtype_name,  # a dtype, as in scipy
    "threshold": checks.any_of(checks.real(), checks.one_of("otsu")),
}

# These may be a list with one value for each filtered axis.
_EACH_AXIS = frozenset({"sigma", "radius", "order", "mode", "size", "origin"})

# As in scipy, these smooth along all grid axes, whatever `axes` says.
_ALL_AXES = {
    "gaussian_gradient_magnitude": frozenset({"sigma", "radius"}),
    "gaussian_laplace": frozenset({"radius"}),
}

# Annotations of what a job file cannot say.
_NO_VALUES = ("None", "Field")

# What would change the result of an earlier step.
_HIDDEN = ("in_place",)

_SCALARS = frozenset({"bool", "float", "int", "str"})


@dataclass(frozen=True)
class Parameter:
    """One parameter of a filter: its annotation as text, and its default as text (None: it must be given)."""

    name: str
    annotation: str
    default: str | None

    def check(self, value: Any) -> str | None:
        """Return what was expected if `value` is not valid, else None. Local."""
        if isinstance(value, list) and self.annotation.removesuffix(" | None") in _SCALARS:
            return "one value, not a list"
        if self.name in ("radius", "size") and "float" in self.annotation:  # a Gaussian's sigma, or of a spectrum
            return _BY_NAME["sigma"](value)
        if self.name in _BY_NAME and self._is_usual():
            return _BY_NAME[self.name](value)
        if "Sequence[str]" in self.annotation:
            return (checks.any_of(checks.text, _TEXTS) if self.annotation.startswith("str |") else _TEXTS)(value)
        kinds = [check for word, check in _BY_TYPE if word in self.annotation]
        return checks.any_of(*kinds)(value) if kinds and "Any" not in self.annotation else None

    def _is_usual(self) -> bool:
        """Whether its name means what it mostly does: the default tells, as `mode` of find_boundaries does."""
        try:
            default = ast.literal_eval(self.default or "None")
        except ValueError:
            return True
        return default is None or _BY_NAME[self.name](list(default) if isinstance(default, tuple) else default) is None


_TEXTS = checks.list_of(checks.text)
_BY_TYPE: tuple[tuple[str, Check], ...] = (
    ("bool", checks.flag),
    ("float", checks.real()),
    ("int", checks.integer()),
    ("str", checks.text),
    *((word, _nested) for word in ("Sequence", "tuple", "list", "ArrayLike", "NDArray", "ndarray")),
)


def known_filters() -> list[str]:
    """Return the names that a step's `filter` may have. Local."""
    return sorted({*step_functions(), *OPERATIONS, EXPRESSION})


def is_filter(name: str) -> bool:
    """Whether a step may name it. Local."""
    return name in OPERATIONS or name == EXPRESSION or is_step(name)


def results_taken(name: str) -> dict[str, bool]:
    """Return the keys by which a step names the results that a function takes, and whether each is needed. Local.

    The first is what `input` names, too.
    """
    return {} if name in OPERATIONS or name == EXPRESSION else results_of(name)


def function(name: str) -> Callable[..., Any]:
    """Return the function that a step names. Local; imports it, and with it MPI."""
    filter_function: Callable[..., Any] = getattr(importlib.import_module(module_of(name)), name)
    return filter_function


def check_parameters(name: str, given: Mapping[str, Any], named: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong) for the parameters given to a filter; key "filter" for the step itself. Local.

    `named` are the keys that name results.
    """
    known = {p.name: p for p in parameters_of(name)}
    fields = results_taken(name)
    for key, value in given.items():
        if name == EXPRESSION and key not in known:
            # Any other key names a number for the expression.
            if wrong := checks.real()(value):
                yield key, f"{key} = {checks.shown(value)}; expected {wrong}"
        elif key not in known:
            if key not in fields:
                yield key, f"there is no parameter {key!r}{_nearest(key, [*known, *[*fields][1:]])}"
            else:
                yield key, f"{key} = {checks.shown(value)}; expected the name of an earlier step, in quotes"
        elif wrong := known[key].check(value):
            yield key, f"{key} = {checks.shown(value)}; expected {wrong}"
    yield from _missing(known, fields, {*given, *named})


def _missing(
    known: Mapping[str, Parameter], fields: Mapping[str, bool], given: Container[str]
) -> Iterator[tuple[str, str]]:
    """Yield what must be given and is not: parameters, and results that are named by keys."""
    # As in scipy, the window's extent or its shape.
    windows = [key for key in ("size", "footprint", "structure") if key in known]
    if len(windows) > 1 and not any(key in given for key in windows):
        yield "filter", f"a window is missing; give {' or '.join(windows)}"
    for parameter in known.values():
        if parameter.default is None and parameter.name not in given:
            yield "filter", f"the parameter {parameter.name!r} is missing"
    for key in [*fields][1:]:
        if fields[key] and key not in known and key not in given:
            yield "filter", f'the result {key!r} is missing; name an earlier step, as in {key} = "..."'


def check_axes(name: str, given: Mapping[str, Any], ndim: int) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong) for parameters of a filter that do not fit a grid of `ndim` axes. Local.

    The filters check this themselves; but here it is known before the first step has run.
    """
    listed = {key: value if isinstance(value, list) else [value] for key, value in given.items()}
    for key in ("axis", "axes"):
        if any(not -ndim <= value < ndim for value in listed.get(key, [])):
            yield key, f"{key} = {checks.shown(given[key])}; the grid has {ndim} axes, {-ndim} to {ndim - 1}"
    count = len(listed["axes"]) if "axes" in given else ndim
    for key in sorted(_EACH_AXIS & given.keys()):
        right = ndim if key in _ALL_AXES.get(name, ()) else count
        if isinstance(given[key], list) and len(given[key]) != right:
            values = f"{len(given[key])} values for {right} filtered axes"
            yield key, f"{key} = {checks.shown(given[key])} has {values}; give one for all, or {right}"


def _nearest(key: str, known: list[str]) -> str:
    """As errors.nearest, but with the step's own keys among the candidates and apart from the list of parameters."""
    keys = ("name", "input", "save", "filter")
    close = difflib.get_close_matches(key, [*known, *keys], n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return nearest(key, known) if known else "; it takes none"


@functools.cache
def parameters_of(name: str) -> tuple[Parameter, ...]:
    """Return the parameters of a filter, less the field itself. Local; imports nothing."""
    if name in OPERATIONS:
        return ()
    if name == EXPRESSION:
        return (Parameter(EXPRESSION, "str", None),)
    definition = definition_of(name)
    arguments = definition.args
    ordered = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(ordered) - len(arguments.defaults)) + [*arguments.defaults]
    pairs = [*zip(ordered, defaults, strict=True)][1:]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return tuple(
        Parameter(
            argument.arg,
            _annotation(argument),
            ast.unparse(default) if default else None,
        )
        for argument, default in pairs
        if argument.arg not in _HIDDEN
        and not (argument.annotation and ast.unparse(argument.annotation).startswith(_NO_VALUES))
    )


def _annotation(argument: ast.arg) -> str:
    text = ast.unparse(argument.annotation) if argument.annotation else "Any"
    return text.replace(" | Field", "") if argument.arg == "output" else text
