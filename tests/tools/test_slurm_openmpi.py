"""Open MPI on a real Slurm: chains started by srun and by mpirun go on after a signal, and end in one rank's bytes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts._runner.setups import OPENMPI_ENVIRONMENT
from tests.support.slurm_cluster import ENDED, REPOSITORY, Cluster, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.mpio,  # by which the runner takes it into the set-up that has Open MPI
    pytest.mark.skipif(
        not (Path(sys.prefix) / "parallel").exists(),  # left there by scripts/_openmpi.sh when all is in place
        reason="needs the environment with Open MPI (.venv-openmpi), in which scripts/test.sh --setup openmpi runs it",
    ),
]


JOB = """\
[simulation]
program = "heat"
shape = [128, 128]
steps = 12000

[output]
path = "heat.h5"
every_steps = 6000
record = false  # which would tell when and where it ran

[checkpoint]
every_steps = 1500
"""

# Root, and nodes that share their cores, are this cluster's; a site needs none of it but `mpi` or `launcher`.
PROFILE = """\
venv = "{folder}/venv"
{start}

[variables]
PYTHONPATH = "{repository}"
MPI4PY_MPIABI = "openmpi"
OMPI_ALLOW_RUN_AS_ROOT = "1"
OMPI_ALLOW_RUN_AS_ROOT_CONFIRM = "1"
OMPI_MCA_hwloc_base_binding_policy = "none"
OMPI_MCA_mpi_yield_when_idle = "1"
"""
# How ranks are started, how many on each node, and what the job's log says of it.
LAUNCHERS = {
    "pmix": ('mpi = "pmix"', 2, "srun --mpi=pmix"),
    "mpirun": ('launcher = "mpirun"', 1, "mpirun -n 2"),
}

# Between nodes, Open MPI refuses the loopback device. This one leads nowhere either: both its ends are in here.
DEVICE = """
ip link add mpi0 type veth peer name mpi1
ip address add 10.77.0.1/24 dev mpi0
ip link set mpi0 up
ip link set mpi1 up
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    absent = [program for program in ("ip", "mpirun.openmpi") if shutil.which(program) is None]
    if reason := missing() or (absent and f"needs {', '.join(absent)} (Debian: iproute2 openmpi-bin)"):
        pytest.skip(reason)
    with Cluster() as running:
        running.command("sh", "-euc", DEVICE)
        yield running


class User:
    """Someone who types commands, in a folder for each launcher."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.folder = cluster, cluster.folder / "user"
        software = self.folder / "venv" / "bin"
        software.mkdir(parents=True)
        (software / "activate").write_text(f"PATH={software}:{Path(sys.executable).parent}:$PATH\n")
        # Debian's mpirun may be another MPI's.
        (software / "mpirun").write_text('#!/bin/sh\nexec mpirun.openmpi "$@"\n')
        (software / "mpirun").chmod(0o755)
        # The same names in all folders: the output tells the job that made it.
        for name in ("alone", *LAUNCHERS):
            (self.folder / name).mkdir()
            (self.folder / name / "heat.toml").write_text(JOB)
        for name, (start, *_) in LAUNCHERS.items():
            profile = PROFILE.format(folder=self.folder, start=start, repository=REPOSITORY)
            (self.folder / name / "site.toml").write_text(profile)

    def __call__(self, name: str, *arguments: str) -> str:
        """Run mpibatch in a folder, on the cluster; return what it printed."""
        return self.cluster.mpibatch(*arguments, cwd=self.folder / name).stdout

    def first_attempt(self, name: str) -> str:
        """Submit a chain, and ask it to stop when it has left a checkpoint; return its number."""
        site = ("--quiet", "--profile", "./site.toml", "--time", "10", "--nodes", "2")
        ranks = str(LAUNCHERS[name][1])
        number = self(name, "submit", "heat.toml", "--chain", *site, "--ntasks-per-node", ranks).strip()
        saved = self.folder / name / "heat.h5.checkpoints"
        is_on = lambda: any(saved.glob("step-*.h5"))  # noqa: E731
        self.cluster.wait(lambda: is_on() or self.cluster.state(number) in ENDED, f"a checkpoint by {name}", 60)
        assert is_on(), self(name, "logs", number)
        self.cluster.command("scancel", "--batch", "--signal=USR1", number)
        return number

    def alone(self) -> bytes:
        """Run the job on one rank, without Slurm; return its output."""
        command = [sys.executable, "-m", "mpibatch", "run", "heat.toml", "--quiet"]
        environment = {**os.environ, **OPENMPI_ENVIRONMENT, "PYTHONPATH": str(REPOSITORY)}
        folder = self.folder / "alone"
        subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, timeout=60, check=True)
        return (folder / "heat.h5").read_bytes()


@pytest.fixture(scope="module")
def user(cluster: Cluster) -> User:
    return User(cluster)


@pytest.fixture(scope="module")
def jobs(user: User) -> dict[str, str]:
    """Begin all chains at once, since they mostly wait for Slurm; return their numbers."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(LAUNCHERS, pool.map(user.first_attempt, LAUNCHERS), strict=True))


@pytest.fixture(scope="module")
def alone(user: User, jobs: dict[str, str]) -> bytes:
    return user.alone()


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_chain_goes_on_to_the_bytes_of_one_rank(user, jobs, alone, cluster, name):
    number, (_, ranks, launcher) = jobs[name], LAUNCHERS[name]
    cluster.wait(lambda: cluster.job(number)["Restarts"] == "1", f"the chain by {name} to requeue itself")
    state, log = cluster.wait_for(number, *ENDED, seconds=90), user(name, "logs", number)
    status: dict[str, Any] = json.loads(user(name, "status", "--json", number))
    assert (state, status["attempts"], status["result"]) == ("COMPLETED", 2, "done: heat.h5"), log
    assert "a checkpoint was saved; going on" in log
    begin = f"mpibatch: {2 * ranks} ranks × 1 threads on 2 nodes"
    assert sum(line.startswith(begin) and f"by: {launcher}" in line for line in log.splitlines()) == 2, log
    record = json.loads((user.folder / name / f".mpibatch/heat-{number}/record.json").read_text())
    assert (record["ranks"], sorted(record["run"]["hosts"].values())) == (2 * ranks, [ranks, ranks])
    assert "Open MPI" in record["run"]["mpi"]
    assert (user.folder / name / "heat.h5").read_bytes() == alone
