#!/usr/bin/env python3
"""Strike out, in pyproject.toml, the exceptions from a rule that no file needs any more: `scripts/_exceptions.py`.

None is ever added, and no other line is touched.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
WATCHED = ("C901", "PLR0913", "FBT")  # rules that came when much was written already
LINE = re.compile(r'^"([^"*]+)" = \["(\w+)"\]$', flags=re.MULTILINE)
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
    for pattern, rule in LINE.findall(text):
        braces = re.fullmatch(r"(.*)\{(.*)\}(.*)", pattern)
        if rule in by_rule:
            by_rule[rule] |= {braces[1] + name + braces[3] for name in braces[2].split(",")} if braces else {pattern}
    return by_rule


def shortened(text: str, needed: dict[str, set[str]]) -> str:
    """Return pyproject.toml's text with the lines of each rule for those of their files that need them."""
    lines: list[str] = []
    for rule, group in itertools.groupby(text.splitlines(), rule_of):
        if rule in needed:
            lines += lines_of(rule, listed("\n".join(group))[rule] & needed[rule])
        else:
            lines += group
    return "\n".join(lines) + "\n"


def rule_of(line: str) -> str:
    """Return the rule from which a line of pyproject.toml excepts files one by one, or ""."""
    match = LINE.fullmatch(line)
    return match[2] if match else ""


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


if __name__ == "__main__":
    path = REPOSITORY / "pyproject.toml"
    path.write_text(shortened(path.read_text(encoding="utf-8"), offenders()), encoding="utf-8")
