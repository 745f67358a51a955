"""Plans: pure arithmetic over a profile that is written here, and the command without MPI."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mpibatch.base.errors import RunError, UsageError
from mpibatch.cli import main
from mpibatch.domain import Decomposition
from mpibatch.halo.plan import Halo, phase
from mpibatch.job.file.reader import parse_any
from mpibatch.job.plan import layout
from mpibatch.tools.planning import machine as machines
from mpibatch.tools.planning import profile as profiles
from mpibatch.tools.planning.advice import counts, limit_of, traps
from mpibatch.tools.planning.machine import HaloTraffic, JobWork, Machine, StepLength, StepWork
from mpibatch.tools.planning.prediction import Model, seconds_per_cell
from mpibatch.tools.planning.run_prediction import of_study, predicted
from mpibatch.tools.planning.traffic import fitted_to, traffic_of
from mpibatch.tools.planning.work import Subject, subject_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.conftest import Launch

HEAT = """
[simulation]
program = "heat"
steps = 100
shape = [{}]
[output]
path = "heat.h5"
"""
FILTERS = """
[input]
path = "in.npy"
[[step]]
filter = "gaussian_filter"
sigma = 2
[[step]]
filter = "sobel_magnitude"
[output]
path = "out.h5"
"""
OWN = '''
"""A program of the user's."""
from dataclasses import dataclass
@dataclass(frozen=True)
class Parameters:
    shape: tuple[int, ...] = (8, 8)
    dtype: str = "f8"
def run(p, simulation): ...
'''
EVEN = Machine("even", 4, dict.fromkeys((1, 2, 4), 10.0) | {2: 20.0, 4: 40.0}, 1 << 34, 1e-6, 1e9, 3e-6, write={1: 1e9})
STAR = HaloTraffic(((1, 1),) * 3, False, (False,) * 3, 8, 1.0)


def heat(*shape: int) -> Any:
    return parse_any(HEAT.format(", ".join(map(str, shape))), "heat.toml")


def subject(shape: Sequence[int], per_cell: float = 1e-9, exchanges: tuple[HaloTraffic, ...] = (STAR,)) -> Subject:
    """The heat program as if it had been probed."""
    unprobed = subject_of(heat(*shape))
    steps = (StepWork("steps", {1: per_cell, 4: per_cell}, 0.0, exchanges, 0.1),)
    work = JobWork(unprobed.key, "heat.toml", "simulation", tuple(shape), 4, steps, 32.0, 2e8, output_per_cell=8.0)
    return replace(unprobed, work=work)


# ---- numbers of ranks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2,4", [1, 2, 4]),
        ("4, 2,2", [2, 4]),
        ("1..64", [1, 2, 4, 8, 16, 32, 64]),
        ("3..20", [3, 6, 12, 20]),
        ("1,2,4,...,32", [1, 2, 4, 8, 16, 32]),
        ("1,2,4,…,32", [1, 2, 4, 8, 16, 32]),
        ("7", [7]),
    ],
)
def test_numbers_of_ranks(text: str, expected: list[int]) -> None:
    assert counts(text) == expected


@pytest.mark.parametrize("text", ["0", "1,0", "-4", "1,two", "", "8..2", "1,2,...", "1e3", "99999999999"])
def test_numbers_of_ranks_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(UsageError, match="--ranks"):
        counts(text)


# ---- profiles

BY_HAND = {
    "schema": 1,
    "name": "cluster X",
    "cores_per_node": 128,
    "memory_per_node": 256e9,
    "triad": {"1": 20, "128": 350},
    "latency": 5e-7,
    "bandwidth": 1e10,
    "internode": {"latency": 1.5e-6, "bandwidth": 2.4e10},
}


def test_a_profile_by_hand() -> None:
    machine = profiles.parse(BY_HAND)
    assert machine.triad == {1: 20.0, 128: 350.0}
    assert machine.memory_per_node == 256 * 10**9
    assert machine.internode is not None
    assert machine.internode.reduce_seconds() == 3e-6


def test_a_profile_comes_back_from_its_file(tmp_path: Path) -> None:
    work = subject((64, 64, 64)).work
    assert work is not None
    length = StepLength(1e-3, 64.0, -2.0)
    saved = replace(EVEN, internode=machines.Links(2e-6, 1e10)).with_work(
        [replace(work, step_length=length, warmup={1: 0.5, 2: 0.25}, first_use=3e-8)]
    )
    profiles.save(tmp_path / "here" / "machine.json", saved)
    assert profiles.load(tmp_path / "here" / "machine.json") == saved


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "schema 2"),
        ({"name": None}, None),
        ({"cores_per_node": 0}, "cores_per_node = 0; expected a whole number, 1 or more"),
        ({"cores_per_node": 2.5}, "whole"),
        ({"triad": {"1": -20}}, "triad"),
        ({"triad": {}}, "triad"),
        ({"triad": {"one": 20}}, "triad"),
        ({"latency": -1e-6}, "latency = -1e-06; expected a finite number, more than 0"),
        ({"latency": float("nan")}, "latency"),
        ({"bandwidth": "fast"}, "bandwidth"),
        ({"bandwith": 1e9}, "did you mean 'bandwidth'"),
        ({"internode": {"latency": 1e-6}}, "internode needs the key 'bandwidth'"),
        ({"internode": 3}, "internode"),
        ({"work": [{}]}, r"work\[0\] needs the key 'shape'"),
        ({"work": 7}, "work = 7"),
        ({"triad": {"9" * 5000: 20}}, "triad"),
        ({"latency": 10**350}, "latency"),
        ({"versions": ["h5py"]}, "versions"),
    ],
)
def test_profiles_with_mistakes(change: dict[str, Any], words: str | None) -> None:
    given_ = {key: value for key, value in (BY_HAND | change).items() if value is not None}
    with pytest.raises(UsageError, match=words or "needs the key 'name'"):
        profiles.parse(given_)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": []}, "shape"),
        ({"shape": [64, float("inf"), 64]}, "whole number"),
        ({"steps": []}, "steps"),
        ({"memory_alone": [8.0]}, "memory_alone"),
        ({"memory_alone": [8.0, 1e8, 3.0]}, "memory_alone"),
        ({"step_length": {"time": 0.0, "side": 64.0, "power": -2.0}}, "step_length"),
        ({"step_length": {"time": 1e-3, "side": -64.0, "power": -2.0}}, "step_length"),
        ({"step_length": {}}, "step_length needs the key 'time'"),
        ({"warmup": {"1": -0.5}}, "-0.5"),
        ({"first_use": "much"}, 'first_use = "much"'),
        ({"seconds_per_cell": {}}, "seconds_per_cell"),
        ({"seconds_per_cell": {"1": 0.0}}, "seconds_per_cell"),
        ({"seconds_per_cell": {"0": 1e-9}}, "seconds_per_cell"),
        ({"widths": [[1, 1], [1, 1]]}, "3 axes"),
        ({"widths": [[1], [1], [1]]}, "two values"),
        ({"wraps": [True]}, "3 axes"),
    ],
)
def test_damaged_work_is_told_with_the_rest(change: dict[str, Any], words: str) -> None:
    work = subject((64, 64, 64)).work
    assert work is not None
    entry = json.loads(json.dumps(asdict(work)))
    (key,) = change
    step = entry["steps"][0]
    next(part for part in (entry, step, step["exchanges"][0]) if key in part).update(change)
    with pytest.raises(UsageError, match=rf"(?s)triad.*work\[0\].*{words}.*measure anew"):
        profiles.parse(BY_HAND | {"triad": {}, "work": [entry]})


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(UsageError) as raised:
        profiles.parse({"schema": 1, "latency": 1e-6, "triad": {"1": 0}})
    for key in ("name", "cores_per_node", "triad", "latency and bandwidth"):
        assert key in str(raised.value)


def test_files_that_hold_no_profile(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    with pytest.raises(RunError, match="does not exist"):
        profiles.load(path)
    for text in ("{", "[1]", "\udcff"):
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(UsageError):
            profiles.load(path)


# ---- the model

SHAPES = st.lists(st.integers(1, 40), min_size=1, max_size=3).filter(lambda shape: math.prod(shape) > 1)


@given(SHAPES, st.integers(1, 300))
@settings(deadline=None, derandomize=True, database=None)
def test_blocks_add_up(shape: list[int], ranks: int) -> None:
    spread = layout(tuple(shape), ranks, {})
    blocks = [spread.decomposition.box(rank).shape for rank in range(ranks)]
    assert sum(map(math.prod, blocks)) == math.prod(shape)
    assert max(map(math.prod, blocks)) == spread.cells
    assert spread.imbalance == pytest.approx(spread.decomposition.imbalance())
    for axis, (low, high) in enumerate(zip(spread.smallest, spread.largest, strict=True)):
        assert {low, high} == {f(block[axis] for block in blocks) for f in (min, max)}


@given(
    st.lists(st.integers(2, 200), min_size=1, max_size=3),
    st.integers(1, 2000),
    st.floats(1e-12, 1e-6),
    st.floats(1e-8, 1e-3),
)
@settings(deadline=None, derandomize=True, database=None, max_examples=40)
def test_efficiency_is_one_at_most_on_equal_ranks(shape: list[int], ranks: int, each: float, latency: float) -> None:
    assume(ranks <= math.prod(shape))
    ndim = len(shape)
    star = HaloTraffic(((1, 1),) * ndim, False, (False,) * ndim, 8, 1.0)
    prediction = Model(subject(shape, each, (star,)), replace(EVEN, latency=latency)).at(ranks)
    assert prediction.efficiency is not None
    assert 0 < prediction.efficiency <= 1 + 1e-12
    assert prediction.memory is not None
    assert prediction.memory >= 2e8 + 32 * prediction.cells
    assert prediction.memory_least == 8 * prediction.cells


@given(st.lists(st.integers(8, 400), min_size=1, max_size=3), st.lists(st.integers(2, 200), min_size=1, max_size=4))
@settings(deadline=None, derandomize=True, database=None, max_examples=12)
def test_advice_is_truly_better_by_the_model(shape: list[int], ranks: list[int]) -> None:
    ndim = len(shape)
    star = HaloTraffic(((1, 1),) * ndim, False, (False,) * ndim, 8, 1.0)
    model = Model(subject(shape, 1e-8, (star,)), EVEN)
    fitting = [count for count in ranks if count <= math.prod(shape)]
    for advice in traps(model, fitting):
        now, then = model.at(advice.ranks), model.at(advice.better)
        assert now.seconds_per_step is not None
        assert then.seconds_per_step is not None
        assert now.seconds_per_step / then.seconds_per_step == pytest.approx(advice.gain)
        assert abs(advice.better - advice.ranks) <= max(2, 0.05 * advice.ranks)
        if advice.better > advice.ranks:
            assert advice.gain >= advice.better / advice.ranks
        else:
            assert advice.gain >= 0.99


def test_a_prime_number_of_ranks_is_a_trap() -> None:
    advice = traps(Model(subject((96, 96, 96)), EVEN), [97])
    assert len(advice) == 1
    assert str(advice[0]).startswith("97 is a prime number: ")
    assert advice[0].gain > 1.3


def test_ranks_that_make_no_block_smaller_are_named() -> None:
    fixed = subject((63, 4, 4), 1e-5)
    model = Model(replace(fixed, job=replace(fixed.job, grid={"topology": [None, 1, 1]})), EVEN)
    improvements = traps(model, [63, 62])
    # 62 ranks along 63 cells: one has two cells, as 32 to 61 ranks would have.
    assert [(advice.ranks, advice.better) for advice in improvements] == [(62, 63)]


def test_where_more_ranks_gain_nothing() -> None:
    slow = Model(subject((64, 64, 64), 1e-9), replace(EVEN, latency=1e-4))
    limit = limit_of(slow)
    assert limit.useless is not None
    assert limit.useless <= 16
    before, after = (slow.at(n).seconds_per_step for n in (limit.useless, 2 * limit.useless))
    assert before is not None
    assert after is not None
    assert after > before / 1.1
    assert "gain less" in str(limit)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(3, 6), st.integers(0, 3)), min_size=1, max_size=3),
    st.sampled_from([(0, 1), (1, 0), (1, 1), (2, 3), (3, 3)]),
    st.booleans(),
    st.booleans(),
)
@settings(deadline=None, derandomize=True, database=None, max_examples=50)
def test_the_busiest_rank_is_found_among_a_few(
    axes: list[tuple[int, int, int]], width: tuple[int, int], corners: bool, wraps: bool
) -> None:
    ndim, topology = len(axes), [parts for parts, _, _ in axes]
    ranks = math.prod(topology)
    exchange = HaloTraffic((width,) * ndim, corners, (wraps,) * ndim, 4, 1.0)
    spread = layout(tuple(parts * n + more % parts for parts, n, more in axes), ranks, {"topology": topology})
    sent = traffic_of(exchange, spread, ranks)
    stages = [(axis,) for axis in range(ndim)] if corners and ndim > 1 else [tuple(range(ndim))]
    halo = Halo(exchange.widths, ("wrap" if wraps else None,) * ndim, corners)
    most = 0
    for rank in range(ranks):
        moves = [m for cut in stages for ms in phase(spread.decomposition, rank, halo, cut).sends.values() for m in ms]
        most = max(most, 4 * sum(math.prod(move.wire) for move in moves))
    # The largest blocks may be at one place, and those between two neighbors at another.
    assert 0.7 * most <= sent.bytes <= most


def test_messages_to_other_nodes_share_their_way_out() -> None:
    far = machines.Links(1e-5, 1e9)
    alone = Model(subject((64, 64, 64)), replace(EVEN, internode=far), ranks_per_node=1).at(8)
    shared = Model(subject((64, 64, 64)), replace(EVEN, internode=far), ranks_per_node=4).at(8)
    one_node = Model(subject((64, 64, 64)), replace(EVEN, internode=far), ranks_per_node=8).at(8)
    assert alone.nodes == 8
    assert alone.halo is not None
    assert shared.halo is not None
    assert one_node.halo is not None
    assert one_node.halo < min(alone.halo, shared.halo)


def test_links_between_nodes_stand_for_those_within() -> None:
    far = machines.Links(1e-5, 1e9, 4e-5)
    only = replace(EVEN, latency=None, bandwidth=None, allreduce=None, internode=far)
    both = replace(EVEN, latency=1e-5, bandwidth=1e9, allreduce=4e-5, internode=far)
    prediction, expected = (Model(subject((64, 64, 64)), machine, ranks_per_node=4).at(8) for machine in (only, both))
    assert prediction == expected
    assert prediction.halo
    assert prediction.reduce


def test_memory_is_held_against_the_node() -> None:
    small = replace(EVEN, memory_per_node=1 << 30)
    predictions = [Model(subject((256, 256, 256)), small).at(n) for n in (1, 4, 64)]
    assert [prediction.fits for prediction in predictions] == [True, False, True]


def test_small_blocks_fuse_fewer_steps() -> None:
    fused = HaloTraffic(((4, 4),) * 3, True, (False,) * 3, 8, 0.25, 4)
    large = fitted_to(fused, layout((256, 256, 256), 8, {}))
    small = fitted_to(fused, layout((32, 32, 32), 64, {}))
    assert large == fused
    assert (small.steps, small.widths[0], small.times) == (1, (1, 1), 1.0)


def test_seconds_of_a_cell_follow_the_triad_beyond_what_was_measured() -> None:
    home = {1: 10.0, 2: 10.0}  # one rank has all the bandwidth that there is
    bound, free = {1: 1e-9, 2: 2e-9}, {1: 1e-9, 2: 1e-9}
    assert seconds_per_cell(bound, 4, home, home) == pytest.approx(4e-9)
    assert seconds_per_cell(free, 4, home, home) == pytest.approx(1e-9)
    # Another machine with twice the bandwidth of a rank.
    assert seconds_per_cell(bound, 1, home, {1: 20.0, 2: 40.0}) == pytest.approx(0.5e-9)
    assert seconds_per_cell(bound, 2, home, {1: 20.0, 2: 40.0}) == pytest.approx(0.5e-9)


def test_steps_of_a_run_that_ends_at_a_time() -> None:
    text = HEAT.format("64, 64").replace("steps = 100", "until = 0.01")
    unprobed = subject_of(parse_any(text, "heat.toml"))
    steps = (StepWork("steps", {1: 1e-9}),)
    work = JobWork(unprobed.key, "heat.toml", "simulation", (32, 32), 1, steps, 32.0, 1e8, 0.0, 8.0)
    work = replace(work, step_length=StepLength(1e-4, 32.0, -2.0))
    prediction = Model(replace(unprobed, work=work), EVEN).at(1)
    assert prediction.steps == 400  # a quarter of the length on twice the cells
    assert prediction.write_bytes == 2 * 64 * 64 * 8


def test_first_steps_take_longer() -> None:
    cold = subject((96, 96, 96))
    work = cold.work
    assert work is not None
    warm = replace(cold, work=replace(work, warmup={1: 0.5, 2: 0.25}, first_use=3e-8))
    for ranks, trying in ((1, 0.5), (2, 0.25), (4, 0.25)):
        plain, warmed = Model(cold, EVEN).at(ranks), Model(warm, EVEN).at(ranks)
        assert plain.steps is not None
        assert plain.warmup is None
        assert plain.mean_step() == plain.seconds_per_step == warmed.seconds_per_step
        share = min(1.0, plain.steps / machines.WARMUP_STEPS)
        assert warmed.warmup == pytest.approx(share * trying + 3e-8 * warmed.cells)
        assert warmed.warmup is not None
        assert plain.seconds_per_step is not None
        assert warmed.mean_step() == pytest.approx(plain.seconds_per_step + warmed.warmup / plain.steps)
        assert warmed.efficiency == plain.efficiency


# ---- the command


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MPIBATCH_MACHINE", raising=False)
    (tmp_path / "heat.toml").write_text(HEAT.format("96, 96, 96"))
    (tmp_path / "filters.toml").write_text(FILTERS)
    np.save(tmp_path / "in.npy", np.zeros((300, 200), "f4"))
    return tmp_path


def probed(folder: Path, path: str = ".mpibatch/machine.json") -> None:
    work = subject((96, 96, 96)).work
    assert work is not None
    profiles.save(folder / path, EVEN.with_work([work]))


def test_a_plan_of_what_was_not_probed(jobs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "filters.toml", "--ranks", "1,4", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [point["ranks"] for point in document["points"]] == [1, 4]
    assert document["points"][1]["topology"] == [2, 2]
    assert document["points"][1]["messages"] > 0
    # σ = 2: 8 rows of the gaussian, axis after axis; one around the block for both derivatives.
    assert document["points"][1]["halo_bytes"] == pytest.approx(4 * (8 + 1) * (150 + 100), rel=1e-3)
    assert "seconds_per_step" not in document["points"][0]
    assert not document["probed"]
    assert "mpiexec -n 2 mpibatch probe filters.toml" in document["notes"][0]
    assert main(["plan", "filters.toml", "--ranks", "1,4"]) == 0
    assert "was not probed" in capsys.readouterr().out


def test_what_is_read_and_the_least_of_memory_are_told_of_what_was_not_probed(
    jobs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(job: str, *options: str) -> tuple[str, list[dict[str, Any]]]:
        assert main(["plan", job, "--ranks", "1,7", *options]) == 0
        text = capsys.readouterr().out
        assert main(["plan", job, "--ranks", "1,7", "--json", *options]) == 0
        return text, json.loads(capsys.readouterr().out)["points"]

    text, points = shown("filters.toml")
    assert "input    234.4 KiB to be read, by all ranks together\n" in text
    assert [point["read_bytes"] for point in points] == [4 * 300 * 200] * 2
    # Of 7 ranks the fullest has 43 × 200 cells of f4, and on one rank all of them are in memory at once.
    assert [point["memory_least"] for point in points] == [4 * 300 * 200, 4 * 43 * 200]
    assert "≥ 234.4 KiB" in text
    assert "≥ 33.6 KiB" in text
    text, points = shown("filters.toml", "--set", 'input.region="0:30, ::2"')
    assert points[0]["memory_least"] == points[0]["read_bytes"] == 4 * 30 * 100
    # Programs of the package have a field of their dtype; of others nothing is certain.
    text, points = shown("heat.toml", "--set", "simulation.dtype=f4")
    assert points[0]["memory_least"] == 4 * 96**3
    assert "to be read" not in text
    (jobs / "own.py").write_text(OWN)
    text, points = shown("heat.toml", "--set", "simulation.program=own.py")
    assert "memory_least" not in points[0]
    assert "≥" not in text
    # What was measured goes before.
    probed(jobs)
    text, points = shown("heat.toml")
    assert "≥" not in text
    assert points[0]["memory"] > points[0]["memory_least"] == 8 * 96**3


def test_a_dtype_that_means_something_else(jobs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (jobs / "own.py").write_text(OWN.replace('"f8"', '"single precision"'))
    assert main(["plan", "heat.toml", "--set", "simulation.program=own.py", "--ranks", "1,4"]) == 0
    assert "96 × 96 × 96 cells" in capsys.readouterr().out


def test_a_plan_of_what_was_probed(jobs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probed(jobs)
    assert main(["plan", "heat.toml", "--ranks", "1..64,97", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["probed"]
    by_ranks = {point["ranks"]: point for point in document["points"]}
    assert by_ranks[1]["efficiency"] == 1.0
    assert by_ranks[1]["seconds_per_step"] == pytest.approx(96**3 * 1e-9, rel=1e-3)
    assert by_ranks[64]["seconds"] > 0
    assert [advice["ranks"] for advice in document["advice"]] == [97]
    assert main(["plan", "heat.toml", "--ranks", "1..64,97", "--set", "simulation.diffusivity=2"]) == 0
    text = capsys.readouterr().out
    assert "97 is a prime number" in text
    assert "measured on up to 4" not in text


def test_a_plan_for_a_machine_that_is_not_here(jobs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probed(jobs)
    (jobs / "x.json").write_text(json.dumps(BY_HAND))
    assert main(["plan", "heat.toml", "--ranks", "1,256", "--machine", "x.json", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["machine"] == "cluster X"
    assert document["points"][0]["seconds_per_step"] == pytest.approx(96**3 * 0.5e-9, rel=1e-3)
    assert document["points"][1]["nodes"] == 2
    assert any("ratio of the two machines' triads" in note for note in document["notes"])


def test_a_plan_needs_no_mpi_and_no_second(jobs: Path, launch: Launch) -> None:
    probed(jobs)
    code = (
        "import sys, time; begin = time.perf_counter()\n"
        "sys.modules.update(dict.fromkeys(('mpi4py', 'numba', 'scipy')))\n"
        "from mpibatch.cli import main\n"
        "assert main(['plan', 'heat.toml', '--ranks', '1,2,4,...,65536']) == 0\n"
        "assert main(['plan', 'filters.toml', '--ranks', '6']) == 0\n"
        "assert main(['probe', '--help']) == 0\n"
    )
    begin = time.perf_counter()
    done = launch(0, "-c", code)
    assert done.returncode == 0, done.stderr
    assert "65536" in done.stdout
    assert time.perf_counter() - begin < 10  # about one where nobody else computes


def test_dots_end_where_the_cells_do(jobs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, expected in (
        ("1..65536", [1, 2, 4, 8, 16]),
        ("1, 2, ..., 64", [1, 2, 4, 8, 16]),
        ("3, 4..64", [3, 4, 8, 16]),
        ("4,16", [4, 16]),
    ):
        assert main(["plan", "heat.toml", "--ranks", text, "--set", "simulation.shape=[6,4]", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert [point["ranks"] for point in document["points"]] == expected
        assert any("more ranks than 24 are left out" in note for note in document["notes"]) == (".." in text)
    for text in ("1..16, 64", "32..64"):
        assert main(["plan", "heat.toml", "--ranks", text, "--set", "simulation.shape=[6,4]"]) == 2
        assert "24 cells" in capsys.readouterr().err


def test_a_note_tells_which_links_are_missing(jobs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = subject((96, 96, 96)).work
    assert work is not None
    none = replace(EVEN, latency=None, bandwidth=None, allreduce=None).with_work([work])
    far = machines.Links(1e-5, 1e9)
    for machine, note in (
        (none, "messages take no time here"),
        (replace(none, internode=far), "within a node are taken to be as slow as between two"),
        (EVEN.with_work([work]), "between nodes are taken to be as fast as within one"),
        (replace(EVEN, internode=far).with_work([work]), ""),
    ):
        profiles.save(jobs / ".mpibatch" / "machine.json", machine)
        assert main(["plan", "heat.toml", "--ranks", "1,2"]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("- messages")]
        assert [note in line for line in lines] == ([True] if note else [])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["heat.toml", "--ranks", "0"], 2, "--ranks 0"),
        (["heat.toml", "--ranks", "-1"], 2, "--ranks"),
        (["heat.toml", "--ranks", "1,1000000"], 2, "884736 cells"),
        (["heat.toml", "--ranks-per-node", "-2"], 2, "--ranks-per-node -2"),
        (["none.toml"], 1, "'none.toml' does not exist"),
        (["heat.toml", "--machine", "none.json"], 1, "does not exist"),
        (["heat.toml", "--machine", "old.json"], 2, "schema 0"),
        (["heat.toml", "--set", "simulation.shap=[4]"], 2, "did you mean 'shape'"),
        (["heat.toml", "--ranks", "3", "--set", "grid.topology=[2,2,1]"], 2, "process grid"),
        (["cavity.toml"], 2, "mpibatch probe cavity.toml"),
        (["filters.toml", "--set", "input.path=no.npy"], 1, "no such file"),
    ],
)
def test_plans_that_cannot_be_meant(
    jobs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    (jobs / "old.json").write_text('{"schema": 0}')
    (jobs / "cavity.toml").write_text('[simulation]\nprogram = "cavity"\nsteps = 5\n[output]\npath = "c.h5"\n')
    assert main(["plan", *arguments]) == code
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


# ---- what a run says


def test_a_run_is_foretold_only_if_the_profile_knows_it(jobs: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert predicted(heat(96, 96, 96), 4) is None
    probed(jobs)
    prediction = predicted(heat(96, 96, 96), 4)
    assert prediction is not None
    assert prediction["seconds_per_step"] > 0
    assert prediction["memory"] > 2e8
    assert prediction["steps"] == 100
    assert predicted(heat(96, 96), 4) is None
    assert not caplog.records


@pytest.mark.parametrize("text", ["{", '{"schema": 7}', "[]", ""])
def test_a_damaged_profile_is_a_warning(jobs: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    (jobs / ".mpibatch").mkdir()
    (jobs / ".mpibatch" / "machine.json").write_text(text)
    assert predicted(heat(96, 96, 96), 4) is None
    assert "no prediction" in caplog.text


def test_the_variable_names_the_profile(jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probed(jobs, "elsewhere.json")
    monkeypatch.setenv("MPIBATCH_MACHINE", "elsewhere.json")
    assert predicted(heat(96, 96, 96), 2) is not None


def test_a_point_of_a_study(jobs: Path) -> None:
    probed(jobs)
    profile = json.loads((jobs / ".mpibatch" / "machine.json").read_text())
    text = HEAT.format("96, 96, 96")
    assert of_study(text, "heat.toml", [], profile, 4) == predicted(heat(96, 96, 96), 4)
    assert of_study(text, "heat.toml", ["simulation.shape=[64,64]"], profile, 4) is None


def test_uneven_blocks_count(jobs: Path) -> None:
    """A job's own sizes decide what its fullest rank has."""
    text = HEAT.format("10, 10") + "\n[grid]\nsizes = [[7, 3], []]\n"
    prediction = Model(subject_of(parse_any(text, "heat.toml"))).at(2)
    assert (prediction.largest, prediction.smallest, prediction.cells) == ((7, 10), (3, 10), 70)
    assert prediction.imbalance == pytest.approx(1.4)
    assert Decomposition.over((10, 10), 2, None, [[7, 3], None]).imbalance() == pytest.approx(1.4)
