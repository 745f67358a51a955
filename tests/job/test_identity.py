"""The promise itself: a pipeline's datasets have the same bits on any number of ranks, cut in any way.

So has the whole file, where it tells neither of the run (record = false) nor of another topology that was asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mpibatch.io import describe, digest, file_attributes, verify

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Launch

JOB = """
[input]
path = "volume.npy"

[grid]
topology = [{topology}]

[[step]]
filter = "gaussian_filter"
sigma = [1.5, 1, 0.7]
save = true

[[step]]
filter = "median_filter"
size = 3
mode = "mirror"
save = true

[[step]]
filter = "gaussian_gradient_magnitude"
sigma = 1
mode = "constant"
cval = 0.5
save = "edges"

[[step]]
filter = "binarize"
threshold = "otsu"
save = "mask"

[output]
path = "{output}"
record = {record}
"""
# Ranks and process grid; None is the one that mpibatch chooses.
LAYOUTS: list[tuple[int, tuple[int, int, int] | None]] = [
    (2, None),
    (3, None),
    (4, (1, 2, 2)),  # pencils
    (8, None),  # blocks: (2, 2, 2)
]


def results(
    launch: Launch, folder: Path, ranks: int, topology: tuple[int, int, int] | None, record: bool = False
) -> tuple[dict[str, str], str, str]:
    """Run the job, and return the digests of its datasets, of its content, and of the file."""
    cut = ", ".join(map(str, topology or (0, 0, 0)))
    output = folder / "out.h5"
    (folder / "job.toml").write_text(JOB.format(topology=cut, output="out.h5", record=str(record).lower()))
    done = launch(ranks, "-m", "mpibatch", "run", "job.toml", "--quiet", cwd=folder, timeout=120)
    assert done.returncode == 0, done.stderr
    digests = {found.name: digest(output, found.name) for found in describe(output)}
    report = verify(output)
    assert report.is_whole
    assert ("run_record" in file_attributes(output)) == record
    return digests, report.content, hashlib.sha256(output.read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_pipeline_has_the_same_bits_on_any_ranks_and_any_decomposition(launch: Launch, tmp_path: Path) -> None:
    volume = np.random.default_rng(7).normal(size=(23, 19, 31)).astype("f4")
    np.save(tmp_path / "volume.npy", volume)
    digests, content, whole = results(launch, tmp_path, 1, None)
    assert set(digests) == {"gaussian_filter", "median_filter", "edges", "mask"}
    assert len(set(digests.values())) == 4
    for ranks, topology in LAYOUTS:
        # Of each kind one with a record: its content is the same, its bytes are not.
        record = (ranks, topology) in ((3, None), (4, (1, 2, 2)))
        found, same, file = results(launch, tmp_path, ranks, topology, record)
        assert (found, same) == (digests, content), (ranks, topology)
        # The job's text is in the file, and with it the topology that was asked for.
        assert (file == whole) == (topology is None and not record), (ranks, topology)


HEAT = """
[simulation]
program = "heat"
steps = 24
shape = [40, 36, 32]
initial = "box"
mode = [1, 1, 1]
[output]
path = "heat.h5"
record = false
"""


def test_threads_of_a_rank_change_no_bit(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "heat.toml").write_text(HEAT)
    told = []
    for ranks, threads in ((0, "1"), (0, "3"), (2, "2")):
        record = tmp_path / "record.json"
        environment = {**os.environ, "NUMBA_NUM_THREADS": threads, "MPIBATCH_RECORD": str(record)}
        done = launch(ranks, "-m", "mpibatch", "run", "heat.toml", cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        told.append(json.loads(record.read_text()))
    assert [one["run"]["threads"] for one in told] == [1, 3, 2]
    assert len({one["digest"] for one in told}) == 1
