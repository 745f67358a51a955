#!/usr/bin/env python3
"""Strike out, in pyproject.toml, the exceptions from a rule that no file needs any more: `scripts/_exceptions.py`.

With `--add` exceptions are made for all files that break a rule now: for the day on which a rule comes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
# Rules that came when much was written already, and why a file may break them.
WATCHED = {
    "C901": "many branches of one kind: a line for each exception, operation of the language, or key",
    "PLR0913": "as many parameters as scipy and scikit-image have, or as a program, a file and a run have settings",
    "FBT": "truth values by position: scipy's and scikit-image's, and ours from before this rule",
}
BEGIN, END = '"mpibatch/**/_loops/*"', "\n[tool.ruff.lint.mccabe]"
WIDTH = 120


def offenders() -> dict[str, set[str]]:
    """Return the files that break each watched rule, but for those in rooms that are excepted as a whole."""
    command = [sys.executable, "-m", "ruff", "check", "--config", "lint.per-file-ignores={}", "--output-format=json"]
    done = subprocess.run(
        [*command, "--select", ",".join(WATCHED), "."], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    by_rule: dict[str, set[str]] = {rule: set() for rule in WATCHED}
    for hit in json.loads(done.stdout):
        file = str(Path(hit["filename"]).relative_to(REPOSITORY))
        for rule in WATCHED:
            is_excepted = "/_loops/" in file or (rule == "FBT" and file.startswith("tests/"))
            if hit["code"].startswith(rule) and not is_excepted:
                by_rule[rule].add(file)
    return by_rule


def listed(text: str) -> dict[str, set[str]]:
    """Return the files that pyproject.toml excepts, one by one, from each watched rule."""
    by_rule: dict[str, set[str]] = {rule: set() for rule in WATCHED}
    for pattern, rule in re.findall(r'^"([^"*]+)" = \["(\w+)"\]$', text, flags=re.MULTILINE):
        braces = re.fullmatch(r"(.*)\{(.*)\}(.*)", pattern)
        if rule in by_rule:
            by_rule[rule] |= {braces[1] + name + braces[3] for name in braces[2].split(",")} if braces else {pattern}
    return by_rule


def lines_of(rule: str, files: set[str]) -> list[str]:
    """Return the lines of pyproject.toml that except files from a rule, those of one package together."""
    by_package: dict[str, list[str]] = defaultdict(list)
    for file in sorted(files):
        package = "/".join(file.split("/")[: 2 if file.startswith("mpibatch/") else 1])
        by_package[package].append(file.removeprefix(f"{package}/").removesuffix(".py"))
    lines = []
    for package, names in by_package.items():
        rows: list[list[str]] = [[]]
        for name in names:
            if rows[-1] and len(_line(package, [*rows[-1], name], rule)) > WIDTH:
                rows.append([])
            rows[-1].append(name)
        lines += [_line(package, row, rule) for row in rows]
    return lines


def _line(package: str, names: list[str], rule: str) -> str:
    place = names[0] if len(names) == 1 else f"{{{','.join(names)}}}"
    return f'"{package}/{place}.py" = ["{rule}"]'


def main(arguments: list[str]) -> None:
    path = REPOSITORY / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    needed, excepted = offenders(), listed(text)
    lines = []
    for rule, reason in WATCHED.items():
        files = needed[rule] if "--add" in arguments else needed[rule] & excepted[rule]
        lines += [f"# -- {reason}", *lines_of(rule, files)] if files else []
    begin = text.index("\n", text.index(BEGIN)) + 1
    path.write_text(text[:begin] + "\n".join(lines) + "\n" + text[text.index(END) :], encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
