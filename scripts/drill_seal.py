#!/usr/bin/env python3
"""Damage encrypted files on purpose, and see that each damage is refused.

    scripts/drill_seal.py                     # 1,000 damages
    scripts/drill_seal.py --damages 40 --seed 3

A file is saved twice for the same recipient. Copies of the first get a flipped bit, lose bytes at the end or in
between, have two parts exchanged, or a part of the second file's in place of their own (header, index, whole chunks, or
any bytes). Of every copy `verify` must say that it is broken, and reading must raise, or give the very values that were
saved (where the damage lies elsewhere). The last line is a summary in JSON; exit code 1 if a damage was not refused.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import mpibatch as mb
from mpibatch.io.vault import envelope, keyring
from mpibatch.io.vault.age import new_identity
from mpibatch.io.vault.cipher import SEGMENT
from mpibatch.io.vault.keyring import cipher_of, unlocked, use
from mpibatch.io.vault.keys import write_private

if TYPE_CHECKING:
    from collections.abc import Callable


def flip(chance: random.Random, whole: bytes, other: bytes, parts: list[range]) -> bytes:
    """Change one bit."""
    at, bit = chance.randrange(len(whole)), chance.randrange(8)
    return whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]


def cut(chance: random.Random, whole: bytes, other: bytes, parts: list[range]) -> bytes:
    """Leave bytes out."""
    low = chance.randrange(len(whole))
    high = len(whole) if chance.random() < 0.5 else min(len(whole), low + chance.randrange(1, 1 << 16))
    return whole[:low] + whole[high:]


def reorder(chance: random.Random, whole: bytes, other: bytes, parts: list[range]) -> bytes:
    """Exchange two parts, chunks or any others, of one length."""
    if chance.random() < 0.6:
        one, two = chance.sample(parts, 2)
        length = min(len(one), len(two))
        low, high = sorted((one.start, two.start))
    else:
        length = chance.randrange(1, 4096)
        low = chance.randrange(len(whole) - 2 * length)
        high = chance.randrange(low + length, len(whole) - length)
    first, second = whole[low : low + length], whole[high : high + length]
    return whole[:low] + second + whole[low + length : high] + first + whole[high + length :]


def splice(chance: random.Random, whole: bytes, other: bytes, parts: list[range]) -> bytes:
    """Put a part of the other file in the place of this one's."""
    end = parts[-1].stop
    kind = chance.randrange(4)
    if kind == 0:
        part = chance.choice(parts)
    elif kind == 1:
        part = range(envelope.HEADER)
    elif kind == 2:
        part = range(end, len(whole))
    else:
        low = chance.randrange(len(whole) - 1)
        part = range(low, min(len(whole), low + chance.randrange(1, 1 << 14)))
    return whole[: part.start] + other[part.start : part.stop] + whole[part.stop :]


DAMAGES: tuple[Callable[[random.Random, bytes, bytes, list[range]], bytes], ...] = (flip, cut, reorder, splice)


def segments_of(path: Path) -> list[range]:
    """Return the bytes of all segments of a vault, in order."""
    known = unlocked(str(path))
    assert known is not None
    with path.open("rb") as file:
        index, _ = envelope.read_index(file.fileno(), cipher_of(known[1]))
    return [
        range(envelope.HEADER + at, envelope.HEADER + min(at + SEGMENT, start + size))
        for start, size, *_ in index.blocks.tolist()
        for at in range(start, start + size, SEGMENT)
    ]


WHOLE = "verify says that it is whole"


def refusal(path: Path, values: np.ndarray) -> str:
    """Return why a damaged file is not refused as it must be; "" if it is."""
    try:
        if mb.io.verify(path).is_whole:
            return WHOLE
    except mb.MpibatchError:
        pass
    try:
        read = mb.gather_all(mb.load(path, "u"))
    except mb.MpibatchError:
        return ""
    return "" if np.array_equal(read, values) else "other values are read"


def drill(folder: Path, damages: int, seed: int) -> dict[str, object]:
    """Return what came of so many damages."""
    identity, key, recipients = new_identity(), folder / "key", folder / "recipients.txt"
    write_private(key, identity.text)
    recipients.write_text(f"{identity.recipient}\n")
    use(key)
    grid = mb.Grid((40, 64, 64))
    u = grid.from_function(lambda z, y, x: z * 4096.0 + y * 64 + x)
    paths = [folder / "first.h5", folder / "second.h5"]
    for path in paths:
        mb.save(path, u=u, labels=u > 9, chunks=(10, 64, 64), compression={"labels": "gzip"}, encrypt=recipients)
    whole, other = (path.read_bytes() for path in paths)
    values, parts = mb.gather_all(u), segments_of(paths[0])
    chance, done, wrong = random.Random(seed), Counter[str](), []
    target = folder / "damaged.h5"
    # As another process finds them: by the key, and whole.
    keyring.forget()
    if refusal(paths[0], values) != WHOLE or not np.array_equal(mb.gather_all(mb.load(paths[0], "u")), values):
        raise RuntimeError("a file without damage does not open")
    for number in range(damages):
        damage = DAMAGES[number % len(DAMAGES)]
        damaged = whole
        while damaged == whole:
            damaged = damage(chance, whole, other, parts)
        target.write_bytes(damaged)
        done[damage.__name__] += 1
        if why := refusal(target, values):
            wrong.append({"number": number, "damage": damage.__name__, "why": why})
    return {"damages": dict(done), "refused": damages - len(wrong), "of": damages, "wrong": wrong}


def main() -> int:
    """Run the drill."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--damages", type=int, default=1000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = drill(Path(folder), args.damages, args.seed)
    print(json.dumps(told))
    return 1 if told["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
