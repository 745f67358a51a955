"""Standard output and error that may be closed, full, or a pipe whose reader has gone.

A run does its work whether or not anybody listens: what cannot be written is dropped. A command that only tells
something ends when its reader does, as a Unix tool has it: quietly, with the status of one that SIGPIPE ended.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from mpibatch.base.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PIPE_ENDED", "Streams", "streams"]

PIPE_ENDED = 141  # 128 + SIGPIPE, as shells have it
ESCAPES = "mpibatch.escapes"


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    """Spell out what stands for bytes that are no UTF-8; put "?" for what a terminal does not know, such as "×"."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else "?" for c in text), error.end


codecs.register_error(ESCAPES, _escaped)


class _Sink(io.RawIOBase):
    """A file descriptor that drops what it cannot write, and keeps why. If `is_strict`, it raises that, once."""

    def __init__(self, descriptor: int, name: str, trouble: int = 0) -> None:
        self._descriptor, self.name, self.mode = descriptor, name, "wb"
        self.is_strict = False
        self.trouble = trouble  # errno

    def write(self, data: Any) -> int:
        """Write some of the data. Local."""
        view = memoryview(data).cast("B")
        if not self.trouble:
            try:
                return os.write(self._descriptor, view)
            except BlockingIOError:
                return self._wait(view)
            except OSError as error:
                self.trouble = error.errno or errno.EIO
        self.check()
        return len(view)

    def _wait(self, view: memoryview) -> int:
        """Write to what another program made non-blocking: a launcher, or a terminal."""
        import select

        select.select([], [self._descriptor], [])
        return self.write(view)

    def check(self) -> None:
        """Raise what went wrong, if it is to be raised and was not. Local."""
        if not (self.trouble and self.is_strict):
            return
        self.is_strict = False
        if self.trouble == errno.EPIPE:
            raise BrokenPipeError(self.trouble, os.strerror(self.trouble))
        raise RunError(f"cannot write to {self.name[1:-1]}: {os.strerror(self.trouble)}; redirect it elsewhere")

    def writable(self) -> bool:
        """Return True. Local."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor. Local."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether this is a terminal. Local."""
        return os.isatty(self._descriptor)


class Streams:
    """Standard output and error of this process, as long as `streams` replaces them."""

    def __init__(self, out: _Sink | None) -> None:
        self._out = out

    def be_strict(self) -> None:
        """From now on, end the command by an error when its output cannot be written. Local."""
        if self._out is not None:
            self._out.is_strict = True

    def status(self, code: int) -> int:
        """Return the exit code of a command that tells something and would end with `code`. Local."""
        return PIPE_ENDED if self._out is not None and self._out.trouble == errno.EPIPE else code


@contextmanager
def streams() -> Iterator[Streams]:
    """Let standard output and error drop what they cannot write, while the block runs. Local.

    Where another program has put something else in their place, such as a test, that stays.
    """
    closed = _open_closed()
    before = sys.stdout, sys.stderr
    out, sink = _replaced(before[0], sys.__stdout__, 1, "<standard output>", 1 in closed)
    err, _ = _replaced(before[1], sys.__stderr__, 2, "<standard error>", 2 in closed)
    sys.stdout, sys.stderr = out, err
    try:
        yield Streams(sink)
    finally:
        for stream in (out, err):
            with suppress(OSError, ValueError, RunError):
                stream.flush()
        # A stream that was None stays ours: who prints to it later gets no error either.
        sys.stdout, sys.stderr = before[0] or out, before[1] or err
        for stream, was in ((out, before[0]), (err, before[1])):
            if was is not None and stream is not was:
                stream.detach()  # type: ignore[attr-defined]  # of its descriptor, which is not to be closed


def _open_closed() -> set[int]:
    """Open those of 0, 1 and 2 that are closed on nothing: the next file that is opened would take their place."""
    closed = set()
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            closed.add(descriptor)
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != descriptor:
                os.dup2(handle, descriptor)
                os.close(handle)
    return closed


def _replaced(
    stream: TextIO | None, original: TextIO | None, descriptor: int, name: str, is_closed: bool
) -> tuple[TextIO, _Sink | None]:
    if stream is not None and (stream is not original or not isinstance(stream, io.TextIOWrapper)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPES)
        return stream, None
    settings: dict[str, Any] = {"encoding": "utf-8", "line_buffering": descriptor == 2}
    if isinstance(stream, io.TextIOWrapper):
        with suppress(OSError):
            stream.flush()
        settings = {
            "encoding": stream.encoding,
            "line_buffering": stream.line_buffering,
            "write_through": stream.write_through,
        }
    sink = _Sink(descriptor, name, errno.EBADF if is_closed else 0)
    return io.TextIOWrapper(io.BufferedWriter(sink), errors=ESCAPES, **settings), sink
