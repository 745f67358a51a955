"""Options of all commands and scripts: none can be abbreviated, and a near miss is answered with the right name."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mpibatch.cli import main
from mpibatch.cli._entry import parser

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


def parsers(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


def long_options(command: argparse.ArgumentParser) -> list[str]:
    return [name for name in command._option_string_actions if name.startswith("--")]


def test_no_option_of_any_command_can_be_abbreviated(capsys):
    walked = list(parsers(parser()))
    assert len(walked) > 15
    for command in walked:
        assert not command.allow_abbrev
        for option in long_options(command):
            for end in range(3, len(option)):
                if option[:end] in long_options(command):
                    continue
                with pytest.raises(SystemExit, match="2"):
                    command.parse_args([option[:end], "128"])
                message = capsys.readouterr().err
                assert f"there is no option {option[:end]}; did you mean " in message
                assert option in message.partition("did you mean")[2]


def test_every_parser_of_the_repository_refuses_abbreviations():
    makers = 0
    for path in sorted({*ROOT.glob("mpibatch/**/*.py"), *ROOT.glob("scripts/*.py")}):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("argparse.ArgumentParser", "ArgumentParser"):
                makers += 1
                given = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert given.get("allow_abbrev") == "False", f"{path}:{node.lineno}: give allow_abbrev=False"
    assert makers >= 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("submit job.toml --ntasks 128", "there is no option --ntasks; did you mean --ntasks-per-node?"),
        ("submit --ntasks=128 job.toml", "there is no option --ntasks; did you mean --ntasks-per-node?"),
        ("run job.toml --resum", "did you mean --resume?"),
        ("run --dryrun", "did you mean --dry-run?"),
        (
            "info x.h5 --digets --jsn",
            "--digets; did you mean --digest?; there is no option --jsn; did you mean --json?",
        ),
        ("verify x.h5 --nothing-like-it", "there is no option --nothing-like-it\n"),
        ("--versoin", "did you mean --version?"),
    ],
)
def test_a_near_miss_is_answered(arguments, words, capsys):
    assert main(arguments.split()) == 2
    assert words in capsys.readouterr().err


def test_what_only_looks_like_an_option_is_none(capsys):
    assert main(["info", "--", "--digets"]) == 1
    assert "cannot read '--digets': there is no such file" in capsys.readouterr().err
    assert main(["info", "--no such.h5"]) == 1
