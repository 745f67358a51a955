"""Runs, each from the entries of its begin and its end; and what became of those without an end."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.tools.history import chain

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BEGIN", "ENDED", "KILLED", "RUNNING", "STATE", "UNFINISHED", "process_mark", "runs"]

BEGIN = "of"  # of the entry of an end: the number of its begin
STATE = "state"
ENDED, RUNNING, KILLED, UNFINISHED = "ended", "running", "killed", "unfinished"


def runs(path: Path) -> list[dict[str, Any]]:
    """Return the runs of a history in the order of their begins, with their state. Local. RunError.

    Without an end a run is "running" or "killed", and "unfinished" where that cannot be seen: it was begun on another
    host, or its entry tells none.
    """
    known: dict[str, dict[str, Any]] = {}
    for entry in chain.entries(path):
        number = entry.get(BEGIN, entry.get(chain.NUMBER))
        run = {**entry, chain.NUMBER: number}
        if BEGIN in entry:
            run = {**known.get(str(number), {}), **run, "end": entry.get(chain.NUMBER)}
        known[str(number)] = {key: value for key, value in run.items() if key not in (BEGIN, chain.BEFORE)}
    return [{**run, STATE: _state(run)} for run in known.values()]


def process_mark(pid: int) -> str:
    """Return what no other process of this host has, before or after: number, begin, and boot; "" if it is gone."""
    with suppress(OSError, IndexError):
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        return "" if words[0] == "Z" else f"{pid} {words[19]} {boot}"
    return ""


def _state(run: Mapping[str, Any]) -> str:
    if "code" in run:
        return ENDED
    mark = str(run.get("process", ""))
    pid = mark.partition(" ")[0]
    if run.get("host") != socket.gethostname() or not pid.isdecimal():
        return UNFINISHED
    return RUNNING if process_mark(int(pid)) == mark else KILLED
