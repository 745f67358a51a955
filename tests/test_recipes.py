"""Recipes of containers and package managers: generated from pyproject.toml, and right as far as can be seen here."""

from __future__ import annotations

import ast
import shutil
import subprocess
import tomllib
from typing import Any

import pytest

from scripts import _recipes

RECIPES = _recipes.recipes()
DOCUMENT = tomllib.loads((_recipes.REPOSITORY / "pyproject.toml").read_text())
PROJECT = DOCUMENT["project"]
NAMES = [line.partition(">=")[0] for line in PROJECT["dependencies"]]


def test_they_are_what_is_generated() -> None:
    there = {path.name: path.read_text() for path in _recipes.FOLDER.iterdir()}
    assert there == RECIPES, "run scripts/_recipes.py"


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith(("spack", "conda", "mpibatch-"))])
def test_every_dependency_is_named(name: str) -> None:
    text = RECIPES[name].lower()
    if name.endswith(".eb"):  # they are in modules of other names
        text = " ".join(need for need, (module, *_) in _recipes.MODULES.items() if f"('{module.lower()}'," in text)
    assert [need for need in NAMES if need not in text] == []


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_the_easyconfig_names_exact_versions_that_are_new_enough() -> None:
    """Which versions a generation of the toolchain has is EasyBuild's: these are from its own easyconfigs."""
    least = dict(line.split(">=") for line in PROJECT["dependencies"])
    assert [need for need in NAMES if numbers(_recipes.MODULES[need][2]) < numbers(least[need])] == []
    assert numbers(_recipes.TOOLCHAIN_PYTHON) >= numbers(PROJECT["requires-python"].removeprefix(">="))
    (build,) = DOCUMENT["build-system"]["requires"]
    assert numbers(_recipes.TOOLCHAIN_HATCHLING) >= numbers(build.removeprefix("hatchling>="))
    read: dict[str, Any] = {}
    exec(next(text for name, text in RECIPES.items() if name.endswith(".eb")), read)
    modules = [("Python", _recipes.TOOLCHAIN_PYTHON), *(module[:2] for module in _recipes.MODULES.values())]
    assert sorted(read["dependencies"]) == sorted({*modules})
    assert read["exts_list"] == [("mpibatch", read["version"])]


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


def test_lua_can_read_the_module() -> None:
    lua = shutil.which("luac") or shutil.which("luac5.4")
    if lua is None:
        pytest.skip("needs luac (lua5.4)")
    subprocess.run([lua, "-p", str(_recipes.FOLDER / "lmod.lua")], check=True, timeout=30)


def test_conda() -> None:
    yaml = pytest.importorskip("yaml")
    recipe = yaml.safe_load(RECIPES["conda-meta.yaml"].replace("{{ PYTHON }}", "python"))
    assert recipe["build"]["noarch"] == "python"
    assert [line.split()[0] for line in recipe["requirements"]["run"]] == ["python", *NAMES]
