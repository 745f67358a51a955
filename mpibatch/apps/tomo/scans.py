"""Scans: projections, flats, darks and angles, by the agreements of NXtomo and DXchange or in files of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.io.base.names import split_path
from mpibatch.io.read.inspector import inspect_safely
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from mpibatch.fields.field import Field
    from mpibatch.io.formats import Source

__all__ = ["Scan", "look", "read_scan"]

Array = npt.NDArray[Any]
NONE = "none"
DEGREES, RADIANS = ("", "deg", "degree", "degrees", "°"), ("rad", "radian", "radians")


@dataclass(frozen=True)
class Scan:
    """What was measured.

    Attributes
    ----------
    projections : Field
        Of the axes angle, row and detector; each rank has whole images.
    flats, darks : ndarray
        Means of images without the body, and without the beam; on every rank.
    angles : ndarray
        In degrees, of each projection.
    rows : slice
        Of the images, of which slices are to be made; what is around them counts for outliers and phases.
    """

    projections: Field
    flats: Array
    darks: Array
    angles: Array
    rows: slice

    @property
    def shape(self) -> tuple[int, int, int]:
        """Projections, rows of which slices are to be made, and detectors. Local."""
        count, _, width = self.projections.grid.shape
        return count, self.rows.stop - self.rows.start, width


def look(path: str, comm: MPI.Intracomm) -> Source:
    """Return what a scan's file is, and the shape of its projections. Collective. UsageError, RunError."""
    source = None
    with agreed(comm, f"reading the scan {path}"):
        if comm.rank == 0:
            source = inspect_safely(*split_path(path, None), tables=True)
            if len(source.shape) != 3 or source.components or np.dtype(source.dtype).kind not in "iuf":
                raise mb.UsageError(
                    f"{path} has the shape {source.shape} and the dtype {source.dtype}, and projections are a stack of "
                    "images along a first axis, of integers or floats; name a dataset of that kind"
                )
    result: Source = comm.bcast(source, root=0)
    return result


def read_scan(
    path: str, comm: MPI.Intracomm, flats: str = "", darks: str = "", angles: str = "", rows: slice = slice(None),
    margin: int = 0,
) -> Scan:  # fmt: skip
    """Return a scan, or some rows of its images with a margin of others. Collective. UsageError, RunError.

    Flats and darks are files, "none", or, by default, those of the scan. Angles are a number of degrees, over which
    projections are spread from 0 on, a file with one a line, or, by default, those of the scan.
    """
    source = look(path, comm)
    is_agreed = source.format == "hdf5"
    first, last, _ = rows.indices(source.shape[1])
    if first < last:
        rows = slice(max(first - margin, 0), min(last + margin, source.shape[1]))
    projections = mb.load(path, comm=comm, topology=(None, 1, 1), region=(slice(None), rows))
    grid = projections.grid
    images = []
    for given, part, absent in ((flats, "flats", 1.0), (darks, "darks", 0.0)):
        if given == NONE:
            images.append(np.full(grid.shape[1:], absent))
        else:
            place = given or _part_of(path, part, comm, is_agreed=is_agreed)
            images.append(_mean_image(place, comm, rows, grid.shape[1:], part))
    bright, dark = images
    with agreed(comm, f"checking the scan {path}"):
        if not (bright > dark).any():
            raise mb.RunError(
                f"the flats of {path} are nowhere brighter than its darks; give files with a beam and without, in order"
            )
    own = slice(first - rows.start, last - rows.start)
    return Scan(projections, bright, dark, _angles(path, angles, grid.shape[0], comm, is_agreed=is_agreed), own)


def _part_of(path: str, part: str, comm: MPI.Intracomm, *, is_agreed: bool) -> str:
    """Return where a scan has its flats, darks or angles, if it can have any. Collective. UsageError."""
    with agreed(comm, f"reading the scan {path}"):
        if not is_agreed:
            more = "a number of degrees or a file" if part == "angles" else f"a file, or {NONE} if there are none"
            raise mb.UsageError(f"{path} is no scan of NXtomo or DXchange and has no {part}; give --{part}: {more}")
        file, _ = split_path(path, None)
        return f"{file}::{part}"


def _mean_image(path: str, comm: MPI.Intracomm, rows: slice, shape: tuple[int, ...], part: str) -> Array:
    """Return the mean of images, or the only image. Collective. UsageError, RunError."""
    try:
        images = mb.load(path, comm=comm)
    except mb.UsageError as error:
        raise mb.UsageError(f"{error}; give --{part} FILE, or --{part} {NONE} if there are none") from None
    mean = mb.gather_all(mb.mean(images, axis=0) if images.grid.ndim == 3 else images)
    with agreed(comm, f"checking the {part}"):
        mean = mean[rows] if mean.ndim == 2 else mean
        if mean.shape != shape:
            raise mb.UsageError(
                f"the {part} of {path} are images of {mean.shape}, and projections of {shape}; give those of the scan"
            )
        if not np.isfinite(mean).all():
            raise mb.RunError(f"the {part} of {path} have pixels that are no finite numbers; leave out such images")
    return mean.astype(np.float64)


def _angles(path: str, given: str, count: int, comm: MPI.Intracomm, *, is_agreed: bool) -> Array:
    try:
        degrees = float(given) if given else 0.0
    except ValueError:
        degrees = None
    if given and degrees is not None:
        with agreed(comm, "checking the angles"):
            if not 0 < abs(degrees) <= 360:
                raise mb.UsageError(f"--angles {given} is no range of angles; give degrees, such as 360, or a file")
        return np.arange(count) * (degrees / count)
    if given:
        angles = _read_angles(given, comm)
    else:
        try:
            place = _part_of(path, "angles", comm, is_agreed=is_agreed)
            angles = mb.gather_all(mb.load(place, comm=comm))
            angles = np.rad2deg(angles) if _in_radians(place, comm) else angles
        except mb.UsageError as error:
            raise mb.UsageError(f"{error}; give --angles: a number of degrees, or a file with one a line") from None
    with agreed(comm, "checking the angles"):
        angles = np.asarray(angles, np.float64)
        if angles.shape != (count,):
            raise mb.UsageError(
                f"there are {count} projections and {angles.size} angles; give one angle for each (--angles)"
            )
        if not np.isfinite(angles).all():
            raise mb.UsageError("some angles are no finite numbers; give others (--angles)")
    return angles


def _in_radians(place: str, comm: MPI.Intracomm) -> bool:
    """Whether a scan says that its angles are in radians. Collective. UsageError if in a unit that is neither."""
    units = ""
    with agreed(comm, f"reading the units of {place}"):
        if comm.rank == 0:
            source = inspect_safely(*split_path(place, None))
            (info,) = mb.io.describe(source.name)
            stored = info.attrs.get("units", "")  # perhaps letter by letter
            units = "".join(map(str, stored if isinstance(stored, list) else [stored])).strip().lower()
            if units not in (*DEGREES, *RADIANS):
                raise mb.UsageError(f"the angles of {source.name} are in {units!r}, and not in degrees or radians")
    return bool(comm.bcast(units in RADIANS, root=0))


def _read_angles(path: str, comm: MPI.Intracomm) -> Array:
    angles = None
    with agreed(comm, f"reading the angles {path}"):
        if comm.rank == 0:
            try:
                angles = np.array([float(word) for word in Path(path).read_text(encoding="utf-8").split()])
            except OSError as error:
                raise mb.RunError(f"the angles {path} cannot be read: {error.strerror or error}") from None
            except (ValueError, UnicodeDecodeError):
                raise mb.UsageError(f"the angles {path} are no text with a number a line; give such a file") from None
    result: Array = comm.bcast(angles, root=0)
    return result
