"""How a value is written into a script: by the rules of bash, of #SBATCH lines, or of comments.

A line that starts with #SBATCH is read by sbatch, not by a shell: blanks separate, either quote groups, a backslash
takes away the meaning of the next character, also within quotes, and an unquoted # starts a comment.
"""

from __future__ import annotations

import re
import shlex

from mpibatch.base.errors import UsageError

__all__ = ["Quoted", "checked", "comment", "directive", "plain_name", "shell"]

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./^-]+")


class Quoted(str):
    """Text that may stand in a script as it is; nothing else is let in."""

    __slots__ = ()


def checked(value: str, label: str) -> str:
    """Return `value`, a single line of text. Local. Raises UsageError, naming it by `label`, for anything else."""
    bad = next((c for c in value if ord(c) < 32 or ord(c) == 127), None)
    if bad is not None:
        name = {"\n": "a newline", "\0": "a NUL"}.get(bad, f"the control character {bad!r}")
        raise UsageError(f"{label} = {value!r} holds {name}, which no line of a script can; leave it out")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{label} = {value!r} is not valid text (UTF-8); rename it") from None
    return value


def shell(value: object) -> Quoted:
    """Return `value` as one word for bash. Local."""
    text = checked(str(value), "a value of the script")
    quoted = shlex.quote(text)
    # Between the parentheses of an array these would do no harm, but look like a mistake.
    return Quoted(f"'{text}'" if quoted == text and ("," in text or text.startswith("=")) else quoted)


def directive(value: object) -> Quoted:
    """Return `value` as it must stand after ``#SBATCH --option=``. Local."""
    text = checked(str(value), "an option of sbatch")
    if _PLAIN.fullmatch(text):
        return Quoted(text)
    return Quoted('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')


def comment(value: object) -> Quoted:
    """Return `value` for the rest of a comment's line. Local."""
    return Quoted(checked(str(value), "a comment of the script"))


def plain_name(value: str) -> str:
    """Return `value` with all but letters, digits and ``._-`` replaced: part of the name of a file. Local."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", value).strip("-.")[:60] or "job"
