"""Files and folders that are believed, as code is or as settings of a batch script are: nobody else may write them."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_guarded", "intruder"]


def intruder(path: Path | int) -> str:
    """Return in words who else may write what is there, or open; "" if nobody, or nothing is there. Local.

    Root may, and a group of this user alone, by which files have mode 0664 on some systems.
    """
    try:
        about = _status(path)
    except OSError:
        return ""
    if about.st_uid not in (os.geteuid(), 0):
        return f"it belongs to {_user(about.st_uid)}"
    if about.st_mode & stat.S_IWOTH:
        return "everybody may write it"
    if about.st_mode & stat.S_IWGRP and not _is_private(about.st_gid):
        return f"the group {_group(about.st_gid)} may write it"
    return ""


def check_guarded(path: Path, noun: str, danger: str, handle: int | None = None) -> None:
    """Refuse what others may write. Local. UsageError. `danger`: what they could do by it.

    `handle`: the file is open, and this very one is looked at, whatever has its name by now.
    """
    place = path if handle is None else handle
    if who := intruder(place):
        mode = stat.S_IMODE(_status(place).st_mode)
        remedy = "name one of your own" if who.startswith("it belongs") else f"chmod go-w {path}"
        raise UsageError(f"{noun} {path} is not used: {who} (mode {mode:04o}), and so {danger}; {remedy}")


def _status(place: Path | int) -> os.stat_result:
    return os.fstat(place) if isinstance(place, int) else place.stat()


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _is_private(number: int) -> bool:
    """Whether a group is a user's own: the first one, of the same name, and without other members."""
    try:
        group, user = grp.getgrgid(number), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return (group.gr_name, number) == (user.pw_name, user.pw_gid) and {*group.gr_mem} <= {user.pw_name}
