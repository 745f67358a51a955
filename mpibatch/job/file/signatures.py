"""The functions that a step may name, with their signatures, read from their source without importing them.

They are the public functions of `mpibatch.filters`, `measure`, `segment`, `resample`, `projections`, `fft` and
`solve`, and `fftconvolve`, whose signatures a job file can meet: a Field is their first parameter, and a Field, a
table or a number comes of it. A package tells its names and their modules by the imports in its ``__init__``; a
signature comes from a module's syntax tree. Checking a job must not start MPI nor load compiled loops.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from pathlib import Path

from mpibatch import filters
from mpibatch.base.errors import RunError

__all__ = ["THRESHOLDS", "definition_of", "is_step", "module_of", "results_of", "step_functions"]

_OWN = {"binarize": "mpibatch.job.execution.steps", "convert": "mpibatch.job.execution.steps"}
_PACKAGES = (
    "mpibatch.measure", "mpibatch.segment", "mpibatch.fourier", "mpibatch.fourier.fft", "mpibatch.solve",
    "mpibatch.resample", "mpibatch.projections",
)  # fmt: skip
# Filters that return numbers: as a step they are the mask of what is above, or the number of thresholds that are below.
THRESHOLDS = (
    "threshold_isodata", "threshold_li", "threshold_multiotsu", "threshold_otsu", "threshold_triangle", "threshold_yen",
)  # fmt: skip
# What comes of a step: a Field, one with how many objects it has, or with maps of its labels, which only programs can
# use; a table; and any of them, as parameters say.
_KINDS = ("Field", "tuple[Field, int]", "tuple[Field, LabelMap, LabelMap]", "RegionTable", "Any")


def step_functions() -> list[str]:
    """Return the names of all functions that a step may name. Local; imports nothing."""
    return sorted(name for name in _modules() if is_step(name))


@functools.cache
def is_step(name: str) -> bool:
    """Whether a step may name a function. Local; imports nothing."""
    if name not in _modules():
        return False
    if not _modules()[name].startswith(_PACKAGES):
        return True
    definition = definition_of(name)
    arguments = [*definition.args.posonlyargs, *definition.args.args]
    first = arguments[0].annotation if arguments else None
    # Measures of values by label give an array for the `index` that a program asks about; a table has them by label.
    is_indexed = any(argument.arg == "index" for argument in arguments)
    returned = ast.unparse(definition.returns) if definition.returns else ""
    return first is not None and ast.unparse(first) == "Field" and returned in _KINDS and not is_indexed


def module_of(name: str) -> str:
    """Return the module of a function. Local."""
    return _modules()[name]


@functools.cache
def results_of(name: str) -> dict[str, bool]:
    """Return the parameters that are Fields, the first before all, and whether each must be given. Local.

    `output` is none of them: in a job file it is a dtype, since a step overwrites no earlier result.
    """
    definition = definition_of(name)
    arguments = definition.args
    ordered = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(ordered) - len(arguments.defaults)) + [*arguments.defaults]
    pairs = [*zip(ordered, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return {
        argument.arg: default is None
        for argument, default in pairs
        if argument.arg != "output" and argument.annotation and "Field" in ast.unparse(argument.annotation).split(" | ")
    }


def definition_of(name: str) -> ast.FunctionDef:
    """Return the syntax tree of a function. Local; imports nothing."""
    module = _modules()[name]
    for node in _tree(module).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    raise RunError(f"{name} is not defined in {module}: the table of functions is wrong")


@functools.cache
def _tree(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise RunError(f"the module {module} was not found; is mpibatch fully installed?")
    return ast.parse(Path(spec.origin).read_text("utf-8"))


@functools.cache
def _modules() -> dict[str, str]:
    """The module of every function that a step may name, and of others that its package has."""
    homes = {name: module for package in _PACKAGES for name, module in _imports(package)}
    functions = {name: module for name, module in homes.items() if not name[:1].isupper()}
    return {**functions, **filters.MODULES, **_OWN}


def _imports(package: str) -> list[tuple[str, str]]:
    """The names that a package imports for type checkers, with their modules."""
    return [
        (alias.name, node.module)
        for node in ast.walk(_tree(package))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{package}.")
        for alias in node.names
    ]
