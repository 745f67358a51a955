"""Digests of values: sums that any change of a word changes, the same for any parts in any order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpibatch.io.seal.digests import FEW, LARGEST, MANY, SMALLEST, granule, of_array, of_bytes, of_words, word_bytes

MASK = (1 << 64) - 1
STEP, FACTORS = 0x9E3779B97F4A7C15, (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
steady = settings(settings.get_profile("steady"), max_examples=60)
words_of = st.sampled_from((1, 2, 4, 8))


def mix(word: int, number: int) -> int:
    """What the compiled loop does to one word, in Python's integers."""
    mixed = word + number * STEP & MASK
    mixed = (mixed ^ mixed >> 30) * FACTORS[0] & MASK
    mixed = (mixed ^ mixed >> 27) * FACTORS[1] & MASK
    return mixed ^ mixed >> 31


def unmix(mixed: int, number: int) -> int:
    """The word, which shows that no two words of the same number are mixed alike."""
    for shift, factor in ((31, FACTORS[1]), (27, FACTORS[0]), (30, 1)):
        whole = mixed
        for _ in range(64 // shift):
            whole = mixed ^ whole >> shift
        mixed = whole * pow(factor, -1, 1 << 64) & MASK
    return mixed - number * STEP & MASK


@given(st.integers(0, MASK), st.integers(0, 1 << 50))
@steady
def test_mixing_can_be_undone(word: int, number: int) -> None:
    assert unmix(mix(word, number), number) == word


@given(st.binary(min_size=8, max_size=200), words_of, st.integers(0, 1 << 40), st.integers(1, 9))
@steady
def test_digests_are_sums_of_mixed_words(data: bytes, word: int, first: int, per: int) -> None:
    data = data[: len(data) // word * word]
    words = np.frombuffer(data, f"<u{word}").tolist()
    mixed = [mix(value, first + number) for number, value in enumerate(words)]
    expected = [sum(mixed[low : low + per]) & MASK for low in range(0, len(words), per)]
    assert of_bytes(data, word, first, per).tolist() == expected


@given(st.binary(min_size=8, max_size=64), words_of, st.data())
@steady
def test_a_flipped_bit_always_shows(data: bytes, word: int, draw: st.DataObject) -> None:
    data = data[: len(data) // word * word]
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    assert of_bytes(data, word, 3, 1 << 20) != of_bytes(flipped, word, 3, 1 << 20)


@given(st.lists(st.integers(0, 60), max_size=5), words_of, st.randoms(use_true_random=False))
@steady
def test_parts_add_up_in_any_order(cuts: list[int], word: int, random: object) -> None:
    words = np.random.default_rng(7).integers(0, 256, 61 * word, "u1").view(f"u{word}")
    bounds = sorted({0, 61, *cuts})
    parts = [(low, words[low:high]) for low, high in itertools.pairwise(bounds)]
    random.shuffle(parts)
    assert sum(of_words(part, 5 + low) for low, part in parts) & MASK == of_words(words, 5)


def test_places_count_and_not_only_values() -> None:
    words = np.arange(1, 9, dtype="u8")
    swapped = words.copy()
    swapped[[2, 5]] = words[[5, 2]]
    assert len({of_words(words), of_words(swapped), of_words(words, 1), of_words(words[::-1].copy())}) == 4
    # The highest bit of two words: a sum of products would not see it.
    twice = words.copy()
    twice[[0, 4]] ^= np.uint64(1 << 63)
    assert of_words(twice) != of_words(words)


@pytest.mark.parametrize(
    ("dtype", "word"), [("?", 1), ("u1", 1), ("f2", 2), ("i4", 4), ("f8", 8), ("c8", 8), ("c16", 8)]
)
def test_words(dtype: str, word: int) -> None:
    assert word_bytes(dtype) == word
    array = np.arange(6).astype(dtype).reshape(2, 3)
    assert of_array(array).tolist() == of_bytes(array.tobytes(), word, 0, SMALLEST).tolist()
    assert of_array(array[1:], before=3).tolist() != of_array(array[1:]).tolist()
    assert of_array(array[:, ::2]).tolist() == of_array(array[:, ::2].copy()).tolist()


def test_regions_grow_with_the_data() -> None:
    assert granule(0) == granule(1) == granule(SMALLEST * FEW) == SMALLEST
    assert granule(SMALLEST * FEW + 1) == 2 * SMALLEST
    assert granule(LARGEST * FEW) == granule(LARGEST * MANY) == LARGEST
    assert granule(LARGEST * MANY + 1) == 2 * LARGEST
    for exponent in range(50):
        assert (1 << exponent) / granule(1 << exponent) <= (FEW if exponent <= 36 else MANY)
