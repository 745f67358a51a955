"""Commands that are started and waited for: whenever a signal comes, nothing that was started is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import IO

__all__ = ["note_signals", "run"]

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
END_SECONDS = 10.0  # that a launcher and its ranks have to leave when told to
POLL_SECONDS = 0.02


@contextlib.contextmanager
def note_signals() -> Iterator[list[int]]:
    """While the block lasts, only note the signals that end a process, in the list that the block gets. Local.

    At its end they are a KeyboardInterrupt. Raised at any moment it would lose a process between its start and the
    line that remembers it, and could keep for good a lock that waiting for a process takes. Signals that are ignored
    stay so, as SIGHUP under nohup. Out of the main thread nothing changes: signals are somebody else's.
    """
    noted: list[int] = []
    before = {}
    with contextlib.suppress(ValueError):  # not the main thread
        for number in ENDING:
            if signal.getsignal(number) not in (None, signal.SIG_IGN):
                before[number] = signal.signal(number, lambda number, frame: noted.append(number))
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if noted:
        raise KeyboardInterrupt


def run(
    command: Sequence[str], environment: Mapping[str, str], output: IO[bytes], limit: float, noted: Sequence[int],
    grace: float = END_SECONDS,
) -> int | None:  # fmt: skip
    """Run a command that writes into a file, and return its exit code; None: it took over `limit` seconds. Local.

    It is ended then, with all that it started, and as soon as a signal is in `noted`, the list of `note_signals`, which
    raises KeyboardInterrupt. It has `grace` seconds to leave.
    """
    if noted:
        raise KeyboardInterrupt
    until = time.perf_counter() + limit
    # A session of its own: ^C is for us, and whatever is left of it can be ended without touching anything else.
    process = subprocess.Popen(
        command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        # Popen.wait with a limit sleeps up to 50 ms at a time.
        while process.poll() is None and not noted and time.perf_counter() < until:
            time.sleep(POLL_SECONDS)
        code = process.returncode
    finally:
        _end(process, noted, grace)
    if noted:
        raise KeyboardInterrupt
    return code


def _end(process: subprocess.Popen[bytes], noted: Sequence[int], grace: float) -> None:
    """End a command gently first, for a launcher passes SIGTERM on to its ranks; a second signal cuts that short."""
    if process.poll() is not None:
        return
    process.terminate()
    patience, until = len(noted), time.perf_counter() + grace
    while process.poll() is None and len(noted) <= patience and time.perf_counter() < until:
        time.sleep(POLL_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
