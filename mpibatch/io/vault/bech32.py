"""Bech32, the text form of age's keys: a prefix, data in 32 letters, and six letters by which a slip is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["decode", "encode"]

LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
CHECK = 6  # letters


def encode(prefix: str, data: bytes) -> str:
    """Return data as text, in lower case. Local."""
    groups = _regrouped(data, 8, 5, is_padded=True)
    remainder = _remainder([*_spread(prefix), *groups, *(0,) * CHECK]) ^ 1
    check = [remainder >> 5 * (CHECK - 1 - place) & 31 for place in range(CHECK)]
    return f"{prefix}1" + "".join(LETTERS[group] for group in (*groups, *check))


def decode(text: str) -> tuple[str, bytes]:
    """Return prefix, in lower case, and data. Local. Raises ValueError, whose text never holds any of `text`."""
    if text not in (text.lower(), text.upper()):
        raise ValueError("it mixes small letters and capitals")
    prefix, mark, letters = text.lower().rpartition("1")
    if not mark or not prefix or len(letters) < CHECK or not set(letters) <= set(LETTERS):
        raise ValueError("it has letters that no key has, or too few")
    groups = [LETTERS.index(letter) for letter in letters]
    if _remainder([*_spread(prefix), *groups]) != 1:
        raise ValueError("its checksum is wrong: letters are missing or mistyped")
    return prefix, bytes(_regrouped(groups[:-CHECK], 5, 8, is_padded=False))


def _spread(prefix: str) -> list[int]:
    codes = prefix.encode()
    return [*(code >> 5 for code in codes), 0, *(code & 31 for code in codes)]


def _remainder(groups: Iterable[int]) -> int:
    total = 1
    for group in groups:
        top = total >> 25
        total = (total & 0x1FFFFFF) << 5 ^ group
        for bit, generator in enumerate(GENERATORS):
            total ^= generator * (top >> bit & 1)
    return total


def _regrouped(groups: Iterable[int], width: int, to: int, *, is_padded: bool) -> list[int]:
    """Bits in groups of another width."""
    waiting = bits = 0
    out = []
    for group in groups:
        waiting, bits = waiting << width | group, bits + width
        while bits >= to:
            bits -= to
            out.append(waiting >> bits & (1 << to) - 1)
    rest = waiting & (1 << bits) - 1
    if is_padded and bits:
        out.append(rest << to - bits)
    elif not is_padded and (bits >= width or rest):
        raise ValueError("it does not end as it should")
    return out
