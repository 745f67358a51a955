"""The public halo calls: fill the halos of fields, once or many times."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from mpibatch.base import tally
from mpibatch.base.errors import UsageError, nearest
from mpibatch.base.keys import key_of
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field, HaloLike, check_field
from mpibatch.halo.checks import ModeLike, check_value, halo_of, need_of
from mpibatch.halo.engines import ENGINES
from mpibatch.halo.stages import Memory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["Exchange", "exchange", "kept_exchange"]

MOST_EXCHANGES = 16  # kept with a field's memory: not one for each of a thousand values beyond the walls

HALO = timed("halo")


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
        What lies outside walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"); one for all, or one per axis, or per axis a pair (low, high); None leaves the
        halo there as it is. A periodic axis wraps whatever its mode.
    cval : scalar or array_like, default 0.0
        Value outside "constant" walls; a number, or one for each component.
    corners : bool, default True
        False fills faces only, which is what a star-shaped stencil reads.
    engine : str, optional
        "axis" (axis after axis, persistent requests) or "plan" (all at once, one message for each neighbor). Default:
        the grid's.
    counted : bool, default True
        False where the caller tallies what is needed, since that does not depend on the ranks as `width` does, and sees
        to it that the fields' memory is not another field's when it is carried out.

    Raises
    ------
    UsageError
        The same on every rank, if fields, width, mode, value and engine do not fit one another.

    Notes
    -----
    Collective, and so are calls, `start` and `finish`. To plan takes no message, but for the first exchange of a
    communicator, for which the ranks of a node get memory that all of them see; the time grows with the neighbors, not
    with the number of ranks. With the engine "axis" at most 2 messages per decomposed axis are sent, of a face's
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
            raise UsageError("an exchange needs fields; give at least one")
        first = together[0]
        halo = halo_of(first.grid, first.halo if width is None else width, mode, corners)
        for field in together:
            if not field.grid.matches(first.grid):
                raise UsageError(
                    f"cannot exchange fields over {first.grid} and {field.grid} together; bring them to one grid"
                )
            if any(w > h for ws, hs in zip(halo.widths, field.halo, strict=True) for w, h in zip(ws, hs, strict=True)):
                raise UsageError(
                    f"cannot exchange {halo.widths} cells of a field whose halo is {field.halo}; "
                    "create the field with halo >= the width"
                )
        name = engine or first.grid.engine
        if name not in ENGINES:
            raise UsageError(f"halo engine {name!r} is unknown{nearest(name, ENGINES)}")
        for field in together:
            check_value(field, halo, cval)
        memories = [Memory(field.memory.cells, field.origin) for field in together]
        self._filled = [field.memory.filled for field in together if field.memory.filled is not None]
        self._stages = ENGINES[name](first.grid.comm, first.grid.decomposition, halo, memories, cval)
        self._need = need_of(together, halo) if counted else None
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
            self._stages[0].start()

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
            for number, stage in enumerate(self._stages):
                if number:
                    stage.start()
                stage.finish()

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
            for stage in self._stages:
                stage.start()
                stage.finish()

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
        for stage in self._stages:
            stage.free()

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()


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
        What lies outside walls: "reflect" (or "grid-mirror"), "mirror", "nearest", "wrap" (or "grid-wrap") or
        "constant" (or "grid-constant"); one for all, or one per axis, or per axis a pair (low, high); None leaves the
        halo there as it is. A periodic axis wraps whatever its mode.
    cval : scalar or array_like, default 0.0
        Value outside "constant" walls; a number, or one for each component.
    corners : bool, default True
        False fills faces only, which is what a star-shaped stencil reads.
    engine : str, optional
        "axis" or "plan", see `Exchange`. Default: the grid's.

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
    kept_exchange(u, width, mode, cval, corners, engine)()


def kept_exchange(
    u: Field, width: HaloLike | None, mode: ModeLike, cval: Any, corners: bool = True, engine: str | None = None
) -> Exchange:
    """Return the exchange of these parameters that is kept with the field's memory, planned at first. Local."""
    key = (key_of(width), key_of(mode), key_of(cval), corners, engine or u.grid.engine)
    planned = u.memory.exchanges.get(key)
    if planned is None:
        # Requests and datatypes are freed by local calls, so it does not matter when each rank drops its field.
        if not u.memory.exchanges:
            weakref.finalize(u.memory, _release, u.memory.exchanges)
        elif len(u.memory.exchanges) >= MOST_EXCHANGES:
            u.memory.exchanges.pop(next(iter(u.memory.exchanges))).free()
        planned = u.memory.exchanges[key] = Exchange(u, width, mode, cval, corners, engine)
        planned.let_go()  # it is kept with the memory, which goes with the last field that has it
    return planned


def _release(exchanges: dict[Any, Exchange]) -> None:
    while exchanges:
        exchanges.popitem()[1].free()
