"""An examination as text for a terminal, and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from typing import Any

from mpibatch import __version__
from mpibatch.tools.doctor.checkup import Examination
from mpibatch.tools.doctor.finding import Finding, exit_code

__all__ = ["SCHEMA", "as_json", "as_text"]

SCHEMA = 1
_SIGNS = {"ok": "✓", "warning": "!", "error": "✗", "skipped": "-"}
_PLAIN = {"ok": "ok", "warning": "!", "error": "X", "skipped": "-"}
_COLOURS = {"ok": "32", "warning": "33", "error": "31", "skipped": "2"}
_LEAST_WIDTH = 60


def as_json(found: Examination) -> str:
    """Return a report for programs. Local.

    Keys: ``schema``, ``version``, ``exit_code``, ``ranks``, ``seconds``, ``findings`` (with ``check``, ``level``,
    ``found`` and ``advice``), ``environment``. Keys and names of checks change only with the schema's number.
    """
    told: dict[str, Any] = {
        "schema": SCHEMA,
        "version": __version__,
        "exit_code": exit_code(found.findings),
        "ranks": found.ranks,
        "seconds": round(found.seconds, 3),
        "findings": [
            {"check": one.check, "level": one.level, "found": one.found, "advice": one.advice} for one in found.findings
        ],
        "environment": found.environment,
    }
    return json.dumps(told, indent=2, ensure_ascii=False)


def as_text(
    found: Examination, *, width: int = 100, verbose: bool = False, quiet: bool = False, colour: bool = False,
    plain: bool = False,
) -> str:  # fmt: skip
    """Return a report for people. Local. `verbose` shows what was skipped too; `quiet` only what is not well."""
    wanted = {"error", "warning"} | (set() if quiet else {"ok"}) | ({"skipped"} if verbose else set())
    shown = [one for one in found.findings if one.level in wanted]
    lines = [] if quiet else [_heading(found), ""]
    column = max((len(one.check) for one in shown), default=0)
    for one in shown:
        lines += _lines(one, column, max(width, _LEAST_WIDTH), colour, plain)
    if not quiet:
        lines += ["", _summary(found, verbose)]
    return "\n".join(lines)


def _heading(found: Examination) -> str:
    hosts = found.environment["hosts"]
    where = hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts ({', '.join(hosts[:3])}{', …' * (len(hosts) > 3)})"
    ranks = "one rank" if found.ranks == 1 else f"{found.ranks} ranks"
    return f"mpibatch {__version__} doctor: {ranks} on {where}, {found.environment['folder']['path']}"


def _lines(one: Finding, column: int, width: int, colour: bool, plain: bool) -> list[str]:
    signs = _PLAIN if plain else _SIGNS
    broad = max(map(len, signs.values()))
    sign = signs[one.level].ljust(broad)
    indent = " " * (broad + column + 4)
    room = width - len(indent)
    first, *rest = textwrap.wrap(one.found, room, break_on_hyphens=False, break_long_words=False) or [""]
    if colour:
        sign = f"\x1b[{_COLOURS[one.level]}m{sign}\x1b[0m"
    lines = [f"{sign}  {one.check.ljust(column)}  {first}", *(indent + line for line in rest)]
    if one.advice:
        arrow = "-> " if plain else "→ "
        # What is to be typed stays in one piece where it can.
        words = textwrap.wrap(one.advice, room - len(arrow), break_on_hyphens=False, break_long_words=False)
        told = [indent + (arrow if not number else " " * len(arrow)) + line for number, line in enumerate(words)]
        lines += [f"\x1b[1m{line}\x1b[0m" for line in told] if colour else told
    return lines


def _summary(found: Examination, verbose: bool) -> str:
    levels = Counter(one.level for one in found.findings)
    code = exit_code(found.findings)
    number = {level: f"{levels[level]} {level}{'s' * (levels[level] > 1)}" for level in ("error", "warning")}
    said = {
        0: "All is well",
        1: f"It will work, but look at {number['warning']}",
        2: f"It will fail: {number['error']}" + (f", {number['warning']}" if levels["warning"] else ""),
    }[code]
    skipped = levels["skipped"]
    more = f"; {skipped} not tried{'' if verbose else ' (--verbose shows what)'}" if skipped else ""
    return f"{said}{more}. {found.seconds:.1f} s."
