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
    from collections.abc import Mapping

__all__ = ["HIDDEN", "VARIABLE", "host", "is_private", "keep_private", "numbered", "path_text", "user", "words"]

VARIABLE = "MPIBATCH_PRIVATE"
HIDDEN = "private"

# A path from the root or a home: behind a quote or a sign that joins it to a name, or, behind a blank, if it has two
# parts, unlike a division.
_PLACE = re.compile(
    r"(?:(?<=^)|(?<=['\"=:,(\[{]))(?:~\w*)?(?:/+[^\s'\":,\])}]+)+|(?<=\s)(?:~\w*)?/[^\s'\":,/\])}]+(?:/[^\s'\":,\])}]+)+",
    re.MULTILINE,
)
# NAME=VALUE where the name says that the value is nobody's business; and keys, which tell themselves.
_SECRET = re.compile(
    r"(?i)\b([\w.-]*(?:passw(?:or)?d|passphrase|secret|token|api_?key|credential)[\w.-]*\s*[=:]\s*)(?!\s)[^\s,;]+"
    r"|AGE-SECRET-KEY-1\w+"
)


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
    """Return an argument, or a text, as records tell it: without secrets, and in private without places. Local."""
    shown = _SECRET.sub(lambda match: f"{match[1] or ''}(left out)", text)
    return _PLACE.sub(lambda match: Path(match[0]).name, shown) if is_private() else shown
