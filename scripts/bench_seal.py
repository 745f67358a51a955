#!/usr/bin/env python3
"""Time encryption: `mpiexec -n 2 python scripts/bench_seal.py [--folder FOLDER]`.

256 MiB of f8 (--quick: 32 MiB) in chunks of about 1 MiB. One JSON object a line. Every sample writes a new file, and
ends when its bytes are on disk. `ratio` is the median of pairs, taken in turn: seconds of the plain file over those of
the encrypted one, so that 0.87 says that encryption adds 15 %; `added` is the same as a share of a plain write.

- save, save_gzip: writing, against the same chunks in plain;
- load: reading, against the same;
- verify: against the same;
- cipher: encryption alone of one rank's values, in GB/s, and its share of `save`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import mpi4py
import numpy as np

import mpibatch as mb
from mpibatch.io.vault.age import new_identity
from mpibatch.io.vault.cipher import Cipher
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Callable

COMM = MPI.COMM_WORLD
SAMPLES = 7


def timed(call: Callable[[], object]) -> float:
    """Return the seconds of the slowest rank."""
    COMM.Barrier()
    begin = time.perf_counter()
    call()
    return float(COMM.allreduce(time.perf_counter() - begin, op=MPI.MAX))


def compare(case: str, ours: Callable[[], object], plain: Callable[[], object], nbytes: int) -> float:
    """Print a case and return its median seconds."""
    pairs = [(timed(ours), timed(plain)) for _ in range(SAMPLES + 1)][1:]
    mine, other = (sorted(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    if COMM.rank == 0:
        told = {
            "case": case,
            "ranks": COMM.size,
            "threads": 1,
            "seconds": statistics.median(mine),
            "spread": [mine[0], mine[-1]],
            "against": {"plain": statistics.median(other)},
            "ratio": {"plain": round(ratio, 3)},
            "added": round(statistics.median(a / b for a, b in pairs) - 1, 3),
            "GB_per_second": round(nbytes / statistics.median(mine) / 1e9, 3),
            "versions": {"mpi4py": mpi4py.__version__, "numpy": np.__version__},
        }
        print(json.dumps(told), flush=True)
    return float(statistics.median(mine))


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="less data")
    parser.add_argument("--only", default="", metavar="CASE", help="only cases whose name contains this")
    parser.add_argument("--folder", help="where files are written (default: the folder for temporary files)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as own:
        folder = Path(COMM.bcast(own))
        bench(folder, 32 if args.quick else 256, args.only)
        COMM.Barrier()


def bench(folder: Path, mebibytes: int, only: str) -> None:
    """Run the cases of this name in a folder."""
    recipients = folder / "recipients.txt"
    identity = new_identity()
    if COMM.rank == 0:
        recipients.write_text(f"{identity.recipient}\n")
    COMM.Barrier()
    u = mb.Grid((mebibytes // 2, 256, 256)).from_function(lambda z, y, x: np.sin(z + y * 0.01) + x)
    nbytes = mebibytes << 20
    plain, closed = folder / "plain.h5", folder / "closed.h5"
    seconds: dict[str, float] = {}
    for case, compression in (("save", None), ("save_gzip", "gzip:1")):
        if only in case:
            seconds[case] = compare(
                case,
                partial(mb.save, closed, u=u, compression=compression, chunks="auto", encrypt=recipients),
                partial(mb.save, plain, u=u, compression=compression, chunks="auto"),
                nbytes,
            )
    mb.save(closed, u=u, encrypt=recipients)
    mb.save(plain, u=u, chunks="auto")
    if only in "load":
        compare("load", lambda: mb.load(closed), lambda: mb.load(plain), nbytes)
    if only in "verify":
        compare("verify", lambda: mb.io.verify(closed), lambda: mb.io.verify(plain), nbytes)
    if only in "cipher":
        cipher, blocks = Cipher(bytes(32)), np.ascontiguousarray(u.owned).reshape(-1).view("u1")
        alone = [
            timed(
                lambda: [cipher.seal(blocks[at : at + (1 << 20)], 1, at, b"") for at in range(0, blocks.size, 1 << 20)]
            )
            for _ in range(SAMPLES)
        ]
        if COMM.rank == 0:
            middle = statistics.median(alone)
            told = {"case": "cipher", "ranks": COMM.size, "seconds": middle, "spread": [min(alone), max(alone)]}
            told["GB_per_second"] = round(blocks.nbytes / middle / 1e9, 3)
            told["share_of_save"] = round(middle / seconds["save"], 3) if "save" in seconds else None
            print(json.dumps(told))


if __name__ == "__main__":
    main()
