"""The network that a job must go by: without it no rank starts MPI."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

from mpibatch.base.errors import UsageError

__all__ = ["VARIABLE", "check_interface", "is_up"]

VARIABLE = "MPIBATCH_INTERFACE"
_ASK_FLAGS = 0x8913  # Linux' SIOCGIFFLAGS
_NAME_BYTES = 16
_UP = 0x1 | 0x40  # IFF_UP, as was asked for, and IFF_RUNNING, as it is


def is_up(interface: str) -> bool:
    """Return whether a network interface of this host is there, up and running. Local.

    The system is asked, not ``/sys``, which may show another network than this process has.
    """
    request = struct.pack(f"{_NAME_BYTES}sH14x", interface.encode()[: _NAME_BYTES - 1], 0)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
            flags: int = struct.unpack_from("H", fcntl.ioctl(door, _ASK_FLAGS, request), _NAME_BYTES)[0]
    except OSError:
        return False
    return flags & _UP == _UP


def check_interface() -> None:
    """Raise UsageError if the interface in ``$MPIBATCH_INTERFACE`` is not up. Local; before MPI starts."""
    interface = os.environ.get(VARIABLE, "")
    if interface and not is_up(interface):
        raise UsageError(
            f"the network interface {interface} (${VARIABLE}) is not up on {os.uname().nodename}, and by another this "
            f"job must not go: nothing was sent. Bring it up, such as by wg-quick up {interface}, or unset {VARIABLE}"
        )
