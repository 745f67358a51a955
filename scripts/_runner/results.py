"""What all steps together have shown, and the summary of it."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pathlib import Path

SLOWEST = 40


@dataclass
class Results:
    """What all runs together have shown."""

    lines: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("passed", "failed", "skipped"), 0))
    not_run: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # reason: tests
    too_few_ranks: dict[str, int] = field(default_factory=dict)
    executed: set[str] = field(default_factory=set)
    seconds: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))  # by file and step
    measured: set[int] = field(default_factory=set)  # numbers of ranks of the steps whose coverage was measured
    remarks: list[str] = field(default_factory=list)  # lines that the summary shows as they are
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, seconds: float, status: str, tally: Path | None = None) -> None:
        """Take in one step; `status` is empty if it ended well. A failed step counts as one failure at least."""
        with self._lock:
            self._add(name, seconds, status, tally)

    def _add(self, name: str, seconds: float, status: str, tally: Path | None) -> None:
        outcomes: dict[str, str] = {}
        if tally is not None and tally.exists():
            record = json.loads(tally.read_text())
            outcomes = record["outcomes"]
            self.too_few_ranks |= record["too_few_ranks"]
            for file, spent in record["seconds"].items():
                self.seconds[file][name] = spent
            for test, reason in record["reasons"].items():
                self.not_run[reason.removeprefix("Skipped: ")].add(test)
        self.executed |= {test for test, outcome in outcomes.items() if outcome != "skipped"}
        tallied = {kind: sum(outcome == kind for outcome in outcomes.values()) for kind in self.counts}
        if status and not tallied["failed"]:
            tallied["failed"] = 1
        if tally is not None or status:
            for kind, number in tallied.items():
                self.counts[kind] += number
        numbers = ", ".join(f"{number} {kind}" for kind, number in tallied.items()) if outcomes else ""
        numbers = "no test selected" if tally is not None and not outcomes and not status else numbers
        self.lines.append(
            f"{name:<32} {seconds:6.1f} s  {'FAILED: ' + status if status else 'ok':<8}  {numbers}".rstrip()
        )

    def show(self, *, wants_tests: bool) -> int:
        """Print the summary, and return the exit status: 1 after any failure, or where no wanted test was executed."""
        heading("summary")
        print("\n".join(self.lines))
        self._show_slowest()
        if self.remarks:
            print("\n".join(self.remarks))
        never = {test: least for test, least in self.too_few_ranks.items() if test not in self.executed}
        for reason, skipped in sorted(self.not_run.items()):
            tests = skipped - self.executed  # by another set-up, or on other ranks
            if not tests:
                continue
            print(
                f"not run: {len(tests)} test{'s' if len(tests) > 1 else ''}: {reason}\n    "
                + "\n    ".join(sorted(tests))
            )
        if never:
            print(
                f"not run: needs more ranks: scripts/test.sh --ranks {max(never.values())}\n    "
                + "\n    ".join(sorted(never))
            )
        nothing = wants_tests and not self.executed and not self.counts["failed"]
        if nothing:
            print("no test was executed")
        print("{passed} passed, {failed} failed, {skipped} skipped".format(**self.counts))
        return 1 if self.counts["failed"] or nothing else 0

    def _show_slowest(self) -> None:
        """Print the files that took longest, with the step that took most of each; of short runs nothing."""
        totals = {file: sum(spent.values()) for file, spent in self.seconds.items()}
        slowest = [file for file in sorted(totals, key=lambda f: -totals[f])[:SLOWEST] if totals[file] >= 5]
        if slowest:
            print("slowest files, in seconds over all steps, and the longest step:")
        for file in slowest:
            step = max(self.seconds[file], key=lambda name: self.seconds[file][name])
            print(f"    {file:<40} {totals[file]:6.1f}  {self.seconds[file][step]:6.1f} {step}")


def heading(text: str, out: TextIO | None = None) -> None:
    print(f"\n==== {text}", file=out, flush=True)
