"""What an HDF5 dataset may ask of its reader that a file from a stranger must not get: told before any value is read.

Each hazard has a name by which it can be allowed. What a filter unpacks to is bounded elsewhere (`packing`).
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from mpibatch.base.errors import RunError, UsageError, nearest
from mpibatch.io.base.names import HAZARDS
from mpibatch.io.base.subfiles import SUBFILES, flaw, identity_of, is_subfile, missing, place_of
from mpibatch.io.chunks.compression import NAMES, SHUFFLE, filter_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "HAZARDS", "IDLE_CHUNK", "IDLE_TIMES", "all_sources", "check_allowed", "check_sources", "check_still_there", "gaps",
    "hazards", "subfiles_of",
]  # fmt: skip

# A chunk is unpacked as a whole, however little of it is read.
MOST_CHUNK = 4 << 30
# A chunk that reaches far beyond its dataset is memory for nothing; below this many bytes nobody minds.
IDLE_CHUNK, IDLE_TIMES = 64 << 20, 16
# Filters that only rearrange or check, and may stand beside one that packs.
_AIDS = (SHUFFLE, 3)
_stay: set[tuple[Any, ...]] = set()  # subfiles that were looked at
DEPTH = 8  # of virtual datasets made of virtual datasets


def check_allowed(allow: Sequence[str]) -> tuple[str, ...]:
    """Return the hazards that a caller allows. Local. UsageError on a name that is none."""
    names = (allow,) if isinstance(allow, str) else tuple(allow)
    for name in names:
        if name not in HAZARDS:
            raise UsageError(f"allow={name!r} is unknown{nearest(str(name), HAZARDS)}")
    return names


def hazards(dataset: Any) -> Iterator[tuple[str, str]]:
    """Yield (name, reason) for each reason not to read a dataset; name "" if nothing helps. Local.

    Opens nothing outside the file.
    """
    if dataset.shape is None:
        yield "", "it is empty (no dataspace)"
        return
    if dataset.external:
        yield "external storage", "its values lie in other files (external storage)"
    if dataset.is_virtual and not _stays_inside(dataset, DEPTH):
        yield "virtual datasets", "its values lie in other files (virtual dataset)"
    if dataset.chunks is not None:
        yield from _of_chunks(dataset)


def gaps(dataset: Any, depth: int = DEPTH) -> Iterator[str]:
    """Yield what a dataset takes from other files or datasets and that is not there. Local.

    HDF5 reads fill values in its place, without a word. Opens the other files: only to be asked once they are allowed.
    """
    folder = Path(dataset.file.filename).parent
    todo = dataset.nbytes
    for name, offset, size in dataset.external or ():
        length, todo = min(size, todo), max(0, todo - size)
        # HDF5 looks in the working directory, unless it is told otherwise.
        prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "").replace("${ORIGIN}", str(folder))
        path = Path(prefix, name)
        have = path.stat().st_size if path.is_file() else None
        if have is None:
            yield f"the file {name!r} with its values is missing"
        elif have < offset + length:
            yield f"the file {name!r} with its values ends at byte {have} instead of {offset + length}"
    if names := subfiles_of(dataset):
        yield from filter(None, (flaw(dataset.file.filename, name) for name in names))
    elif dataset.is_virtual:
        yield from _gaps_of_virtual(dataset, folder, depth)


def _gaps_of_virtual(dataset: Any, folder: Path, depth: int) -> Iterator[str]:
    for part in dataset.virtual_sources():
        if "%" in part.file_name or "%" in part.dset_name:
            continue  # numbers put in by HDF5: as many as there are
        if part.file_name == ".":
            yield from _gaps_in(dataset.file, part.dset_name, "", depth)
            continue
        prefix = os.environ.get("HDF5_VDS_PREFIX", "").replace("${ORIGIN}", str(folder))
        places = [Path(prefix, part.file_name), folder / part.file_name, folder / Path(part.file_name).name]
        source = next((place for place in (*places, Path(part.file_name)) if place.is_file()), None)
        if source is None:
            yield f"the file {part.file_name!r} with its values is missing"
            continue
        try:
            with h5py.File(source, "r", locking="best-effort") as file:
                yield from _gaps_in(file, part.dset_name, f" of {part.file_name!r}", depth)
        except OSError as error:
            yield f"the file {part.file_name!r} with its values cannot be read ({error})"


def subfiles_of(dataset: Any) -> tuple[str, ...]:
    """Return the subfiles that a dataset of a front is made of, relative to its folder; () of all others. Local.

    Opens none of them.
    """
    return tuple(name for name, _ in _sources_of(dataset))


def all_sources(file: Any) -> dict[str, set[str]]:
    """Return a front's subfiles, by names relative to its folder, each with its datasets that are shown. Local.

    {} of other files. Opens none of them.
    """
    names: dict[str, set[str]] = {}

    def visit(_: Any, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset):
            for name, dataset in _sources_of(thing):
                names.setdefault(name, set()).add(dataset)

    if SUBFILES in file.attrs:
        file.visititems(visit)  # also what is passed over elsewhere, such as views
    return dict(sorted(names.items()))


def check_sources(file: Any) -> None:
    """Raise RunError unless a front shows what lies in subfiles, and these are its own; they may be missing. Local.

    Anybody may use our names, and set seals. So what HDF5 would open to read the front is looked at.
    """
    for name, datasets in all_sources(file).items():
        trouble = flaw(file.filename, name)
        if trouble == missing(name):
            continue
        if trouble or _leads_out(place_of(file.filename, name), datasets):
            trouble = trouble or f"its subfile {name!r} shows values that lie elsewhere: it was changed, or never ours"
            raise RunError(f"{file.filename!r} cannot be read: {trouble}; restore it from a copy")


def _leads_out(subfile: Path, names: set[str]) -> bool:
    """Whether values of some datasets of a subfile are not in it, or packed as ours never are."""
    about = subfile.stat()
    key = str(subfile.resolve()), *sorted(names), about.st_ino, about.st_size, about.st_mtime_ns
    if key in _stay:
        return False
    with h5py.File(subfile, "r", locking="best-effort") as file:
        for name in names:
            dataset = _inner(file, name)
            if dataset is None or dataset is False or dataset.is_virtual:
                return True
            # Of chunks any size is as good as in a file without subfiles.
            if any(kind != "large chunks" for kind, _ in hazards(dataset)):
                return True
    _stay.add(key)
    return False


def _sources_of(dataset: Any) -> tuple[tuple[str, str], ...]:
    """The subfiles that a dataset of a front is made of, each with the dataset in it; () of all others."""
    if not dataset.is_virtual or SUBFILES not in dataset.file.attrs:
        return ()
    parts = dataset.virtual_sources()
    is_front = bool(parts) and all(is_subfile(part.file_name) and "%" not in part.dset_name for part in parts)
    is_front = is_front and bool(identity_of(dataset.file.filename))
    return tuple((part.file_name, part.dset_name) for part in parts) if is_front else ()


def check_still_there(dataset: Any, selection: tuple[slice, ...]) -> None:
    """Raise RunError if a file with some of the selected values is not there: HDF5 has put fill values. Local.

    To be asked after reading: a front may be replaced at any time, and its subfiles removed then.
    """
    front = dataset.file.filename
    rows = range(dataset.shape[0])[selection[0]]
    for part in dataset.virtual_sources():
        if not is_subfile(part.file_name):
            continue
        low, high = (corner[0] for corner in part.vspace.get_select_bounds())
        is_read = len(rows) and low <= rows[-1] and rows[0] <= high
        if is_read and not place_of(front, part.file_name).is_file():
            raise RunError(
                f"{front!r} cannot be read: its subfile {part.file_name!r} is missing; bring it back, "
                "or, if the file was just written anew, read it again"
            )


def _gaps_in(file: Any, name: str, of: str, depth: int) -> Iterator[str]:
    try:
        dataset = file[name]
    except (KeyError, RuntimeError):
        dataset = None
    if not isinstance(dataset, h5py.Dataset):
        yield f"the dataset {name!r}{of} with its values is missing"
    elif depth:
        yield from gaps(dataset, depth - 1)


def _stays_inside(dataset: Any, depth: int) -> bool:
    """Whether all that a virtual dataset is made of lies in its own file, or in subfiles of it."""
    if subfiles_of(dataset):
        return True
    for part in dataset.virtual_sources():
        if part.file_name != "." or "%" in part.dset_name or not depth:  # "%b" is a number put in by HDF5
            return False
        source = _inner(dataset.file, part.dset_name)
        if source is None:
            continue  # not there: see `gaps`
        if source is False or source.external or (source.is_virtual and not _stays_inside(source, depth - 1)):
            return False
    return True


def _inner(file: Any, name: str) -> Any:
    """The dataset `name`; None if there is none, False if the way to it is not made of plain links."""
    node = file
    for part in name.strip("/").split("/"):
        if not isinstance(node, h5py.Group) or part.encode() not in node.id:
            return None
        if node.id.links.get_info(part.encode()).type != h5py.h5l.TYPE_HARD:
            return False
        node = node[part]
    return node if isinstance(node, h5py.Dataset) else None


def _of_chunks(dataset: Any) -> Iterator[tuple[str, str]]:
    item = dataset.id.get_type().get_size()
    chunk, whole = math.prod(dataset.chunks) * item, math.prod(dataset.shape) * item
    if chunk > MOST_CHUNK or (chunk > IDLE_CHUNK and chunk > IDLE_TIMES * whole):
        yield "large chunks", f"its chunks {dataset.chunks} are {chunk} bytes each, for {whole} bytes of values"
    plan = dataset.id.get_create_plist()
    codes = [plan.get_filter(number)[0] for number in range(plan.get_nfilters())]
    for code in codes:
        if code not in NAMES:
            yield "unknown filters", f"its chunks are packed by the filter {filter_name(code)}"
    packing = [code for code in codes if code not in _AIDS]
    # One after the other, each may unfold a byte to a thousand.
    if len(packing) > 1 or len(set(codes)) < len(codes):
        names = ", ".join(map(filter_name, codes))
        yield "filter pipelines", f"its chunks are packed several times over ({names})"
