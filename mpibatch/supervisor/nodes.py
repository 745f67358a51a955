"""What supervisors of different nodes tell one another, by files in a folder that all nodes see: one page for all.

When the ranks of a node have stood still for the limit, its supervisor leaves what it knows of them, by groups. That of
a node with a rank that keeps others waiting then reads what the others have left, writes the one page, and ends the
job; of several such that with the lowest rank.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from mpibatch.supervisor.page import RankState, grouped
from mpibatch.supervisor.stacks import Spot, StackFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["NodeReport", "Notices"]

MOST_FILES, MOST_BYTES = 4096, 1 << 20  # read of other nodes
FRAMES = 13  # of a stack: more than a page shows


class NodeReport(NamedTuple):
    """What a supervisor has left: its first rank, whether it is about to end the job, and its ranks."""

    first: int
    acts: bool
    states: list[RankState]


class Notices:
    """The notices of one job in a folder; `first` is the first rank of this node, `job` what tells jobs apart."""

    def __init__(self, folder: Path, node: str, first: int, job: str) -> None:
        self._folder, self._path = folder, folder / f"hang-{node}-{first}.json"
        self._node, self._first, self._job = node, first, job

    def leave(self, states: Sequence[RankState], *, acts: bool) -> None:
        """Leave a notice for the other nodes. Local."""
        groups = [_written(group) for group in grouped(states)]
        text = json.dumps({"job": self._job, "node": self._node, "first": self._first, "acts": acts, "groups": groups})
        part = self._path.with_suffix(".part")
        with suppress(OSError):
            part.write_text(text, encoding="utf-8")
            part.replace(self._path)

    def withdraw(self) -> None:
        """Remove it. Local."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def others(self) -> list[NodeReport]:
        """Return what the other nodes have left. Local. What cannot be read is passed over."""
        paths: Iterable[Path] = ()
        with suppress(OSError):
            paths = sorted(path for path in self._folder.glob("hang-*.json") if path != self._path)[:MOST_FILES]
        reports = []
        for path in paths:
            with suppress(OSError, ValueError, KeyError, TypeError):
                with path.open("rb") as file:
                    known = json.loads(file.read(MOST_BYTES))
                if known["job"] == self._job:
                    states = [state for group in known["groups"] for state in _read(group, str(known["node"]))]
                    reports.append(NodeReport(int(known["first"]), bool(known["acts"]), states))
        return reports


def _written(group: list[RankState]) -> dict[str, Any]:
    first = group[0]
    spot = first.spot
    return {
        "ranks": [state.rank for state in group], "pids": [state.pid for state in group], "kind": first.kind,
        "step": first.step, "phase": first.phase, "stack": [_words(frame) for frame in first.stack[:FRAMES]],
        "spot": [_words(spot.at), spot.call, spot.waits, spot.is_slow] if spot else None,
    }  # fmt: skip


def _words(frame: StackFrame) -> list[Any]:
    return [frame.file, frame.line, frame.function]


def _read(group: dict[str, Any], node: str) -> list[RankState]:
    stack = [StackFrame(*frame) for frame in group["stack"]]
    spot = group["spot"]
    at = Spot(StackFrame(*spot[0]), *spot[1:]) if spot else None
    return [
        RankState(
            rank=rank, pid=pid, kind=group["kind"], step=group["step"], phase=group["phase"], stack=stack, spot=at,
            node=node,
        )
        for rank, pid in zip(group["ranks"], group["pids"], strict=True)
    ]  # fmt: skip
