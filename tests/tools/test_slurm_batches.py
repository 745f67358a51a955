"""A batch on a real Slurm: as an array whose parts share the journal, and as one job."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.batches import STEPS
from tests.support.slurm_cluster import REPOSITORY, Cluster, missing

pytestmark = pytest.mark.slurm

JOB = f"""\
[batch]
items = "s*.npy"
table = "found.csv"
{STEPS}path = "{{name}}.h5"
"""
PROFILE = f"""\
venv = "{{folder}}/venv"
mpi = "pmi2"

[variables]
PYTHONPATH = "{REPOSITORY}"
"""


def test_parts_share_the_items_and_the_last_writes_the_table() -> None:
    if reason := missing():
        pytest.skip(reason)
    with Cluster() as cluster:
        folder = cluster.folder / "user"
        (folder / "venv" / "bin").mkdir(parents=True)
        (folder / "venv/bin/activate").write_text(f"PATH={Path(sys.executable).parent}:$PATH\n")
        (folder / "site.toml").write_text(PROFILE.format(folder=folder))
        (folder / "job.toml").write_text(JOB)
        for number in range(7):
            np.save(folder / f"s{number}.npy", np.random.default_rng(number).random((8, 8)))

        def submit(*options: str) -> str:
            site = ("--quiet", "--profile", "./site.toml", "--time", "10", "--ntasks-per-node", "2", *options)
            return cluster.mpibatch("submit", "job.toml", *site, cwd=folder).stdout.strip()

        array = submit("--parts", "2")
        cluster.wait((folder / "found.csv").exists, "the table", 90)
        for task in range(2):
            cluster.wait_for(f"{array}_{task}", "COMPLETED", seconds=60)
        alone = submit("--set", "batch.journal=own", "--set", "batch.table=own.csv", "--name", "own")
        cluster.wait_for(alone, "COMPLETED", seconds=60)
        table = (folder / "found.csv").read_text()
        assert table.splitlines()[0] == "item,name,mask.threshold"
        assert [line.split(",")[1] for line in table.splitlines()[1:]] == [f"s{number}" for number in range(7)]
        assert (folder / "own.csv").read_text() == table
        runs = {path.stem.partition("-")[0] for path in folder.glob("found.csv.journal/*.journal")}
        assert len(runs) == 2, "both parts had items"
