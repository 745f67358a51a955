"""Checks of single values of a job: each returns None, or what was expected."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from typing import Any

from mpibatch.base.errors import UsageError
from mpibatch.base.trust.grants import mode_of
from mpibatch.io.chunks.compression import normal_compression
from mpibatch.io.write.storage.settings import parse_stripes

__all__ = [
    "Check", "any_of", "compression", "dtype_name", "flag", "hints", "integer", "list_of", "octal_mode", "one_of",
    "one_or_list", "real", "region", "shown", "slices", "stripes", "text",
]  # fmt: skip

Check = Callable[[Any], str | None]

LARGEST = sys.float_info.max


def shown(value: Any) -> str:
    """Return `value` as a user would write it in TOML, shortened. Local."""
    words = _toml(value)
    return words if len(words) <= 60 else words[:57] + "..."


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def text(value: Any) -> str | None:
    """Expect a string that is not empty. Local."""
    return None if isinstance(value, str) and value else "a text in quotes"


def flag(value: Any) -> str | None:
    """Expect true or false. Local."""
    return None if isinstance(value, bool) else "true or false"


def compression(value: Any) -> str | None:
    """Accept what `mpibatch.save` takes for `compression`, in whatever format. Local."""
    if not isinstance(value, str):
        return 'a compression, such as "gzip" or "zstd:3"'
    if value.partition(":")[0] == "blosc":
        return _refusal(value, "Zarr")
    return _refusal(value, "HDF5")


def stripes(value: Any) -> str | None:
    """Expect stripes of Lustre. Local."""
    try:
        parse_stripes("" if isinstance(value, bool) else value)
    except UsageError:
        return 'a number of servers, -1 for all, or "8:4M" with the size of a piece'
    return None


def hints(value: Any) -> str | None:
    """Expect a table of MPI-IO hints. Local."""
    good = isinstance(value, dict) and all(isinstance(v, str | int) and not isinstance(v, bool) for v in value.values())
    return None if good else "a table of MPI-IO hints, each a text or a whole number, such as { cb_nodes = 8 }"


def _refusal(text: str, kind: str) -> str | None:
    try:
        normal_compression(text, kind)
    except UsageError as error:
        return f"a known one ({error})"
    return None


def region(value: Any) -> str | None:
    """Accept slices as text: "10:200, ::4". Local."""
    return None if isinstance(value, str) and slices(value) is not None else 'slices as text, such as "10:200, ::4"'


def slices(text: str) -> tuple[slice, ...] | None:
    """Return the slices that a text such as "10:200, ::4" stands for; None if it is none. Local."""
    parts = []
    for part in text.split(","):
        words = [word.strip() for word in part.split(":")]
        if not 2 <= len(words) <= 3 or any(word and not word.removeprefix("-").isdecimal() for word in words):
            return None
        parts.append(slice(*(int(word) if word else None for word in words)))
    return tuple(parts)


def octal_mode(value: Any) -> str | None:
    """Expect the mode of a file. Local."""
    try:
        mode_of(value if isinstance(value, str) else "")
    except UsageError:
        return 'a mode in quotes: "0640", with 6 for the owner, and 0, 4 or 6 for the group and for others'
    return None


def integer(least: int | None = None) -> Check:
    """Expect a whole number, `least` or more; 3.0 counts as 3. Local."""
    words = "a whole number" if least is None else f"a whole number, {least} or more"

    def check(value: Any) -> str | None:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return None if whole and not isinstance(value, bool) and (least is None or value >= least) else words

    return check


def real(
    least: float | None = None, above: float | None = None, most: float | None = None, finite: bool = True
) -> Check:
    """Expect a number, finite unless told, `least` or more, more than `above`, `most` or less. Local."""
    words = "a finite number" if finite else "a number"
    limits = [f"{least:g} or more"] if least is not None else []
    limits += [f"more than {above:g}"] if above is not None else []
    limits += [f"{most:g} or less"] if most is not None else []
    words = ", ".join([words, *limits])

    def check(value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return words
        if not abs(value) <= LARGEST and (finite or isinstance(value, int)):  # whole numbers may be larger than floats
            return words
        enough = (least is None or value >= least) and (above is None or value > above)
        return None if enough and (most is None or value <= most) else words

    return check


def one_of(*words: str | int) -> Check:
    """Expect one of some texts or whole numbers. Local."""
    texts = [word for word in words if isinstance(word, str)]
    quoted = [f'"{word}"' if word in texts else str(word) for word in words]
    listed = " or ".join(quoted) if len(words) < 3 else f"one of {', '.join(map(str, words))}"

    def check(value: Any) -> str | None:
        if any(type(value) is type(word) and value == word for word in words):
            return None
        close = difflib.get_close_matches(value, texts, n=1) if isinstance(value, str) and len(words) > 2 else []
        return f'"{close[0]}" ({listed})' if close else listed

    return check


def list_of(check: Check) -> Check:
    """Expect a list whose every item passes `check`. Local."""

    def check_all(value: Any) -> str | None:
        if not isinstance(value, list):
            return f"a list, each item {_what(check)}"
        wrong = next((words for words in map(check, value) if words), None)
        return None if wrong is None else f"a list, each item {wrong}"

    return check_all


def any_of(*checks: Check) -> Check:
    """Expect what at least one of `checks` accepts. Local."""

    def check_any(value: Any) -> str | None:
        expected = [check(value) for check in checks]
        return None if None in expected else ", or ".join(dict.fromkeys(words for words in expected if words))

    return check_any


def one_or_list(check: Check) -> Check:
    """Expect one value for all axes, or a list with one for each axis. Local."""

    def check_one(value: Any) -> str | None:
        items = value if isinstance(value, list) and value else [value]
        wrong = next(filter(None, map(check, items)), None)
        return wrong and f"{wrong}; or a list with one for each axis"

    return check_one


def dtype_name(value: Any) -> str | None:
    """Expect the name of a number type. Local."""
    known = ("bool", *(f"{kind}{size}" for kind in "ui" for size in (1, 2, 4, 8)), "f4", "f8")
    long = ("float32", "float64", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
    return None if isinstance(value, str) and value in known + long else "a dtype such as " + ", ".join(known)


def _what(check: Check) -> str:
    """What a check expects, asked with a value that no check accepts."""
    return check(None) or "a value"
