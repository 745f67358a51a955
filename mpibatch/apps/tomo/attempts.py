"""Attempts: what a reconstruction that ended too early leaves in a folder, and how the next one goes on from it.

There are sinograms when all that is done to projections is done; from then on the slices, which are made in parts. Each
part has every so-many-th slice, so that all ranks work on it, however many they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import mpibatch as mb
from mpibatch.io.seal.digests import of_field
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from mpibatch.apps.tomo.scans import Scan
    from mpibatch.apps.tomo.volumes import Settings
    from mpibatch.fields.field import Field

__all__ = ["PARTS", "Attempts", "State", "identity_of"]

PARTS = 16
LATER = ("objects", "smooth", "smallest")  # settings that change nothing of the volume


@dataclass
class State:
    """How far a reconstruction is.

    Attributes
    ----------
    sinograms : Field or None
        None: of no use any more.
    volume : Field
    center : float
    parts : int
        Of the slices, that are in the volume.
    """

    sinograms: Field | None
    volume: Field
    center: float
    parts: int

    def fields(self) -> dict[str, Field]:
        """Return what is needed to go on. Local."""
        fields = {} if self.sinograms is None else {"sinograms": self.sinograms}
        return fields | ({"volume": self.volume} if self.parts else {})


class Attempts:
    """The checkpoints of a reconstruction. Methods are collective."""

    def __init__(self, checkpoints: mb.Checkpoints) -> None:
        self._checkpoints = checkpoints

    def restored(self, volume: Field, grid: mb.Grid) -> State | None:
        """Return how far earlier attempts came, with the slices in `volume` and sinograms on `grid`; None: nowhere."""
        latest = self._checkpoints.latest()
        if latest is None:
            return None
        parts = latest.extra["parts"]
        sinograms = grid.empty(np.float32) if parts < PARTS else None
        state = State(sinograms, volume, latest.extra["center"], parts)
        latest.restore(state.fields())
        return state

    def keep(self, state: State) -> None:
        """Write how far this one is, if it is time to. Stopped, if a signal asked for the end."""
        if self._checkpoints.due(state.parts + 1):
            self._checkpoints.save(state.parts + 1, state.fields(), {"center": state.center, "parts": state.parts})

    def clear(self) -> None:
        """Remove what earlier ones and this one have left."""
        self._checkpoints.clear()


def identity_of(scan: Scan, settings: Settings) -> dict[str, Any]:
    """Return what a volume depends on: settings, and a digest of the scan. Collective."""
    grid, digest = scan.projections.grid, ""
    table = of_field(grid.comm, scan.projections)
    with agreed(grid.comm, "computing digests"):
        if grid.rank == 0:
            parts = (table, *(np.ascontiguousarray(part) for part in (scan.flats, scan.darks, scan.angles)))
            digest = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
    about = {name: str(value) for name, value in asdict(settings).items() if name not in LATER}
    about |= {"space": str(grid.spacing), "units": grid.units}
    about["rows"] = f"{scan.rows.start}:{scan.rows.stop}"
    return about | {"scan": grid.comm.bcast(digest, root=0), "shape": list(grid.shape)}
