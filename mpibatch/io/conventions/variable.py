"""What the conventions have to know of a dataset: its grid, its components, whether its first axis is time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.io.base.geometry import from_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Variable", "largest", "readable", "unique", "variables", "word"]


@dataclass(frozen=True)
class Variable:
    """A dataset with values on a grid: of shape (times if `timed`, *cells, *components)."""

    name: str
    label: str  # its name without the letters that groups of other conventions do not allow
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    timed: bool
    axes: tuple[str, ...]  # of the grid: without time and components
    origin: tuple[float, ...]
    spacing: tuple[float, ...]
    units: str

    @property
    def cells(self) -> tuple[int, ...]:
        """Cells along each axis of the grid. Local."""
        return self.shape[self.timed :][: len(self.axes)]

    @property
    def components(self) -> tuple[int, ...]:
        """Values of one cell. Local."""
        return self.shape[self.timed + len(self.axes) :]

    @property
    def plainness(self) -> tuple[int, bool]:
        """What is shown first has the least: single values before vectors, numbers before masks and complex. Local."""
        return len(self.components), self.dtype.kind in "bc"

    @property
    def grid(self) -> tuple[Any, ...]:
        """What variables of one grid have in common. Local."""
        return self.axes, self.cells, self.origin, self.spacing, self.units


def variables(file: Any, names: Sequence[str], timed: bool) -> list[Variable]:
    """Return what is known of datasets, in the order of their names; without those that lack grid or values. Local."""
    entries: list[Variable] = []
    labels: set[str] = set()
    for name in sorted(names):
        dataset = file[name]
        grid = from_attributes(dataset.attrs, dataset.ndim)
        if not grid or 0 in dataset.shape or len(grid["axes"]) <= timed:
            continue
        label = unique(word(name), labels)
        labels.add(label)
        of_grid = {key: grid[key][timed:] for key in ("axes", "origin", "spacing")}
        entries.append(Variable(name, label, dataset.shape, dataset.dtype, timed, units=grid["units"], **of_grid))
    return entries


def largest(among: Sequence[Variable], fits: Callable[[Variable], bool]) -> list[Variable]:
    """Return, of the variables that fit, those on the grid of the most cells (of equals the first). Local."""
    fitting = [v for v in among if fits(v)]
    first = max(fitting, key=lambda v: math.prod(v.cells), default=None)
    return [v for v in fitting if first is not None and v.grid == first.grid]


def readable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type as which readers without bool and half precision see these values. Local."""
    return np.dtype({"b1": "u1", "f2": "f4"}.get(f"{dtype.kind}{dtype.itemsize}", dtype))


def word(name: str) -> str:
    """Return a name with _ for every letter that is not an ASCII letter or digit, - or _. Local."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in name)
    return kept if kept[:1].isalpha() or kept[:1] == "_" else f"_{kept}"


def unique(name: str, taken: Iterable[str]) -> str:
    """Return the first of name, name_2, name_3, ... that is not taken. Local."""
    others, number, chosen = set(taken), 1, name
    while chosen in others:
        number += 1
        chosen = f"{name}_{number}"
    return chosen
