"""Write mpibatch/guide/architecture.md from the packages' own docstrings and the layers that a test holds them to."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "mpibatch"
CHAPTER = PACKAGE / "guide" / "architecture.md"

HEAD = """\
# Architecture

Each part knows only those above it; `tests/test_layers.py` reads the imports. Importing `mpibatch` loads neither MPI
nor NumPy: names are found when they are first used.

| part | what it is |
|---|---|
"""
TAIL = """
**The way of data.** A Field is created on its Grid once; halos are filled where they are read; results leave through
`io`. A kernel's text becomes a parsed form, a footprint and compiled loops; a call looks up its plan, starts the
exchange, computes the inner cells, waits, and computes the rest. `halo.plan` is pure and known for any rank; stages
only carry it out, by messages or, within a node, by slots of a shared window: each rank cuts its own, and says in the
message's place where a face lies, so that fields stay private memory, and exchanges a matter of each rank. `save` lays
a file out, lets all ranks write, seals and renames it.
"""


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


def text(layers: tuple[tuple[str, ...], ...]) -> str:
    """Return the chapter."""
    rows = []
    for row in layers:
        for part in row:
            path = PACKAGE / part.replace(".", "/")
            home = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            if home.exists():
                rows.append(f"| `{part}` | {first_line(home).rstrip('.').replace('|', '/')} |")
    return HEAD + "\n".join(rows) + "\n" + TAIL


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    from tests.test_layers import LAYERS

    CHAPTER.write_text(text(LAYERS), encoding="utf-8")
