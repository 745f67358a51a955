"""The loop of a supervisor: look at heartbeats, ask for stacks when none beats, write the page, end the job.

Time is counted in turns of the loop, none for more than two: what stops the supervisor together with its ranks, or
leaves it no core, does not count. Nor does it while all ranks are stopped.
"""

from __future__ import annotations

import math
import select
import signal
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.supervisor.nodes import NodeReport, Notices
from mpibatch.supervisor.page import Node, RankState, page
from mpibatch.supervisor.rank import Rank
from mpibatch.supervisor.settings import END, LONGER

if TYPE_CHECKING:
    import socket

__all__ = ["Watch", "WatchTask", "connected"]

TICK = 1.0  # seconds, at most
CONNECTING = 120.0  # seconds for all ranks of the node to connect
ANSWERING = 2.0  # seconds for all stacks to be written
STILL = 0.2  # seconds in which a stack does not grow: it is whole
ENDING = (2.0, 3.0)  # seconds for one rank to end the job, and then for all


@dataclass(frozen=True)
class WatchTask:
    """What a supervisor is to do, as its first rank tells it.

    Attributes
    ----------
    ranks, world : how many on this node, and in all.
    seconds : without progress, until it acts.
    ends : whether it then ends the job.
    folder : where it also writes the page, "" for nowhere.
    node : the node's name.
    first : the number of its first rank.
    job : what tells it from other jobs, whose pages may be in the folder.
    """

    ranks: int
    world: int
    seconds: float
    ends: bool
    folder: str
    node: str
    first: int
    job: str = ""


def connected(task: WatchTask, listening: socket.socket) -> list[Rank]:
    """Wait for all ranks of the node, and return them. Local. OSError if not all come, or one is not known."""
    ranks: list[Rank] = []
    until = time.monotonic() + CONNECTING
    listening.settimeout(1.0)
    with ExitStack() as stack:
        while len(ranks) < task.ranks:
            came = f"only {len(ranks)} of {task.ranks} ranks came"
            if time.monotonic() > until:
                raise OSError(f"{came} in {CONNECTING:g} s")
            if _ready([rank.process for rank in ranks], 0.0):
                raise OSError(f"{came}, and one of these has ended")
            with suppress(TimeoutError):
                connection, _ = listening.accept()
                stack.enter_context(connection).settimeout(CONNECTING)
                ranks.append(Rank(connection))
                stack.callback(ranks[-1].close)
        stack.pop_all()
    return ranks


class Watch:
    """Watches these ranks until the last of them has left, or the job is ended: see `run`."""

    def __init__(self, task: WatchTask, ranks: list[Rank]) -> None:
        self._task, self._ranks = task, ranks
        self._limit = task.seconds
        self._path = Path(task.folder) / f"hang-{task.node}-{task.first}.txt" if task.folder else None
        is_one_of_several = task.folder and task.ranks < task.world
        self._notices = Notices(Path(task.folder), task.node, task.first, task.job) if is_one_of_several else None

    def run(self) -> None:
        """Watch. Local."""
        tick, now = min(TICK, self._task.seconds / 4), time.monotonic()
        while self._wait(tick):
            before, now = now, time.monotonic()
            seconds = 0.0 if all(rank.is_stopped for rank in self._ranks) else min(now - before, 2 * tick)
            silent = self._look(seconds)
            if silent == 0.0 and self._limit != self._task.seconds:
                self._limit = self._task.seconds
                self._keep("")
            if silent >= self._limit:
                self._act(silent)
        if not self._ranks:  # all have left as they should
            self._keep("")
        elif self._notices:
            self._notices.withdraw()

    def _look(self, seconds: float) -> float:
        """Note that time has passed; return for how long none of the ranks with work has made progress."""
        for rank in self._ranks:
            rank.look(seconds)
        # Where all are idle the work is on other nodes, whose supervisors look after it.
        return min((rank.silent for rank in self._ranks if not rank.is_idle), default=0.0)

    def _act(self, silent: float) -> None:
        """Find out where ranks are. If they may take long, wait on; else write the page, and end the job."""
        task, is_first = self._task, self._limit == self._task.seconds
        findings = self._ask()
        if self._look(0.0) == 0.0:
            return  # one has gone on meanwhile
        if is_first and self._may_take_long(findings):
            self._limit *= LONGER
            # For the node that keeps this one waiting, and for whoever reads it beside that one's page.
            self._keep(page(findings, Node(task.node, task.world, silent, ends=False)))
            if self._notices:
                self._notices.leave(findings, acts=False)
            return
        self._limit = math.inf  # until there is progress again
        others = self._others(findings)
        everybody = [*findings, *(state for report in others for state in report.states)]
        about = Node(task.node, task.world, silent, task.ends, task.folder, 1 + len(others))
        text = page(everybody, about)
        self._keep(text)
        is_told = any(report.acts and report.first < task.first for report in others)
        if is_told and (not task.ends or self._have_ended(sum(ENDING))):
            return
        with suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()
        if task.ends:
            self._end({finding.rank for finding in findings if finding.kind == "waits"})

    def _others(self, findings: list[RankState]) -> list[NodeReport]:
        """Tell the other nodes that this one acts; return what they tell, as soon as all ranks are known. Local."""
        if self._notices is None:
            return []
        self._notices.leave(findings, acts=True)
        until = time.monotonic() + ANSWERING
        while True:
            others = self._notices.others()
            count = len(findings) + sum(len(report.states) for report in others)
            if count >= self._task.world or time.monotonic() > until:
                return others
            time.sleep(STILL)

    def _ask(self) -> list[RankState]:
        ranks = self._ranks
        for rank in ranks:
            rank.ask()
        until, sizes = time.monotonic() + ANSWERING, [0] * len(ranks)
        while time.monotonic() < until:
            time.sleep(STILL)
            before, sizes = sizes, [rank.size for rank in ranks]
            if sizes == before and all(size or rank.is_stopped for size, rank in zip(sizes, ranks, strict=True)):
                break
        return [rank.finding() for rank in ranks]

    def _may_take_long(self, findings: list[RankState]) -> bool:
        """Whether a rank compiles, or is in files; or all wait, perhaps for one that is at work on another node.

        One that waits for others in files is not at work there, whatever its phase, and keeps nobody waiting.
        """
        is_elsewhere = len(findings) < self._task.world and all(finding.kind == "waits" for finding in findings)
        return is_elsewhere or any(
            rank.is_slow or (finding.spot is not None and finding.spot.is_slow)
            for rank, finding in zip(self._ranks, findings, strict=True)
            if finding.kind not in ("waits", "stopped", "ended")
        )

    def _keep(self, text: str) -> None:
        """Write the page beside the run's record; remove it if there is nothing to tell."""
        if self._path is not None:
            with suppress(OSError):
                self._path.write_text(text, encoding="utf-8") if text else self._path.unlink(missing_ok=True)
        if self._notices and not text:
            self._notices.withdraw()

    def _end(self, waiting: set[int]) -> None:
        """Let a rank end the job, so that it ends with our exit code; then all; at last kill those of this node."""
        # One that waits in MPI has a thread that can run, whatever the others do.
        able = sorted(self._ranks, key=lambda rank: rank.rank not in waiting)
        for some, seconds in zip((able[:1], able), ENDING, strict=True):
            for rank in some:
                rank.send(END)
            if self._have_ended(seconds):
                return
        for rank in self._ranks:
            rank.signal(signal.SIGKILL)
        self._have_ended(ENDING[0])

    def _have_ended(self, seconds: float) -> bool:
        """Wait for the ends of all ranks; return whether they came."""
        until = time.monotonic() + seconds
        while self._wait(STILL):
            if time.monotonic() > until:
                return False
        return True

    def _wait(self, seconds: float) -> bool:
        """Wait; forget ranks that have left, note whose process has ended. Return whether any lives."""
        until, rest = time.monotonic() + seconds, seconds
        while rest > 0 and (live := [rank for rank in self._ranks if not rank.has_ended]):
            ready = _ready([number for rank in live for number in (rank.process, rank.connection.fileno())], rest)
            for rank in live:
                is_closed = rank.connection.fileno() in ready
                # The connection of one that was killed closes first, and then its process is told to have ended.
                if rank.process in ready or (is_closed and rank.is_ending):
                    rank.has_ended = True
                elif is_closed:
                    # It has closed its connection, and may do other things now.
                    self._ranks.remove(rank)
                    rank.close()
            rest = until - time.monotonic()
        return not all(rank.has_ended for rank in self._ranks)


def _ready(descriptors: list[int], seconds: float) -> set[int]:
    poll = select.poll()
    for number in descriptors:
        poll.register(number, select.POLLIN)
    return {number for number, _ in poll.poll(1e3 * seconds)}
