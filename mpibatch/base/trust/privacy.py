"""What records, histories and reports leave out.

Always what looks like a secret; with ``--private`` also names of hosts and users, and where files lie.
"""

from __future__ import annotations

import getpass
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "HIDDEN", "VARIABLE", "arguments", "host", "is_private", "keep_private", "numbered", "path_text", "user", "words",
]  # fmt: skip

VARIABLE = "MPIBATCH_PRIVATE"
HIDDEN = "private"

# A path from the root or a home: behind a quote or a sign that joins it to a name, or, behind a blank, if it has two
# parts, unlike a division.
_PLACE = re.compile(
    r"(?:(?<=^)|(?<=['\"=:,(\[{]))(?:~\w*)?(?:/+[^\s'\":,\])}]+)+|(?<=\s)(?:~\w*)?/[^\s'\":,/\])}]+(?:/[^\s'\":,\])}]+)+",
    re.MULTILINE,
)
LEFT_OUT = "(left out)"
# Keys tell themselves: age's, minisign's, and those in PEM.
_KEY = re.compile(
    r"AGE-SECRET-KEY-1\w+|RW(?:QAAEIy|RTY0Iy)[\w+/=]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL | re.IGNORECASE,
)
# What stands before the host in a URL; in a password there may be more of the same signs.
_USER = re.compile(r"(?<=://)(?:[^\s/?#@:]{0,1024}:\S{0,1024}|[^\s/?#]{0,1024})@")
# A name that says that its value is nobody's business.
_NAME = (
    r"[\w.-]*(?:pass(?:word|wd|phrase|code)|[_.-]pwd|secret|token|credential|authorization"
    r"|(?:api|access|private)[_-]?key)[\w.-]*"
)
_OPTION = re.compile(rf"-{_NAME}", re.IGNORECASE)
# NAME = VALUE as in TOML, JSON and shells, or --NAME VALUE: up to the value.
_NAMED = re.compile(
    rf"(?<![\w.-])(?:{_NAME}\\*[\"']?\s*[=:]\s*|-{_NAME}[ \t]+(?:\\\n\s*)?)",
    re.IGNORECASE,
)
_PART = re.compile(r'"""(?:\\.|[^\\])*?"""' r"|'''.*?'''" r'|"(?:\\.|[^"\\])*"' r"|'[^']*'|#[^\n]*|[\[{\]}]", re.DOTALL)


def is_private() -> bool:
    """Whether such things are left out. Local; launchers may keep the variable from other ranks than rank 0."""
    return os.environ.get(VARIABLE, "") not in ("", "0")


def keep_private() -> None:
    """Leave them out from now on, in processes that this one starts, too. Local."""
    os.environ[VARIABLE] = "1"


def host(name: str) -> str:
    """Return the name of a host, or, in private, a word for it. Local."""
    return HIDDEN if is_private() else name


def numbered(hosts: Mapping[str, int]) -> dict[str, int]:
    """Return what is known of hosts by their names, or, in private, by numbers. Local."""
    return {f"host {number}": value for number, value in enumerate(hosts.values())} if is_private() else {**hosts}


def user() -> str:
    """Return the name of this user, or, in private, a word for it. Local."""
    if is_private():
        return HIDDEN
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no such user, as in many containers
        return str(os.getuid())


def path_text(path: str) -> str:
    """Return a path as records tell it: in private its last part alone, if it is absolute. Local."""
    return Path(path).name if is_private() and Path(path).is_absolute() else path


def words(text: str) -> str:
    """Return a text as records tell it: without secrets, and in private without places. Local."""
    text, shown, at = _USER.sub(f"{LEFT_OUT}@", _KEY.sub(LEFT_OUT, text)), "", 0
    while match := _NAMED.search(text, at):
        shown += text[at : match.end()] + LEFT_OUT
        at = _end_of_value(text, match.end())
    return _without_places(shown + text[at:])


def arguments(given: Iterable[str]) -> list[str]:
    """Return the arguments of a command as records tell them, each as `words`: what follows on a name is whole. Local.

    An argument may be the value of the one before it.
    """
    shown, is_value = [], False
    for word in given:
        match = _NAMED.search(word)
        known = words(word[: match.start()]) + _without_places(match[0]) + LEFT_OUT if match else words(word)
        shown.append(LEFT_OUT if is_value else known)
        is_value = not is_value and _OPTION.fullmatch(word) is not None
    return shown


def _end_of_value(text: str, at: int) -> int:
    """Where a value ends that begins here: with its line, or that in which a string or list ends that it begins with.

    More may be left out by it, and no part of a value with blanks, commas or quotes stays.
    """
    depth = 0
    for part in _PART.finditer(text, at):
        if not depth and part.start() != at:
            break
        depth += (part[0] in "[{") - (part[0] in "]}")
        if depth <= 0:
            at = part.end()
            break
    end = text.find("\n", at) if depth <= 0 else -1
    return len(text) if end < 0 else end


def _without_places(text: str) -> str:
    return _PLACE.sub(lambda match: Path(match[0]).name, text) if is_private() else text
