"""The halo plan for every rank, without MPI: carried out here on plain arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from mpibatch.domain import MODES, Decomposition, check_mode
from mpibatch.halo.plan import Halo, Move, phase
from tests.support.oracles import padded

CVAL = -1


@st.composite
def cases(draw: st.DrawFn) -> tuple[Decomposition, Halo]:
    ndim = draw(st.integers(1, 3))
    sizes = [draw(st.lists(st.integers(0, 4), min_size=1, max_size=3).filter(sum)) for _ in range(ndim)]
    decomposition = Decomposition.over(
        [sum(s) for s in sizes], int(np.prod([len(s) for s in sizes])), [len(s) for s in sizes], sizes
    )
    widths = tuple((draw(st.integers(0, 5)), draw(st.integers(0, 5))) for _ in range(ndim))
    modes = tuple(check_mode(draw(st.sampled_from(MODES))) for _ in range(ndim))
    return decomposition, Halo(widths, modes)


def locals_of(decomposition: Decomposition, halo: Halo, whole: npt.NDArray) -> list[npt.NDArray]:
    """Every rank's padded array, poisoned outside its owned cells."""
    arrays = []
    for rank in range(decomposition.size):
        box = decomposition.box(rank)
        array = np.full(box.grow(halo.widths).shape if box.size else box.shape, -99)
        if box.size:
            array[tuple(slice(w[0], w[0] + n) for w, n in zip(halo.widths, box.shape, strict=True))] = whole[
                box.slices()
            ]
        arrays.append(array)
    return arrays


def read(array: npt.NDArray, move: Move, origin: tuple[int, ...]) -> npt.NDArray:
    index = [
        [first + step * i - zero for i in range(n)]
        for first, step, n, zero in zip(move.source, move.step, move.shape, origin, strict=True)
    ]
    return array[np.ix_(*index)]


def carry_out(
    decomposition: Decomposition, halo: Halo, arrays: list[npt.NDArray], axes: tuple[int, ...] | None
) -> None:
    phases = [phase(decomposition, rank, halo, axes) for rank in range(decomposition.size)]
    origins = [
        tuple(s - w[0] for s, w in zip(decomposition.box(r).start, halo.widths, strict=True))
        for r in range(decomposition.size)
    ]
    before = [array.copy() for array in arrays]
    for rank, todo in enumerate(phases):
        assert rank not in todo.receives
        assert rank not in todo.sends
        for sender, moves in todo.receives.items():
            assert phases[sender].sends[rank] == moves  # both sides, in the same order
        for receiver, moves in todo.sends.items():
            assert phases[receiver].receives[rank] == moves
        for source, moves in [*todo.receives.items(), (rank, todo.copies)]:
            for move in moves:
                arrays[rank][move.box.slices(origins[rank])] = read(before[source], move, origins[source])
        for box in todo.fills:
            arrays[rank][box.slices(origins[rank])] = CVAL


def check(decomposition: Decomposition, halo: Halo, arrays: list[npt.NDArray], whole: npt.NDArray) -> None:
    expected = padded(whole, halo.widths, [str(m) for m in halo.modes], CVAL)
    for rank, array in enumerate(arrays):
        box = decomposition.box(rank)
        if box.size:
            np.testing.assert_array_equal(
                array, expected[box.grow(halo.widths).slices(tuple(-w[0] for w in halo.widths))]
            )


@given(cases())
@settings(deadline=None)
def test_the_whole_plan_fills_every_halo_as_numpy_pads(case: tuple[Decomposition, Halo]) -> None:
    decomposition, halo = case
    whole = np.arange(np.prod(decomposition.shape)).reshape(decomposition.shape)
    arrays = locals_of(decomposition, halo, whole)
    carry_out(decomposition, halo, arrays, None)
    check(decomposition, halo, arrays, whole)


@given(cases())
@settings(deadline=None)
def test_axis_after_axis_carries_the_corners_along(case: tuple[Decomposition, Halo]) -> None:
    decomposition, halo = case
    whole = np.arange(np.prod(decomposition.shape)).reshape(decomposition.shape)
    arrays = locals_of(decomposition, halo, whole)
    for axis in range(len(halo.widths)):
        carry_out(decomposition, halo, arrays, (axis,))
    check(decomposition, halo, arrays, whole)


def test_without_corners_only_faces_travel() -> None:
    decomposition = Decomposition.over((6, 6), 9)
    todo = phase(decomposition, 4, Halo(((1, 1), (1, 1)), ("reflect", "reflect"), corners=False))
    assert sorted(todo.receives) == sorted(todo.sends) == [1, 3, 5, 7]
    assert sum(np.prod(m.wire) for moves in todo.receives.values() for m in moves) == 8
    assert not todo.copies


def test_no_mode_leaves_what_is_outside_walls() -> None:
    decomposition = Decomposition.over((6,), 2)
    todo = phase(decomposition, 0, Halo(((2, 2),), (None,)))
    assert list(todo.receives) == [1]
    assert [m.target for m in todo.receives[1]] == [(3,)]
    assert not todo.copies
    assert not todo.fills


def test_a_plan_for_one_of_very_many_ranks_knows_its_neighbors_only() -> None:
    decomposition = Decomposition.over((4600, 4600, 4600), 46**3)
    todo = phase(decomposition, 46**3 // 2 + 7, Halo(((2, 2),) * 3, ("wrap",) * 3))
    assert len(todo.receives) == len(todo.sends) == 26
    assert max(len(moves) for moves in todo.receives.values()) == 1
