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
    """The numbers that a program's parameter may have, in ``typing.Annotated``; always finite.

    Parameters
    ----------
    least : float, optional
        This or more.
    above : float, optional
        More than this.
    most : float, optional
        This or less.

    Notes
    -----
    Local. `mpibatch.simulate.Positive` (a float above 0), `NotNegative` (a float of 0 or more) and `Count` (an int of 1
    or more) are made of it. A job file is checked against them.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from typing import Annotated
    >>> from mpibatch.simulate import Positive, Range
    >>> @dataclass(frozen=True)
    ... class Parameters:
    ...     diffusivity: Positive = 1.0
    ...     share: Annotated[float, Range(above=0, most=1)] = 0.8
    >>> Parameters().share
    0.8
    """

    least: float | None = None
    above: float | None = None
    most: float | None = None


Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(least=0)]
Count = Annotated[int, Range(least=1)]
