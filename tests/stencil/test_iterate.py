"""The choice of how many steps to fuse, and the text of fused steps; without MPI."""

from __future__ import annotations

import numpy as np
import pytest

from mpibatch.stencil import stencil
from mpibatch.stencil.compiled.fills import levels_of
from mpibatch.stencil.compiled.numba_source import kernel_text
from mpibatch.stencil.compiled.types import Array
from mpibatch.stencil.fused.trials import BUDGETS, Choice, Tuning, candidates
from mpibatch.stencil.fused.wavefront import Chain, fused_text


def tuned(limit: int, cost: dict[int, float], steps: int = 10**6, least: int = 1) -> tuple[Tuning, list[Choice]]:
    """Answer trials with seconds per step, the first sweep of each being slow; return what was tried."""
    tuning, tried = Tuning(limit, least), []
    while (choice := tuning.trial(steps)) is not None:
        first = choice not in tuning.times
        tuning.add(choice, cost[choice.steps] * (50.0 if first else 1.0) * (1.0 + BUDGETS.index(choice.budget)))
        tried.append(choice)
    return tuning, list(dict.fromkeys(tried))


def test_the_fastest_is_chosen() -> None:
    tuning, tried = tuned(8, {1: 1.0, 2: 0.7, 3: 0.6, 4: 0.5, 6: 0.55, 8: 0.53})
    assert tuning.best() == Choice(4, BUDGETS[0])
    assert [choice.steps for choice in tried] == [1, 2, 3, 4, 6, 8, *[4] * (len(BUDGETS) - 1)]
    assert tuning.most == 4


def test_other_ways_are_tried_with_the_fastest() -> None:
    tuning, tried = Tuning(8, 1, ways=(0, 1, 3)), []
    while (choice := tuning.trial(10**6)) is not None:
        tried.append(choice)
        cost = {1: 1.0, 4: 0.5}.get(choice.steps, 0.7) * (1.0 + BUDGETS.index(choice.budget))
        tuning.add(choice, cost * {0: 1.0, 1: 0.9, 3: 0.8}[choice.way])
    others = [Choice(4, BUDGETS[0], 1), Choice(4, BUDGETS[0], 3)]
    assert list(dict.fromkeys(tried))[-2:] == others
    assert {choice.way for choice in {*tried} - {*others}} == {0}
    assert tuning.best() == others[1]


def test_it_stops_where_fusing_more_gets_worse() -> None:
    tuning, tried = tuned(8, {1: 1.0, 2: 2.0, 3: 3.0})
    assert tuning.best().steps == 1
    assert [choice.steps for choice in tried] == [1, 2, 3]


@pytest.mark.parametrize(("limit", "found"), [(1, [1]), (0, [1]), (3, [1, 2, 3]), (100, [1, 2, 3, 4, 6, 8])])
def test_no_more_than_the_limit_is_tried(limit: int, found: list[int]) -> None:
    assert candidates(limit) == found
    assert Tuning(limit, 1).most == found[-1]


def test_sweeps_have_as_many_steps_as_values_that_are_kept() -> None:
    _, tried = tuned(4, {1: 1.0, 3: 0.9, 4: 0.8}, least=3)
    assert 2 not in [choice.steps for choice in tried]


def test_nothing_is_tried_that_cannot_pay() -> None:
    assert [choice.steps for choice in tuned(8, dict.fromkeys((1, 2, 3, 4, 6, 8), 1e-4), steps=1000)[1]] == [1]
    assert [choice.steps for choice in tuned(8, dict.fromkeys((1, 2, 3, 4, 6, 8), 1.0), steps=2)[1]] == [1, 2]


def test_steps_of_calls_before_count_for_what_can_pay() -> None:
    tuning = Tuning(8, 1)
    for _ in range(3):
        tuning.add(Choice(1, BUDGETS[0]), 1e-3)
    assert tuning.trial(20) is None
    tuning.made = 1000
    assert tuning.trial(20) == Choice(2, BUDGETS[0])


def test_loops_over_many_arrays_are_compiled_with_patience() -> None:
    @stencil
    def many(a, b, c, d, e, f, g, h, i):
        return tuple([u[0, 1] + u[-1, 0] for u in (a, b, c, d, e, f, g, h, i)])

    @stencil
    def few(a, b):
        return a[0, 1] + b[-1, 0], b[0, 1]

    array = Array(np.dtype("f8"))
    for kernel, count, is_many in ((many, 9, True), (few, 2, False)):
        typed = kernel.typed(2, [array] * count, {}, [array] * count, [-1] * count)
        text = fused_text(typed, [Chain((n,)) for n in range(count)])
        assert ("told_apart(plane)" in text) is is_many
        assert ("@compiled_lean_many" in text) is is_many
        assert ("@compiled_lean_many" in kernel_text(typed)) is is_many


def test_two_outputs_with_a_value_of_the_step_before() -> None:
    @stencil
    def mixed(a, b, old):
        return a[0, 1] - old[0, 0] + b[1, 0], b[0, 0] + a[0, -1]

    array = Array(np.dtype("f8"))
    text = fused_text(mixed.typed(2, [array] * 3, {}, [array] * 2, (-1, -1)), (Chain((0, 2)), Chain((1,))))
    compile(text, "fused", "exec")
    packed = [line.split(" = ")[0].strip() for line in text.splitlines() if "memory(ints[" in line]
    assert packed[:5] == ["x0_0", "x0_1", "y0_0", "y0_1", "ring0"]
    assert "x1_1" not in text


def test_levels_shrink_to_the_tile_and_end_at_the_domain() -> None:
    low, middle, high = ((0, 4), (10, 14), (16, 20))
    for cells, expected in (
        (low, [(0, 8, (2, 0)), (0, 6, (2, 0)), (0, 4, (0, 0))]),
        (middle, [(6, 18, (0, 0)), (8, 16, (0, 0)), (10, 14, (0, 0))]),
        (high, [(12, 20, (0, 2)), (14, 20, (0, 2)), (16, 20, (0, 0))]),
        ((3, 4), [(0, 8, (1, 0)), (1, 6, (0, 0)), (3, 4, (0, 0))]),  # one cell outside is read, not two
    ):
        levels = levels_of([cells, (0, 1), (0, 1)], [(0, 20), (0, 1), (0, 1)], [2, 0, 0], 2)
        assert [(slow.start, slow.stop, slow.outside) for slow, _, _ in levels] == expected
