"""A finding: its words, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Remark"]


@dataclass(frozen=True)
class Remark:
    """`level` is error (the promise is broken), warning (do not conclude) or note (good to know)."""

    level: str
    key: str
    words: str
    advice: str
