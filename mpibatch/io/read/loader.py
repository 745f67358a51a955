"""From files to fields."""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from mpibatch.base.errors import RunError, UsageError
from mpibatch.base.log import logger
from mpibatch.base.timing import phase
from mpibatch.fields.field import Field, HaloLike
from mpibatch.fields.grid import Grid
from mpibatch.fields.redistribution import scatter
from mpibatch.io.base.names import PathLike, split_path, whole_name
from mpibatch.io.chunks.grid import ChunkGrid
from mpibatch.io.chunks.shares import Sharing
from mpibatch.io.formats import Source, ask, read
from mpibatch.io.formats.hazards import check_allowed
from mpibatch.io.formats.hdf5 import chunks_of
from mpibatch.io.formats.picks import with_picks
from mpibatch.io.read.inspector import inspect_safely
from mpibatch.io.read.region import chosen_region, moved
from mpibatch.io.read.stacks import check_complete, state_of, watched
from mpibatch.io.read.tables import check_plain, load_table
from mpibatch.io.vault.keyring import Unlocked, take, unlocked
from mpibatch.mpi import MPI, agreed, private

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["load"]

_log = logger("io")
T = TypeVar("T")

# Ranks that a chunk has cells for, on the mean, from which on it is unpacked once and its cells are sent.
REPEATS = 1.5


def load(
    path: PathLike,
    dataset: str | None = None,
    *,
    series: int | None = None,
    level: int | None = None,
    frame: int | None = None,
    channel: int | None = None,
    raw: Mapping[str, Any] | None = None,
    grid: Grid | None = None,
    comm: MPI.Intracomm | None = None,
    halo: HaloLike = 0,
    components: int | Literal["auto"] = "auto",
    topology: Sequence[int | None] | None = None,
    sizes: Sequence[Sequence[int] | None] | None = None,
    weights: Sequence[Sequence[float] | None] | None = None,
    periodic: bool | Sequence[bool] | None = None,
    spacing: float | Sequence[float] | None = None,
    origin: float | Sequence[float] | None = None,
    units: str | None = None,
    axes: Sequence[str] | None = None,
    region: slice | Sequence[slice] | None = None,
    allow: Sequence[str] = (),
    identity: PathLike | None = None,
) -> Field | Any:
    """Return a Field with the values of a file, or a RegionTable with its rows shared out over the ranks.

    Every rank reads its own box; rank 0 decodes what can only be decoded as a whole (PNG, JPEG, .nii.gz) and scatters
    it. Values keep their dtype, in native byte order; where the file says that its numbers are scaled (FITS, NIfTI,
    DICOM), they are what these stand for.

    Parameters
    ----------
    path : str or path-like
        A file, or a folder of Zarr, known by its content (the guide's chapter `files` lists the formats); or
        ``"file.h5::dataset"``; or ``"slice_*.tif"``, whose files in natural order are the planes of one volume.
    dataset : str, optional
        Name within an HDF5 or FITS file or a Zarr store; may be left out if there is only one. Of TIFF, NIfTI and
        OME-Zarr: picks, as ``"series=1,channel=2"`` (or ``"file.tif::series=1,channel=2"`` as `path`).
    series, level, frame, channel : int, optional
        The image, the level of its pyramid (0: the finest), the time and the channel to be read alone, from 0; negative
        times and channels count from the end. Default: the only series, level 0, all times and channels.
    raw : mapping of str to object, optional
        What a file of plain bytes holds: "dtype" and "shape", and perhaps "offset" in bytes, "order" ("C" or "F") and
        "byteorder" ("little" or "big"). Also as text: ``"scan.raw::dtype=u2,shape=100x512x512"``.
    grid : Grid, optional
        Where the values go; its shape must be that of the first axes. Default: a new Grid, with the geometry that
        `mpibatch.save` stored, and of `comm`.
    comm : mpi4py.MPI.Intracomm, optional
        Whose ranks the new Grid has. Default: COMM_WORLD.
    halo : int or sequence of (int or (int, int)), default 0
        Width of the field's halo: of all sides, of each axis, or of each axis a pair (low, high). It is not filled.
    components : int or "auto", default "auto"
        How many of the last axes are not decomposed. "auto": as saved; the colors of a picture, the samples and
        channels of a TIFF, which become the last axes wherever they are stored; else 0.
    topology : sequence of int or None, optional
        Ranks along each axis of the new Grid, None where they are to be chosen. Default: all are.
    sizes, weights : sequence of (sequence of int or float, or None), optional
        For each axis of the new Grid the cells of every block, or what blocks are in proportion to; None: even blocks.
    periodic : bool or sequence of bool, optional
        Which axes of the new Grid have no walls: all, or each. Default: the file's, else none.
    spacing, origin : float or sequence of float, optional
        Distance between cells, and coordinate of cell 0, in `units`, of all axes or of each. Default: the file's, else
        1.0 and 0.0.
    units : str, optional
        Name of the unit of length. Default: the file's, else "".
    axes : sequence of str, optional
        Distinct names of the axes. Default: the file's, else as many as there are axes of ``("t", "z", "y", "x")``,
        from the right.
    region : slice or sequence of slice, optional
        For the first axes of the grid, as ``np.s_[10:200, ::4]``: only these cells are read. The new Grid has their
        shape; its origin is moved, its spacing is that of the cells left. Default: all cells.
    allow : sequence of str, default ()
        Hazards of an HDF5 file that are not to be refused: "external links", "external storage", "filter pipelines",
        "large chunks", "unknown filters", "virtual datasets". Of TIFF, NRRD and MetaImage: "external storage" follows
        names of files outside their folder. "missing" takes fill values for what lies in files that are not there.
    identity : str or path-like, optional
        The key file for an encrypted file, which nobody else may read, or an open descriptor as "fd:3"; rank 0 reads
        it. Default: ``$MPIBATCH_IDENTITY``, else ``mpibatch.identity`` in ``$CREDENTIALS_DIRECTORY``.

    Returns
    -------
    Field or RegionTable
        A new one. A table is what `save` made of one: a group whose datasets are columns. Of the parameters only
        `dataset`, `comm` and `allow` are for tables.

    Raises
    ------
    UsageError
        The same on every rank: an unknown dataset, a dtype or shape that no field can have, a grid that does not fit.
    RunError
        The same on every rank: a missing or damaged file, one that is written to while it is read, or more values than
        the node has memory for.

    Notes
    -----
    Collective. Rank 0 asks the file what it holds, and tells the others; then each reads what it owns. Where ranks
    would unpack much of one another's compressed chunks, each chunk is unpacked by one rank, which sends its cells to
    their owners.

    The axes of a TIFF are those that its own metadata (OME, ImageJ, tags) name; one unnamed axis of pages is z, and of
    more it is asked what they are. The size of a cell becomes the grid's spacing if all axes of space have one, in one
    unit; time is in seconds. Palettes become RGB, "white is zero" is inverted, EXIF orientation applied.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> grid = mb.Grid((4, 6), spacing=0.5, units="mm")
    >>> mb.save("loaded.h5", heights=grid.from_function(lambda y, x: y + x))
    >>> u = mb.load("loaded.h5", region=np.s_[1:3, ::2])
    >>> print(u.grid.spacing, u.grid.origin, u.grid.units)
    (0.5, 1.0) (0.5, 0.0) mm
    >>> print(mb.gather_all(u))
    [[0.5 1.5 2.5]
     [1.  2.  3. ]]
    """
    options = {
        "topology": topology, "sizes": sizes, "weights": weights, "periodic": periodic, "spacing": spacing,
        "origin": origin, "units": units, "axes": axes,
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    choices = {"series": series, "level": level, "frame": frame, "channel": channel}
    with phase("io"):
        home = grid.comm if grid is not None else private(comm)
        on_root: Source | None = None
        secret: Unlocked = None
        seen: tuple[int, ...] | None = None
        with agreed(home, f"reading {path}"):
            file, inside = split_path(path, dataset)
            _check(grid, comm, given, whole_name(file, inside or ""))
            seen = state_of(file)
            # One rank asks the file, so that all work on one answer and the file server is asked once.
            if home.rank == 0:
                secret = unlocked(file, identity)
                on_root = inspect_safely(
                    file, with_picks(file, inside, choices, raw), check_allowed(allow), tables=True
                )
                if grid is None and not on_root.columns:
                    ask(on_root, components, axes)
        source: Source
        source, secret = home.bcast((on_root, secret), root=0)
        take(secret)
        if home.rank == 0:
            for note in source.notes:
                _log.warning("%s: %s", source.name, note)
        if source.columns:
            with agreed(home, f"reading {path}"):
                more = {"grid": grid, "halo": halo or None, "region": region}
                check_plain(source, {**given, **more, "components": None if components == "auto" else components})
            return _checked(load_table(home, source), home, file, seen)
        count = _components(source, grid, components, region)
        axes_of_grid = len(source.shape) - count
        part = chosen_region(source.name, source.shape[:axes_of_grid], region)
        cells = tuple(map(len, part))
        if grid is None:
            known = source.grid if len(source.grid.get("axes", ())) == axes_of_grid else {}
            grid = Grid(cells, comm=comm, **moved({**known, **given}, part, source.shape))
        elif grid.shape != cells:
            raise UsageError(
                f"cannot load {source.name} of shape {source.shape} onto {grid}: the cells to read have the shape "
                f"{cells}; the shapes must match"
            )
        return _checked(_read(source, grid, halo, part), grid.comm, file, seen)


def _checked(result: T, comm: MPI.Intracomm, file: str, seen: tuple[int, ...] | None) -> T:
    """Return what was read, unless the file has changed since it was `seen`. Collective.

    Every rank has opened the file by itself. Each saw it before all agreed on what rank 0 found in it, and looks again
    after reading: an exchange in between, whoever met it, shows on those ranks on which it fell between.
    """
    with agreed(comm, f"reading {file}"):
        if seen is not None and state_of(file) != seen:
            raise RunError(f"{file} was replaced, or written to, while it was read; read it again")
    return result


def _check(grid: Grid | None, comm: MPI.Intracomm | None, given: dict[str, Any], name: str) -> None:
    if grid is None:
        return
    if comm is not None:
        given = {"comm": comm, **given}
    if given:
        raise UsageError(
            f"cannot load {name} with both grid= and {', '.join(given)}=, which the grid has already; give one"
        )


def _components(source: Source, grid: Grid | None, components: int | str, region: Any) -> int:
    """Return the number of trailing axes that are components. The same on every rank."""
    ndim = len(source.shape)
    if grid is not None:
        count = ndim - grid.ndim
        fits = count >= 0 and (region is not None or source.shape[: grid.ndim] == grid.shape)
        if components not in ("auto", count) or not fits:
            raise UsageError(
                f"cannot load {source.name} of shape {source.shape} onto {grid} with components={components!r}; "
                "the first axes must have the grid's shape, and the others are components"
            )
        return count
    if isinstance(components, str) and components != "auto":
        raise UsageError(
            f'components={components!r}; give "auto" or the number of trailing axes that are not decomposed'
        )
    count = source.components if components == "auto" else int(components)
    if not 0 <= count < ndim or ndim - count > 4:
        raise UsageError(
            f"cannot load {source.name} of shape {source.shape} with {count} component axes; components= must "
            "leave 1 to 4 axes for the grid"
        )
    return count


def _read(source: Source, grid: Grid, halo: HaloLike, part: Sequence[range]) -> Field:
    if not source.boxwise:
        whole = None
        with agreed(grid.comm, f"reading {source.name}"):
            if grid.rank == 0:
                _check_memory(source, math.prod(source.shape))
                whole = np.empty(source.shape, source.dtype)
                everything = tuple(slice(0, n) for n in source.shape)
                read(source, everything, whole, everything)
                whole = whole[tuple(slice(r.start, r.stop, r.step) for r in part)]
        return scatter(whole, grid, halo)
    with agreed(grid.comm, f"reading {source.name}"):
        _check_memory(source, grid.box.size * math.prod(source.shape[grid.ndim :]))
        field = Field(grid, source.dtype, halo, source.shape[grid.ndim :])
    if _is_shared(source, grid, part):
        _read_shared(source, field)
        return field
    with agreed(grid.comm, f"reading {source.name}"):
        if field.owned.size:
            behind = tuple(slice(0, n) for n in field.components)
            indices = tuple(r[low:high] for r, low, high in zip(part, field.box.start, field.box.stop, strict=True))
            selection = tuple(slice(r.start, r.stop, r.step) for r in indices)
            with watched(source, selection[0]) as known:
                read(known, selection + behind, field.padded, field.box.slices(field.origin) + behind)
        if grid.rank == 0:
            check_complete(source)
    return field


def _check_memory(source: Source, cells: int) -> None:
    """Refuse what cannot be held before asking for it: some systems give out memory that is not there."""
    needed = cells * np.dtype(source.dtype).itemsize
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise RunError(
            f"cannot read {source.name} of shape {source.shape}: one rank needs {needed} bytes, and its "
            f"node has {there} bytes of memory; use more nodes, or a region"
        )


def _is_shared(source: Source, grid: Grid, part: Sequence[range]) -> bool:
    """Whether ranks share the unpacking of chunks out, because each would unpack too much of the others'."""
    storage = source.storage
    whole = all(r == range(n) for r, n in zip(part, source.shape, strict=False))
    if storage is None or not storage.filters or not whole or grid.size == 1:
        return False
    cuts = [[axis.bounds(number) for number in range(axis.parts)] for axis in grid.decomposition.axes]
    axes = len(cuts)
    return ChunkGrid(source.shape[:axes], storage.chunks[:axes]).repeats(cuts) > REPEATS


def _read_shared(source: Source, field: Field) -> None:
    """Unpack every chunk on one rank, and send its cells to their owners. Collective."""
    comm = field.grid.comm
    with ExitStack() as stack:
        with agreed(comm, f"reading {source.name}"):
            chunks = stack.enter_context(chunks_of(source))
        sharing = Sharing(comm, ChunkGrid(source.shape, source.storage.chunks if source.storage else ()), field)
        for turn in sharing.rounds():
            with agreed(comm, f"reading {source.name}"):
                blocks = {n: chunks.values(n).astype(field.dtype, copy=False) for n in turn.part(comm.rank)}
            sharing.deliver(turn, blocks)
