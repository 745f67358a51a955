"""Real files that come with installed packages, written by nobody here."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

__all__ = ["packaged"]


def packaged(package: str, *names: str) -> list[Path]:
    """Return the files of a package with these names, in their order; skip the test, naming the package, if absent."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    known = {str(file): Path(str(file.locate())) for file in files}
    chosen = []
    for name in names:
        path = next((place for key, place in known.items() if key.endswith(name) and place.is_file()), None)
        if path is None:
            pytest.skip(f"{package} is not installed, or without {name}: its files are NOT TESTED")
        chosen.append(path)
    return chosen
