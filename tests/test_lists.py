"""What documents list is what there is: modules, chapters, commands, scripts, programs, profiles, filters."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
from pathlib import Path

import pytest

from mpibatch.cli._entry import parser
from mpibatch.guide import CHAPTERS, chapter

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "mpibatch"
README = (REPOSITORY / "README.md").read_text()
# Of these, a sentence in the docstring refers to a table of names for the rest.
TABLED = {"filters": {module.partition(".")[0] for module in importlib.import_module("mpibatch.filters")._NAMES}}


def docstring_of(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def listed_in(text: str) -> set[str]:
    """The modules that a docstring lists: quoted names of its list, or of the paragraph that speaks of an order."""
    start = re.search(r"in order of dependency|in dependency order", text, re.IGNORECASE)
    if start is None:
        return set()
    first, *others = text[start.start() :].split("\n\n")
    paragraphs = [first, *others[: sum(paragraph.startswith("- ") for paragraph in others[:1])]]
    return {name.partition(".")[0] for name in re.findall(r"``(\w+(?:\.\w+)*)``", "\n".join(paragraphs))}


LISTING = [path for path in sorted(PACKAGE.glob("**/__init__.py")) if listed_in(docstring_of(path))]


@pytest.mark.parametrize("path", LISTING, ids=lambda path: f"list of {path.parent.relative_to(PACKAGE)}")
def test_packages_list_their_modules(path: Path) -> None:
    there = {module.stem for module in path.parent.glob("*.py")} | {
        room.parent.name for room in path.parent.glob("*/__init__.py")
    }
    there -= {"__init__", "__main__", "testing", "guide"}
    part = str(path.parent.relative_to(PACKAGE))
    assert listed_in(docstring_of(path)) | TABLED.get(part, set()) == there


def test_enough_packages_list_their_modules() -> None:
    parts = {str(path.parent.relative_to(PACKAGE)) for path in LISTING}
    assert {".", "checkpoint", "filters", "io", "measure", "reduce", "simulate", "stencil"} <= parts
    assert {f"tools/{tool}" for tool in ("doctor", "planning", "report", "scaling")} <= parts


def test_the_readme_names_every_chapter() -> None:
    assert {*re.findall(r"\[(\w+)\]\(mpibatch/guide/\1\.md\)", README)} == {*CHAPTERS}


def commands(of: argparse.ArgumentParser | None = None) -> dict[str, argparse.ArgumentParser]:
    """The commands of mpibatch, or of one of these."""
    groups = [a for a in (of or parser())._actions if isinstance(a, argparse._SubParsersAction)]
    return {name: command for group in groups for name, command in group.choices.items()}


def options_of(command: argparse.ArgumentParser) -> set[str]:
    own = {option for action in command._actions for option in action.option_strings}
    return own.union(*map(options_of, commands(command).values()))


def test_each_command_has_its_module() -> None:
    """What is no command begins with an underscore."""
    modules = {path.stem for path in (PACKAGE / "cli").glob("*.py") if not path.stem.startswith("_")}
    assert modules == {*commands()}


@pytest.mark.parametrize("name", ["README", *CHAPTERS])
def test_commands_in_documents_exist(name: str) -> None:
    """With their options: also those that cannot be run here (console)."""
    text = README if name == "README" else chapter(name)
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`\n]+)`", text)
    known = commands()
    for line in lines:
        for name, rest in re.findall(r"(?:^|[$(;|] ?|-n \w+ )mpibatch ([a-z]+)\b([^|;)#]*)", line):
            assert name in known, line
            assert {*re.findall(r"(?<=\s)--[a-z][\w-]*", rest)} <= options_of(known[name]), line


def test_scripts_in_documents_exist() -> None:
    documents = [*REPOSITORY.glob("*.md"), *PACKAGE.rglob("*.md"), *PACKAGE.rglob("*.py")]
    named = {name for path in documents for name in re.findall(r"\bscripts/[\w/]+\.\w+", path.read_text())}
    assert not {name for name in named if not (REPOSITORY / name).exists()}


def test_programs_are_listed() -> None:
    programs = {path.stem for path in (PACKAGE / "apps").glob("*.toml")}
    sentence = re.search(r"`mpibatch\.apps` has programs to copy: (.*?)\. ", chapter("kernels"), re.DOTALL)
    assert sentence is not None
    assert set(re.findall(r"`(\w+)`", sentence[1])) == programs


def test_profiles_are_listed() -> None:
    shipped = {path.stem for path in (PACKAGE / "tools/slurm/profiles").glob("*.toml")}
    line = re.search(r"\*\*Profiles\*\*: (.*?) \(", chapter("cluster"), re.DOTALL)
    assert line is not None
    assert set(re.findall(r"`([\w-]+)`", line[1])) == shipped


@pytest.mark.parametrize(("package", "name"), [("filters", "filters"), ("segment", "objects")])
def test_chapters_name_every_function(package: str, name: str) -> None:
    public = {*importlib.import_module(f"mpibatch.{package}").__all__} - {"MODULES", "names"}
    table = re.search(rf"^\| `mb\.{package}` \|.*?\n\n", chapter(name) + "\n\n", re.MULTILINE | re.DOTALL)
    assert table is not None
    assert set(re.findall(r"`(\w+)`", table[0])) == public


def test_each_case_of_the_fields_can_be_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "scripts")
    bench = importlib.import_module("bench_fields")
    documented = set(re.findall(r"\b[a-z]+(?:-[a-z]+)+(?=[,:])", bench.__doc__ or ""))
    assert documented >= {"risk-european", "kmers-sample", "kmers-pair", "tomo-job"}
    for name in documented:
        assert any(name in case for case in (*bench.BENCHES, *bench.CASES)), name
