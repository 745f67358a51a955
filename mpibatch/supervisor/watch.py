"""The loop of a supervisor: look at heartbeats, ask for stacks when none beats, write the page, end the job.

Time is counted in turns of the loop, none for more than two: what stops the supervisor together with its ranks, or
leaves it no core, does not count. Nor does it while all ranks are stopped.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mpibatch.base.heartbeat import BEATS, BYTES, PHASE, step_of
from mpibatch.base.timing import PHASES
from mpibatch.supervisor.page import Finding, Kind, Node, page
from mpibatch.supervisor.settings import ASK, END, LONGER
from mpibatch.supervisor.stacks import frames_of, spot_of

__all__ = ["Rank", "Task", "connected", "watch"]

TICK = 1.0  # seconds, at most
CONNECTING = 120.0  # seconds for all ranks of the node to connect
ANSWERING = 2.0  # seconds for all stacks to be written
STILL = 0.2  # seconds in which a stack does not grow: it is whole
ENDING = (2.0, 3.0)  # seconds for one rank to end the job, and then for all
SLOW_PHASES = {PHASES.index("compile") + 1, PHASES.index("io") + 1}
HELLO_BYTES = 512
OWN_STEP = 0.05
_CREDENTIALS = struct.Struct("3i")  # of a connection's other end: its process, user, group


@dataclass(frozen=True)
class Task:
    """What a supervisor is to do, as its first rank tells it.

    Attributes
    ----------
    ranks, world : how many on this node, and in all.
    seconds : without progress, until it acts.
    ends : whether it then ends the job.
    folder : where it also writes the page, "" for nowhere.
    node : the node's name.
    """

    ranks: int
    world: int
    seconds: float
    ends: bool
    folder: str
    node: str


class Rank:
    """A rank, as its supervisor sees it: by its connection, which tells its process, and by two files in memory."""

    def __init__(self, connection: socket.socket) -> None:
        message, descriptors, *_ = socket.recv_fds(connection, HELLO_BYTES, 2)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        self.pid, user, _ = _CREDENTIALS.unpack(credentials)
        if user != os.getuid() or not self.pid:
            raise OSError("not one of this user's processes")
        self.rank, self._thread = json.loads(message)
        self.connection = connection
        # A process, and never another one that has got its number later.
        self.process = os.pidfd_open(self.pid)
        self._memory, self._stack = mmap.mmap(descriptors[0], BYTES), descriptors[1]
        os.close(descriptors[0])
        self._record = memoryview(self._memory).cast("q")
        self._beats = -1
        self.silent = 0.0
        self.has_ended = False

    def look(self, seconds: float) -> None:
        """Note whether there was progress in the last `seconds`. Local."""
        beats = self._record[BEATS]
        self.silent = self.silent + seconds if beats == self._beats else 0.0
        self._beats = beats

    @property
    def is_slow(self) -> bool:
        """Whether it compiles or is in files, which may take long. Local."""
        return self._record[PHASE] in SLOW_PHASES or self.state == "D"

    @property
    def is_stopped(self) -> bool:
        """Whether it gets no time at all, by a signal or a debugger. Local."""
        return self.state in ("T", "t")

    @property
    def state(self) -> str:
        """The letter that the system has for what its process does; "" if there is none. Local."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return ""

    def ask(self) -> None:
        """Ask for its stack. Local."""
        os.ftruncate(self._stack, 0)
        os.lseek(self._stack, 0, os.SEEK_SET)
        if not self.is_stopped:
            self.signal(ASK)

    def signal(self, number: int) -> None:
        """Send a signal to it, if it is still there. Local."""
        with suppress(OSError):
            signal.pidfd_send_signal(self.process, number)

    @property
    def size(self) -> int:
        """Bytes of its stack written so far. Local."""
        return os.fstat(self._stack).st_size

    def finding(self) -> Finding:
        """Return what is known of it, once it has been asked. Local."""
        stack = frames_of(os.pread(self._stack, 1 << 20, 0).decode(errors="replace"), self._thread)
        spot = spot_of(stack) if stack else None
        kind: Kind = "waits" if spot is not None and spot.waits else "works"
        if self.has_ended:
            kind = "ended"
        elif self.is_stopped:
            kind = "stopped"
        elif not stack:
            kind = "kernel" if self.state == "D" else "mute"
        return Finding(
            rank=self.rank, pid=self.pid, kind=kind, step=step_of(self._memory), phase=self._record[PHASE],
            silent=self.silent, stack=stack, spot=spot,
        )  # fmt: skip

    def close(self) -> None:
        """Forget it. Local."""
        self._record.release()
        self._memory.close()
        os.close(self._stack)
        os.close(self.process)
        self.connection.close()


def connected(task: Task, listening: socket.socket) -> list[Rank]:
    """Wait for all ranks of the node, and return them; none if not all come. Local."""
    ranks: list[Rank] = []
    until = time.monotonic() + CONNECTING
    listening.settimeout(1.0)
    while len(ranks) < task.ranks:
        if time.monotonic() > until or _ready([rank.process for rank in ranks], 0.0):
            return []
        with suppress(TimeoutError):
            connection, _ = listening.accept()
            connection.settimeout(CONNECTING)
            ranks.append(Rank(connection))
    return ranks


def watch(task: Task, ranks: list[Rank]) -> None:
    """Watch these ranks until the last of them has left, or the job is ended. Local."""
    tick = min(TICK, task.seconds / 4)
    limit, now = task.seconds, time.monotonic()
    while _wait(ranks, tick):
        before, now = now, time.monotonic()
        seconds = 0.0 if all(rank.is_stopped for rank in ranks) else min(now - before, 2 * tick)
        for rank in ranks:
            rank.look(seconds)
        silent = min(rank.silent for rank in ranks)
        if silent == 0.0:
            limit = task.seconds
        if silent < limit:
            continue
        findings = [] if any(rank.is_slow for rank in ranks) else _ask(ranks)
        for rank in ranks:
            rank.look(0.0)
        if any(rank.silent == 0.0 for rank in ranks):
            continue  # there was progress meanwhile
        if limit == task.seconds and (not findings or _may_take_long(task, findings)):
            limit = LONGER * task.seconds
            continue
        limit = math.inf  # until there is progress again
        findings = findings or _ask(ranks)
        _write(task, page(findings, Node(task.node, task.world, silent, task.ends)))
        if task.ends:
            _end(ranks, findings)


def _wait(ranks: list[Rank], seconds: float) -> bool:
    """Wait; forget ranks that have closed their connection, note whose process has ended. Return whether any lives."""
    until, rest = time.monotonic() + seconds, seconds
    while rest > 0 and (live := [rank for rank in ranks if not rank.has_ended]):
        ready = _ready([number for rank in live for number in (rank.process, rank.connection.fileno())], rest)
        for rank in live:
            if rank.process in ready:
                rank.has_ended = True
            elif rank.connection.fileno() in ready:
                # It has left as it should, and may do other things now.
                ranks.remove(rank)
                rank.close()
        rest = until - time.monotonic()
    return not all(rank.has_ended for rank in ranks)


def _ready(descriptors: list[int], seconds: float) -> set[int]:
    poll = select.poll()
    for number in descriptors:
        poll.register(number, select.POLLIN)
    return {number for number, _ in poll.poll(1e3 * seconds)}


def _ask(ranks: list[Rank]) -> list[Finding]:
    for rank in ranks:
        rank.ask()
    until, sizes = time.monotonic() + ANSWERING, [0] * len(ranks)
    while time.monotonic() < until:
        time.sleep(STILL)
        before, sizes = sizes, [rank.size for rank in ranks]
        if sizes == before and all(size or rank.is_stopped for size, rank in zip(sizes, ranks, strict=True)):
            break
    return [rank.finding() for rank in ranks]


def _may_take_long(task: Task, findings: list[Finding]) -> bool:
    """Whether a rank compiles, or is in files; or all wait, perhaps for one that is at work on another node."""
    is_elsewhere = len(findings) < task.world and all(finding.kind == "waits" for finding in findings)
    return is_elsewhere or any(finding.spot is not None and finding.spot.is_slow for finding in findings)


def _write(task: Task, text: str) -> None:
    if task.folder:
        with suppress(OSError):
            (Path(task.folder) / f"hang-{task.node}.txt").write_text(text, encoding="utf-8")
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _end(ranks: list[Rank], findings: list[Finding]) -> None:
    """Let a rank end the job, so that it ends with our exit code; then all; at last kill those of this node."""
    able = sorted(ranks, key=lambda rank: next(f.kind != "waits" for f in findings if f.rank == rank.rank))
    for some, seconds in zip((able[:1], able), ENDING, strict=True):
        for rank in some:
            with suppress(OSError):
                rank.connection.send(END)
        if not _wait_all(ranks, seconds):
            return
    for rank in ranks:
        rank.signal(signal.SIGKILL)
    _wait_all(ranks, ENDING[0])


def _wait_all(ranks: list[Rank], seconds: float) -> bool:
    """Wait for all to be gone; return whether any is left."""
    until = time.monotonic() + seconds
    while _wait(ranks, OWN_STEP) and time.monotonic() < until:
        pass
    return any(not rank.has_ended for rank in ranks)
