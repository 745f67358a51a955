"""The page that a supervisor writes: the ranks of a node by where they are, who keeps the others waiting first."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from mpibatch.base.timing import PHASES
from mpibatch.base.units import ranks_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.supervisor.stacks import Spot, StackFrame

__all__ = ["Kind", "Node", "RankState", "page"]

Kind: TypeAlias = Literal["works", "waits", "stopped", "kernel", "mute", "ended"]
_MOST_FRAMES = 12
_WORDS: dict[Kind, str] = {
    "works": "at work, or in a loop that does not end",
    "waits": "waiting for others",
    "stopped": "stopped, by SIGSTOP or a debugger",
    "kernel": "inside the operating system, no answer",
    "mute": "no answer",
    "ended": "ended",
}
_ADVICE: dict[Kind, str] = {
    "works": (
        "does its loop end there? If it only takes long, give it more time: [supervise] seconds in the job file, "
        "--supervise SECONDS, or MPIBATCH_SUPERVISE"
    ),
    "stopped": "who has stopped it? kill -CONT lets it go on",
    "kernel": "a file server or a device that does not answer: look at the node's log, df and mount",
    "mute": "it blocks signals, or its node has no time for it: look at the processes of the node",
    "ended": "look above for its last words; the others wait for it in vain",
}
_APART = (
    "they wait in different calls. All ranks must make the same calls in the same order: look for a call under a "
    "condition that only some ranks meet, and for a loop that some leave earlier"
)
_ALIKE = "all wait in the same call, for a message that nobody sends, or for ranks of other nodes"


@dataclass(frozen=True)
class RankState:
    """What is known of one rank. `stack`: the innermost frame first; `spot` None: it gave no stack."""

    rank: int
    pid: int
    kind: Kind
    step: str
    phase: int
    stack: Sequence[StackFrame] = ()
    spot: Spot | None = None
    node: str = ""  # "": the supervisor's own

    @property
    def key(self) -> tuple[Kind, str, str]:
        """What ranks of a group have in common. Local."""
        return self.kind, str(self.spot.at) if self.spot else "", self.spot.call if self.spot else ""


@dataclass(frozen=True)
class Node:
    """What a page says of its node: its name, how many ranks there are in all, and what will happen now.

    `nodes`: how many have told of their ranks.
    """

    name: str
    world: int
    limit: float
    ends: bool
    folder: str = ""  # where pages are, too
    nodes: int = 1


def page(findings: Sequence[RankState], node: Node) -> str:
    """Return the page. Local."""
    groups = grouped(findings)
    fate = "the job is ended" if node.ends else "the job is left as it is"
    where = f"{node.name} and {node.nodes - 1} more" if node.nodes > 1 else node.name
    lines = [f"mpibatch: no rank on {where} has made progress for {node.limit:.3g} s; {fate}."]
    if len(findings) < node.world:
        others = f"; the others' pages, if any, are in {node.folder}" if node.folder else ""
        whose = f"of {node.nodes} nodes" if node.nodes > 1 else "of this node"
        lines.append(f"This page tells of {len(findings)} ranks {whose}, of {node.world} in all{others}.")
    for number, group in enumerate(groups):
        lines += ["", *_lines(group, node), *(_stack(group) if number == 0 else [])]
    return "\n".join([*lines, "", f"What to look at: {_advice(groups)}."]) + "\n"


def grouped(findings: Sequence[RankState]) -> list[list[RankState]]:
    """Return findings by where ranks are: those that keep others waiting first, the fewest of these first. Local."""
    groups: dict[tuple[Kind, str, str], list[RankState]] = defaultdict(list)
    for finding in sorted(findings, key=lambda finding: finding.rank):
        groups[finding.key].append(finding)
    return sorted(groups.values(), key=lambda group: (group[0].kind == "waits", len(group), group[0].rank))


def _lines(group: list[RankState], node: Node) -> list[str]:
    """Who they are, what they do, and the user's line."""
    first, ranks = group[0], [finding.rank for finding in group]
    words = _WORDS[first.kind]
    if first.kind == "waits" and first.spot and first.spot.call:
        words += f" in {first.spot.call}"
    state = [first.step] if first.step else []
    state += [f"phase {PHASES[first.phase - 1]}"] if 0 < first.phase <= len(PHASES) else []
    process = f" (process {first.pid}{f' on {first.node or node.name}' if node.nodes > 1 else ''})"
    process = process if len(group) == 1 else ""
    lines = [f"{ranks_text(ranks)}{process}: {'; '.join([words, *state])}"]
    return [*lines, f"  at {_shown(first.spot.at)}"] if first.spot else lines


def _stack(group: list[RankState]) -> list[str]:
    first = group[0]
    if not first.stack:
        return []
    whose = f" of rank {first.rank}" if len(group) > 1 else ""
    lines = [f"    {_shown(frame)}" for frame in first.stack[:_MOST_FRAMES]]
    more = len(first.stack) - len(lines)
    return [f"  stack{whose}, the innermost call first:", *lines, *([f"    and {more} more"] if more else [])]


def _shown(frame: StackFrame) -> str:
    return f"{frame}: {frame.text}" if frame.text else str(frame)


def _advice(groups: list[list[RankState]]) -> str:
    first = groups[0]
    kind = first[0].kind
    name = ranks_text([finding.rank for finding in first])
    if kind != "waits":
        return f"{name}: {_ADVICE[kind]}"
    return _APART if len(groups) > 1 else _ALIKE
