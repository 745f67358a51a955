"""The memory of fields, which serves one field after another, so that what was planned for it is planned once.

``u = gaussian_filter(u, 1)`` makes a Field in every pass of a loop. Were its memory new each time, the operating system
would hand it out page by page, at the cost of a filter, and exchanges and plans, which are bound to memory, would be
made again. So a grid keeps what its fields leave, for the next fields of the same dtype, halo and components; large
memory only where there was a second such field.

What waits and what is in use are never more together than was in use of fields at once before, of all grids: so it adds
nothing to the most that fields take, and `mpibatch plan` need not count it. It goes when the host's memory runs short,
and when a filter, or a new field, needs room. Pages stay on the NUMA node of the core that touched them first: bind
ranks to cores.

A field's memory is free when nobody can see it: when `padded`, which every view of the user's keeps alive, is gone.
Plans and exchanges hold views of `cells`, which do not.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.host import available_memory, usable_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["FieldMemory", "Halo", "HaloState", "Pool", "Pools", "Width", "staggered"]

# Allocators let large arrays begin at the same place of a page. The same cell of many fields would then meet in the
# same few lines of the L1 cache, and loads would wait for stores that only look like theirs; also for those of a moment
# ago, a few lines apart: with three lines from field to field, steps to another one took longer than those back.
LARGE, PAGE = 32 * 1024, 4096
# 39 lines of 64 bytes, as the golden section has it: 64 fields before a place comes again, and neighbors far apart.
STAGGER = 2496
_turns = itertools.count()

# Bytes that may always wait for the next fields, of all grids: nothing beside what a process holds anyway.
SMALL = 16 * 2**20

# More waits only while so much of the host's memory is free; seconds until that is looked at again.
SPARE, LOOK_EVERY = 1 / 8, 1.0


class _Buffer(np.ndarray[Any, np.dtype[np.uint8]]):
    """What an array lies in; of a type of its own, since NumPy then takes that array as the base of its views."""


def staggered(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return an undefined array; large ones begin at different cache lines of their pages. Local."""
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < LARGE:
        return np.ndarray(shape, dtype, _Buffer(max(1, nbytes), "u1"))
    buffer = _Buffer(nbytes + PAGE, "u1")
    return np.ndarray(shape, dtype, buffer, (next(_turns) * STAGGER - buffer.ctypes.data) % PAGE)


Halo = tuple[tuple[int, int], ...]  # (low, high) widths along each grid axis
Width = tuple[Halo, bool, bool]  # how far it is read, with corners or without, and whether sweeps fill the walls


class HaloState:
    """What the halo of cells that do not change holds, so that it is not brought again.

    It follows from the calls that all ranks make, and never from the cells: every rank comes to the same answer.
    """

    __slots__ = ("walls", "widths")

    def __init__(self) -> None:
        self.walls = ""
        self.widths: list[Width] = []

    def has(self, walls: str, width: Width) -> bool:
        """Whether it is filled for these walls, and as far. Local."""
        reach, corners, by_sweeps = width
        return walls == self.walls and any(
            (has_corners or not corners)
            and (by_sweeps or not is_swept)
            and all(w <= h for pair, sides in zip(reach, halo, strict=True) for w, h in zip(pair, sides, strict=True))
            for halo, has_corners, is_swept in self.widths
        )

    def note(self, walls: str, width: Width) -> None:
        """Note that it was filled; what was filled for other walls is no more. Local."""
        self.walls, self.widths = walls, [*(self.widths if walls == self.walls else ()), width]

    def forget(self) -> None:
        """Note that it may hold anything. Local."""
        self.widths = []


class FieldMemory:
    """Owned cells and halo of one field at a time, and what is bound to them.

    Attributes
    ----------
    cells : array of owned cells and halo, also for those who fill the halo of a frozen field.
    owned : the view of `cells` without the halo.
    exchanges : those bound to it, kept by `mpibatch.halo`.
    filled : what the halo of a frozen field is known to hold; None: the field is not frozen.
    is_reused : whether another field may have it afterwards.
    """

    __slots__ = ("__weakref__", "_lent_as", "cells", "exchanges", "filled", "inside", "is_reused", "owned")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], inside: tuple[slice, ...]) -> None:
        cells = self.cells = staggered(shape, dtype)
        self.inside = inside
        self.owned = cells[inside]
        self.exchanges: dict[Any, Any] = {}
        self.filled: HaloState | None = None
        self.is_reused = True
        assert isinstance(cells.base, np.ndarray)
        self._lent_as = (shape, dtype, cells.base, cells.ctypes.data - cells.base.ctypes.data)

    def freeze(self) -> None:
        """Say that its owned cells do not change any more; what is bound to it may rest on that. Local."""
        self.filled, self.is_reused = HaloState(), False

    def view(self) -> npt.NDArray[Any]:
        """Return `cells` as an array that each view of it keeps, while views of `cells` do not. Local."""
        return np.ndarray(*self._lent_as)


class _Loan(weakref.ref[npt.NDArray[Any]]):
    """What a pool remembers of memory in use; called back when the last view of it is gone."""

    __slots__ = ("key", "memory", "pool")

    memory: FieldMemory
    key: Hashable
    pool: weakref.ref[Pool]


def _returned(loan: Any) -> None:
    pool = loan.pool()
    if pool is not None:
        pool.together.take_back(loan)


class Pools:
    """What the pools of all grids keep to together, whichever thread makes fields. Local.

    What comes back while something is looked for, in another thread or as garbage of this one, is put away afterwards.
    """

    def __init__(self) -> None:
        self._pools: weakref.WeakSet[Pool] = weakref.WeakSet()
        self._back: deque[_Loan] = deque()
        self._lock = threading.Lock()
        self._most = 0
        self._looked, self._is_short = -math.inf, False

    @property
    def waiting(self) -> int:
        """Bytes that wait for the next fields. Local."""
        with self._lock:
            return sum(pool.waiting for pool in self._pools)

    def add(self, pool: Pool) -> None:
        """Take in the pool of a new grid. Local."""
        with self._lock:
            self._pools.add(pool)

    def lend(self, pool: Pool, key: Hashable, make: Callable[[], FieldMemory]) -> tuple[FieldMemory, npt.NDArray[Any]]:
        """Return memory for a grid's field, as `Pool.lend`. Local."""
        with self._lock:
            self._put_away()
            memory = pool.taken(key)
        if memory is None:
            try:
                memory = make()
            except MemoryError:
                self.release()
                memory = make()
        padded = memory.view()
        loan = _Loan(padded, _returned)
        loan.memory, loan.key, loan.pool = memory, key, weakref.ref(pool)
        with self._lock:
            pool.note(loan)
            lent = self._lent()
            self._most = max(self._most, lent)
            self._shrink(self._room(lent), pool)
            self._put_away()
        return memory, padded

    def take_back(self, loan: _Loan) -> None:
        """Keep what nobody sees any more for the next field, if there is room. Local."""
        self._back.append(loan)
        # Never waits: it is called wherever an array ends, also in the middle of what the lock is for.
        if self._lock.acquire(blocking=False):
            try:
                self._put_away()
            finally:
                self._lock.release()

    def release(self) -> None:
        """Give back to the system what waits. Local."""
        with self._lock:
            self._put_away()
            self._shrink(0)

    def _put_away(self) -> None:
        while self._back:
            loan = self._back.popleft()
            pool, memory = loan.pool(), loan.memory
            if pool is None:
                continue
            seen = pool.strike(loan)
            room, nbytes = self._room(self._lent()), memory.cells.nbytes
            if not memory.is_reused or nbytes > room or (nbytes > SMALL and seen < 2):
                continue
            self._shrink(room - nbytes, pool)
            pool.keep(loan)
            if sum(other.waiting for other in self._pools) > SMALL and self._runs_short():
                self._shrink(SMALL, pool)

    def _lent(self) -> int:
        return sum(pool.lent for pool in self._pools)

    def _room(self, lent: int) -> int:
        """How many bytes may wait."""
        return max(SMALL, self._most - lent)

    def _shrink(self, nbytes: int, last: Pool | None = None) -> None:
        """Let no more than so many bytes wait; those of the grid that is at work go last."""
        pools = sorted(self._pools, key=lambda pool: pool is last)
        excess = sum(pool.waiting for pool in pools) - nbytes
        for pool in pools:
            excess -= pool.shrink(excess)

    def _runs_short(self) -> bool:
        """Whether little of the host's memory is free, looked at now and then."""
        now = time.monotonic()
        if now - self._looked > LOOK_EVERY:
            self._looked, self._is_short = now, available_memory() < SPARE * usable_memory()
        return self._is_short


_ALL = Pools()


class Pool:
    """The memory of one grid's fields on this rank: lent to them, and what waits for the next. Local.

    What ranks keep may differ, as the ends of their fields do; bits and messages do not depend on it.

    Attributes
    ----------
    together : the pools of all grids, which know when there is room.
    lent : bytes in use.
    waiting : bytes that wait for the next fields.
    """

    def __init__(self) -> None:
        self._loans: dict[int, _Loan] = {}
        self._free: dict[Hashable, list[FieldMemory]] = {}
        self._order: list[Hashable] = []  # in which they came back
        self._fields: dict[Hashable, int] = {}  # how many there were
        self.lent = self.waiting = 0
        self.together = _ALL
        self.together.add(self)

    def lend(self, key: Hashable, make: Callable[[], FieldMemory]) -> tuple[FieldMemory, npt.NDArray[Any]]:
        """Return memory of undefined cells, and the array that it is lent as; equal keys mean equal shapes."""
        return self.together.lend(self, key, make)

    def taken(self, key: Hashable) -> FieldMemory | None:
        """Return the memory that waits longest under a key, and forget it; None if none does."""
        if not self._free.get(key):
            return None
        memory = self._free[key].pop(0)
        self._order.remove(key)
        self.waiting -= memory.cells.nbytes
        return memory

    def note(self, loan: _Loan) -> None:
        """Note what is in use from now on."""
        self._loans[id(loan)] = loan
        self._fields[loan.key] = self._fields.get(loan.key, 0) + 1
        self.lent += loan.memory.cells.nbytes

    def strike(self, loan: _Loan) -> int:
        """Note what is in use no more, and return how many such fields there were."""
        del self._loans[id(loan)]
        self.lent -= loan.memory.cells.nbytes
        return self._fields[loan.key]

    def keep(self, loan: _Loan) -> None:
        """Let memory wait for the next field."""
        self._free.setdefault(loan.key, []).append(loan.memory)
        self._order.append(loan.key)
        self.waiting += loan.memory.cells.nbytes

    def shrink(self, nbytes: int) -> int:
        """Forget what waits longest until at least so many bytes, or all, are gone; return how many went."""
        before = self.waiting
        while self._order and before - self.waiting < nbytes:
            self.taken(self._order[0])
        return before - self.waiting
