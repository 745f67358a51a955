"""What goes on in rounds tells of each, so that a job shows that it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch import segment
from mpibatch.base.progress.rounds import listening
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.mpi
SIZE = MPI.COMM_WORLD.size
SHAPE = (36, 9)
IS_CUT = SIZE > 1
ASIDE = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 0]])  # cells spread along rows, and none reaches itself


def snake(y: Any, x: Any) -> Any:
    """One path that goes to and fro over all ranks: columns joined at alternate ends."""
    return (x % 2 == 0) | ((y == 0) & (x % 4 == 1)) | ((y == SHAPE[0] - 1) & (x % 4 == 3))


# At least so many rounds; a block that is alone is solved at once where no step waits for another.
CASES: dict[str, tuple[Callable[[mb.Field], Any], int]] = {
    "distance_transform_edt": (segment.distance_transform_edt, 2),
    "distance_transform_edt with sampling": (lambda u: segment.distance_transform_edt(u, 2), 2),
    "expand_labels": (lambda u: segment.expand_labels(u, 1), 2),
    "distance_transform_cdt": (segment.distance_transform_cdt, 2),
    "thin": (segment.thin, 1),
    "skeletonize": (lambda u: segment.skeletonize(u, method="lee"), 4),
    "binary_propagation": (lambda u: segment.binary_propagation(seed(u), mask=u), 4 * IS_CUT),
    "binary_propagation to one side": (lambda u: segment.binary_propagation(seed(u), ASIDE), 8),
    "reconstruction": (lambda u: segment.reconstruction(seed(u), u), 4 * IS_CUT),
    "watershed": (lambda u: segment.watershed(u, seed(u), mask=u), 4 * IS_CUT),
    "label": (mb.label, 1 * IS_CUT),
    "regionprops_table": (lambda u: mb.regionprops_table(u, u.astype("f8"), properties=("intensity_median",)), 1),
}


def seed(u: mb.Field) -> mb.Field:
    return u.grid.from_function(lambda y, x: (y == 0) & (x == 0), u.dtype)


@pytest.mark.parametrize("name", CASES)
def test_each_round_is_told(name: str) -> None:
    call, least = CASES[name]
    u = mb.Grid(SHAPE, topology=(SIZE, 1)).from_function(snake, "i4")
    rounds: list[tuple[int, int]] = []
    with listening(lambda count, left: rounds.append((count, left))):
        call(u)
    assert [count for count, _ in rounds] == [*range(1, len(rounds) + 1)]
    assert len(rounds) >= least
    assert not rounds or rounds[-1][1] == 0
    assert MPI.COMM_WORLD.allgather(rounds) == [rounds] * SIZE


def test_what_has_no_rounds_tells_of_none() -> None:
    u = mb.Grid(SHAPE).from_function(snake, "i4")
    with listening(lambda count, left: pytest.fail(f"round {count}, {left}")):
        segment.find_boundaries(u)
        segment.relabel_sequential(u)
