"""The reference is the docstrings: every public name has its sections, and every example in them runs and is right."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
from typing import TYPE_CHECKING, Any

import pytest
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate

import mpibatch as mb
from tests.support.examples import environment, examples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Launch

# The packages that `mpibatch` names, itself, and the plugin of pytest. A name that several have is that of the first.
VALUES = [getattr(mb, name) for name in mb.__all__]
MODULES = [value for value in VALUES if inspect.ismodule(value) and hasattr(value, "__all__")]
PACKAGES = [*sorted({*(module.__name__ for module in MODULES), "mpibatch.testing"}), "mpibatch"]
# numpydoc's: parameters that are missing, and that there are not; no section on what is returned; no example.
WATCHED = {"PR01", "PR02", "RT01", "EX01"}
# In annotations: what is not this package's, its names for arrays and dicts, and `Typed`, which back ends take.
UNLISTED = {"Any", "Iterator", "MPI", "Intracomm", "Mapping", "NDArray", "NoReturn", "None"}
UNLISTED |= {"Array", "Ints", "Line", "Header", "Typed"}


def public() -> Iterator[tuple[str, Any]]:
    """Every public function, class and method, under its dotted name."""
    known = set()
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            # What functools.cache and the like make of a function is none to inspect.
            if not (inspect.isroutine(inspect.unwrap(value)) or inspect.isclass(value)) or value in known:
                continue
            known.add(value)
            yield f"{package}.{name}", value
            if inspect.isclass(value):
                yield from ((f"{package}.{name}.{method}", getattr(value, method)) for method in methods(value))


def methods(kind: type) -> list[str]:
    """The public methods that a class has from this package; pytest's hooks are not called by anyone else."""
    own = [vars(base) for base in kind.__mro__ if base.__module__.startswith("mpibatch")]
    names = {name for members in own for name, value in members.items() if callable(value) or is_bound(value)}
    return sorted(name for name in names if not name.startswith(("_", "pytest_")))


def is_bound(value: object) -> bool:
    return isinstance(value, classmethod | staticmethod)


PUBLIC = dict(public())


def errors_of(name: str) -> list[str]:
    """What the docstring of a name lacks."""
    errors = [text for code, text in validate(name)["errors"] if code in WATCHED]
    if not inspect.isclass(PUBLIC[name]) and not re.search(r"\b(Collective|Local)\b", PUBLIC[name].__doc__ or ""):
        errors.append("neither Collective nor Local")
    return errors


def test_every_public_name_is_documented() -> None:
    errors = {name: errors_of(name) for name in PUBLIC}
    assert not {name: texts for name, texts in errors.items() if texts}


def test_what_is_returned_is_public() -> None:
    known = {name.rpartition(".")[2] for name in PUBLIC} | UNLISTED
    returned = {
        name: set(re.findall(r"\b[A-Z]\w+", str(inspect.signature(value).return_annotation)))
        for name, value in PUBLIC.items()
        if not inspect.isclass(value)
    }
    assert not {name: words - known for name, words in returned.items() if words - known}


def test_defaults_are_those_of_the_signature() -> None:
    wrong = []
    for name, value in PUBLIC.items():
        parameters = get_doc_object(value)["Parameters"]
        signature = inspect.signature(value).parameters if parameters else {}
        for parameter in parameters:
            stated = re.search(r"\bdefault:? (.+)$", parameter.type)
            if stated is None or not is_literal(stated[1]):
                continue
            defaults = {repr(signature[each].default) for each in parameter.name.split(", ") if each in signature}
            if defaults != {repr(ast.literal_eval(stated[1]))}:
                wrong.append(f"{name}: {parameter.name} is {', '.join(defaults)}, not {stated[1]}")
    assert not wrong


def is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return False
    return True


@pytest.mark.parametrize("ranks", [1, 2])
def test_examples_are_right(launch: Launch, tmp_path: Path, ranks: int) -> None:
    names = [*PACKAGES, *PUBLIC]
    lines = [line for test in examples(names) for line in test.examples]
    count = sum(not line.options.get(doctest.SKIP, False) for line in lines)
    done = launch(ranks, "-m", "tests.support.examples", *names, timeout=300, cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{count} examples\n"
