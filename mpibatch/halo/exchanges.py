"""The public halo calls: fill a field's halo, or get what lies around its owned cells."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base import tally
from mpibatch.base.errors import UsageError, nearest
from mpibatch.base.timing import phase as timed
from mpibatch.base.timing import turn
from mpibatch.domain import Box, check_mode
from mpibatch.fields.field import Field, HaloLike, check_field, normal_halo
from mpibatch.fields.grid import Grid
from mpibatch.halo.engines import ENGINES, Engine, Memory, Place, bind
from mpibatch.halo.plan import Halo, Modes, phase
from mpibatch.mpi import Transfers, transfer
from mpibatch.mpi.transfers import Target, messages

__all__ = ["Exchange", "ModeLike", "exchange", "halo_of", "padded_copy", "slabs", "surround"]

SideMode = str | None
# One mode for all walls, or an entry per axis: one mode, or a pair (low, high).
ModeLike = SideMode | Sequence[SideMode | Sequence[SideMode]]
Array = npt.NDArray[Any]

MOST_EXCHANGES = 16  # kept with a field's memory: not one for each of a thousand values beyond the walls

HALO, PACK = timed("halo"), timed("pack")


def halo_of(grid: Grid, widths: HaloLike, mode: ModeLike, corners: bool = True) -> Halo:
    """Return the checked description of a halo; a periodic axis wraps whatever its mode. Local."""
    modes = (mode,) * grid.ndim if mode is None or isinstance(mode, str) else tuple(mode)
    if len(modes) != grid.ndim:
        raise UsageError(
            f"mode={mode!r} has {len(modes)} entries for a grid of {grid.ndim} axes; give one, or one per axis"
        )
    known = (_axis_modes(m) for m in modes)
    return Halo(
        normal_halo(widths, grid.ndim),
        tuple("wrap" if wraps else m for wraps, m in zip(grid.periodic, known, strict=True)),
        corners,
    )


def _axis_modes(entry: SideMode | Sequence[SideMode]) -> Modes:
    if entry is None or isinstance(entry, str):
        return None if entry is None else check_mode(entry)
    if len(entry) != 2:
        raise UsageError(f"mode {entry!r} for one axis; give one mode, or a pair (low, high)")
    low, high = (None if m is None else check_mode(m) for m in entry)
    return low if low == high else (low, high)


class Exchange:
    """A halo exchange that is planned once and carried out many times; several fields share each message.

    Call it, or `start` it, compute what needs no halo, and `finish` it: between the two, owned cells may be read. Use
    it as a context manager, or `free` it.

    Parameters
    ----------
    fields : Field or sequence of Field
        One field, or several on grids that match.
    width : int or sequence of (int or (int, int)), optional
        Cells to fill: of all sides, of each axis, or of each axis a pair (low, high); at most the fields' halo.
        Default: the halo of the first field.
    mode : str or None or sequence, default "reflect"
        scipy's boundary mode, or one per axis, or per axis a pair (low, high); None leaves the halo outside walls as it
        is. A periodic axis wraps whatever its mode.
    cval : scalar or array_like, default 0.0
        Value outside "constant" walls; a number, or one for each component.
    corners : bool, default True
        False fills faces only, which is what a star-shaped stencil reads.
    engine : str, optional
        "axis" (axis after axis, persistent requests) or "plan" (all at once, one message for each neighbor). Default:
        ``$MPIBATCH_ENGINE``, else "axis".
    counted : bool, default True
        False where the caller tallies what is needed, since that does not depend on the ranks as `width` does, and sees
        to it that the fields' memory is not another field's when it is carried out.

    Raises
    ------
    UsageError
        The same on every rank, if fields, width, mode, value and engine do not fit one another.

    Notes
    -----
    Collective, and so are calls, `start` and `finish`. To plan takes no message, and the time grows with the neighbors,
    not with the number of ranks. With the engine "axis" at most 2 messages per decomposed axis are sent, of a face's
    bytes each, where blocks are at least as wide as the halo; where they are thinner, one to each rank that reads their
    cells.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(6).from_function(lambda x: x * x, halo=1)
    >>> difference = u.like()
    >>> with mb.Exchange(u, mode="nearest") as exchange:
    ...     exchange()
    ...     difference.owned[...] = u.padded[2:] - u.padded[:-2]
    >>> print(mb.gather_all(difference))
    [ 1.  4.  8. 12. 16.  9.]
    """

    def __init__(
        self,
        fields: Field | Sequence[Field],
        width: HaloLike | None = None,
        mode: ModeLike = "reflect",
        cval: Any = 0.0,
        corners: bool = True,
        engine: str | None = None,
        counted: bool = True,
    ) -> None:
        together: list[Any] = list(fields) if isinstance(fields, list | tuple) else [fields]
        for given in together:
            check_field("an exchange", given)
        if not together:
            raise UsageError("an exchange of no fields was asked for; give at least one")
        first = together[0]
        halo = halo_of(first.grid, first.halo if width is None else width, mode, corners)
        for field in together:
            if not field.grid.matches(first.grid):
                raise UsageError(f"an exchange of fields over {first.grid} and {field.grid}; bring them to one grid")
            if any(w > h for ws, hs in zip(halo.widths, field.halo, strict=True) for w, h in zip(ws, hs, strict=True)):
                raise UsageError(
                    f"an exchange of {halo.widths} cells was asked for a field whose halo is {field.halo}; "
                    "create the field with halo >= the width"
                )
        name = engine or os.environ.get("MPIBATCH_ENGINE") or "axis"
        if name not in ENGINES:
            raise UsageError(f"halo engine {name!r} was asked for{nearest(name, ENGINES)}")
        for field in together:
            _check_value(field, halo, cval)
        memories = [Memory(field.memory.cells, field.origin) for field in together]
        self._filled = [field.memory.filled for field in together if field.memory.filled is not None]
        self._engine: Engine = ENGINES[name](first.grid.comm, first.grid.decomposition, halo, memories, cval)
        self._need = _need_of(together, halo) if counted else None
        # While the user may carry it out, no other field gets the memory.
        self._users = [field.padded for field in together] if counted else []

    def start(self) -> None:
        """Begin; return without waiting for the neighbors.

        Notes
        -----
        Collective. Until `finish`, owned cells may be read but not written, and halo cells neither.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.Grid(6).full(2.0, halo=1)
        >>> with mb.Exchange(u) as exchange:
        ...     exchange.start()
        ...     total = mb.sum(u)
        ...     exchange.finish()
        >>> total
        12.0
        """
        for filled in self._filled:
            filled.forget()
        with HALO:
            if self._need is not None:
                tally.needed(self._need)
            self._engine.start()

    def finish(self) -> None:
        """Wait until every halo cell is there.

        Notes
        -----
        Collective; to be called once after each `start`.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u = mb.Grid(6).from_function(lambda x: x, halo=1)
        >>> with mb.Exchange(u, mode="wrap") as exchange:
        ...     exchange.start()
        ...     exchange.finish()
        >>> float(u.owned[0] - u.padded[0]) % 6
        1.0
        """
        # Again: a kernel may have filled it since `start`.
        for filled in self._filled:
            filled.forget()
        with HALO:
            self._engine.finish()

    def __call__(self) -> None:
        """Start and finish.

        Notes
        -----
        Collective. The messages are those that `Exchange` tells of; several fields share each.

        Examples
        --------
        >>> import mpibatch as mb
        >>> u, v = (mb.Grid(6).full(value, halo=1) for value in (1.0, 2.0))
        >>> with mb.Exchange([u, v], mode="constant", cval=-1.0) as exchange:
        ...     exchange()
        >>> grid = u.grid
        >>> outside = float(u.padded[0]) if grid.rank == 0 else None
        >>> grid.comm.bcast(outside)
        -1.0
        """
        for filled in self._filled:
            filled.forget()
        with HALO:
            if self._need is not None:
                tally.needed(self._need)
            self._engine.start()
            self._engine.finish()

    def let_go(self) -> None:
        """Let the fields' memory be another field's, even while this lives.

        Notes
        -----
        Local. For those who keep an exchange with the memory.

        Examples
        --------
        >>> import mpibatch as mb
        >>> with mb.Exchange(mb.Grid(6).full(2.0, halo=1)) as exchange:
        ...     exchange.let_go()
        """
        self._users = []

    def free(self) -> None:
        """Release requests and datatypes; nothing may be exchanged after it.

        Notes
        -----
        Local. The end of a ``with`` block does it.

        Examples
        --------
        >>> import mpibatch as mb
        >>> exchange = mb.Exchange(mb.Grid(6).zeros(halo=1))
        >>> exchange()
        >>> exchange.free()
        """
        self._engine.free()

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()


def _need_of(fields: Sequence[Field], halo: Halo) -> tally.Need:
    wraps = tuple("wrap" in halo.sides(axis) for axis in range(len(halo.widths)))
    several = sum(map(any, halo.widths)) > 1
    nbytes = sum(field.dtype.itemsize * math.prod(field.components) for field in fields)
    return tally.need(fields[0].grid.shape, halo.widths, halo.corners and several, wraps, nbytes)


def exchange(
    u: Field,
    width: HaloLike | None = None,
    mode: ModeLike = "reflect",
    cval: Any = 0.0,
    corners: bool = True,
    engine: str | None = None,
) -> None:
    """Fill the halo of a field from its neighbors and its walls.

    Parameters
    ----------
    u : Field
        Its halo is written to, its owned cells are not.
    width : int or sequence of (int or (int, int)), optional
        Cells to fill: of all sides, of each axis, or of each axis a pair (low, high); at most the field's halo.
        Default: all of its halo.
    mode : str or None or sequence, default "reflect"
        scipy's boundary mode, or one per axis, or per axis a pair (low, high); None leaves the halo outside walls as it
        is. A periodic axis wraps whatever its mode.
    cval : scalar or array_like, default 0.0
        Value outside "constant" walls; a number, or one for each component.
    corners : bool, default True
        False fills faces only, which is what a star-shaped stencil reads.
    engine : str, optional
        "axis" or "plan", see `Exchange`. Default: ``$MPIBATCH_ENGINE``, else "axis".

    Raises
    ------
    UsageError
        The same on every rank, if field, width, mode, value and engine do not fit one another.

    Notes
    -----
    Collective. The planned exchange is kept with the field's memory for the next call with the same parameters. At most
    2 messages per decomposed axis (engine "axis"), of a face's bytes each, where blocks are at least as wide as the
    halo; where they are thinner, one to each rank that reads their cells.

    Kernels and filters fill the halos that they read by themselves.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(6).from_function(lambda x: x * x, halo=1)
    >>> mb.exchange(u, mode="nearest")
    >>> difference = u.like()
    >>> difference.owned[...] = u.padded[2:] - u.padded[:-2]
    >>> print(mb.gather_all(difference))
    [ 1.  4.  8. 12. 16.  9.]
    """
    check_field("exchange", u)
    key = (_hashable(width), _hashable(mode), _hashable(cval), corners, engine)
    planned = u.memory.engines.get(key)
    if planned is None:
        # Requests and datatypes are freed by local calls, so it does not matter when each rank drops its field.
        if not u.memory.engines:
            weakref.finalize(u.memory, _release, u.memory.engines)
        elif len(u.memory.engines) >= MOST_EXCHANGES:
            u.memory.engines.pop(next(iter(u.memory.engines))).free()
        planned = u.memory.engines[key] = Exchange(u, width, mode, cval, corners, engine)
        planned.let_go()  # it is kept with the memory, which goes with the last field that has it
    planned()


def _release(engines: dict[Any, Exchange]) -> None:
    while engines:
        engines.popitem()[1].free()


def _hashable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, value))
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    # By its text: 0.0 and -0.0 are equal, and NaN is equal to nothing, so that every call would plan anew.
    return repr(value) if isinstance(value, float | complex | np.inexact) else value


def _check_value(u: Field, halo: Halo, cval: Any) -> None:
    """Refuse a value that `u` cannot hold beyond walls, also on ranks that have none: all raise alike. Local."""
    if not any("constant" in halo.sides(axis) for axis in range(u.grid.ndim)):
        return
    try:
        np.broadcast_to(np.asarray(cval, u.dtype), u.components)
    except (TypeError, ValueError, OverflowError) as error:
        each = f" with components {u.components}" if u.components else ""
        raise UsageError(
            f"cval={cval!r} was asked for beyond the walls of a field of dtype {u.dtype}{each} ({error}); give a value "
            "that it can hold"
        ) from error


def slabs(u: Field, axis: int, reach: tuple[int, int], mode: str, cval: Any = 0.0) -> tuple[Array, Array]:
    """Return the cells just before and just after the owned block along one axis.

    Parameters
    ----------
    u : Field
        Its own halo is not touched, and need not be wide enough.
    axis : int
        A grid axis, from 0.
    reach : tuple of (int, int)
        Cells before and after.
    mode : str
        scipy's boundary mode, for what lies outside walls.
    cval : scalar or array_like, default 0.0
        Value outside "constant" walls; a number, or one for each component.

    Returns
    -------
    before : ndarray
        C-contiguous, of the local shape, components last, with ``reach[0]`` cells along `axis`.
    after : ndarray
        The same with ``reach[1]`` cells. On a rank without cells both are zeros.

    Raises
    ------
    UsageError
        The same on every rank, if field, reach, mode and value do not fit one another.

    Notes
    -----
    Collective. One message from and to each rank whose cells are read.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(6).from_function(lambda x: x * x)
    >>> before, after = mb.halo.slabs(u, 0, (1, 1), "constant", cval=-1.0)
    >>> before.shape, after.shape
    ((1,), (1,))
    >>> u.grid.comm.bcast(before.tolist())
    [-1.0]
    """
    check_field("slabs", u)
    widths = tuple(reach if a == axis else (0, 0) for a in range(u.grid.ndim))
    halo = halo_of(u.grid, widths, mode, corners=False)
    shape, first = list(u.local_shape), list(u.box.start)
    parts = []
    for start, width in ((u.box.start[axis] - reach[0], reach[0]), (u.box.stop[axis], reach[1])):
        shape[axis], first[axis] = width, start
        # Zeros, since on a rank without cells nothing fills them.
        parts.append(Memory(np.zeros(shape, u.dtype), tuple(first)))
    surround(u, halo, _Sides(parts[0], parts[1], axis, u.box.start[axis]), cval)
    return parts[0].array, parts[1].array


@dataclass(frozen=True, slots=True)
class _Sides:
    """The memory before and after the owned block along an axis, as one target."""

    before: Memory
    after: Memory
    axis: int
    start: int

    @property
    def components(self) -> tuple[int, ...]:
        return self.before.components

    def at(self, box: Box) -> Array:
        return (self.before if box.start[self.axis] < self.start else self.after).at(box)


def padded_copy(u: Field, reach: HaloLike, mode: ModeLike, cval: Any = 0.0, corners: bool = True) -> Array:
    """Return the owned cells with some cells around them, corners included.

    Parameters
    ----------
    u : Field
        What is copied.
    reach : int or sequence of (int or (int, int))
        Cells around: of all sides, of each axis, or of each axis a pair (low, high).
    mode : str or None or sequence
        scipy's boundary mode, or one per axis, or per axis a pair (low, high); None leaves what lies outside walls
        undefined.
    cval : scalar or array_like, default 0.0
        Value outside "constant" walls; a number, or one for each component.
    corners : bool, default True
        False fills faces only.

    Returns
    -------
    ndarray
        C-contiguous, components last. It is ``u.padded`` itself, without a copy, when the field's halo is `reach`, and
        then read-only if the field is frozen; a rank without cells gets an array without cells.

    Raises
    ------
    UsageError
        The same on every rank, if field, reach, mode and value do not fit one another.

    Notes
    -----
    Collective. One message from and to each rank whose cells are read; at most 2 per decomposed axis where nothing is
    copied.

    Examples
    --------
    >>> import mpibatch as mb
    >>> u = mb.Grid(6).from_function(lambda x: x * x)
    >>> around = mb.halo.padded_copy(u, 1, "nearest")
    >>> difference = u.like()
    >>> difference.owned[...] = around[2:] - around[:-2]
    >>> print(mb.gather_all(difference))
    [ 1.  4.  8. 12. 16.  9.]
    """
    check_field("a padded copy", u)
    halo = halo_of(u.grid, reach, mode, corners)
    if halo.widths == u.halo:
        exchange(u, None, mode, cval, corners)
        return u.padded
    whole = Field(u.grid, u.dtype, halo.widths, u.components)
    with PACK:
        whole.owned[...] = u.owned
    surround(u, halo, Memory(whole.padded, whole.origin), cval)
    return whole.padded


def surround(u: Field, halo: Halo, target: Place, cval: Any) -> None:
    """Bring the cells that a halo of `u` would hold into memory of another shape, once. Collective."""
    _check_value(u, halo, cval)
    with HALO:
        tally.needed(_need_of([u], halo))
        todo = phase(u.grid.decomposition, u.grid.rank, halo)
        bound = bind(todo, [Memory(u.owned, u.box.start)], [target])
        receives = {rank: [Target(view, wire) for view, wire in views] for rank, views in bound.receives.items()}
        tally.sent(messages(bound.sends), bound.traffic[1])
        transfer(u.grid.comm, Transfers(bound.sends, receives, bound.copies))
        turn("pack")
        for view in bound.fills:
            view[...] = cval
