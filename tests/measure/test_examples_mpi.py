"""The examples in docstrings print what they say, on every rank."""

from __future__ import annotations

import doctest
import importlib

import pytest

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("name", ["labelling", "regions"])
def test_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"mpibatch.measure.{name}"))
    assert results.attempted
    assert not results.failed
