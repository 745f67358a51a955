"""What the busiest rank sends in a step: pure arithmetic.

By the plan of the halos, rank by rank; where halos reach many ranks, by a formula.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mpibatch.halo.plan import Halo, phase
from mpibatch.stencil.fused.choice import LEAST_BLOCK
from mpibatch.stencil.fused.trials import STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mpibatch.domain import Decomposition
    from mpibatch.job.plan import Distribution
    from mpibatch.tools.planning.machine import HaloTraffic

__all__ = ["Traffic", "fitted_to", "halo_kept", "traffic_of"]

# Neighbors beyond which they are counted by formula.
MOST_NEIGHBORS = 400
SAMPLE = 6  # ranks of a node, by which messages between nodes are counted


@dataclass(frozen=True)
class Traffic:
    """What one rank sends in a step, as a mean: messages and bytes, those to other nodes apart."""

    messages: float = 0.0
    bytes: float = 0.0
    far_messages: float = 0.0
    far_bytes: float = 0.0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(*(a + b for a, b in zip(_numbers(self), _numbers(other), strict=True)))

    def times(self, factor: float) -> Traffic:
        """This so many times. Local."""
        return Traffic(*(factor * a for a in _numbers(self)))


def _numbers(traffic: Traffic) -> tuple[float, ...]:
    return traffic.messages, traffic.bytes, traffic.far_messages, traffic.far_bytes


def halo_kept(exchange: HaloTraffic, axis: int, spread: Distribution) -> int:
    """Return the cells of halo along an axis in memory: where steps are fused, for as many as are tried. Local."""
    reach = -(-sum(exchange.widths[axis]) // exchange.steps)
    if exchange.steps == 1 or not reach:
        return reach
    return reach * max(1, min(STEPS[-1], 2 * spread.largest[axis] // (LEAST_BLOCK * reach)))


def fitted_to(exchange: HaloTraffic, spread: Distribution) -> HaloTraffic:
    """Return an exchange as it would be on these blocks: small ones fuse fewer steps. Local."""
    if exchange.steps < 2:
        return exchange
    cut = [axis for axis, parts in enumerate(spread.topology) if parts > 1 and any(exchange.widths[axis])]
    reach = [max(1, max(exchange.widths[axis]) // exchange.steps) for axis in cut]
    limits = [spread.smallest[axis] // (LEAST_BLOCK * r) for axis, r in zip(cut, reach, strict=True)]
    steps = max(1, min([exchange.steps, *limits]))
    widths = tuple(
        (-(-low * steps // exchange.steps), -(-high * steps // exchange.steps)) for low, high in exchange.widths
    )
    return replace(exchange, widths=widths, steps=steps, times=exchange.times * exchange.steps / steps)


def traffic_of(exchange: HaloTraffic, spread: Distribution, node_ranks: int) -> Traffic:
    """Return what the busiest rank sends in one exchange; to other nodes, what a rank of its node does. Local."""
    cells = spread.decomposition
    wide = [axis for axis, pair in enumerate(exchange.widths) if any(pair)]
    if not any(cells.axes[axis].parts > 1 for axis in wide):
        return Traffic()
    if _neighbors(exchange, spread) > MOST_NEIGHBORS:
        return _by_formula(exchange, spread)
    # Axis after axis where corners are needed, as mpibatch.halo.stages does it.
    stages = [(axis,) for axis in wide] if exchange.corners and len(wide) > 1 else [tuple(range(len(exchange.widths)))]
    halo = Halo(exchange.widths, tuple("wrap" if wraps else None for wraps in exchange.wraps), exchange.corners)
    ranks = set(_busiest(cells))
    sent = {rank: _sends(cells, rank, halo, stages, exchange.bytes_per_cell, node_ranks) for rank in ranks}
    most = max(sent, key=lambda rank: (sent[rank].bytes, sent[rank].messages))
    if cells.size <= node_ranks:
        return sent[most]
    first = most // node_ranks * node_ranks
    others = range(first, min(first + node_ranks, cells.size), max(1, node_ranks // SAMPLE))
    sample = [_sends(cells, rank, halo, stages, exchange.bytes_per_cell, node_ranks) for rank in others]
    mean = math.fsum(s.far_bytes for s in sample) / len(sample)
    return replace(sent[most], far_bytes=min(mean, sent[most].bytes))


def _neighbors(exchange: HaloTraffic, spread: Distribution) -> int:
    """About how many ranks an exchange reaches."""
    counts = []
    for parts, smallest, (low, high) in zip(spread.topology, spread.smallest, exchange.widths, strict=True):
        most = -(-low // max(1, smallest)) + -(-high // max(1, smallest))
        counts.append(1 + min(most, parts - 1))
    return math.prod(counts)


def _by_formula(exchange: HaloTraffic, spread: Distribution) -> Traffic:
    """Halos that are wide against blocks: everything around the block comes from that many others."""
    around = (
        math.prod(n + low + high for n, (low, high) in zip(spread.largest, exchange.widths, strict=True)) - spread.cells
    )
    return Traffic(_neighbors(exchange, spread) - 1, around * exchange.bytes_per_cell, 0.0, 0.0)


def _busiest(cells: Decomposition) -> Iterator[int]:
    """Yield ranks of which one sends most: in the corner, where even blocks are largest, next to it, in the middle."""
    for coords in (
        [0 for _ in cells.axes],
        [min(1, axis.parts - 1) for axis in cells.axes],
        [axis.parts // 2 for axis in cells.axes],
        [_largest(axis) for axis in cells.axes],
    ):
        yield cells.rank(coords)


def _largest(axis: Any) -> int:
    if axis.starts is None:
        return int(min(1, axis.parts - 1))
    return max(range(axis.parts), key=lambda part: axis.starts[part + 1] - axis.starts[part])


def _sends(
    cells: Decomposition, rank: int, halo: Halo, stages: Sequence[tuple[int, ...]], cell_bytes: int, node_ranks: int
) -> Traffic:
    messages = far_messages = size = far = 0
    for axes in stages:
        for receiver, moves in phase(cells, rank, halo, axes).sends.items():
            nbytes = cell_bytes * sum(math.prod(move.wire) for move in moves)
            messages, size = messages + 1, size + nbytes
            if receiver // node_ranks != rank // node_ranks:
                far_messages, far = far_messages + 1, far + nbytes
    return Traffic(messages, size, far_messages, far)
