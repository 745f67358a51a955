"""The reference is the docstrings: every public name has its sections, and every example in them runs and is right."""

from __future__ import annotations

import ast
import doctest
import functools
import importlib
import inspect
import re
from typing import TYPE_CHECKING, Any

import pytest
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate

import mpibatch as mb
from mpibatch.domain import MODES, check_mode
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
    if re.search(r"Notes\n *-----\n *Collective\.\n\s*(Examples|$)", PUBLIC[name].__doc__ or ""):
        errors.append("Collective, at what cost?")
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


@functools.cache
def described() -> list[tuple[str, Any, str, str]]:
    """Every documented parameter: its full name, its default in the signature, its type and description."""
    parameters = []
    for name, value in PUBLIC.items():
        entries = get_doc_object(value)["Parameters"]
        signature = inspect.signature(value).parameters if entries else {}
        for entry in entries:
            for each in entry.name.split(", "):
                default = signature[each.lstrip("*")].default
                parameters.append((f"{name}: {each}", default, entry.type, " ".join(entry.desc)))
    return parameters


def states(kind: str, default: Any) -> bool:
    """Whether a parameter's type states its default: "optional" stands for None, which the description explains."""
    stated = re.search(r"\bdefault (.+)$", kind)
    if default is inspect.Parameter.empty:
        return stated is None and "optional" not in kind
    if default is None:
        return "optional" in kind or "None" in kind
    # What a dataclass makes anew for each object has no value here.
    return stated is not None and (literal(stated[1]) == literal(repr(default)) or repr(default) == "<factory>")


def literal(text: str) -> str:
    """A literal as Python writes it; other text, such as inf, as it is."""
    try:
        return repr(ast.literal_eval(text))
    except (SyntaxError, ValueError):
        return text


def test_defaults_are_those_of_the_signature() -> None:
    wrong = [
        f"{name} is {default!r}, not {kind}" for name, default, kind, _ in described() if not states(kind, default)
    ]
    assert not wrong


def test_defaults_that_are_not_stated_are_found() -> None:
    kinds = ["int, default 3", "int", "int, optional", "int, default 3.0", "int, default inf"]
    assert [states(kind, 3) for kind in kinds] == [True, False, False, False, False]
    assert states('str, default "f8"', "f8")
    assert not states("str, default f8", "f8")
    assert not states("int", None)
    assert not states("int, default 3", inspect.Parameter.empty)


# A description of a sentence that names another function, and nothing that this one takes.
REFERENCE = re.compile(r"(?:As|Like|See)\b[^.:;]*`[^`]+`[^.:;]*\.?")


def test_parameters_are_written_out() -> None:
    wrong = [name for name, _, kind, text in described() if not kind or not text or REFERENCE.fullmatch(text)]
    assert not wrong
    assert REFERENCE.fullmatch("As for `sum`, but not complex.")
    assert not REFERENCE.fullmatch("As in NumPy: integers and slices.")


def test_boundary_modes_are_listed() -> None:
    """So that no user has to look up which there are."""
    modes = {check_mode(mode) for mode in MODES}
    parameters = [(name, text) for name, default, _, text in described() if default in MODES or "boundary mode" in text]
    assert len(parameters) > 30
    assert not [name for name, text in parameters if not modes <= {*re.findall(r'"(\w+)"', text)}]


@pytest.mark.parametrize("ranks", [1, 2])
def test_examples_are_right(launch: Launch, tmp_path: Path, ranks: int) -> None:
    names = [*PACKAGES, *PUBLIC]
    lines = [line for test in examples(names) for line in test.examples]
    count = sum(not line.options.get(doctest.SKIP, False) for line in lines)
    done = launch(ranks, "-m", "tests.support.examples", *names, timeout=300, cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{count} examples\n"
