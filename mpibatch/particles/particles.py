"""Particles in a periodic box, each on the rank that owns the cell which it is in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import RunError, UsageError
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field, check_field
from mpibatch.fields.grid import Grid
from mpibatch.fields.plans import planned
from mpibatch.measure._engine.places import owners, places
from mpibatch.mpi import agreed
from mpibatch.mpi.routes import forward

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Particles"]

Vectors = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
COLUMNS = 7  # of a row that travels: the number, position and velocity
SLACK = 16  # the share of room that is kept for more


class Particles:
    """Particles in a periodic box of three axes, each on the rank that owns the cell which it is in.

    Positions are in cells, cell i reaching from i to i + 1, and velocities in cells per unit of time: `grid.spacing`
    turns them into lengths.

    Parameters
    ----------
    grid : Grid
        The cells of the box, of three periodic axes.
    position, velocity : Field
        Of f8 and three components, a particle in each cell of their common grid, which may be any of the same ranks.
        Positions less than a box outside of it are brought into it.

    Attributes
    ----------
    grid : Grid
        As given.
    count : int
        Particles on all ranks.
    ids : ndarray of int64
        Numbers of this rank's particles, in no particular order: the places of their cells in raster order.
    position, velocity : ndarray of float64
        Of this rank's particles, three columns each, which `ids` are the numbers of. They may be written to, as long as
        no particle leaves its cell; `drift` is for those that do.

    Raises
    ------
    UsageError
        The same on every rank, for other grids and fields, or if there is no particle.
    RunError
        The same on every rank, for positions that are not finite or more than a box outside.

    Notes
    -----
    Collective, and so is `drift`: particles go to other ranks by routes of fewer than 2 log2(ranks) messages. What
    becomes of a particle depends on nothing but the particle, so that it has the same bits on any number of ranks; what
    depends on the ranks is their order in the arrays.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((4, 4, 4), periodic=True)
    >>> rng, lattice = mb.random.Generator(seed=3), mb.Grid(10)
    >>> position = rng.uniform(lattice, 0.0, 4.0, components=(3,))
    >>> particles = mb.particles.Particles(grid, position, rng.normal(lattice, components=(3,)))
    >>> particles.drift(0.5)
    >>> mb.sum(mb.particles.deposit(particles))
    10.0
    """

    def __init__(self, grid: Grid, position: Field, velocity: Field) -> None:
        if not isinstance(grid, Grid) or grid.ndim != 3 or not all(grid.periodic):
            raise UsageError(f"particles need a grid of three periodic axes, and got {grid!r}")
        for name, u in (("position", position), ("velocity", velocity)):
            check_field(f"the {name} of particles", u)
            if u.dtype != np.float64 or u.components != (3,) or not u.grid.matches(position.grid):
                raise UsageError(
                    f"the {name} of particles is a field of {u.dtype} with components {u.components} over {u.grid}; "
                    "give f8 and three components, of both on one grid"
                )
        if position.grid.comm != grid.comm:
            raise UsageError(
                f"particles in {grid} from fields on {position.grid}, which is of other ranks; make both with one "
                "communicator"
            )
        self.grid, self.count = grid, math.prod(position.grid.shape)
        self._start, self._stop = (np.array(corner, np.int64) for corner in (grid.box.start, grid.box.stop))
        local = np.arange(position.box.size, dtype=np.int64)
        # Numbers, positions and velocities, with some room behind.
        self._room: list[npt.NDArray[Any]] = [
            places(position.grid.shape, position.box, local),
            position.owned.reshape(-1, 3).copy(),
            velocity.owned.reshape(-1, 3).copy(),
        ]
        self.ids: Ints
        self.position: Vectors
        self.velocity: Vectors
        self._show(len(local))
        self._migrate("given")

    def drift(self, factor: float) -> None:
        """Move each particle by its velocity times a factor, and bring it to the rank that owns its cell.

        Parameters
        ----------
        factor : float
            The time, or what stands for it in an expanding box.

        Raises
        ------
        RunError
            The same on every rank, if a particle comes to lie a box or more outside, or has no position. All are then
            where they were.

        Notes
        -----
        Collective: one pass through the particles, and an agreement. Those that leave, 64 bytes each, reach their ranks
        in a number of steps that grows as the logarithm of the ranks.

        Examples
        --------
        >>> import mpibatch as mb
        >>> lattice = mb.Grid(2)
        >>> position, velocity = (lattice.full(value, components=(3,)) for value in (3.5, 1.0))
        >>> particles = mb.particles.Particles(mb.Grid((4, 4, 4), periodic=True), position, velocity)
        >>> particles.drift(1.0)
        >>> print(mb.gather_all(particles.to_fields()["position"]))
        [[0.5 0.5 0.5]
         [0.5 0.5 0.5]]
        """
        from mpibatch.particles._loops import motion

        before = self.position.copy()
        with timed("compute"):
            motion.drift(self.position, self.velocity, float(factor))
        try:
            self._migrate("moved")
        except RunError:
            self.position[...] = before
            raise

    def kick(self, acceleration: Vectors, factor: float) -> None:
        """Change each velocity by an acceleration times a factor.

        Parameters
        ----------
        acceleration : ndarray of float64
            Of this rank's particles, three columns, in their order: made after the last `drift`.
        factor : float
            The time, or what stands for it in an expanding box.

        Raises
        ------
        UsageError
            For accelerations of another number of particles than this rank has.

        Notes
        -----
        Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> lattice = mb.Grid(2)
        >>> position, velocity = (lattice.full(value, components=(3,)) for value in (3.5, 1.0))
        >>> particles = mb.particles.Particles(mb.Grid((4, 4, 4), periodic=True), position, velocity)
        >>> particles.kick(particles.velocity, -1.0)
        >>> mb.sum(particles.to_fields()["velocity"])
        0.0
        """
        from mpibatch.particles._loops import motion

        if np.shape(acceleration) != self.velocity.shape:
            raise UsageError(
                f"kick: accelerations of shape {np.shape(acceleration)} for {len(self.ids)} particles; a drift brings "
                "other particles to a rank: interpolate again after it"
            )
        with timed("compute"):
            motion.kick(self.velocity, acceleration, float(factor))

    def to_fields(self) -> Mapping[str, Field]:
        """Return positions and velocities in the order of the particles' numbers.

        Returns
        -------
        dict of str to Field
            "position" and "velocity", on a grid of one axis with a cell for each particle. `Particles` of them, on any
            number of ranks, are these.

        Notes
        -----
        Collective: every particle goes to the rank of its number.

        Examples
        --------
        >>> import mpibatch as mb
        >>> lattice = mb.Grid(3)
        >>> position = lattice.from_function(lambda n: n[:, None] + [0.0, 0.25, 0.5], components=(3,))
        >>> grid = mb.Grid((4, 4, 4), periodic=True)
        >>> particles = mb.particles.Particles(grid, position, lattice.zeros(components=(3,)))
        >>> print(mb.gather_all(particles.to_fields()["position"]))
        [[0.   0.25 0.5 ]
         [1.   1.25 1.5 ]
         [2.   2.25 2.5 ]]
        """
        line: Grid = planned(
            self.grid, ("particles", self.count), lambda: Grid((self.count,), comm=self.grid.comm, axes=("particle",))
        )
        rows = self._rows(np.arange(len(self.ids)))
        if self.grid.size > 1:
            with timed("halo"):
                rows = forward(self.grid.comm, owners(line.decomposition, self.ids), rows)
        fields = {name: line.empty(components=(3,)) for name in ("position", "velocity")}
        at = rows[:, 0] - line.box.start[0]
        for name, columns in (("position", slice(1, 4)), ("velocity", slice(4, 7))):
            fields[name].owned[at] = rows[:, columns].view(np.float64)
        return fields

    def _rows(self, which: Any) -> Ints:
        """Return some particles as rows of integers. Local."""
        rows = np.empty((len(which), COLUMNS), np.int64)
        rows[:, 0] = self.ids[which]
        rows[:, 1:4] = self.position[which].view(np.int64)
        rows[:, 4:] = self.velocity[which].view(np.int64)
        return rows

    def _migrate(self, how: str) -> None:
        """Bring positions into the box, and particles to the ranks that own their cells. Collective."""
        from mpibatch.particles._loops import motion

        grid = self.grid
        shape, leaves = np.array(grid.shape, np.int64), np.empty(len(self.ids), np.bool_)
        with agreed(grid.comm, f"particles {how}"), timed("compute"):
            lost = motion.locate(self.position, shape, self._start, self._stop, leaves)
            if lost >= 0:
                place = ", ".join(f"{x:.6g}" for x in self.position[lost])
                raise RunError(
                    f"particle {self.ids[lost]} was {how} to ({place}), which is not finite or more than a box outside "
                    f"of {grid.shape} cells; make shorter steps, or look at velocities and initial data"
                )
        if grid.size == 1:
            return
        with timed("halo"):
            going = np.flatnonzero(leaves)
            cells = self.position[going].astype(np.int64)
            to = owners(grid.decomposition, np.ravel_multi_index(tuple(cells.T), grid.shape).astype(np.int64))
            arrived = forward(grid.comm, to, self._rows(going))
            self._replace(going, arrived)

    def _replace(self, going: npt.NDArray[np.intp], arrived: Ints) -> None:
        """Put rows that arrived in the places of particles that went, which ascend. Local.

        What is left of either is behind the others: particles at the end go into places that are left, or there is
        more room. So the others stay where they are.
        """
        before = len(self.ids)
        count, most = before + len(arrived) - len(going), min(len(going), len(arrived))
        if count > len(self._room[0]):
            for number, old in enumerate(self._room):
                wide = np.empty((count + count // SLACK, *old.shape[1:]), old.dtype)
                wide[:before] = old[:before]
                self._room[number] = wide
        free = np.concatenate([going[:most], np.arange(before, count)])
        for whole, values in zip(self._room, (arrived[:, 0], arrived[:, 1:4], arrived[:, 4:]), strict=True):
            whole[free] = values.view(whole.dtype)
        left = going[most:]
        behind = np.setdiff1d(np.arange(count, before), left)
        for whole in self._room:
            whole[left[left < count]] = whole[behind]
        self._show(count)

    def _show(self, count: int) -> None:
        """Let the attributes be the first so many of what there is room for. Local."""
        self.ids, self.position, self.velocity = (whole[:count] for whole in self._room)
