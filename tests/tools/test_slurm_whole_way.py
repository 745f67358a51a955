"""The whole way of a user, on a real Slurm: submit, running, checkpoint, requeue, done, verify, scale, report."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.slurm_cluster import REPOSITORY, Cluster, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slurm


JOB = """\
[simulation]
program = "heat"
shape = [192, 192]
steps = 12000

[output]
path = "heat.h5"
every_steps = 3000

[checkpoint]
every_steps = 500
"""

PROFILE = """\
venv = "{folder}/venv"
mpi = "pmi2"

[variables]
PYTHONPATH = "{repository}"
MPIR_CVAR_ENABLE_HEAVY_YIELD = "1"
"""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    if reason := missing():
        pytest.skip(reason)
    with Cluster() as running:
        yield running


class User:
    """Someone in a folder of the cluster, who types commands."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.folder = cluster, cluster.folder / "user"
        software = self.folder / "venv" / "bin"
        software.mkdir(parents=True)
        (software / "activate").write_text(f"PATH={Path(sys.executable).parent}:$PATH\n")
        (self.folder / "heat.toml").write_text(JOB)
        (self.folder / "site.toml").write_text(PROFILE.format(folder=self.folder, repository=REPOSITORY))

    def __call__(self, *arguments: str) -> str:
        """Run mpibatch, and return what it printed."""
        return self.cluster.mpibatch(*arguments, cwd=self.folder).stdout

    def submit(self, *options: str) -> str:
        site = ("--quiet", "--profile", "./site.toml", "--time", "10", "--ntasks-per-node", "1")
        return self("submit", "heat.toml", *site, *options).strip()

    def status(self, number: str) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self("status", "--json", number))
        return report

    def record(self, run: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder / f".mpibatch/{run}/record.json").read_text())
        return document


def test_the_whole_way(cluster: Cluster) -> None:
    begin = time.monotonic()
    user = User(cluster)
    number = user.submit("--chain", "--nodes", "2")
    own = ("--name", "alone", "--set", "output.path=alone.h5")
    alone = user.submit(*own)  # the same without interruption, to compare with

    cluster.wait_for(number, "RUNNING")
    assert user.status(number)["state"] == "RUNNING"
    saved = user.folder / "heat.h5.checkpoints"
    cluster.wait(lambda: any(saved.glob("step-*.h5")), "a checkpoint", 60)
    # What Slurm does some time before the limit, which is a minute at least.
    cluster.command("scancel", "--batch", "--signal=USR1", number)
    cluster.wait(lambda: cluster.job(number)["Restarts"] == "1", "the job to requeue itself")
    cluster.wait_for(number, "COMPLETED", seconds=100)
    status = user.status(number)
    assert (status["attempts"], status["result"]) == (2, "done: heat.h5"), user("logs", number)
    assert "a checkpoint was saved; going on" in user("logs", number)

    assert "heat.h5" in user("verify", "heat.h5")
    cluster.wait_for(alone, "COMPLETED", seconds=60)
    assert user.record(f"heat-{number}")["digest"] == user.record(f"alone-{alone}")["digest"]
    assert user.record(f"heat-{number}")["ranks"] == 2

    site = ("--profile", "./site.toml", "--time", "10", "--ntasks-per-node", "1", "--wait")
    shown = user("scale", "heat.toml", "--ranks", "1,2", "--repeat", "1", "--set", "simulation.steps=1200", *site)
    assert "2 of 2 runs, in jobs" in shown
    assert "2 ranks" in shown or "2 × 1" in shown
    study = user.folder / "scaling-heat-strong"
    records = [json.loads(path.read_text()) for path in study.glob("points/*/run-*.json")]
    assert sorted(record["point"]["ranks"] for record in records) == [1, 2]
    assert len({record["digest"] for record in records}) == 1
    assert {len(record["run"]["hosts"]) for record in records} == {1, 2}

    user("report", str(study))
    assert time.monotonic() - begin < 300
    assert any(path.stat().st_size > 10000 for path in study.rglob("*.html"))
