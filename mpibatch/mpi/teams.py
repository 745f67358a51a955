"""Teams: ranks cut into groups of one size, neighbors together, each with a leader that speaks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpi4py import MPI

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Team"]


@dataclass(frozen=True)
class Team:
    """This rank's team.

    Attributes
    ----------
    comm : of its ranks; None on a rank that is left over.
    work : of the same ranks, for what the team runs: whatever that leaves there unmatched never meets what is sent in
        `comm`.
    leaders : of the first ranks of all teams, on those; None on others.
    """

    comm: MPI.Intracomm | None
    work: MPI.Intracomm | None
    leaders: MPI.Intracomm | None
    _made: tuple[MPI.Intracomm, ...] = ()

    @classmethod
    def of(cls, comm: MPI.Intracomm, size: int, most: int | None = None) -> Team:
        """Return the team of this rank, of `size` ranks; of at most `most` teams. Collective."""
        count = comm.size // size if most is None else min(most, comm.size // size)
        number, place = divmod(comm.rank, size)
        if size == 1 and count == comm.size:
            return cls(MPI.COMM_SELF, MPI.COMM_SELF, comm)
        is_in = number < count
        team = _split(comm, number if is_in else MPI.UNDEFINED)
        leaders = _split(comm, 0 if is_in and place == 0 else MPI.UNDEFINED)
        work = team if team is None or size == 1 else team.Dup()
        made = (team, leaders, None if work is team else work)
        return cls(team, work, leaders, tuple(part for part in made if part is not None))

    def free(self) -> None:
        """Free it. Collective."""
        for comm in self._made:
            comm.Free()

    def __enter__(self) -> Team:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.free()


def _split(comm: MPI.Intracomm, color: int) -> MPI.Intracomm | None:
    part = comm.Split(color, comm.rank)
    return part if isinstance(part, MPI.Intracomm) and part != MPI.COMM_NULL else None
