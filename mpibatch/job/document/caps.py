"""One reader for what users hand in as TOML or JSON: limits that no sensible file meets, told in one sentence.

A parser's time and stack grow with what it is given: without limits, files made by a broken script end in minutes of
silence or in a traceback. Every check here is linear in the text.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from mpibatch.base.errors import UsageError

__all__ = ["MOST_BYTES", "MOST_DEPTH", "MOST_DIGITS", "MOST_STEPS", "check_size", "json_value", "toml_document"]

MOST_BYTES = 1 << 20
MOST_DEPTH = 60  # brackets in brackets, or names in a dotted key; Python's parsers recurse for each
MOST_DIGITS = 400  # of a number: more than the largest double has
MOST_STEPS = 2000

# Strings and comments, in which brackets and digits mean nothing. An end of text ends what was left open.
_QUOTED = re.compile(
    r'"""(?:[^\\"]|\\.|"(?!""))*(?:"""|\\?\Z)|\'\'\'(?:[^\']|\'(?!\'\'))*(?:\'\'\'|\Z)'
    r'|"(?:[^"\\\n]|\\.)*"?|\'[^\'\n]*\'?|#[^\n]*',
    re.DOTALL,
)
_QUOTED_JSON = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_NUMBER = re.compile(rf"[0-9][0-9_]{{{MOST_DIGITS},}}")
_NAMES = re.compile(rf"(?<![A-Za-z0-9_-])(?:[A-Za-z0-9_-]+[ \t]*\.[ \t]*){{{MOST_DEPTH},}}")


def toml_document(text: str, source: str) -> dict[str, Any]:
    """Return the document in a TOML text. Local. Raises UsageError; `source` is what messages call the text."""
    from mpibatch.job.document.lines import error_line

    check_size(text, source, _QUOTED)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error).split(" (at ")[0]
        raise UsageError(f"{source}:{error_line(error, text)}: not valid TOML: {message}") from None
    except (RecursionError, ValueError) as error:
        raise UsageError(f"{source}: not readable as TOML ({error}); write it more simply") from None


def json_value(text: str, source: str) -> Any:
    """Return the value in a JSON text. Local. Raises UsageError; `source` is what messages call the text."""
    check_size(text, source, _QUOTED_JSON)
    try:
        return json.loads(text)
    except (RecursionError, ValueError) as error:
        raise UsageError(f"{source} is not valid JSON: {error}") from None


def check_size(text: str, source: str, quoted: re.Pattern[str] = _QUOTED) -> None:
    """Raise UsageError where a text is too large, too deep, or has numbers that are too long. Local."""
    if len(text) > MOST_BYTES:
        raise UsageError(
            f"{source} has {len(text)} characters, and {MOST_BYTES} at most are read; is it the file that you meant?"
        )
    # As many characters as before, so that places stay what they are.
    plain = quoted.sub(lambda part: re.sub(r"[^\n]", "~", part[0]), text)
    depth = 0
    for bracket in re.finditer(r"[\[{]|[\]}]", plain):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > MOST_DEPTH:
            line = plain.count("\n", 0, bracket.start()) + 1
            raise UsageError(
                f"{source}:{line}: brackets are nested more than {MOST_DEPTH} deep; close those that are open"
            )
    for pattern, problem in (
        (_NUMBER, f"a number of more than {MOST_DIGITS} digits; round it"),
        (_NAMES, f"a name of more than {MOST_DEPTH} parts; tables are not nested so deep here"),
    ):
        if match := pattern.search(plain):
            raise UsageError(f"{source}:{plain.count(chr(10), 0, match.start()) + 1}: {problem}")
