"""A checkup as text for a terminal, and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Any

from mpibatch import __version__
from mpibatch.tools.doctor.finding import Finding, exit_code

if TYPE_CHECKING:
    from mpibatch.tools.doctor.checkup import Checkup

__all__ = ["SCHEMA", "as_json", "as_text"]

SCHEMA = 1
_SIGNS = {"ok": "✓", "warning": "!", "error": "✗", "skipped": "-"}
_PLAIN = {"ok": "ok", "warning": "!", "error": "X", "skipped": "-"}
_COLORS = {"ok": "32", "warning": "33", "error": "31", "skipped": "2"}
_LEAST_WIDTH = 60


def as_json(checkup: Checkup) -> str:
    """Return a report for programs. Local.

    Keys: ``schema``, ``version``, ``exit_code``, ``ranks``, ``seconds``, ``findings`` (with ``check``, ``level``,
    ``found`` and ``advice``), ``environment``. Keys and names of checks change only with the schema's number.
    """
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "version": __version__,
        "exit_code": exit_code(checkup.findings),
        "ranks": checkup.ranks,
        "seconds": round(checkup.seconds, 3),
        "findings": [
            {"check": finding.check, "level": finding.level, "found": finding.message, "advice": finding.advice}
            for finding in checkup.findings
        ],
        "environment": checkup.environment,
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_text(
    checkup: Checkup, *, width: int = 100, verbose: bool = False, quiet: bool = False, color: bool = False,
    plain: bool = False,
) -> str:  # fmt: skip
    """Return a report for people. Local. `verbose` shows what was skipped too; `quiet` only what is not well."""
    levels = {"error", "warning"} | (set() if quiet else {"ok"}) | ({"skipped"} if verbose else set())
    shown = [finding for finding in checkup.findings if finding.level in levels]
    lines = [] if quiet else [_heading(checkup), ""]
    column = max((len(finding.check) for finding in shown), default=0)
    for finding in shown:
        lines += _lines(finding, column, max(width, _LEAST_WIDTH), color, plain)
    if not quiet:
        lines += ["", _summary(checkup, verbose)]
    return "\n".join(lines)


def _heading(checkup: Checkup) -> str:
    hosts = checkup.environment["hosts"]
    where = hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts ({', '.join(hosts[:3])}{', …' * (len(hosts) > 3)})"
    ranks = "one rank" if checkup.ranks == 1 else f"{checkup.ranks} ranks"
    return f"mpibatch {__version__} doctor: {ranks} on {where}, {checkup.environment['folder']['path']}"


def _lines(finding: Finding, column: int, width: int, color: bool, plain: bool) -> list[str]:
    signs = _PLAIN if plain else _SIGNS
    broad = max(map(len, signs.values()))
    sign = signs[finding.level].ljust(broad)
    indent = " " * (broad + column + 4)
    room = width - len(indent)
    first, *rest = textwrap.wrap(finding.message, room, break_on_hyphens=False, break_long_words=False) or [""]
    if color:
        sign = f"\x1b[{_COLORS[finding.level]}m{sign}\x1b[0m"
    lines = [f"{sign}  {finding.check.ljust(column)}  {first}", *(indent + line for line in rest)]
    if finding.advice:
        arrow = "-> " if plain else "→ "
        # What is to be typed stays in one piece where it can.
        words = textwrap.wrap(finding.advice, room - len(arrow), break_on_hyphens=False, break_long_words=False)
        advice = [indent + (arrow if not number else " " * len(arrow)) + line for number, line in enumerate(words)]
        lines += [f"\x1b[1m{line}\x1b[0m" for line in advice] if color else advice
    return lines


def _summary(checkup: Checkup, verbose: bool) -> str:
    levels = Counter(finding.level for finding in checkup.findings)
    code = exit_code(checkup.findings)
    number = {level: f"{levels[level]} {level}{'s' * (levels[level] > 1)}" for level in ("error", "warning")}
    verdict = {
        0: "All is well",
        1: f"It will work, but look at {number['warning']}",
        2: f"It will fail: {number['error']}" + (f", {number['warning']}" if levels["warning"] else ""),
    }[code]
    skipped = levels["skipped"]
    more = f"; {skipped} not tried{'' if verbose else ' (--verbose shows what)'}" if skipped else ""
    return f"{verdict}{more}. {checkup.seconds:.1f} s."
