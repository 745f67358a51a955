"""Recipes of containers and package managers: generated from pyproject.toml, and right as far as can be seen here."""

from __future__ import annotations

import ast
import shutil
import subprocess
import tomllib

import pytest

from scripts import _recipes

RECIPES = _recipes.recipes()
PROJECT = tomllib.loads((_recipes.REPOSITORY / "pyproject.toml").read_text())["project"]
NAMES = [line.partition(">=")[0] for line in PROJECT["dependencies"]]


def test_they_are_what_is_generated() -> None:
    there = {path.name: path.read_text() for path in _recipes.FOLDER.iterdir()}
    assert there == RECIPES, "run scripts/_recipes.py"


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith(("spack", "conda", "mpibatch-"))])
def test_every_dependency_is_named(name: str) -> None:
    text = RECIPES[name].lower()
    assert [need for need in NAMES if need not in text.replace("scipy-bundle", "numpy")] == []


def test_both_images_are_made_by_the_same_steps_and_without_mpi() -> None:
    container, definition = RECIPES["Containerfile"], RECIPES["apptainer.def"]
    for step in _recipes.STEPS:
        assert step in container
        assert step in definition
    for text in (container, definition):
        assert not [word for word in ("mpich", "openmpi", "libmpi-dev") if word in text]


def test_they_can_be_parsed() -> None:
    ast.parse(RECIPES["spack-package.py.txt"])
    ast.parse(next(text for name, text in RECIPES.items() if name.endswith(".eb")))
    if lua := shutil.which("luac"):
        subprocess.run([lua, "-p", str(_recipes.FOLDER / "lmod.lua")], check=True, timeout=30)


def test_conda() -> None:
    yaml = pytest.importorskip("yaml")
    recipe = yaml.safe_load(RECIPES["conda-meta.yaml"].replace("{{ PYTHON }}", "python"))
    assert recipe["build"]["noarch"] == "python"
    assert [line.split()[0] for line in recipe["requirements"]["run"]] == ["python", *NAMES]
