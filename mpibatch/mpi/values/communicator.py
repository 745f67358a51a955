"""A communicator whose lower-case methods send plain values, never pickled ones.

`private` communicators are of this class, and so is what is split from them. A value that cannot be sent is an error on
all ranks of the call, not on the one that has it: the others get a message that says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from mpi4py import MPI

from mpibatch.base.errors import UsageError
from mpibatch.mpi.values.codec import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["PlainComm", "plain"]

_VALUE, _ERROR = b"\0", b"\1"  # the first byte of a message
_TAG = 0
_TREE = 29  # of the messages of a reduction, which nobody else receives


class PlainComm(MPI.Intracomm):
    """An intracommunicator; see the module. Lower-case methods that nobody here calls are refused."""

    def bcast(self, obj: Any, root: int = 0) -> Any:
        """As mpi4py's. Collective. The root has its own object back."""
        message = self._shared(_packed(obj) if self.rank == root else b"", root)
        return _checked(obj, message) if self.rank == root else _unpacked(message)

    def _shared(self, message: bytes, root: int) -> bytes:
        """The root's message. Collective."""
        if self.size == 1:
            return message
        size = np.array([len(message)], np.int64)
        self.Bcast(size, root)
        buffer = np.frombuffer(message, np.uint8) if self.rank == root else np.empty(int(size[0]), np.uint8)
        self.Bcast(buffer, root)
        return message if self.rank == root else buffer.tobytes()

    def allgather(self, sendobj: Any) -> list[Any]:
        """As mpi4py's. Collective."""
        message = _packed(sendobj)
        sizes = np.empty(self.size, np.int64)
        self.Allgather(np.array([len(message)], np.int64), sizes)
        buffer = np.empty(int(sizes.sum()), np.uint8)
        self.Allgatherv(np.frombuffer(message, np.uint8), [buffer, sizes])
        return _cut(buffer, sizes)

    def gather(self, sendobj: Any, root: int = 0) -> Any:
        """As mpi4py's. Collective."""
        message = _packed(sendobj)
        sizes = np.empty(self.size if self.rank == root else 0, np.int64)
        size = -1 if message[:1] == _ERROR else len(message)
        self.Gather(np.array([size], np.int64), sizes if self.rank == root else None, root)
        bad = np.array([next(iter(np.flatnonzero(sizes < 0)), -1)], np.int64)  # the first rank with an error
        self.Bcast(bad, root)
        if bad[0] >= 0:
            _unpacked(self._shared(message, int(bad[0])))
        buffer = np.empty(int(sizes.sum()), np.uint8)
        self.Gatherv(np.frombuffer(message, np.uint8), [buffer, sizes] if self.rank == root else None, root)
        return _cut(buffer, sizes) if self.rank == root else None

    def scatter(self, sendobj: Sequence[Any] | None, root: int = 0) -> Any:
        """As mpi4py's. Collective."""
        messages = _packed_for_each(sendobj, self.size) if self.rank == root else []
        size, sizes = np.empty(1, np.int64), np.array([len(message) for message in messages], np.int64)
        self.Scatter(sizes if self.rank == root else None, size, root)
        buffer = np.empty(int(size[0]), np.uint8)
        whole = np.frombuffer(b"".join(messages), np.uint8)
        self.Scatterv([whole, sizes] if self.rank == root else None, buffer, root)
        return _unpacked(buffer.tobytes())

    def reduce(self, sendobj: Any, op: Any = MPI.SUM, root: int = 0) -> Any:
        """As mpi4py's. Collective: a tree of messages, and a broadcast."""
        value = self.allreduce(sendobj, op)
        return value if self.rank == root else None

    def allreduce(self, sendobj: Any, op: Any = MPI.SUM) -> Any:
        """As mpi4py's. Collective: a tree of messages, and a broadcast; the same value on all ranks."""
        return _unpacked(self._shared(self._reduced(sendobj, op), 0))

    def _reduced(self, value: Any, op: Callable[[Any, Any], Any]) -> bytes:
        """The message of all values, reduced in the order of ranks, on rank 0. An error goes on to there."""
        message, step = _packed(value), 1
        while step < self.size:
            if self.rank & step:
                self.Send(np.frombuffer(message, np.uint8), self.rank - step, _TREE)
                return b""
            if self.rank + step < self.size:
                other = self._received(self.rank + step, _TREE, MPI.Status())
                if message[:1] == other[:1] == _VALUE:
                    try:
                        value = op(value, _unpacked(other))
                        message = _packed(value)
                    except Exception as error:  # such as of a number and a text
                        message = _failed(error, "values of ranks cannot be reduced")
                elif message[:1] == _VALUE:
                    message = other
            step *= 2
        return message

    def _received(self, source: int, tag: int, status: MPI.Status) -> bytes:
        waiting = self.Mprobe(source, tag, status)
        buffer = np.empty(status.Get_count(MPI.BYTE), np.uint8)
        waiting.Recv(buffer, status)
        return buffer.tobytes()

    def send(self, obj: Any, dest: int, tag: int = _TAG) -> None:
        """As mpi4py's. Local."""
        message = _packed(obj)
        self.Send(np.frombuffer(message, np.uint8), dest, tag)
        _checked(obj, message)

    def recv(
        self, buf: Any = None, source: int = MPI.ANY_SOURCE, tag: int = _TAG, status: MPI.Status | None = None
    ) -> Any:
        """As mpi4py's, but of one tag, by default that of `send`. Local. UsageError."""
        if tag == MPI.ANY_TAG:
            raise UsageError(
                "recv of any tag would also take what mpibatch sends on this communicator; give the tag that was given "
                "to send, or use a communicator of your own"
            )
        return _unpacked(self._received(source, tag, MPI.Status() if status is None else status))

    def Split(self, color: int = 0, key: int = 0) -> Any:
        """As mpi4py's: of this class, too. Collective."""
        return plain(super().Split(color, key))

    def Split_type(self, split_type: int, key: int = 0, info: MPI.Info = MPI.INFO_NULL) -> Any:
        """As mpi4py's: of this class, too. Collective."""
        return plain(super().Split_type(split_type, key, info))

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise UsageError(
            "communicators of mpibatch send Python objects by bcast, gather, allgather, scatter, reduce, allreduce, "
            "send and recv alone; use the method in capitals, or a communicator of your own"
        )

    alltoall = scan = exscan = sendrecv = isend = ssend = issend = bsend = ibsend = irecv = mprobe = improbe = _refuse


def plain(comm: Any) -> Any:
    """Return a communicator as one of this class, but for none at all. Local."""
    return comm if comm == MPI.COMM_NULL else PlainComm(comm)


def _packed(value: Any) -> bytes:
    try:
        return _VALUE + encode(value)
    except Exception as error:  # whatever it is: the others wait for a message
        return _failed(error, f"a value of {type(value).__qualname__} cannot be sent to other ranks")


def _packed_for_each(values: Iterable[Any] | None, size: int) -> list[bytes]:
    """The message for each rank: of the values, or, if there is an error, of that."""
    try:
        messages = [_packed(value) for value in (() if values is None else values)]
        if len(messages) != size:
            raise UsageError(f"{len(messages)} values cannot be scattered to {size} ranks; give one for each")
    except Exception as error:
        bad = _failed(error, f"a value of {type(values).__qualname__} cannot be scattered")
    else:
        bad = next((message for message in messages if message[:1] == _ERROR), b"")
    return [bad] * size if bad else messages


def _failed(error: Exception, about: str) -> bytes:
    words = str(error) if isinstance(error, UsageError) else f"{about}: {type(error).__name__}: {error}"
    return _ERROR + words.encode("utf-8", "replace")


def _unpacked(message: bytes) -> Any:
    if message[:1] == _ERROR:
        raise UsageError(message[1:].decode("utf-8", "replace"))
    return decode(memoryview(message)[1:])


def _checked(value: Any, message: bytes) -> Any:
    """The sender's value, unless its message is an error."""
    if message[:1] == _ERROR:
        raise UsageError(message[1:].decode("utf-8", "replace"))
    return value


def _cut(buffer: Any, sizes: Any) -> list[Any]:
    ends = np.cumsum(sizes)
    return [
        _unpacked(buffer[end - size : end].tobytes()) for size, end in zip(sizes.tolist(), ends.tolist(), strict=True)
    ]
