"""Decompositions that tests of files go through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cuts_of_three_axes"]


def cuts_of_three_axes(shape: Sequence[int], ranks: int) -> list[dict[str, Any]]:
    """Keywords of Grids of this shape: slabs along every axis, uneven, with empty blocks, cut along several axes."""
    cuts: list[dict[str, Any]] = [{"topology": (1,) * axis + (ranks,) + (1,) * (2 - axis)} for axis in range(3)]
    cuts.append({"sizes": [[0] * (ranks - 1) + [shape[0]], None, None], "topology": (ranks, 1, 1)})
    if ranks > 1:
        cuts.append({"sizes": [None, None, [shape[2] - 1, 1] + [0] * (ranks - 2)], "topology": (1, 1, ranks)})
    blocks = {4: (1, 2, 2), 6: (3, 1, 2)}
    return [*cuts, {"topology": blocks[ranks]}] if ranks in blocks else cuts
