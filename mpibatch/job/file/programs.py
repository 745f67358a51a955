"""Which programs a simulation may name, and what their parameters may be.

A program is a module of `mpibatch.apps`, or a Python file of the user's. It is found by its name and imported, which
loads no MPI (a kernel is only read then): nothing here knows any of them.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import sys
import types
import typing
from pathlib import Path
from typing import Any

from mpibatch.base.errors import MpibatchError, RunError, UsageError, nearest
from mpibatch.base.processes.launch import collect_as_usual
from mpibatch.job.document import checks
from mpibatch.job.document.tables import Key
from mpibatch.job.places import placed
from mpibatch.simulate.parameters import Range

if typing.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mpibatch.job.document.checks import Check

__all__ = ["COMMON", "Program", "find", "known_programs"]

# What [simulation] has beside a program's parameters, none of which may bear these names.
COMMON: Mapping[str, Key] = {
    "program": Key(checks.text, required=True),
    "until": Key(checks.real(above=0)),
    "steps": Key(checks.integer(1)),
    "check_every": Key(checks.integer(0)),
}

_APPS = "mpibatch.apps"
_PLAIN: Mapping[Any, Check] = {float: checks.real(), int: checks.integer(), bool: checks.flag, str: checks.text}


@dataclasses.dataclass(frozen=True)
class Program:
    """A program: its name, the first line of its docstring, and its module."""

    name: str
    title: str
    module: types.ModuleType

    def defaults(self) -> dict[str, Any]:
        """Return all parameters and their defaults. Local."""
        return {field.name: field.default for field in dataclasses.fields(self.module.Parameters)}

    def problems(self, given: Mapping[str, Any], others: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
        """Yield (key, what is wrong) for each parameter that is not valid; "" for what several say. Local.

        `others` are keys that may stand beside the parameters, and be misspelled.
        """
        hints = typing.get_type_hints(self.module.Parameters, include_extras=True)
        known = self.defaults()
        is_clean = True
        for key, value in given.items():
            if key not in known:
                yield key, f"there is no parameter {key!r}{nearest(key, [*known, *others])}"
                is_clean = False
            elif wrong := _check(hints[key])(value):
                yield key, f"{key} = {checks.shown(value)}; expected {wrong}"
                is_clean = False
        if is_clean:
            try:
                self.parameters(given)
            except UsageError as error:
                yield "", str(error)

    def described(self) -> Iterator[tuple[str, str, str]]:
        """Yield (name, default, what it may be) of each parameter, as a job file has them. Local."""
        hints = typing.get_type_hints(self.module.Parameters, include_extras=True)
        for name, default in self.defaults().items():
            # Nothing in a job file is such an object: every check says what it expects instead.
            expected = _check(hints[name])(object()) or "anything"
            yield name, "none" if default is None else checks.shown(_listed(default)), expected

    def parameters(self, given: Mapping[str, Any]) -> Any:
        """Return the program's Parameters. Local. `given` has passed `problems`."""
        hints = typing.get_type_hints(self.module.Parameters, include_extras=True)
        return self.module.Parameters(**{key: _converted(hints[key], value) for key, value in given.items()})


def known_programs() -> list[str]:
    """Return the names of the programs in mpibatch.apps. Local."""
    spec = importlib.util.find_spec(_APPS)
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    # One that is a folder has its job file beside it.
    return sorted(
        {path.stem for folder in folders for ending in ("py", "toml") for path in Path(folder).glob(f"[!_]*.{ending}")}
    )


def find(name: str) -> Program:
    """Return the program of this name, or in this Python file. Local. Raises UsageError or RunError."""
    if name.endswith(".py"):
        module = _from_file(Path(name))
    elif name in known_programs():
        module = importlib.import_module(f"{_APPS}.{name}")
    else:
        raise UsageError(f"unknown program {name!r}{nearest(name, known_programs())} (or a file that ends in .py)")
    for attribute in ("Parameters", "run"):
        if not hasattr(module, attribute):
            raise UsageError(f"the program {name!r} has no {attribute!r}; see mpibatch.apps for what a program has")
    _check_parameters(name, module.Parameters)
    title = (module.__doc__ or name).strip().splitlines()[0].rstrip(".")
    return Program(name, title, module)


def _check_parameters(name: str, declared: Any) -> None:
    if not dataclasses.is_dataclass(declared):
        raise UsageError(f"Parameters of the program {name!r} is no dataclass; put @dataclass(frozen=True) before it")
    if hidden := [f.name for f in dataclasses.fields(declared) if f.name in COMMON]:
        raise UsageError(
            f"the program {name!r} has the parameter {hidden[0]!r}, and [simulation] a key of its own of this name; "
            "rename the parameter"
        )
    without = [f.name for f in dataclasses.fields(declared) if f.default is dataclasses.MISSING]
    if without:
        raise UsageError(f"the program {name!r} has no default for {', '.join(without)}; give one, or None")


def _from_file(path: Path) -> types.ModuleType:
    if not path.is_file():
        raise RunError(f"the program {str(path)!r} does not exist; check the path, which is relative to where you are")
    name = path.stem
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) != str(path):
        name = f"{name}_program"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    collect_as_usual()
    sys.modules[name] = module  # where dataclasses and compiled loops look for what a module holds
    try:
        spec.loader.exec_module(module)
    except MpibatchError:
        raise
    except SyntaxError as error:
        raise UsageError(f"{error.filename or path}:{error.lineno}: not valid Python: {error.msg}") from error
    except Exception as error:
        words = f"{type(error).__name__}: {error}{placed(error, str(path))}"
        raise RunError(f"the program {str(path)!r} failed as it was loaded: {words}") from error
    return module


def _check(hint: Any) -> Check:
    """What a parameter with this annotation accepts."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        allowed = next((extra for extra in inner[1:] if isinstance(extra, Range)), None)
        if allowed is None:
            return _check(inner[0])
        number = checks.real(allowed.least, allowed.above, allowed.most)
        return number if inner[0] is float else _whole(number)
    if origin is typing.Literal:
        return checks.one_of(*inner)
    if origin is tuple:
        return checks.list_of(_check(inner[0]))
    if origin in (typing.Union, types.UnionType):
        # TOML has no None: such a parameter is left out.
        return checks.any_of(*(_check(kind) for kind in inner if kind is not type(None)))
    return _PLAIN.get(hint, lambda value: None)


def _listed(value: Any) -> Any:
    """A value as TOML has it: lists for tuples."""
    return [_listed(item) for item in value] if isinstance(value, tuple | list) else value


def _whole(number: Check) -> Check:
    def check(value: Any) -> str | None:
        wrong = number(value) or (checks.integer()(value) and number(None))
        return wrong and wrong.replace("a finite number", "a whole number")

    return check


def _converted(hint: Any, value: Any) -> Any:
    """The value of TOML as the annotation has it: tuples for lists, 3.0 for 3 where floats are wanted."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _converted(inner[0], value)
    if origin is tuple:
        return tuple(_converted(inner[0], item) for item in value)
    if origin in (typing.Union, types.UnionType):
        fitting = [kind for kind in inner if kind is not type(None) and _check(kind)(value) is None]
        return _converted(fitting[0], value)
    return hint(value) if hint in (int, float) else value
