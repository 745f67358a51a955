#!/usr/bin/env python3
"""Kill a small simulation at many moments, and see that nothing is lost (`mpibatch drill` does it some times).

    scripts/drill_kill.py                     # 200 kills on 2 ranks
    scripts/drill_kill.py --kills 20 --seed 7 --ranks 3 --folder /scratch/me

What is done, and what must hold then, is told by mpibatch/tools/drill/kills.py. Runs are taken up mostly on one rank,
in turn on all. Exit code 1 if something was lost.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from mpibatch.tools.drill import kills
from mpibatch.tools.drill.launch import own_launcher


def main() -> int:
    """Run the drill and print what it found as JSON."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--folder", help="where to write (default: the folder for temporary files)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drill-", dir=args.folder) as folder:
        return _drill(args, Path(folder))


def _drill(args: argparse.Namespace, folder: Path) -> int:
    begin = time.monotonic()
    points, whole = kills.reference(folder / "reference")
    draw, start = random.Random(args.seed), own_launcher(args.ranks)
    tally: Counter[str] = Counter()
    wrong = []
    for number in range(args.kills):
        moment = kills.drawn(draw, points, args.ranks)
        place = folder / f"kill-{number}"
        place.mkdir()
        try:
            resume_ranks = args.ranks if number % 10 == 9 else 0
            tally.update(kills.kill_and_resume(place, moment, resume_ranks, whole, start))
        except Exception as error:
            wrong.append({"kill": number, **asdict(moment), "error": f"{type(error).__name__}: {error}"})
        else:
            shutil.rmtree(place)
        tally.update([f"at {moment.point}", f"killed {moment.target}", moment.phase])
        if sys.stderr.isatty() or number % 20 == 19:
            sys.stderr.write(f"{number + 1} of {args.kills} kills, {len(wrong)} wrong\n")
    facts = {"kills": args.kills, "seed": args.seed, "ranks": args.ranks, "seconds": round(time.monotonic() - begin, 1)}
    print(json.dumps({**facts, "wrong": wrong, **dict(sorted(tally.items()))}, indent=2))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
