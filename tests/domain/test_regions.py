"""Boxes cut into the cells that read no halo, and the slabs around them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mpibatch.domain import Box
from mpibatch.domain.regions import inner_box, outer_slabs

axes = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(0, 7), st.tuples(st.integers(0, 5), st.integers(0, 5))),
    min_size=1,
    max_size=4,
)


@given(axes)
def test_inner_and_outer_make_up_the_box_once(axes: list[tuple[int, int, tuple[int, int]]]) -> None:
    box = Box(tuple(a for a, _, _ in axes), tuple(a + n for a, n, _ in axes))
    reach = tuple(widths for _, _, widths in axes)
    inner = inner_box(box, reach)
    cells = np.zeros(box.shape, int)
    for part in (inner, *(slab for pair in outer_slabs(box, inner) for slab in pair)):
        cells[part.slices(box.start)] += 1
    assert (cells == 1).all()
    if inner.size:
        around = inner.grow(reach)
        assert all(a <= b for a, b in zip(box.start, around.start, strict=True))
        assert all(a <= b for a, b in zip(around.stop, box.stop, strict=True))


@given(axes)
def test_slabs_lie_outside_along_their_axis(axes: list[tuple[int, int, tuple[int, int]]]) -> None:
    inner = Box(tuple(a for a, _, _ in axes), tuple(a + n for a, n, _ in axes))
    whole = inner.grow(tuple(widths for _, _, widths in axes))
    for axis, (low, high) in enumerate(outer_slabs(whole, inner)):
        assert (low.start[axis], low.stop[axis]) == (whole.start[axis], inner.start[axis])
        assert (high.start[axis], high.stop[axis]) == (inner.stop[axis], whole.stop[axis])
