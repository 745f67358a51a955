"""What reductions take: a Field, and which of its elements."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.tally import REDUCTION
from mpibatch.fields.field import Field, check_field
from mpibatch.mpi import MPI, differ, mark
from mpibatch.reduce.arrays import chunks, pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Operand", "add_up", "agree", "all_reduce", "check_dtype", "check_same_grid", "operand"]

Array = npt.NDArray[Any]

LEAST = 256  # words of a message: the exact sums of values and of squares, with all that goes beside them


@dataclass(frozen=True, slots=True)
class Operand:
    """The elements of a Field that take part in a reduction.

    Attributes
    ----------
    u : the field.
    request : the reduction, in words, for errors.
    mask : bool array that broadcasts to this rank's cells, True where they take part; None for all of them.
    skips_nan : whether NaN are left out.
    """

    u: Field
    request: str
    mask: Array | None
    skips_nan: bool

    @property
    def is_whole(self) -> bool:
        """Whether all elements take part, whatever they are. Local."""
        return self.mask is None and not self.skips_nan

    @property
    def text(self) -> str:
        """The reduction and its field in words, the same on all ranks if they ask for the same. Local."""
        where = "" if self.mask is None else ", where a field is True"
        return f"{self.request} of a field of shape {self.u.shape} and dtype {self.u.dtype}{where}"

    def placed(self) -> Iterator[tuple[Sequence[int] | Array, Array]]:
        """Yield (flat local indices, values) of the elements, in C order, a buffer at a time. Local."""
        if self.is_whole:
            for start, part in chunks(self.u.owned):
                yield range(start, start + part.size), part
            return
        mask = np.asarray(np.True_ if self.mask is None else self.mask)
        for start, part, masked in pairs(self.u.owned, mask):
            index = np.flatnonzero(masked & (part == part) if self.skips_nan else masked)
            yield index + start, part[index]

    def parts(self) -> Iterator[Array]:
        """Yield the elements as arrays: the owned cells as they are, or what was chosen of them. Local."""
        if self.is_whole:
            yield self.u.owned
        elif self.mask is None:
            for _, part in chunks(self.u.owned):
                yield part[part == part]
        else:
            for _, part, chosen in pairs(self.u.owned, self.mask):
                yield part[chosen & (part == part) if self.skips_nan else chosen]

    def flat_parts(self) -> Iterator[Array]:
        """Yield the elements as one-dimensional arrays of at most `arrays.CHUNK`, overwritten by the next. Local."""
        if self.is_whole:
            yield from (part for _, part in chunks(self.u.owned))
        else:
            yield from self.parts()

    def check_elements(self) -> None:
        """Raise UsageError if the field has no elements at all. Local."""
        if math.prod(self.u.shape) == 0:
            raise UsageError(
                f"{self.request} is not defined for a field of shape {self.u.shape}: it has no elements; give another"
            )


def operand(u: Any, request: str, where: Any = None, skips_nan: bool = False, any_dtype: bool = False) -> Operand:
    """Return the elements of `u` for which the bool field `where` is True. Local.

    Raises UsageError, on all ranks that make the same call, for what is no such field.
    """
    if any_dtype:
        check_field(request, u)
    else:
        check_dtype(u, request)
    mask = None
    if where is not None:
        check_field(f"{request}: where", where)
        check_same_grid(u, where, f"{request}: where")
        if where.dtype.kind != "b":
            raise UsageError(f"{request}: where is a field of dtype {where.dtype}; give one of bool, such as u > 0")
        if where.components not in ((), u.components):
            raise UsageError(
                f"{request}: where has components {where.components}, the field has {u.components}; give the same, or "
                "none"
            )
        missing = u.ndim - where.ndim
        mask = where.owned.reshape(where.owned.shape + (1,) * missing) if missing else where.owned
    return Operand(u, request, mask, skips_nan and u.dtype.kind in "fc")


def check_dtype(u: Any, request: str) -> None:
    """Raise UsageError unless `u` is a Field of bool, integers or floats of up to 8 bytes, in native order. Local."""
    check_field(request, u)
    dtype = u.dtype
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or not dtype.isnative:
        raise UsageError(
            f"{request} of a field of dtype {dtype}; it is defined for bool, integers and floats of up to 8 bytes: "
            "convert it with u.astype, or reduce its real and imaginary parts"
        )


def check_same_grid(u: Field, other: Field, request: str) -> None:
    """Raise UsageError unless both fields give every rank the same cells. Local."""
    if not u.grid.matches(other.grid):
        raise UsageError(
            f"{request}: a field over {other.grid} together with one over {u.grid}; bring them to one grid with "
            "mpibatch.redistribute"
        )


def all_reduce(comm: MPI.Intracomm, mine: npt.NDArray[np.int64], op: MPI.Op, text: str) -> npt.NDArray[np.int64]:
    """Return what every rank's int64 array makes together, by MPI_SUM or MPI_MAX. Collective: 2 KiB, or that and more.

    Raises UsageError, on every rank, if not all have asked for the same: the first message of all reductions has one
    length, so that MPI does not end the job before that is seen.
    """
    if len(mine) > LEAST - 2:
        agree(comm, text)
        whole = np.empty_like(mine)
        with REDUCTION:
            comm.Allreduce(mine, whole, op=op)
        return whole
    sent = np.zeros(LEAST, np.int64)
    number = mark(text)
    sent[: len(mine)], sent[-2:] = mine, (number, ~number)
    total = np.empty_like(sent)
    with REDUCTION:
        comm.Allreduce(sent, total, op=op)
    times = comm.size if op == MPI.SUM else 1
    if total[-2] != number * times or total[-1] != ~number * times:
        differ(comm, text)
    return total[: len(mine)]


def agree(comm: MPI.Intracomm, text: str, *, flag: bool = False) -> bool:
    """Return whether any rank has the flag; UsageError if not all ask for the same. Collective: 2 KiB."""
    return bool(all_reduce(comm, np.array([flag], np.int64), MPI.MAX, text)[0])


def add_up(comm: MPI.Intracomm, mine: npt.NDArray[np.int64], text: str) -> npt.NDArray[np.int64]:
    """Return the element-wise sum of every rank's int64 array. Collective; see `all_reduce`."""
    return all_reduce(comm, mine, MPI.SUM, text)
