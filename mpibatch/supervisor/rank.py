"""A rank, as its supervisor sees it: by a connection, which tells its process, and by two files in memory."""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import struct
from contextlib import suppress
from pathlib import Path

from mpibatch.base.progress.heartbeat import BEAT, BYTES, IDLE, PHASE, step_of
from mpibatch.base.timing import PHASES
from mpibatch.supervisor.page import Kind, RankState
from mpibatch.supervisor.settings import ASK
from mpibatch.supervisor.stacks import frames_of, spot_of

__all__ = ["Rank"]

SLOW_PHASES = {PHASES.index("compile") + 1, PHASES.index("io") + 1}
HELLO_BYTES = 512
STACK_BYTES = 1 << 20  # of a stack, at most
_FLAGS, _EXITING = 6, 0x4  # the place of a process's flags behind its state, and Linux's PF_EXITING
_CREDENTIALS = struct.Struct("3i")  # of a connection's other end: its process, user, group


class Rank:
    """What it tells when it connects, and what can be seen of it then."""

    def __init__(self, connection: socket.socket) -> None:
        message, descriptors, *_ = socket.recv_fds(connection, HELLO_BYTES, 2)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        self.pid, user, _ = _CREDENTIALS.unpack(credentials)
        if user != os.getuid() or not self.pid:
            raise OSError("not one of this user's processes")
        try:
            self.rank, self._thread = map(int, json.loads(message))
            memory, self._stack = descriptors
        except (TypeError, ValueError):
            raise OSError(f"process {self.pid} does not tell its rank and its memory as it should") from None
        self.connection = connection
        # A process, and never another one that has got its number later.
        self.process = os.pidfd_open(self.pid)
        try:
            self._memory = mmap.mmap(memory, BYTES)
        except ValueError:
            raise OSError(f"process {self.pid} has too little memory for its heartbeat") from None
        os.close(memory)
        self._record = memoryview(self._memory).cast("d")
        self._beat = -1.0
        self.silent = 0.0
        self.has_ended = False

    def look(self, seconds: float) -> None:
        """Note whether there was progress in the last `seconds`. Local."""
        beat = self._record[BEAT]
        self.silent = self.silent + seconds if beat == self._beat else 0.0
        self._beat = beat

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to do until others are done, however long they take. Local."""
        return bool(self._record[IDLE])

    @property
    def is_slow(self) -> bool:
        """Whether it compiles or is in files, which may take long. Local."""
        return self._record[PHASE] in SLOW_PHASES or self.state == "D"

    @property
    def is_stopped(self) -> bool:
        """Whether it gets no time at all, by a signal or a debugger. Local."""
        return self.state in ("T", "t")

    @property
    def is_ending(self) -> bool:
        """Whether its process ends just now, or has ended. Local."""
        facts = self._facts
        return not facts or bool(int(facts[_FLAGS]) & _EXITING)

    @property
    def state(self) -> str:
        """The letter that the system has for what its process does; "" if there is none. Local."""
        return next(iter(self._facts), "")

    @property
    def _facts(self) -> list[str]:
        """What the system says of its process, from the state on; [] if there is none."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return []

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

    def send(self, message: bytes) -> None:
        """Send a message to it, if it is still there. Local."""
        with suppress(OSError):
            self.connection.send(message)

    @property
    def size(self) -> int:
        """Bytes of its stack written so far. Local."""
        return os.fstat(self._stack).st_size

    def finding(self) -> RankState:
        """Return what is known of it, once it has been asked. Local."""
        stack = frames_of(os.pread(self._stack, STACK_BYTES, 0).decode(errors="replace"), self._thread)
        spot = spot_of(stack) if stack else None
        kind: Kind = "waits" if spot is not None and spot.waits else "works"
        if self.has_ended:
            kind = "ended"
        elif self.is_stopped:
            kind = "stopped"
        elif not stack:
            kind = "kernel" if self.state == "D" else "mute"
        return RankState(
            rank=self.rank, pid=self.pid, kind=kind, step=step_of(self._memory), phase=int(self._record[PHASE]),
            stack=stack, spot=spot,
        )  # fmt: skip

    def close(self) -> None:
        """Forget it. Local."""
        self._record.release()
        self._memory.close()
        os.close(self._stack)
        os.close(self.process)
        self.connection.close()
