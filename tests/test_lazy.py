"""What a type checker and an editor know of the package's public names, and that this is what Python finds."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import mpibatch as mb

PACKAGE = Path(__file__).resolve().parent.parent / "mpibatch"
LAZY = sorted(path for path in PACKAGE.rglob("__init__.py") if "attach(" in path.read_text())


def typed_imports(path: Path) -> dict[str, str]:
    """Return what the package's TYPE_CHECKING block imports: name -> module."""
    blocks = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    return {
        alias.name: node.module or ""
        for block in blocks
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("path", LAZY, ids=lambda path: f"names of {path.parent.relative_to(PACKAGE)}")
def test_type_checkers_know_what_python_finds(path: Path) -> None:
    name = ".".join(path.parent.relative_to(PACKAGE.parent).parts)
    package = importlib.import_module(name)
    typed = typed_imports(path)
    defined = {n for n in package.__all__ if n in vars(package) and n not in typed}
    assert typed.keys() | defined >= set(package.__all__)
    assert typed.keys() <= set(package.__all__)
    for public, home in typed.items():
        found = getattr(package, public)
        module = importlib.import_module(home)
        if not (public == "stencil" and name == "mpibatch"):  # the package, which can be called as its function
            assert found is (sys.modules[f"{home}.{public}"] if home == name else getattr(module, public))
        assert public in dir(package)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = package.nonsense


PROGRAM = """\
import mpibatch as mb

grid = mb.Grid((64, 64), periodic=(True, False))
u: mb.Field = grid.zeros("f8", halo=1)
smooth: mb.Field = mb.filters.gaussian_filter(u, sigma=2.0, mode="nearest")
total: float = mb.sum(smooth)
mb.save("out.h5", smooth=smooth)
"""
WRONG = (
    ("mb.Grid('nonsense', no_such_option=3)", "call-arg"),
    ("mb.Grid(3.5)", "arg-type"),
    ("mb.load(5)", "arg-type"),
    ("mb.filters.gaussian_filter(u)", "call-arg"),
    ("mb.filters.gaussian_filter([1.0], 2.0)", "arg-type"),
    ("mb.smooth(u)", "attr-defined"),
    ("mb.filters.smooth(u)", "attr-defined"),
    ("mb.gather(u, rooot=0)", "call-arg"),
    ("mb.iterate(u, steps='many')", "arg-type"),
    ("mb.sum(u) + 'm'", "operator"),
)


def test_wrong_programs_do_not_pass_a_type_checker(tmp_path: Path) -> None:
    """One run of mypy --strict: each wrong line has its error, and the right ones have none."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM + "".join(f"{line}\n" for line, _ in WRONG))
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file",
        "",
        "--cache-dir",
        str(tmp_path),
        str(program),
    ]
    environment = {"MYPYPATH": str(PACKAGE.parent), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*command, "--follow-imports", "silent"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        env=environment,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("program.py")]
    first = PROGRAM.count("\n") + 1
    for number, (text, kind) in enumerate(WRONG, first):
        hits = [line for line in lines if line.startswith(f"program.py:{number}:")]
        assert any(f"[{kind}]" in line for line in hits), f"{text}: {hits or done.stdout}"
    assert all(int(line.split(":")[1]) >= first for line in lines), done.stdout


def test_names_complete_in_an_interactive_session() -> None:
    assert {"Grid", "filters", "save", "stencil"} <= set(dir(mb))
    assert "gaussian_filter" in dir(mb.filters)
