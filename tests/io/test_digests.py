"""Digests of values: sums that any change of a word changes, the same for any parts in any order."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpibatch.io.seal.digests import FEW, LARGEST, MANY, SMALLEST, granule, of_array, of_bytes

MASK = (1 << 64) - 1
STEP, FACTORS = 0x9E3779B97F4A7C15, (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
PAGE = 4096
steady = settings(settings.get_profile("steady"), max_examples=60)
firsts = st.one_of(st.integers(0, 40), st.integers(PAGE - 40, PAGE + 8), st.integers(0, 1 << 50))


def scattered(number: int) -> int:
    """SplitMix64, in Python's integers, made odd."""
    mixed = (number + 1) * STEP & MASK
    mixed = (mixed ^ mixed >> 30) * FACTORS[0] & MASK
    mixed = (mixed ^ mixed >> 27) * FACTORS[1] & MASK
    return mixed ^ mixed >> 31 | 1


def weighted(data: bytes, first: int) -> int:
    """The digest of bytes, one after the other."""
    total = 0
    for number, value in enumerate(data, first):
        page, at = divmod(number, PAGE)
        total += (value << 8 * (at % 4)) * scattered(at // 4) * scattered(page + PAGE // 4)
    return total & MASK


def digest(data: Any, first: int = 0) -> int:
    """One digest of all bytes."""
    return int(of_bytes(data, first, 1 << 30)[0])


@given(st.binary(min_size=1, max_size=200), firsts, st.integers(1, 99))
@steady
def test_digests_are_sums_of_weighted_words(data: bytes, first: int, per: int) -> None:
    expected = [weighted(data[low : low + per], first + low) for low in range(0, len(data), per)]
    assert of_bytes(data, first, per).tolist() == expected


def test_digests_of_many_pages() -> None:
    data = np.random.default_rng(5).integers(0, 256, 3 * PAGE + 5, "u1").tobytes()
    assert digest(data, 2 * PAGE - 3) == weighted(data, 2 * PAGE - 3)


@given(st.binary(min_size=4, max_size=64), firsts, st.data())
@steady
def test_a_changed_word_always_shows(data: bytes, first: int, draw: st.DataObject) -> None:
    low = draw.draw(st.integers(0, len(data) - 1))
    high = min(low + 4 - (first + low) % 4, len(data))
    other = draw.draw(st.binary(min_size=high - low, max_size=high - low))
    changed = data[:low] + other + data[high:]
    assert (digest(changed, first) != digest(data, first)) == (changed != data)


@given(st.lists(st.integers(0, 61), max_size=5), firsts, st.randoms(use_true_random=False))
@steady
def test_parts_add_up_in_any_order(cuts: list[int], first: int, random: Any) -> None:
    data = np.random.default_rng(7).integers(0, 256, 61, "u1")
    bounds = sorted({0, 61, *cuts})
    parts = [(low, data[low:high]) for low, high in itertools.pairwise(bounds)]
    random.shuffle(parts)
    assert sum(digest(part, first + low) for low, part in parts) & MASK == digest(data, first)


def test_places_count_and_not_only_values() -> None:
    words = np.arange(1, 9, dtype="u8")
    swapped = words.copy()
    swapped[[2, 5]] = words[[5, 2]]
    turned = words[::-1].copy()
    assert len({digest(words), digest(swapped), digest(words, 8), digest(words, PAGE), digest(turned)}) == 5
    # The highest bit of two values: a sum of products of 64 bits would not see it.
    twice = words.copy()
    twice[[0, 4]] ^= np.uint64(1 << 63)
    assert digest(twice) != digest(words)


def test_no_two_words_of_different_pages_weigh_alike() -> None:
    # Rows of a page each, and a pair of values across the diagonal: what a wrong transposition leaves.
    rows = np.random.default_rng(9).integers(0, 1 << 32, (16, PAGE // 4), "u4")
    known = digest(rows)
    for page, half in itertools.combinations(range(16), 2):
        swapped = rows.copy()
        swapped[[page, half], [half, page]] = rows[[half, page], [page, half]]
        assert digest(swapped) != known, (page, half)


def test_no_two_words_of_a_page_weigh_alike() -> None:
    # Not even in those bits that the highest bit of a word leaves of a product.
    weights = [scattered(number) for number in range(PAGE // 4)]
    low = [weight % (1 << 33) for weight in weights]
    assert len({*low, *((1 << 33) - weight for weight in low)}) == 2 * len(weights)


@pytest.mark.parametrize("dtype", ["?", "u1", "f2", "i4", "f8", "c8", "c16"])
def test_digests_of_arrays_are_those_of_their_bytes(dtype: str) -> None:
    array = np.arange(6).astype(dtype).reshape(2, 3)
    assert of_array(array).tolist() == of_bytes(array.tobytes()).tolist()
    assert of_array(array[1:], before=3).tolist() == of_bytes(array[1:].tobytes(), 3 * array.itemsize).tolist()
    assert of_array(array[1:], before=3).tolist() != of_array(array[1:]).tolist()
    assert of_array(array[:, ::2]).tolist() == of_array(array[:, ::2].copy()).tolist()


def test_regions_grow_with_the_data() -> None:
    assert granule(0) == granule(1) == granule(SMALLEST * FEW) == SMALLEST
    assert granule(SMALLEST * FEW + 1) == 2 * SMALLEST
    assert granule(LARGEST * FEW) == granule(LARGEST * MANY) == LARGEST
    assert granule(LARGEST * MANY + 1) == 2 * LARGEST
    for exponent in range(50):
        assert (1 << exponent) / granule(1 << exponent) <= (FEW if exponent <= 36 else MANY)
