"""How a program declares what its parameters may be: a dataclass whose annotations a job file is checked against.

    @dataclass(frozen=True)
    class Parameters:
        shape: tuple[Count, ...] = (128, 128)
        diffusivity: Positive = 1.0
        walls: Literal["insulated", "fixed"] = "insulated"
        dt: Positive | None = None

Every parameter has a default. What several of them say together is checked in ``__post_init__``, with a UsageError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

__all__ = ["Count", "NotNegative", "Positive", "Range"]


@dataclass(frozen=True)
class Range:
    """The numbers allowed: `least` or more, more than `above`, `most` or less; always finite."""

    least: float | None = None
    above: float | None = None
    most: float | None = None


Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(least=0)]
Count = Annotated[int, Range(least=1)]
