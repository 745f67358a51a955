"""A filter's call, and a line of its window: values that are handed on as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpibatch.fields.field import Field

__all__ = ["FilterCall", "Line"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterCall:
    """What a user gives a filter, unchecked, under scipy's names; `axes` is the only axis of filters that have one."""

    name: str
    u: Field
    size: Any = None
    footprint: Any = None
    structure: Any = None
    output: Any = None
    mode: Any = "reflect"
    cval: Any = 0.0
    origin: Any = 0
    axes: Any = None


@dataclass(frozen=True, slots=True)
class Line:
    """The extent of a box-shaped window along one axis, checked: of `size` cells, shifted by `origin`."""

    axis: int
    size: int
    origin: int
    mode: str

    @property
    def reach(self) -> tuple[int, int]:
        """Cells read below and above. Local."""
        low = self.size // 2 + self.origin
        return low, self.size - 1 - low
