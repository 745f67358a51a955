"""NeXus: one NXdata for each set of axes, with links to datasets and coordinates; "data" has the largest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import h5py

from mpibatch.io.conventions.views import ascii_text, new_group, set_missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.io.conventions.variable import Variable

__all__ = ["GROUP", "add"]

GROUP = "entry"


def add(file: Any, variables: Sequence[Variable], scales: Mapping[str, tuple[str, ...]]) -> bool:
    """Add the group; False if there is nothing for it. Local. `scales`: names of the scales of each dataset."""
    plots: dict[tuple[str, ...], list[Variable]] = {}
    for v in sorted(variables, key=lambda v: (-math.prod(v.cells), v.plainness)):
        plots.setdefault(scales[v.name], []).append(v)
    if not plots:
        return False
    set_missing(file, {"NX_class": ascii_text("NXroot"), "default": GROUP})
    entry = new_group(file, GROUP, {"NX_class": ascii_text("NXentry"), "default": "data"})
    for number, (names, shown) in enumerate(plots.items(), 1):
        axes = [name if _has_values(file[name]) else "." for name in names]
        attrs: dict[str, Any] = {"NX_class": ascii_text("NXdata"), "signal": shown[0].label, "axes": axes}
        if len(shown) > 1:
            attrs["auxiliary_signals"] = [v.label for v in shown[1:]]
        data = new_group(entry, "data" if number == 1 else f"data_{number}", attrs)
        for v in shown:
            data[v.label] = file[v.name]
        for name in axes:
            if name != ".":
                data[name] = file[name]
    return True


def _has_values(dataset: Any) -> bool:
    return bool(dataset.id.get_space_status() != h5py.h5d.SPACE_STATUS_NOT_ALLOCATED)
