"""Labels on a thousand ranks, modeled: scipy's numbers, and what each rank sends stays as large as its faces."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
import scipy.ndimage as ndi

from tests.support.modeled_ranks import ModeledComm, ModeledRanks, label_blocks


def sent(topology: tuple[int, ...], side: int) -> list[tuple[int, int]]:
    """Label 31 % of the cells on so many blocks, compare with scipy, and return the most sent in each round."""
    whole = np.random.default_rng(1).random([n * side for n in topology]) < 0.31
    expected, n = ndi.label(whole)
    ranks, labeled = label_blocks(topology, whole.shape, lambda box: whole[box.slices()])
    assert {block.n for block in labeled} == {n}
    for block in labeled:
        np.testing.assert_array_equal(block.labels, expected[block.box.slices()])
    return ranks.rounds()


def test_a_thousand_ranks_send_what_a_hundred_do() -> None:
    few, many = sent((5, 5, 5), 8), sent((10, 10, 10), 8)
    for ranks, rounds in ((125, few), (1000, many)):
        # Faces to three neighbors; then rows to their ranks, questions and answers, by two messages a hop.
        assert max(round[0] for round in rounds) <= 3 + 3 * 2 * math.floor(math.log2(ranks))
    assert max(round[1] for round in many) <= 1.3 * max(round[1] for round in few)
    assert len(many) <= len(few) + 4


def test_who_waits_for_what_never_comes_is_told() -> None:
    def program(comm: ModeledComm) -> None:
        comm.Recv(np.empty(1), (comm.rank + 1) % 3, 7)

    with pytest.raises(RuntimeError, match=r"all ranks wait, the first for \[\(1, 0, 7\)"):
        ModeledRanks(3).run(program)


def test_who_waits_for_a_rank_without_an_end_is_told() -> None:
    never = threading.Event()
    try:
        with pytest.raises(RuntimeError, match=r"a rank has run for 0.1 s"):
            ModeledRanks(3, patience=0.1).run(lambda comm: never.wait() if comm.rank == 1 else None)
    finally:
        never.set()
