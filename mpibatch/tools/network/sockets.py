"""The sockets of processes, as /proc tells them."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mpibatch.tools.network.ports import PortRange

__all__ = ["Socket", "mpi_processes", "outside", "sockets_of"]

_LAUNCHERS = re.compile(r"mpiexec|mpirun|hydra|orted|orterun|prted|prterun")
_LIBRARY = re.compile(r"/lib(?:mpi|mpich|mpi_\w+)\.so")
_INODE = re.compile(r"socket:\[(\d+)\]")
_LISTENS = "0A"


@dataclass(frozen=True)
class Socket:
    """A TCP or UDP socket; `remote` None: it waits for others."""

    pid: int
    program: str
    kind: str
    local: tuple[str, int]
    remote: tuple[str, int] | None

    def __str__(self) -> str:
        place = "{}:{}".format(*self.local)
        way = f"{place} to {'{}:{}'.format(*self.remote)}" if self.remote else f"{place}, which listens"
        return f"process {self.pid} ({self.program}): {self.kind} {way}"


def mpi_processes() -> list[int]:
    """Return processes that are launchers, or have loaded an MPI library: this user's, or, for root, all. Local."""
    pids = []
    for path in Path("/proc").iterdir():
        if not path.name.isdigit() or int(path.name) == os.getpid():
            continue
        try:
            if os.geteuid() not in (0, path.stat().st_uid):
                continue
            name = (path / "comm").read_text().strip()
            if _LAUNCHERS.match(name) or _LIBRARY.search((path / "maps").read_text()):
                pids.append(int(path.name))
        except OSError:  # it has ended
            continue
    return sorted(pids)


def sockets_of(pids: Iterable[int], *, may_end: bool = False) -> Iterator[Socket]:
    """Yield the TCP and UDP sockets of processes, each in its own network namespace. Local.

    RunError for a process that cannot be looked at; with `may_end`, one that is not there any more has none.
    """
    for pid in pids:
        root = Path("/proc") / str(pid)
        try:
            program = (root / "comm").read_text().strip()
            inodes = {match[1] for path in (root / "fd").iterdir() if (match := _INODE.match(_target(path)))}
        except OSError as error:
            if may_end and isinstance(error, FileNotFoundError | ProcessLookupError):
                continue
            reason = f"process {pid} cannot be looked at: {reason_of(error)}"
            raise RunError(f"{reason}; give processes of yours that run, or look as root") from error
        for kind in ("tcp", "tcp6", "udp", "udp6"):
            for line in _lines(root / "net" / kind):
                words = line.split()
                if len(words) > 9 and words[9] in inodes:
                    remote = _address(words[2])
                    listens = words[3] == _LISTENS or not remote[1]
                    yield Socket(pid, program, kind, _address(words[1]), None if listens else remote)


def outside(sockets: Iterable[Socket], ports: PortRange) -> list[Socket]:
    """Return the sockets that reach other hosts, and have neither end in the range. Local.

    Who connects has a port of the system's choice, and one in the range on the other side.
    """
    return [
        socket
        for socket in sockets
        if socket.local[1] not in ports
        and (socket.remote is None or socket.remote[1] not in ports)
        and not _is_loopback((socket.remote or socket.local)[0])
        and socket.local[1]
    ]


def _is_loopback(address: str) -> bool:
    known = ipaddress.ip_address(address)
    mapped = getattr(known, "ipv4_mapped", None)
    return (mapped or known).is_loopback


def _address(text: str) -> tuple[str, int]:
    """The address in /proc's words: bytes of words of 32 bits, of this machine's order."""
    digits, _, port = text.partition(":")
    data = bytes.fromhex(digits)
    data = b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    return str(ipaddress.ip_address(data)), int(port, 16)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()[1:]
    except OSError:
        return []


def _target(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
