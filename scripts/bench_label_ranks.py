#!/usr/bin/env python3
"""What each rank sends to label on thousands of ranks: `python scripts/bench_label_ranks.py [--quick] [--only CASE]`.

The ranks are modeled, one thread each, one running at a time: the package's own code with messages that are counted
(tests/support/modeled_ranks.py). 31 % of the cells are set, each for itself, near the threshold at which one object
reaches everywhere.

ranks: the same blocks of 24³ on 125 to 10,000 ranks, there together 138 million cells, as 512³ has. What a rank sends
in a round may grow with the hops that rows take, as log2(ranks) does: 3 + 6 log2(ranks) messages at most, for faces,
and for rows, questions and answers by two a hop. The status is 1 if there are more, or if the bytes are more than 1.3
times those of the number of ranks before.
faces: blocks of 64³ to 512³ on 8 ranks, periodic, so that each has all of its neighbors: bytes grow as faces.

One JSON object a line: `rounds`, and of the rank that sends most the `messages` and `bytes` in the round with the most
of them, `total_bytes` of all rounds; `seconds` of the model, which are not those of ranks.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.support.modeled_ranks import label_blocks

if TYPE_CHECKING:
    from mpibatch.domain import Box

FILLING, SIDE = 0.31, 24
MOST_GROWTH = 1.3
TOPOLOGIES = {125: (5, 5, 5), 1000: (10, 10, 10), 4096: (16, 16, 16), 10_000: (25, 20, 20)}


def cells_of(box: Box) -> npt.NDArray[Any]:
    """Return the cells of a box, which are drawn anew from its corner."""
    return np.random.default_rng(box.start).random(box.shape, "f4") < FILLING


def measure(case: str, topology: tuple[int, ...], side: int, periodic: bool) -> dict[str, Any]:
    """Label, print what was sent, and return it."""
    begin = time.perf_counter()
    ranks, blocks = label_blocks(topology, [n * side for n in topology], cells_of, periodic)
    rounds = ranks.rounds()
    line = {
        "case": case,
        "ranks": ranks.size,
        "block": [side] * len(topology),
        "components": blocks[0].n,
        "rounds": len(rounds),
        "messages": max(messages for messages, _ in rounds),
        "bytes": max(size for _, size in rounds),
        "total_bytes": max(sum(count.bytes for count in counts.values()) for counts in ranks.counts),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    print(json.dumps(line), flush=True)
    return line


def complaints(lines: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong with measurements on more and more ranks."""
    found = []
    for before, line in zip([*lines[:1], *lines], lines, strict=False):
        most = 3 + 6 * math.floor(math.log2(line["ranks"]))
        if line["messages"] > most:
            found.append(f"{line['ranks']} ranks: {line['messages']} messages in a round, and {most} are the most")
        if line["bytes"] > MOST_GROWTH * before["bytes"]:
            found.append(
                f"{line['ranks']} ranks: {line['bytes']} bytes in a round, {before['bytes']} on {before['ranks']}"
            )
    return found


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help="up to 1,000 ranks, and blocks of 128³")
    parser.add_argument("--only", metavar="CASE", choices=("ranks", "faces"))
    options = parser.parse_args()
    lines = []
    if options.only != "faces":
        for count, topology in TOPOLOGIES.items():
            if count <= 1000 or not options.quick:
                lines.append(measure("ranks", topology, SIDE, periodic=False))
    if options.only != "ranks":
        for side in (64, 128) if options.quick else (64, 128, 256, 512):
            measure("faces", (2, 2, 2), side, periodic=True)
    if found := complaints(lines):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
