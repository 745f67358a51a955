"""What a run measures of itself: messages as planned, needs that are the same on any ranks, kernels, the account."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.apps import heat
from mpibatch.base import tally, timing
from mpibatch.halo import Exchange, Halo, exchange, padded_copy, shared_stages, slabs
from mpibatch.halo.checks import halo_of
from mpibatch.halo.node_memory import node_memory
from mpibatch.halo.plan import phase
from mpibatch.mpi import MPI, hosts_of
from mpibatch.mpi.hosts import CORE_BYTES, NAME_BYTES, told_by
from mpibatch.tools.slurm import completion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from mpibatch.fields.field import Field

pytestmark = pytest.mark.mpi
WORLD = MPI.COMM_WORLD
IMPORTED = time.monotonic()
SHAPE = (14, 11, 9)


@mb.stencil(backend="numpy")
def fade(u, k):
    return u[0, 0] + k * (u[-1, -1] + u[1, 1] - 2.0 * u[0, 0])


@pytest.fixture(autouse=True)
def _from_zero() -> Iterator[None]:
    timing.reset()
    tally.reset()
    yield
    tally.reset()


def planned(u: Field, halo: Halo, stages: Sequence[tuple[int, ...] | None]) -> tuple[int, int]:
    """Messages and bytes that this rank sends, from the pure plan."""
    messages = words = 0
    for axes in stages:
        sends = phase(u.grid.decomposition, u.grid.rank, halo, axes).sends
        moves = [move for todo in sends.values() for move in todo]
        messages += len(sends)
        words += sum(math.prod(move.wire) for move in moves)
    return messages, words * u.dtype.itemsize * math.prod(u.components)


@pytest.mark.parametrize("mode", ["reflect", "wrap", "constant"])
@pytest.mark.parametrize("corners", [True, False])
def test_messages_and_bytes_are_those_of_the_plan(mode: str, corners: bool) -> None:
    u = mb.Grid(SHAPE).zeros("f4", halo=(2, (1, 0), 1), components=(3,))
    halo = halo_of(u.grid, u.halo, mode, corners)
    # With one axis after another, each is a stage; else everything goes at once.
    one_by_one: Sequence[tuple[int, ...] | None] = [(0,), (1,), (2,)] if corners else [None]
    for engine, stages in (("plan", [None]), ("axis", one_by_one)):
        tally.reset()
        for _ in range(3):
            exchange(u, mode=mode, corners=corners, engine=engine)
        messages, nbytes = planned(u, halo, stages)
        assert tally.traffic() == (3 * messages, 3 * nbytes)
    tally.reset()
    slabs(u, 1, (2, 3), mode)
    assert tally.traffic() == planned(u, halo_of(u.grid, (0, (2, 3), 0), mode, corners=False), [None])
    tally.reset()
    padded_copy(u, 1, mode, corners=corners)
    assert tally.traffic() == planned(u, halo_of(u.grid, 1, mode, corners), one_by_one)


def test_fields_share_messages() -> None:
    grid = mb.Grid((16, 5))
    u, v = grid.zeros("f8", halo=1), grid.zeros("f4", halo=1, components=(2,))
    with Exchange([u, v], mode="nearest") as both:
        both()
    halo, stages = halo_of(grid, 1, "nearest"), [(0,), (1,)]
    messages, nbytes = planned(u, halo, stages)
    assert tally.traffic() == (messages, nbytes + planned(v, halo, stages)[1])
    sent = WORLD.allgather(tally.traffic())
    assert all((count > 0) == (WORLD.size > 1) for count, _ in sent)
    assert sum(n for n, _ in sent) % 2 == 0, "what one side sends, the other sends too"


@pytest.mark.parametrize("way", ["messages", "shared"])
def test_copying_is_not_waiting(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Shared by ranks along the last axis: strided faces are packed; along the first one they are sent as they lie, but
    # for those that go by way of memory that both see, and are packed into that.
    if (node := node_memory(mb.mpi.private())) is not None:
        monkeypatch.setattr(node, "way", way)
    is_shown = node is not None and way == "shared"
    monkeypatch.setattr(shared_stages, "LEAST", 64)
    for topology, packs in (((1, WORLD.size), True), ((WORLD.size, 1), is_shown)):
        u = mb.Grid((64, 64 * WORLD.size), topology=topology).zeros("f8", halo=1)
        exchange(u, mode=None)
        timing.reset()
        exchange(u, mode=None)
        spent = timing.seconds()
        assert (spent["pack"] > 0) == (packs and WORLD.size > 1)
        assert spent["halo"] > 0
        assert spent["compute"] == spent["io"] == spent["reduce"] == 0
        assert spent["pack"] + spent["halo"] <= timing.wall()


def needs() -> list[dict[str, Any]]:
    return [need.to_json(times) for lap in tally.exchanges() for need, times in lap.exchanges.items()]


def test_needs_are_the_same_on_any_ranks() -> None:
    u = mb.Grid((40, 30), periodic=(False, True)).from_function(lambda y, x: y + np.sin(x), halo=1)
    told = {"shape": [40, 30], "wraps": [False, True], "bytes_per_cell": 8, "steps": 1, "times": 1, "corners": False}
    mb.filters.gaussian_filter(u, sigma=(2, 1))
    assert needs() == [told | {"widths": [[8, 8], [0, 0]]}, told | {"widths": [[0, 0], [4, 4]]}]
    for kernel, factors, corners in ((heat.step2, (0.1, 0.1), False), (fade, (0.1,), True)):
        tally.reset()
        for _ in range(2):
            kernel(u, *factors)
        assert needs() == [told | {"widths": [[1, 1], [1, 1]], "corners": corners, "times": 2}]
    tally.reset()
    mb.iterate(heat.step2, u, 0.1, 0.1, steps=7, fuse=3)
    wide, single = {"widths": [[3, 3], [3, 3]], "corners": True}, {"widths": [[1, 1], [1, 1]]}
    assert needs() == [told | wide | {"steps": 3, "times": 2}, told | single]


@pytest.mark.parametrize("fuse", [1, 3])
def test_kernels_tell_what_they_did(fuse: int) -> None:
    u = mb.Grid((40, 30)).from_function(lambda y, x: y * x, halo=1)
    mb.iterate(heat.step2, u, 0.1, 0.1, steps=7, fuse=fuse)
    (work,) = tally.works()
    assert (work.name, work.flops, work.bytes, work.threads) == ("step2", 9, 16, 1)
    assert work.calls == (7 if fuse == 1 else 3)
    assert WORLD.allreduce(work.cells) == 7 * 1200
    assert 0 < work.seconds <= timing.seconds()["compute"] + 1e-3
    heat.step2(u, 0.1, 0.1)
    assert WORLD.allreduce(work.cells) == 8 * 1200
    for dtype, nbytes in (("f8", 16), ("f4", 8)):
        fade(u.astype(dtype), 0.1)
        assert tally.works()[-1].bytes == nbytes
        assert WORLD.allreduce(tally.works()[-1].cells) == 1200


def test_all_reduces_are_counted() -> None:
    u = mb.Grid((8, 9)).full(2.0)
    for function, count in ((mb.sum, 1), (mb.max, 1), (mb.argmin, 2), (mb.count_nonzero, 1)):
        tally.reset()
        function(u)
        assert tally.reductions() == count
    assert timing.seconds()["reduce"] > 0


def test_hosts_of_the_ranks() -> None:
    found = hosts_of(WORLD)
    assert (found is None) == (WORLD.rank > 0)
    if found is not None:
        assert sum(found.ranks.values()) == WORLD.size
        assert found.cores >= 1


@pytest.mark.parametrize(
    ("ranks", "cores", "shared"),
    [
        ([("a", {0, 1}), ("a", {2, 3}), ("b", {0, 1, 2})], 2, False),
        ([("a", {0, 1}), ("b", {0, 1}), ("a", {1})], 1, True),
        ([("a", {900}), ("a", {901})], 1, False),
        ([("a", {0, 1})], 2, False),
    ],
)
def test_ranks_share_cores_only_on_one_host(ranks: list[tuple[str, set[int]]], cores: int, shared: bool) -> None:
    rows = np.zeros((len(ranks), NAME_BYTES + CORE_BYTES), "u1")
    for row, (name, own) in zip(rows, ranks, strict=True):
        row[0] = ord(name)
        row[NAME_BYTES:] = np.packbits([core in own for core in range(8 * CORE_BYTES)])
    found = told_by(rows)
    assert (found.cores, found.shared) == (cores, shared)
    assert found.ranks == {name: sum(n == name for n, _ in ranks) for name in dict.fromkeys(n for n, _ in ranks)}


PIPELINE = """
[input]
path = "{folder}/in.npy"
[[step]]
filter = "gaussian_filter"
sigma = 1
[[step]]
name = "mask"
filter = "binarize"
threshold = "otsu"
save = true
[output]
path = "{folder}/out.h5"
"""
SIMULATION = """
[simulation]
program = "heat"
steps = 6
shape = [24, 20]
[output]
path = "{folder}/out.h5"
every_steps = 3
[diagnostics]
every_steps = 2
"""


def recorded(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a job as the command does; return its completion record."""
    from mpibatch.cli._summary import run_and_report
    from mpibatch.job.file.reader import parse_any
    from mpibatch.mpi import private

    # Rank 0 alone decides: launchers may keep variables from other ranks.
    monkeypatch.delenv(completion.VARIABLE, raising=False)
    if WORLD.rank == 0:
        np.save(folder / "in.npy", np.random.default_rng(7).random((30, 26)).astype("f4"))
        monkeypatch.setenv(completion.VARIABLE, str(folder / "record.json"))
    monkeypatch.setattr(completion, "_noted", {})
    WORLD.Barrier()
    job = parse_any(text.format(folder=folder), "job.toml", [])
    began = time.monotonic()
    assert run_and_report(job, private(), quiet=True) == 0
    completion.leave(0)
    WORLD.Barrier()
    found: dict[str, Any] = json.loads((folder / "record.json").read_text())
    # Ranks were there when this module was imported, and not before the first of them, by the system's count.
    found["ages"] = WORLD.allreduce(began - IMPORTED, MPI.MAX), WORLD.allreduce(age(), MPI.MAX)
    return found


def age() -> float:
    """Seconds since this process began, to the next whole one, by another program."""
    if not (ps := shutil.which("ps")):
        return math.inf
    return 1.0 + int(subprocess.check_output([ps, "-o", "etimes=", "-p", str(os.getpid())]))


def check(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What is the same for every kind of run; return the account."""
    from mpibatch.io import verify

    assert record["digest"] == verify(folder / "out.h5").content
    run: dict[str, Any] = record["run"]
    least, most = record["ages"]
    assert least <= run["start_seconds"] <= most
    assert (run["schema"], run["ranks"], run["threads"]) == (1, WORLD.size, 1)
    phases = run["seconds"]
    assert [*phases] == ["compute", "compile", "pack", "halo", "reduce", "io", "other", "total"]
    for told in phases.values():
        assert 0 <= told["least"] <= told["median"] <= told["slowest"]
        assert told["least"] <= told["mean"] <= told["slowest"]
        assert 0 <= told["slowest_rank"] < WORLD.size
    parts = sum(told["mean"] for name, told in phases.items() if name != "total")
    assert parts == pytest.approx(phases["total"]["mean"], abs=1e-4)
    messages, nbytes = run["traffic"]["messages"], run["traffic"]["bytes"]
    assert (messages["total"] > 0) == (nbytes["total"] > 0) == (WORLD.size > 1)
    assert messages["most"] <= messages["total"] <= messages["most"] * WORLD.size
    assert sum(run["hosts"].values()) == WORLD.size
    assert 1 <= run["binding"]["cores"] <= run["binding"]["host_cores"]
    assert 10e6 < run["memory"]["start"] <= run["memory"]["most"]
    assert run["memory"]["mean"] <= run["memory"]["most"]
    assert {"python", "numpy", "h5py", "mpi4py", "mpibatch"} <= run["versions"].keys()
    assert run["mpi"]
    assert run["date"].startswith("20")
    assert run["exchanges"]
    assert run["reductions"] > 0
    return run


def test_the_account_of_a_pipeline(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = check(recorded(PIPELINE, shared_tmp, monkeypatch), shared_tmp)
    assert (run["kind"], run["shape"], run["cells"], run["steps"]) == ("pipeline", [30, 26], 780, 2)
    assert math.prod(run["topology"]) == WORLD.size
    assert [*run["laps"]] == ["reading", "gaussian_filter", "mask", "writing"]
    assert sum(run["laps"].values()) <= run["seconds"]["total"]["slowest"] * len(run["laps"])
    assert {need["lap"] for need in run["exchanges"]} == {"gaussian_filter"}
    (smoothing,) = run["kernels"]
    assert (smoothing["name"], smoothing["bytes"], smoothing["cells"]) == ("gaussian_filter", 8, 2 * 780)
    assert 0 < smoothing["seconds"] <= run["seconds"]["compute"]["slowest"]


def test_the_account_of_a_simulation(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = check(recorded(SIMULATION, shared_tmp, monkeypatch), shared_tmp)
    assert (run["kind"], run["shape"], run["cells"], run["steps"]) == ("simulation", [24, 20], 480, 6)
    assert {"steps", "output"} <= run["laps"].keys()
    (kernel,) = run["kernels"]
    assert (kernel["name"], kernel["bytes"], kernel["cells"]) == ("step2", 16, 6 * 480)
    assert kernel["seconds"] <= run["seconds"]["compute"]["slowest"]
    assert sum(need["times"] * need["steps"] for need in run["exchanges"] if need["lap"] == "steps") == 6


def test_nothing_is_gathered_unless_asked(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mpibatch.cli._summary import run_and_report
    from mpibatch.job.file.reader import parse_any
    from mpibatch.mpi import private

    monkeypatch.delenv(completion.VARIABLE, raising=False)
    monkeypatch.setattr(completion, "_noted", {})
    assert run_and_report(parse_any(SIMULATION.format(folder=shared_tmp), "job.toml", []), private(), quiet=True) == 0
    assert completion._noted.keys() == {"output"}
