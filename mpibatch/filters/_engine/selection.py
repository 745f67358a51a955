"""The algorithm for an order statistic that is neither the lowest nor the highest: chosen, and run on a block.

The choice is a function of the window and the dtype, the same on all ranks; the constants in it are nanoseconds
per cell, measured on one core with AVX-512 over 3 × 3 to 25 × 25 and 5³ to 25³ cells. All algorithms give the same
cells.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mpibatch.base.processes.threads import share_out
from mpibatch.domain import Box
from mpibatch.filters._engine.memory import check_memory, padded_bytes
from mpibatch.filters._engine.rows import WindowRows, rows_of
from mpibatch.filters._engine.work import counted
from mpibatch.filters._loops.networks import selection_network
from mpibatch.halo import padded_copy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.fields.field import Field
    from mpibatch.filters._engine.footprints import Window

__all__ = ["check_room", "select_rank"]

Array = npt.NDArray[Any]

COMPARATOR_NS = 0.042  # per byte of a cell: a comparator's share of a network
LARGEST_NETWORK = 512  # cells; the comparators of larger ones take long to list, and never pay
COUNTS_NS = 30.0  # counts of 8-bit cells, whatever the window
MOVE_NS, FIND_NS = 4.0, 100.0  # sliding histogram: a cell that comes and one that goes; finding the rank
ROW_LINES = 32  # of the cache: a row of cells whose sorted columns stay in L1
SHORTEST_ROW = 16  # cells; below, rows that share their vectors are faster
MANY, LOOK_EVERY = 128, 8  # thresholds of a tile that cost as much as histograms; bands until counts are tried again
TILE_CELLS = 1 << 17  # of which the order is worked out at once: their histogram has to stay in L2
DIRECT_BINS = 1 << 16  # integers that span less than this are their own codes
TILE_BYTES, TILE_LENGTH, TILE_ROWS = 1 << 20, 512, (64, 256)  # of counts of 8-bit cells


def check_room(name: str, u: Field, window: Window, rank: int) -> None:
    """Raise if what `select_rank` needs does not fit. Collective."""
    # Histograms need the padded block, its codes and their order.
    item = u.dtype.itemsize if _by_network(u.dtype, window, rank) else 2 * max(4, u.dtype.itemsize)
    check_memory(u.grid, f"{name} with a window of {window.footprint.shape}", padded_bytes(u, window.reach, item))


def select_rank(u: Field, out: Field, window: Window, rank: int, modes: tuple[str, ...], cval: Any) -> None:
    """Write the cell of `rank` in each window of `u` to `out`, which has its dtype and no halo. Collective."""
    if _by_network(u.dtype, window, rank):
        parts = rows_of(u, out, window, modes, cval)
        with counted(u, out, 2 * len(selection_network(window.count, rank))):
            for rows in parts:
                _run_network(rows, window, math.prod(u.components), rank)
        return
    padded = padded_copy(u, window.reach, modes, cval)
    work = counted(u, out, 0)  # a histogram moves whole numbers, as many as the cells make it
    if not u.owned.size:
        return
    (low, high), cells = window.reach[0], u.owned.size
    with work:
        for component in np.ndindex(u.components):
            source, target = padded[..., *component], out.owned[..., *component]

            def run(begin: int, end: int, source: Array = source, target: Array = target) -> None:
                _by_histogram(source[begin : end + low + high], target[begin:end], window, rank)

            share_out(run, len(target), cells, warmup=1)


def _by_network(dtype: np.dtype[Any], window: Window, rank: int) -> bool:
    """Whether a network is the fastest way. Local."""
    if window.count > LARGEST_NETWORK:
        return False
    cost = COMPARATOR_NS * dtype.itemsize * len(selection_network(window.count, rank))
    if dtype.itemsize == 1 and window.full:
        return cost < COUNTS_NS
    edge = window.count // max(window.footprint.shape)
    return bool(cost < FIND_NS + MOVE_NS * edge)


def _run_network(rows: WindowRows, window: Window, step: int, rank: int) -> None:
    """Run a network of comparators over rows of cells. Local."""
    from mpibatch.filters._loops import rank_network as loops

    cells, out, sign, rest = _as_integers(rows.cells, rows.out)
    width = rows.shape[-1]
    square = window.full and window.count == width * width and max(rows.shape) == width
    if square and width in (3, 5) and rank == window.count // 2 and rows.length >= SHORTEST_ROW:
        loop = loops.median_of_nine if width == 3 else loops.median_of_twenty_five
        lines = np.sort(rows.offsets)[::width]

        def run(bases: Array, targets: Array) -> None:
            scratch = _scratch(cells.dtype, step, width)
            loop(cells, bases, lines, step, sign, rest, scratch, out, targets, rows.length)

    else:
        network = selection_network(window.count, rank)

        def run(bases: Array, targets: Array) -> None:
            loops.select(cells, bases, rows.offsets, network, rank, sign, rest, out, targets, rows.length)

    rows.run(run)


def _scratch(dtype: np.dtype[Any], step: int, width: int) -> tuple[Array, Array, Array]:
    """Return rows for sorted columns of `width` cells, for what is made of them, and for keys. Local."""
    # Rows begin on lines of the cache, and not all in the same of its sets.
    extent = 64 * (max(ROW_LINES, step * dtype.itemsize // 4) | 1)
    counts = width, 3 if width == 3 else 10, 5
    memory = np.empty((sum(counts) + 1) * extent, np.uint8)
    start = -memory.ctypes.data % 64
    rows = memory[start : start + sum(counts) * extent].view(dtype).reshape(sum(counts), -1)
    columns, others, keys = np.split(rows, np.cumsum(counts)[:2])
    return columns, others, keys


def _as_integers(cells: Array, out: Array) -> tuple[Array, Array, int, int]:
    """Return cells and output as integers, and the shift and mask that turn a float's bits into its order. Local."""
    if cells.dtype.kind == "f":
        bits = 8 * cells.itemsize
        kind = np.dtype(f"i{cells.itemsize}")
        return cells.view(kind), out.view(kind), bits - 1, (1 << (bits - 1)) - 1
    if cells.dtype.kind == "b":
        return cells.view(np.uint8), out.view(np.uint8), 0, 0
    return cells, out, 0, 0


class _Laid(NamedTuple):
    """A padded block with its axes in ascending order of the window's extents, and at least three of them."""

    cells: Array
    out: Array
    footprint: npt.NDArray[np.bool_]


def _by_histogram(padded: Array, out: Array, window: Window, rank: int) -> None:
    """Write the cells of `rank` for one component by a moving histogram. Local."""
    # The windows move along the last axis: there the edge of a long window is smallest.
    order = sorted(range(out.ndim), key=lambda axis: window.footprint.shape[axis])
    more = (1,) * (3 - out.ndim)

    def laid(array: Array) -> Array:
        turned = array.transpose(order)
        return turned.reshape(more + turned.shape)

    cells = np.ascontiguousarray(laid(padded))
    result = np.empty(laid(out).shape, out.dtype)
    arrangement = _Laid(cells, result, laid(window.footprint))
    if cells.dtype.itemsize == 1 and window.full:
        _by_counts(arrangement, rank)
    else:
        _sliding(arrangement, rank)
    laid(out)[...] = result


def _by_counts(laid: _Laid, rank: int) -> None:
    """Count cells of 8 bits up to thresholds, tile by tile; histograms take over where answers are many. Local."""
    from mpibatch.filters._loops import rank_counts as loops
    from mpibatch.filters._loops.rank_histogram import column_histograms

    flip = np.uint8(128 if laid.cells.dtype == np.int8 else 0)
    cells = laid.cells.view(np.uint8) ^ flip if flip else laid.cells.view(np.uint8)
    out, size = laid.out.view(np.uint8), laid.footprint.shape
    plane, stride = math.prod(cells.shape[-2:]), cells.shape[-1]
    volume = plane * cells.shape[-3]
    blocks = _flat_starts(cells.shape[:-3], out.shape[:-3]) * volume
    lines = _flat_starts(cells.shape[:-3], size[:-3]) * volume
    narrow = size[-1] < 1 << 8 and math.prod(size) < 1 << 16
    thin, wide = (np.dtype(np.uint8), np.dtype(np.uint16)) if narrow else (np.dtype(np.uint32),) * 2
    planes, rows, length = out.shape[-3:]
    high, deep = size[-3:-1]
    # The counts of a tile's planes should stay in L2, and its margin be small against it.
    length = min(length, TILE_LENGTH)
    rows = min(rows, max(deep, TILE_ROWS[0], min(TILE_ROWS[1], TILE_BYTES // ((high + 1) * length * wide.itemsize))))
    scratch = (
        np.empty((3, length + size[-1]), thin),
        np.zeros((high + 1, rows + deep, length), wide),
        np.empty(length, wide),
        np.zeros(length, np.uint8),
    )
    pending = np.empty((32, 4), np.int64)  # bisection of 256 thresholds leaves no more than 9
    largest = 1 if laid.cells.dtype.kind == "b" else 255
    flat, result = cells.reshape(-1), out.reshape(-1)
    steps = math.prod(out.shape[-2:]), out.shape[-1]
    window = np.zeros(272, np.uint16 if math.prod(size) < 1 << 16 else np.uint32)
    is_flat, has_many = math.prod(size[:-2]) == 1, False
    for number, block in enumerate(blocks):
        first = number * planes * steps[0]
        for band, y in enumerate(range(0, out.shape[-2], rows)):
            height, x = min(rows, out.shape[-2] - y), 0
            while x < out.shape[-1]:
                at, target = int(block) + y * stride + x, first + y * steps[1] + x
                if has_many and (x or band % LOOK_EVERY):
                    for p in range(planes):
                        part = out.reshape(-1, *out.shape[-2:])[number * planes + p, y : y + height, x:]
                        column_histograms(flat, at + p * plane, stride, size[-2:], rank, window, part)
                    break
                extent = planes, height, min(length, out.shape[-1] - x)
                counted = loops.ranks_by_counts(
                    flat, (at, plane, stride), lines, size[-3:], rank, largest, scratch, pending, result,
                    (target, *steps, *extent),
                )  # fmt: skip
                has_many = is_flat and counted > MANY
                x += length
    if flip:
        out ^= flip


def _sliding(laid: _Laid, rank: int) -> None:
    """Run the sliding histogram, over tiles whose cells are replaced by codes. Local."""
    from mpibatch.filters._loops import rank_histogram as loops

    margins = tuple(n - 1 for n in laid.footprint.shape)
    keys = _ordered(laid.cells)
    direct = _span(keys) < DIRECT_BINS
    for box in _tiles(laid.out.shape, margins, None if direct else TILE_CELLS):
        around = Box(box.start, tuple(n + m for n, m in zip(box.stop, margins, strict=True)))
        tile, out = keys[around.slices()], np.empty(box.shape, np.int32)
        codes, values = _codes(tile, direct)
        inside, edges = _edges(laid.footprint, tile.shape)
        planes = _flat_starts(tile.shape[:-2], box.shape[:-2]) * math.prod(tile.shape[-2:])
        loops.sliding_histogram(
            codes.reshape(-1),
            planes,
            tile.shape[-1],
            inside,
            edges,
            rank,
            values.size,
            out.reshape(-1, *out.shape[-2:]),
        )
        laid.out[box.slices()] = _unordered(values[out], laid.out.dtype)


def _ordered(cells: Array) -> Array:
    """Return integers in the order of the cells. Local."""
    if cells.dtype.kind == "b":
        return cells.view(np.uint8)
    if cells.dtype.kind != "f":
        return cells
    bits = cells.view(f"i{cells.itemsize}")
    keys: Array = bits ^ ((bits >> (8 * cells.itemsize - 1)) & np.iinfo(bits.dtype).max)
    return keys


def _unordered(keys: Array, dtype: np.dtype[Any]) -> Array:
    """Return the cells with these keys. Local."""
    if dtype.kind == "f":
        keys = keys ^ ((keys >> (8 * dtype.itemsize - 1)) & np.iinfo(keys.dtype).max)
    return keys.view(dtype)


def _span(keys: Array) -> int:
    return int(keys.max()) - int(keys.min()) if keys.size else 0


def _codes(keys: Array, direct: bool) -> tuple[Array, Array]:
    """Return small codes in the order of `keys`, and the key of each code. Local."""
    if direct:
        least, most = int(keys.min()), int(keys.max())
        values = np.arange(least, most + 1, dtype=np.int64 if least < 0 else np.uint64).astype(keys.dtype)
        return (keys - keys.dtype.type(least)).view(f"u{keys.itemsize}").astype(np.uint16), values
    flat = keys.reshape(-1)
    order = np.argsort(flat)
    ranked = flat[order]
    new = np.empty(flat.size, dtype=bool)
    new[:1] = True
    np.not_equal(ranked[1:], ranked[:-1], out=new[1:])
    codes = np.empty(flat.size, np.uint32)
    codes[order] = np.cumsum(new, dtype=np.uint32) - 1
    return codes, ranked[new]


def _tiles(shape: tuple[int, ...], margins: tuple[int, ...], limit: int | None) -> Iterator[Box]:
    """Cut outputs of `shape` into boxes that read at most `limit` cells each, but no smaller than a window. Local."""
    edge = list(shape)
    while limit is not None and math.prod(n + m for n, m in zip(edge, margins, strict=True)) > limit:
        # Halve where that saves most: where the tile is longest against its margin.
        axis = max(range(len(edge)), key=lambda a: edge[a] / (margins[a] + 1))
        if edge[axis] <= margins[axis] + 1 or edge[axis] == 1:
            break
        edge[axis] = -(-edge[axis] // 2)
    for start in itertools.product(*(range(0, n, e) for n, e in zip(shape, edge, strict=True))):
        yield Box(start, tuple(min(s + e, n) for s, e, n in zip(start, edge, shape, strict=True)))


def _edges(footprint: npt.NDArray[np.bool_], shape: tuple[int, ...]) -> tuple[Array, Any]:
    """Return the flat offsets of a footprint's cells, and of those on its left, right, upper and lower edge. Local."""
    strides = np.array([math.prod(shape[axis + 1 :]) for axis in range(len(shape))], dtype=np.int64)

    def offsets(cells: npt.NDArray[np.bool_]) -> Array:
        return np.ascontiguousarray(np.argwhere(cells).astype(np.int64) @ strides)

    def beside(axis: int, step: int) -> npt.NDArray[np.bool_]:
        moved = np.roll(footprint, -step, axis)
        outer = [slice(None)] * footprint.ndim
        outer[axis] = slice(0, 1) if step < 0 else slice(-1, None)
        moved[tuple(outer)] = False
        return moved

    last = footprint.ndim - 1
    sides = ((last, -1), (last, 1), (last - 1, -1), (last - 1, 1))
    return offsets(footprint), tuple(offsets(footprint & ~beside(axis, step)) for axis, step in sides)


def _flat_starts(shape: tuple[int, ...], count: tuple[int, ...]) -> Array:
    """Return the flat indices, in an array of `shape`, of the cells of its first corner box of `count`. Local."""
    flat = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    return np.ascontiguousarray(flat[tuple(slice(0, n) for n in count)]).reshape(-1)
