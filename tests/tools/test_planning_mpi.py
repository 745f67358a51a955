"""Halos that plans tell from a filter's parameters alone, held against the exchanges that it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base import tally
from mpibatch.job.file.functions import function
from mpibatch.job.plan import layout
from mpibatch.mpi import MPI, private
from mpibatch.tools.planning import halos, measurement
from mpibatch.tools.planning.machine import HaloTraffic
from mpibatch.tools.planning.traffic import traffic_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.mpi

BOX = [[1, 1, 1], [1, 1, 1], [1, 1, 1]]
RING = [[1, 1, 1], [1, 0, 1], [1, 1, 1], [1, 1, 1], [0, 1, 1]]
CASES: list[tuple[str, dict[str, Any]]] = [
    ("binarize", {}),
    ("binary_closing", {"structure": BOX}),
    ("binary_dilation", {"iterations": 3}),
    ("binary_dilation", {"iterations": 3, "structure": BOX}),
    ("binary_erosion", {}),
    ("binary_opening", {}),
    ("black_tophat", {"size": 3}),
    ("convert", {"dtype": "f8"}),
    ("convolve1d", {"weights": [1, 2, 3, 2, 1], "axis": 0}),
    ("correlate", {"weights": RING}),
    ("correlate1d", {"weights": [1, 2, 3, 4]}),
    ("gaussian_filter", {"sigma": 2}),
    ("gaussian_filter", {"sigma": [1, 3], "truncate": 2.0}),
    ("gaussian_filter", {"sigma": 2, "radius": 3}),
    ("gaussian_filter", {"sigma": 2, "axes": [1]}),
    ("gaussian_filter1d", {"sigma": 1.5, "axis": 0}),
    ("gaussian_gradient_magnitude", {"sigma": 1}),
    ("gaussian_laplace", {"sigma": 1}),
    ("grey_closing", {"size": [3, 5]}),
    ("grey_dilation", {"size": 3}),
    ("grey_erosion", {"footprint": RING}),
    ("grey_opening", {"size": 4}),
    ("laplace", {}),
    ("maximum_filter", {"size": 7}),
    ("maximum_filter", {"footprint": RING}),
    ("maximum_filter1d", {"size": 5, "axis": 0}),
    ("median_filter", {"size": 3}),
    ("minimum_filter", {"size": [3, 6]}),
    ("minimum_filter1d", {"size": 4}),
    ("morphological_gradient", {"size": 3}),
    ("percentile_filter", {"percentile": 30, "size": 5}),
    ("prewitt", {}),
    ("rank_filter", {"rank": 1, "size": 3}),
    ("sobel", {"axis": 0}),
    ("sobel_magnitude", {}),
    ("uniform_filter", {"size": 5}),
    ("uniform_filter1d", {"size": 4, "origin": 1}),
    ("unsharp_mask", {"radius": 2.0}),
    ("white_tophat", {"footprint": RING}),
]
SHAPE = (40, 48)


@pytest.fixture(scope="module")
def field() -> mb.Field:
    grid = mb.Grid(SHAPE)
    return grid.from_function(lambda y, x: np.sin(0.3 * y * y) + np.cos(0.2 * x), "f4")


def count_exchanges(name: str, given: dict[str, Any], u: mb.Field) -> tuple[tally.Lap, int, int]:
    tally.reset()
    before = tally.traffic()
    function(name)(u, **given)
    messages, nbytes = (after - b for after, b in zip(tally.traffic(), before, strict=True))
    return tally.exchanges()[-1], messages, nbytes


@pytest.mark.parametrize(("name", "given"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_filter_asks_for_is_known_before(field: mb.Field, name: str, given: dict[str, Any]) -> None:
    lap, _, nbytes = count_exchanges(name, given, field)
    static = halos.of_filter(name, given, 2, "f4")
    for axis in range(2):
        real = max((need.widths[axis] for need in lap.exchanges), default=(0, 0))
        width = max((exchange.widths[axis] for exchange in static), default=(0, 0))
        assert width == real, f"axis {axis}: {lap.exchanges}"
    # Bytes are right but for results of another dtype on the way, and for what is fetched once instead of twice.
    most = private().allreduce(nbytes, op=MPI.MAX)
    spread = layout(SHAPE, private().size, {})
    expected = sum(exchange.times * traffic_of(exchange, spread, private().size).bytes for exchange in static)
    assert expected / 4.1 <= most <= 4.1 * expected


def test_traffic_of_a_probed_step_is_what_is_sent(field: mb.Field) -> None:
    """What `tally` counts on any number of ranks gives the bytes that the busiest of these ranks sends."""
    for name, given in (("gaussian_filter", {"sigma": 2}), ("median_filter", {"size": 5}), ("laplace", {})):
        lap, messages, nbytes = count_exchanges(name, given, field)
        spread, ranks = layout(SHAPE, private().size, {}), private().size
        traffic = [
            (traffic_of(HaloTraffic(n.widths, n.corners, n.wraps, n.bytes_per_cell, 1.0), spread, ranks), times)
            for n, times in lap.exchanges.items()
        ]
        # A median fetches all at once, and with it what lies beyond walls next to a neighbor.
        close = 0.1 if name == "median_filter" else 0.0
        most = private().allreduce(nbytes, op=MPI.MAX)
        assert sum(times * sent.bytes for sent, times in traffic) == pytest.approx(most, rel=close), name
        assert sum(times * sent.messages for sent, times in traffic) <= 8 * max(
            1, private().allreduce(messages, op=MPI.MAX)
        )


def test_traffic_of_a_simulation_is_what_is_sent() -> None:
    from mpibatch.apps import heat

    parameters = heat.Parameters(shape=(24, 20, 16), mode=(1, 1, 1))
    simulation = mb.Simulation(steps=7)
    tally.reset()
    with simulation:
        heat.run(parameters, simulation)
    spread, ranks = layout((24, 20, 16), private().size, {}), private().size
    steps = next(lap for lap in tally.exchanges() if lap.name == "steps")
    expected = 0.0
    for need, times in steps.exchanges.items():
        exchange = HaloTraffic(need.widths, need.corners, need.wraps, need.bytes_per_cell, 1.0, need.steps)
        expected += times * traffic_of(exchange, spread, ranks).bytes
    assert sum(need.steps * times for need, times in steps.exchanges.items()) == 7
    _, nbytes = tally.traffic()
    assert expected == private().allreduce(nbytes, op=MPI.MAX)


def test_kernels_of_a_program_tell_their_reach() -> None:
    from mpibatch.apps import heat

    (exchange,) = halos.of_kernels(heat, 3, 8)
    assert exchange.widths == ((1, 1),) * 3
    assert exchange.bytes_per_cell == 8
    assert not exchange.corners


def test_nodes_may_have_unequal_ranks_and_take_turns(monkeypatch: pytest.MonkeyPatch, shared_tmp: Path) -> None:
    """As by `srun -N2 --distribution=cyclic`: ranks 0, 2, ... on one node, 1, 3, ... on the other."""
    small = {"CACHES_WORTH": 0, "TRIAD_BYTES": 1 << 20, "TRIAD_SECONDS": 0.01, "TOUCHED_BYTES": 1 << 20}
    small |= {"FIRST_FILE": 1 << 16, "LARGE_FILE": 1 << 16, "LARGE_MESSAGE": 1 << 16, "PING": 20}
    for name, value in small.items():
        monkeypatch.setattr(measurement, name, value)
    monkeypatch.setattr(measurement, "node_of", lambda comm: MPI.Intracomm(comm.Split(comm.rank % 2, comm.rank)))
    comm = private()
    machine = measurement.machine_of(comm, str(shared_tmp), "two")
    most = -(-comm.size // 2)
    assert machine.nodes == min(2, comm.size)
    assert max(machine.triad) == max(machine.touch) == most
    assert all(0 < rate < 1e6 for rate in machine.triad.values())
    assert (machine.links is None) == (most == 1)
    assert (machine.internode is None) == (comm.size == 1)
    assert not [*shared_tmp.glob("*")]
