"""Encrypted files that are damaged on purpose: bits flip, bytes are cut, moved, or taken from another file.

Ranks save two files for the same recipient. Copies of the first get a flipped bit, lose bytes at the end or in between,
have two parts exchanged, or a part of the second file's in place of their own (header, index, whole segments, or any
bytes). Of every copy `verify` must say that it is broken, and reading must raise, or give the very values that were
saved (where the damage lies elsewhere).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.tools.drill import losses

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["damage_encrypted"]

WHOLE = "verify says that it is whole"


def damage_encrypted(place: Path, start: Sequence[str], times: int, draw: random.Random) -> list[str]:
    """Damage an encrypted file so many times; return in words which damages were not refused. Local."""
    from mpibatch.io.vault.age import new_identity
    from mpibatch.io.vault.keys import write_private

    identity, key = new_identity(), place / "key"
    write_private(key, identity.text)
    (place / losses.RECIPIENTS).write_text(f"{identity.recipient}\n")
    if problems := losses.run("encrypted", place, start, code=0):
        return problems
    first, second = (place / name for name in losses.ENCRYPTED)
    whole, other, parts = first.read_bytes(), second.read_bytes(), _segments_of(first, key)
    if (words := _leniency(first, key)) != WHOLE:
        return [f"a file that nobody damaged does not open: {words}"]
    target = place / "damaged.h5"
    for number in range(times):
        damage = DAMAGES[number % len(DAMAGES)]
        damaged = whole
        while damaged == whole:
            damaged = damage(draw, whole, other, parts)
        target.write_bytes(damaged)
        if words := _leniency(target, key):
            problems.append(f"damage {number} ({damage.__name__.strip('_')}) is not refused: {words}")
    return problems


def _leniency(path: Path, key: Path) -> str:
    """Why a damaged file is not refused as it must be; "" if it is. Local."""
    import numpy as np

    import mpibatch as mb

    try:
        if mb.io.verify(path, identity=key).is_whole:
            return WHOLE
    except mb.MpibatchError:
        pass
    try:
        values = mb.gather_all(mb.load(path, "u", identity=key))
    except mb.MpibatchError:
        return ""
    return "" if np.array_equal(values, losses.encrypted_values()) else "other values are read"


def _segments_of(path: Path, key: Path) -> list[range]:
    """The bytes of all segments of a vault, in order."""
    from mpibatch.io.vault import envelope
    from mpibatch.io.vault.cipher import SEGMENT
    from mpibatch.io.vault.keyring import cipher_of, unlocked

    known = unlocked(str(path), key)
    assert known is not None
    with path.open("rb") as file:
        index, _ = envelope.read_index(file.fileno(), cipher_of(known[1]))
    return [
        range(envelope.HEADER + at, envelope.HEADER + min(at + SEGMENT, start + size))
        for start, size, *_ in index.blocks.tolist()
        for at in range(start, start + size, SEGMENT)
    ]


def _flip(draw: random.Random, whole: bytes, other: bytes, parts: list[range]) -> bytes:
    """Change one bit."""
    at, bit = draw.randrange(len(whole)), draw.randrange(8)
    return whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]


def _cut(draw: random.Random, whole: bytes, other: bytes, parts: list[range]) -> bytes:
    """Leave bytes out."""
    low = draw.randrange(len(whole))
    high = len(whole) if draw.random() < 0.5 else min(len(whole), low + draw.randrange(1, 1 << 16))
    return whole[:low] + whole[high:]


def _reorder(draw: random.Random, whole: bytes, other: bytes, parts: list[range]) -> bytes:
    """Exchange two parts, segments or any others, of one length."""
    if draw.random() < 0.6:
        some = draw.sample(parts, 2)
        length = min(map(len, some))
        low, high = sorted(part.start for part in some)
    else:
        length = draw.randrange(1, 4096)
        low = draw.randrange(len(whole) - 2 * length)
        high = draw.randrange(low + length, len(whole) - length)
    first, second = whole[low : low + length], whole[high : high + length]
    return whole[:low] + second + whole[low + length : high] + first + whole[high + length :]


def _splice(draw: random.Random, whole: bytes, other: bytes, parts: list[range]) -> bytes:
    """Put a part of the other file in the place of this one's."""
    from mpibatch.io.vault import envelope

    low = draw.randrange(len(whole) - 1)
    anything = range(low, min(len(whole), low + draw.randrange(1, 1 << 14)))
    header, index = range(envelope.HEADER), range(parts[-1].stop, len(whole))
    part = draw.choice([draw.choice(parts), header, index, anything])
    return whole[: part.start] + other[part.start : part.stop] + whole[part.stop :]


DAMAGES: tuple[Callable[[random.Random, bytes, bytes, list[range]], bytes], ...] = (_flip, _cut, _reorder, _splice)
