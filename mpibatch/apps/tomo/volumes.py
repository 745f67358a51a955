"""From a scan to its volume: what is set, and the steps in their order."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import mpibatch as mb
from mpibatch.apps.tomo.attempts import PARTS, State
from mpibatch.apps.tomo.centers import find_center
from mpibatch.apps.tomo.phases import area_of, retrieve
from mpibatch.apps.tomo.pores import KINDS
from mpibatch.apps.tomo.stripes import remove_stripes
from mpibatch.apps.tomo.transmissions import absorptions
from mpibatch.filters._engine.memory import check_memory
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from mpibatch.apps.tomo.attempts import Attempts
    from mpibatch.apps.tomo.scans import Scan
    from mpibatch.fields.field import Field

__all__ = ["Settings", "Volume", "check_room", "margin_of", "needed_bytes", "reconstruct", "sinograms_of"]

FILTERS = ("ramp", "shepp-logan", "cosine", "hamming", "hann", "none")
MICROMETERS = {"um": 1.0, "µm": 1.0, "micron": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
Report = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What a volume depends on, beside its scan."""

    outliers: float = 0.2  # of transmission, from the median around; 0: none are taken out
    stripes: int = 21  # detectors of a median, a tenth of all at most; 0: stripes stay
    phase: float = 0.0  # δ / β of the material; 0: no phase is retrieved
    energy: float = 0.0  # keV
    distance: float = 0.0  # m, from the body to the detector
    pixel: float = 0.0  # µm; 0: what the scan says
    center: float = math.nan  # detector; nan: it is found
    filter: str = "ramp"
    objects: str = "pores"
    smooth: float = 1.0  # standard deviation of a Gaussian before the threshold, in voxels
    smallest: int = 8  # voxels of an object

    def __post_init__(self) -> None:
        for name in ("outliers", "phase", "energy", "distance", "pixel", "smooth"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise mb.UsageError(f"--{name} {value} is not valid; give 0 or more")
        if self.stripes and not (self.stripes > 0 and self.stripes % 2):
            raise mb.UsageError(
                f"--stripes {self.stripes} has no detector in its middle; give an odd number, or 0 to keep stripes"
            )
        if self.phase and not (self.energy and self.distance):
            raise mb.UsageError(
                f"--phase {self.phase:g} needs --energy in keV and --distance in m, of which its filter is made"
            )
        if self.smallest < 1:
            raise mb.UsageError(f"--smallest {self.smallest} is not valid; give a number of voxels, 1 or more")
        for name, value, known in (("filter", self.filter, FILTERS), ("objects", self.objects, KINDS)):
            if value not in known:
                raise mb.UsageError(f"--{name} {value} is unknown; give one of {', '.join(known)}")
        if math.isinf(self.center):
            raise mb.UsageError(f"--center {self.center} is no detector; give its number, from 0")

    @property
    def filter_name(self) -> str | None:
        """scikit-image's name of the filter. Local."""
        return None if self.filter == "none" else self.filter


@dataclass(frozen=True)
class Volume:
    """What was made of a scan.

    Attributes
    ----------
    field : Field
        Attenuation in 1 / pixel; slices are whole on a rank, one for each row of projections.
    center : float
        The detector that the axis was projected on.
    """

    field: Field
    center: float


def needed_bytes(scan: Scan, settings: Settings) -> int:
    """Return the bytes that a rank needs at most, beside its projections. The same on all ranks. Local."""
    angles, rows, width = scan.projections.grid.shape
    ranks = scan.projections.grid.size
    pixels = max(-(-angles // ranks) * rows, -(-rows // ranks) * angles) * width
    # Of f4: projections, sinograms and a copy, and what the phase takes; slices, two copies, and labels of 8 bytes.
    return 4 * ((5 if settings.phase else 3) * pixels + 5 * -(-rows // ranks) * width**2)


def check_room(scan: Scan, settings: Settings) -> None:
    """Refuse now what ranks have no memory for. Collective. RunError."""
    check_memory(
        scan.projections.grid,
        "tomography",
        needed_bytes(scan, settings),
        "its sinograms and slices",
        "take more ranks, or fewer --rows at a time",
    )


def margin_of(settings: Settings) -> int:
    """Return the rows beside one that count for it: of outliers the next ones, of phases all. Local."""
    return sys.maxsize if settings.phase else int(settings.outliers > 0)


def sinograms_of(scan: Scan, settings: Settings, report: Report) -> Field:
    """Return sinograms of absorption (row, detector, angle), with whole rows on each rank. Collective."""
    report("flats and darks")
    values = absorptions(scan, settings.outliers)
    if not settings.phase:
        values = _cropped(values, scan)
    report("stripes")
    moved = _divided(values, 1)
    del values
    result = _sinograms(moved, scan)
    if settings.stripes:
        remove_stripes(result, min(settings.stripes, scan.shape[2] // 10 | 1))
    if settings.phase:
        report("phase")
        moved.owned[...] = result.owned.transpose(2, 0, 1)
        del result
        retrieve(moved, area_of(settings.phase, settings.energy, settings.distance, _pixel(scan, settings)))
        if moved.grid.shape != scan.shape:
            moved = _divided(_cropped(_divided(moved, 0), scan), 1)
        result = _sinograms(moved, scan)
    return result


def _divided(u: Field, axis: int) -> Field:
    """Return images with ranks side by side along an axis. Collective."""
    return mb.redistribute(
        u, mb.Grid(u.grid.shape, comm=u.grid.comm, topology=[None if n == axis else 1 for n in range(3)])
    )


def _cropped(u: Field, scan: Scan) -> Field:
    """Return the rows of which slices are to be made, of images that ranks have whole. Collective."""
    if u.grid.shape == scan.shape:
        return u
    result = mb.Grid(scan.shape, comm=u.grid.comm, topology=(None, 1, 1)).empty(np.float32)
    result.owned[...] = u.owned[:, scan.rows]
    return result


def _sinograms(images: Field, scan: Scan) -> Field:
    result = _sinogram_grid(scan, images.grid.shape[1]).empty(np.float32)
    result.owned[...] = images.owned.transpose(1, 2, 0)
    return result


def _sinogram_grid(scan: Scan, rows: int) -> mb.Grid:
    grid = scan.projections.grid
    count, _, width = grid.shape
    return mb.Grid(
        (rows, width, count), comm=grid.comm, topology=(None, 1, 1), units=grid.units, axes=("y", "x", "angle"),
        spacing=(*grid.spacing[1:], 1.0),
    )  # fmt: skip


def _pixel(scan: Scan, settings: Settings) -> float:
    """Return the size of a pixel in µm. Local. UsageError if nobody knows it."""
    if settings.pixel:
        return settings.pixel
    grid = scan.projections.grid
    unit = MICROMETERS.get(grid.units)
    if unit is None or not math.isclose(*grid.spacing[1:]):
        raise mb.UsageError(
            "--phase needs the size of a pixel, and the scan has none, or not the same along both axes; give --pixel "
            "in µm"
        )
    return unit * grid.spacing[2]


def reconstruct(
    scan: Scan, settings: Settings, report: Report = lambda step: None, attempts: Attempts | None = None
) -> Volume:
    """Return the volume of a scan, with what earlier attempts have of it. Collective. UsageError, RunError."""
    if settings.phase:
        _pixel(scan, settings)  # refused now rather than later
    grid = scan.projections.grid
    _, height, width = scan.shape
    check_center(settings.center, width)
    check_room(scan, settings)
    about: dict[str, Any] = {"spacing": (settings.pixel,) * 3, "units": "um"} if settings.pixel else {
        "spacing": (grid.spacing[1], grid.spacing[2], grid.spacing[2]), "units": grid.units,
    }  # fmt: skip
    volume = mb.Grid(
        (height, width, width), comm=grid.comm, topology=(None, 1, 1), axes=("z", "y", "x"), **about
    ).empty(np.float32)
    state = attempts.restored(volume, _sinogram_grid(scan, height)) if attempts else None
    if state is None:
        sinograms, center = sinograms_of(scan, settings, report), settings.center
        if math.isnan(center):
            report("center")
            center = find_center(sinograms, scan.angles)
        state = State(sinograms, volume, center, 0)
        del sinograms
    report("slices")
    while state.sinograms is not None:
        if attempts:
            attempts.keep(state)
        _make_slices(state, state.sinograms, scan.angles, settings.filter_name)
        state.parts += 1
        if state.parts == PARTS:
            state.sinograms = None
    if attempts:
        attempts.keep(state)
    return Volume(volume, state.center)


def _make_slices(state: State, field: Field, angles: Any, filter_name: str | None) -> None:
    """Fill a part of the slices, of which each rank has some. Collective. field: the sinograms."""
    own = slice((state.parts - field.box.start[0]) % PARTS, None, PARTS)
    with agreed(field.grid.comm, "making slices"):
        rays = field.owned[own]
        if rays.size:
            some = mb.Grid(rays.shape, comm=MPI.COMM_SELF).empty(np.float32)
            some.owned[...] = rays
            slices = mb.projections.iradon(some, angles, filter_name=filter_name, center=state.center)
            state.volume.owned[own] = slices.owned


def check_center(center: float, width: int) -> None:
    """Refuse a center that no detector is at. Local. UsageError."""
    if not math.isnan(center) and not 0 <= center <= width - 1:
        raise mb.UsageError(f"--center {center:g} is outside the detectors 0 to {width - 1}; give one among them")
