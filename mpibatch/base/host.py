"""What this host is, and what the control groups of this process allow of it: processor, cores, memory."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mpibatch.base.errors import UsageError
from mpibatch.base.units import bytes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "LIMIT_VARIABLE", "Caches", "allowed_memory", "available_memory", "caches", "core_quota", "cpu_model", "home",
    "memory_limit", "usable_memory",
]  # fmt: skip

LIMIT_VARIABLE = "MPIBATCH_MEMORY_LIMIT"

ROOT = Path("/")


class Caches(NamedTuple):
    """Bytes of the caches that a core can use: its L2, and its share of the last level."""

    private: int
    share: int


# Of a common server core, where the system tells nothing.
USUAL = Caches(1 << 20, 4 << 20)


def caches(root: Path = ROOT) -> Caches:
    """Return the caches of this host's first core, as the system tells them. Local."""
    private, last, share = 0, 0, 0
    for index in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index[0-9]*")):
        size, level = _size(_text(index / "size")), _text(index / "level").strip()
        if not size or not level.isdigit() or _text(index / "type").strip() == "Instruction":
            continue
        if level == "2":
            private = size
        if int(level) > 2 and int(level) >= last:
            last, share = int(level), size // max(1, _count(_text(index / "shared_cpu_list").strip()))
    private = private or USUAL.private
    return Caches(private, max(share, private) if share else USUAL.share)


def _size(text: str) -> int:
    digits, unit = text.strip()[:-1], text.strip()[-1:]
    return int(digits) * {"K": 1 << 10, "M": 1 << 20}.get(unit, 0) if digits.isdigit() else 0


def _count(text: str) -> int:
    """Numbers in a list such as ``0-3,8``."""
    bounds = [part.split("-") for part in text.split(",") if part]
    known = [[int(word) for word in pair] for pair in bounds if all(word.isdigit() for word in pair)]
    return sum(pair[-1] - pair[0] + 1 for pair in known)


def core_quota(root: Path = ROOT) -> float | None:
    """Return how many cores' worth of time this process's control groups allow, None if any. Local."""
    quotas = []
    for folder in _groups("cpu", root):
        words = _words(folder / "cpu.max") or [
            *_words(folder / "cpu.cfs_quota_us"),
            *_words(folder / "cpu.cfs_period_us"),
        ]
        if len(words) == 2 and words[0].isdigit() and int(words[1]):
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def memory_limit(root: Path = ROOT) -> int | None:
    """Return how many bytes this process's control groups allow, None if any. Local."""
    return min((limit for _, limit in _memory_limits(root)), default=None)


def _memory_limits(root: Path) -> Iterator[tuple[Path, int]]:
    """The control groups that limit memory, each with its bytes."""
    for folder in _groups("memory", root):
        words = _words(folder / "memory.max") or _words(folder / "memory.limit_in_bytes")
        # Version 1 says "no limit" by a number near 2^63.
        if words and words[0].isdigit() and int(words[0]) < 1 << 60:
            yield folder, int(words[0])


def home() -> Path:
    """Return the user's home; where none is known, as in many containers, a folder that is not there. Local."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")


def usable_memory(root: Path = ROOT) -> int:
    """Return the bytes that this host has, or that the control groups of this process allow of it. Local."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(whole, memory_limit(root) or whole)


def allowed_memory() -> int | None:
    """Return the bytes that $MPIBATCH_MEMORY_LIMIT allows a rank, e.g. of "500M" or "2G"; None if unset. Local."""
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    if not text:
        return None
    limit = bytes_of(text)
    if limit is not None:
        return limit
    raise UsageError(f"{LIMIT_VARIABLE}={text!r} is no amount of memory; give bytes, or a number with K, M, G or T")


def available_memory(root: Path = ROOT) -> int:
    """Return the bytes that this process and its like can still get; 0 if nobody tells. Local.

    Of the host, and of the control groups that this process is in: a group's own use is what its limit leaves, but for
    pages of files, which the system gives back.
    """
    rooms = [
        int(words[1]) * 1024
        for line in _text(root / "proc/meminfo").splitlines()
        if (words := line.split())[:1] == ["MemAvailable:"]
    ]
    for folder, limit in _memory_limits(root):
        used = _words(folder / "memory.current") or _words(folder / "memory.usage_in_bytes")
        if used and used[0].isdigit():
            counts = dict(line.split() for line in _text(folder / "memory.stat").splitlines() if line.count(" ") == 1)
            files = counts.get("total_inactive_file") or counts.get("inactive_file", "0")
            rooms.append(max(0, limit - max(0, int(used[0]) - int(files))))
    return min(rooms, default=0)


def cpu_model(root: Path = ROOT) -> str:
    """Return the processor's name, or its kind if it tells none. Local."""
    for line in _text(root / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "CPU implementer", "cpu"):
            return value.strip()
    return platform.processor() or platform.machine()


def has_long_vectors(root: Path = ROOT) -> bool:
    """Whether the processor has vectors of 512 bits. Local."""
    return " avx512f" in _text(root / "proc/cpuinfo")


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of this process's control groups, from its own up to the root, where `controller` has files."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for top in _mounts_of_groups(controller if controllers else "", root):
            # In a container the path may be the host's, while what is mounted is this group itself.
            inner = root / top.lstrip("/") / path.lstrip("/")
            folder = inner if inner.is_dir() else root / top.lstrip("/")
            while folder.is_relative_to(root / top.lstrip("/")):
                yield folder
                folder = folder.parent


def _mounts_of_groups(controller: str, root: Path) -> Iterator[str]:
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if (kind == "cgroup2" and not controller) or (kind == "cgroup" and controller in options.split(",")):
            yield before.split()[4]


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _words(path: Path) -> list[str]:
    return _text(path).split()
