"""What a user, or a site's profile, says of files on their way to the disk: hints of MPI-IO, and stripes. Without MPI.

``$MPIBATCH_HINTS`` and ``$MPIBATCH_STRIPES``, which a profile sets for a site's jobs, count for all files that all
ranks write to, those between passes among them; ``[output] hints`` and ``[output] stripes`` go before them.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["HINTS_VARIABLE", "STRIPES_VARIABLE", "Stripes", "chosen", "given_hints", "given_stripes", "parse_stripes"]

HINTS_VARIABLE, STRIPES_VARIABLE = "MPIBATCH_HINTS", "MPIBATCH_STRIPES"
_STRIPES = re.compile(r"(-1|[1-9]\d{0,4})(?::([1-9]\d*[KMG]?))?")


@dataclass(frozen=True)
class Stripes:
    """Over how many of Lustre's servers a file is to lie (-1: all), in pieces of which size ("": the folder's)."""

    count: int
    size: str = ""

    def __str__(self) -> str:
        return f"{self.count}:{self.size}" if self.size else str(self.count)


@dataclass(frozen=True)
class _Settings:
    hints: Mapping[str, str] = field(default_factory=dict)
    stripes: Stripes | None = None


_NOTHING = _Settings()
_chosen: ContextVar[_Settings] = ContextVar("chosen", default=_NOTHING)


@contextmanager
def chosen(hints: Mapping[str, object] | None, stripes: str | int | None) -> Iterator[None]:
    """Let these go before the environment's, for files that are written in the block. Local. UsageError."""
    texts = {name: str(value) for name, value in (hints or {}).items()}
    token = _chosen.set(_Settings(texts, None if stripes is None else parse_stripes(stripes)))
    try:
        yield
    finally:
        _chosen.reset(token)


def parse_stripes(value: str | int) -> Stripes:
    """Return what ``8``, ``-1`` (all servers) or ``8:4M`` says. Local. UsageError."""
    match = _STRIPES.fullmatch(str(value).strip())
    if match is None:
        raise UsageError(
            f'stripes = {value!r}; give a number of servers, -1 for all, or "8:4M" with the size of a piece'
        )
    return Stripes(int(match[1]), match[2] or "")


def given_stripes() -> Stripes | None:
    """Return the stripes that files are to have, None if nobody says. Local. UsageError."""
    text = os.environ.get(STRIPES_VARIABLE, "")
    return _chosen.get().stripes or (parse_stripes(text) if text else None)


def given_hints() -> dict[str, str]:
    """Return the hints given, such as ``cb_nodes=8;striping_unit=4194304`` in the environment. Local. UsageError.

    One without a value takes a default back.
    """
    settings: dict[str, str] = {}
    for word in os.environ.get(HINTS_VARIABLE, "").split(";"):
        name, equals, value = (part.strip() for part in word.partition("="))
        if not equals and not name:
            continue
        if not equals or not name:
            raise UsageError(
                f"${HINTS_VARIABLE} has {word.strip()!r}; give name=value;name=value with names of MPI-IO hints"
            )
        settings[name] = value
    return settings | dict(_chosen.get().hints)
