"""What a kernel reads, writes and computes per cell, from its text alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError
from mpibatch.base.units import plural
from mpibatch.stencil.language.ir import MARKERS, KernelProgram

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FieldReach", "Footprint", "Reach", "footprint_of", "likely_ndim"]

Reach = tuple[tuple[int, int], ...]

# Everything but these counts as one floating-point operation, whatever it costs the processor.
_FREE = frozenset(["const", "param", "read", "cast", "neg", "abs", "copysign", "floor", "ceil", "where", *MARKERS])
_LOGIC = frozenset(["<", "<=", ">", ">=", "==", "!=", "&", "|", "^", "~", "not", "truth", "and", "or"])


@dataclass(frozen=True, slots=True)
class FieldReach:
    """How far one field is read.

    Parameters
    ----------
    reach : tuple of (int, int)
        Furthest offset below and above the cell along each axis; what a halo must hold.
    reads : int
        Number of different cells and components read.
    words : int
        Numbers per cell that come from memory, if every one comes once.
    needs_corners : bool
        Whether some read lies off the cell along two axes or more.

    Notes
    -----
    Local. All four are attributes; it cannot be changed.

    Examples
    --------
    >>> import mpibatch as mb
    >>> @mb.stencil
    ... def upwind(u, c):
    ...     return u[0, 0] - c * (u[0, 0] - u[0, -2])
    >>> upwind.footprint.fields["u"]
    FieldReach(reach=((0, 0), (2, 0)), reads=2, words=1, needs_corners=False)
    """

    reach: Reach
    reads: int
    words: int
    needs_corners: bool

    @property
    def is_local(self) -> bool:
        """Whether only the cell itself is read, so that no halo is needed; a bool. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> @mb.stencil
        ... def product(u, v):
        ...     return u[0] * v[1]
        >>> fields = product.footprint.fields
        >>> fields["u"].is_local, fields["v"].is_local
        (True, False)
        """
        return not any(width for pair in self.reach for width in pair)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a kernel reads, writes and computes per cell, on a grid of so many axes; prints as a table.

    Parameters
    ----------
    name : str
        The kernel's.
    ndim : int
        Axes of the grid.
    fields : mapping of str to FieldReach
        How far each field is read, by the name of the parameter.
    outputs : tuple of int
        Components of each output.
    flops : int
        Floating-point operations per cell; each counts as one, whatever it costs the processor. Comparisons, logic,
        abs, floor, ceil, choices and changes of sign or type count as none.

    Notes
    -----
    Local. All of them are attributes; it cannot be changed.

    Examples
    --------
    >>> import mpibatch as mb
    >>> @mb.stencil
    ... def heat(u, k):
    ...     return u[0] + k * (u[-1] - 2.0 * u[0] + u[1])
    >>> print(heat.footprint)
    heat: 1-D, star
      reads  u            3 values, reach -1+1
      writes output 0     1 value
      5 flops and 2 words per cell: 16 bytes in f8, 8 in f4
    """

    name: str
    ndim: int
    fields: Mapping[str, FieldReach]
    outputs: tuple[int, ...]  # components of each
    flops: int

    @property
    def reach(self) -> Reach:
        """The furthest of all fields: a tuple of pairs (below, above), one for each axis. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> @mb.stencil
        ... def upwind(u, c):
        ...     return u[0, 0] - c * (u[0, 0] - u[0, -2])
        >>> upwind.footprint.reach
        ((0, 0), (2, 0))
        """
        reaches = [field.reach for field in self.fields.values()]
        return tuple((max(r[a][0] for r in reaches), max(r[a][1] for r in reaches)) for a in range(self.ndim))

    @property
    def needs_corners(self) -> bool:
        """Whether any field is read off two axes at once; a bool. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> @mb.stencil
        ... def mixed(u):
        ...     return 0.25 * (u[1, 1] - u[1, -1] - u[-1, 1] + u[-1, -1])
        >>> mixed.footprint.needs_corners
        True
        """
        return any(field.needs_corners for field in self.fields.values())

    def bytes(self, itemsize: int = 8) -> int:
        """Return the bytes per cell to and from memory, each number once.

        A cache that writes may read the outputs too.

        Parameters
        ----------
        itemsize : int, default 8
            Bytes of a number: 8 for f8, 4 for f4.

        Returns
        -------
        int
            Bytes per cell.

        Notes
        -----
        Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> @mb.stencil
        ... def heat(u, k):
        ...     return u[0] + k * (u[-1] - 2.0 * u[0] + u[1])
        >>> heat.footprint.bytes(4)
        8
        """
        return itemsize * (sum(field.words for field in self.fields.values()) + sum(self.outputs))

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.ndim}-D, {'box' if self.needs_corners else 'star'}"]
        for name, field in self.fields.items():
            where = "at the cell" if field.is_local else "reach " + ", ".join(f"-{a}+{b}" for a, b in field.reach)
            corners = ", with corners" if field.needs_corners else ""
            lines.append(f"  reads  {name:<10} {field.reads:>3} values, {where}{corners}")
        for number, parts in enumerate(self.outputs):
            lines.append(f"  writes {f'output {number}':<10}   {plural(parts, 'value')}")
        moved = self.bytes(1)
        lines.append(f"  {self.flops} flops and {moved} words per cell: {8 * moved} bytes in f8, {4 * moved} in f4")
        return "\n".join(lines)


def likely_ndim(program: KernelProgram) -> int:
    """Return the number of axes that a kernel is written for, if its fields have no unnamed components. Local."""
    return min(3, *(len(read.index) for read in program.reads))


def footprint_of(program: KernelProgram, ndim: int) -> Footprint:
    """Return the footprint of a kernel on a grid of `ndim` axes; raise UsageError if it has fewer indices. Local."""
    fields = {}
    for name in program.fields:
        reads = [read for read in program.reads if read.field == name]
        short = [read for read in reads if len(read.index) < ndim]
        if short:
            raise UsageError(
                f"kernel {program.name!r} cannot run on {ndim} axes: it reads {name}{list(short[0].index)}; "
                "give one index per axis, and one per component axis"
            )
        offsets = [read.offsets(ndim) for read in reads]
        fields[name] = FieldReach(
            tuple((max((0, *(-o[a] for o in offsets))), max((0, *(o[a] for o in offsets)))) for a in range(ndim)),
            len(reads),
            len({(read.index[ndim:], read.component) for read in reads}),
            any(sum(map(bool, o)) > 1 for o in offsets),
        )
    flops = sum(op.name not in _FREE and op.name not in _LOGIC for op in program.ops)
    return Footprint(program.name, ndim, fields, tuple(len(o.parts) for o in program.outputs), flops)
