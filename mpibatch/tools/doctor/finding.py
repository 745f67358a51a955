"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LEVELS", "Finding", "Level", "error", "exit_code", "fine", "gist", "one_line", "skipped", "warning"]

Level = Literal["ok", "warning", "error", "skipped"]
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    Attributes
    ----------
    check : the name of the check; several findings may be of one.
    level : "ok"; "warning": works, but slowly, or not always; "error": will fail; "skipped": could not be tried.
    message : what was found, in one line.
    advice : what to type, or to do, next; "" where there is nothing to do.
    """

    check: str
    level: Level
    message: str
    advice: str = ""


def fine(check: str, message: str) -> Finding:
    """All is well. Local."""
    return Finding(check, "ok", message)


def warning(check: str, message: str, advice: str) -> Finding:
    """It works, but slowly, or not always. Local."""
    return Finding(check, "warning", message, advice)


def error(check: str, message: str, advice: str) -> Finding:
    """It will fail. Local."""
    return Finding(check, "error", message, advice)


def skipped(check: str, why: str, advice: str = "") -> Finding:
    """It could not be tried, or means nothing here. Local."""
    return Finding(check, "skipped", why, advice)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 2 if there are errors, 1 if there are warnings, else 0. Local."""
    levels = {finding.level for finding in findings}
    return 2 if "error" in levels else 1 if "warning" in levels else 0


def one_line(text: str, most: int = 200) -> str:
    """Return a text of several lines as one, cut if it is too long. Local."""
    words = " ".join(text.split())
    return words if len(words) <= most else f"{words[:most]} …"


def gist(text: str) -> str:
    """Return of what a dying program has said the lines that seem to tell why: the first such, and the last. Local."""
    lines = [line.strip() for line in text.splitlines() if line.strip("-=* \t")]
    telling = [line for line in lines if any(word in line.lower() for word in _TELLING)] or lines
    return " … ".join(one_line(line, 140) for line in dict.fromkeys([*telling[:1], *telling[-1:]]))


_TELLING = ("error", "fail", "abort", "cannot", "not ", "unsupported", "no such")
