"""The examples of the docstrings, on any number of ranks."""

from __future__ import annotations

import doctest
import importlib

import pytest

from mpibatch import segment

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("name", [*segment.__all__, "pencils"])
def test_example(name: str) -> None:
    home = importlib.import_module(
        getattr(segment, name).__module__ if name != "pencils" else "mpibatch.fields.pencils"
    )
    (test,) = doctest.DocTestFinder(recurse=False).find(getattr(home, name), name)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0
