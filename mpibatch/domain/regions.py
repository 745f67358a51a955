"""A box and a smaller one inside it: the cells that read no halo, and the slabs around them."""

from __future__ import annotations

from mpibatch.domain.box import Box

__all__ = ["inner_box", "outer_slabs"]


def inner_box(box: Box, reach: tuple[tuple[int, int], ...]) -> Box:
    """Return the cells of `box` from which (low, high) cells of every axis lie in it, too; perhaps none. Local."""
    start = tuple(min(a + low, b) for a, b, (low, _) in zip(box.start, box.stop, reach, strict=True))
    stop = tuple(max(a, b - high) for a, b, (_, high) in zip(start, box.stop, reach, strict=True))
    return Box(start, stop)


def outer_slabs(box: Box, inner: Box) -> list[tuple[Box, Box]]:
    """Return for every axis the slabs of `box` below and above `inner`, some of them perhaps without cells. Local.

    They and `inner` are disjoint, and make up `box`: corners belong to the first axis along which they are outside.
    """
    slabs = []
    for axis in range(len(box.start)):
        before, behind = inner.start[:axis], box.start[axis + 1 :]
        until, end = inner.stop[:axis], box.stop[axis + 1 :]
        low = Box((*before, box.start[axis], *behind), (*until, inner.start[axis], *end))
        high = Box((*before, inner.stop[axis], *behind), (*until, box.stop[axis], *end))
        slabs.append((low, high))
    return slabs
