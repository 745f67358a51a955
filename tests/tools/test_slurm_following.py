"""Commands that follow jobs on a real Slurm, or end them: `logs -f`, `scale --wait`, `cancel --all`.

A stand-in takes the place of `mpibatch run`; it ends when the test says so. Jobs and commands go on side by side, and
the tests ask for them one after the other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.support.slurm_cluster import Cluster, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slurm

Completed: TypeAlias = subprocess.CompletedProcess[str]

JOB = """\
[simulation]
program = "heat"
steps = 9

[output]
path = "heat.h5"
every_steps = 9

[checkpoint]
"""

# It fails at once as fail.toml; else it runs until it is asked to stop, or there is a file go.NUMBER.
STAND_IN = """\
#!/bin/bash
if [ "$1" != run ]; then exec {real} "$@"; fi
leave() {{
    printf '{{"code": %d, "job": "%s", "restart": "%s", "cluster": "%s"}}' \\
        "$1" "$SLURM_JOB_ID" "${{SLURM_RESTART_COUNT:-0}}" "$SLURM_CLUSTER_NAME" >"$MPIBATCH_RECORD"
    exit "$1"
}}
if [ "${{2##*/}}" = fail.toml ]; then leave 1; fi
trap 'leave 75' USR1
echo "stand-in of attempt ${{SLURM_RESTART_COUNT:-0}}"
touch "{folder}/began.$SLURM_JOB_ID.${{SLURM_RESTART_COUNT:-0}}"
until [ -e "{folder}/go.$SLURM_JOB_ID" ]; do sleep 0.1; done
leave 0
"""


class User:
    """Someone in a folder of the cluster, who types commands."""

    def __init__(self, cluster: Cluster, pool: ThreadPoolExecutor) -> None:
        self.cluster, self.pool, self.folder = cluster, pool, cluster.folder / "user"
        software = self.folder / "venv" / "bin"
        software.mkdir(parents=True)
        (software / "activate").write_text(f"PATH={software}:$PATH\n")
        real = Path(sys.executable).parent / "mpibatch"
        (software / "mpibatch").write_text(STAND_IN.format(real=real, folder=self.folder))
        (software / "mpibatch").chmod(0o755)
        for name in ("heat", "fail"):
            (self.folder / f"{name}.toml").write_text(JOB)
        (self.folder / "lines").write_text("output.path=a.h5\noutput.path=b.h5\n")
        for name, partition, node in (("spot", "spot", 1), ("chains", "debug", 2), ("others", "debug", 3)):
            where = f'partition = "{partition}"\noptions = ["--nodelist=n{node}"]\n'
            (self.folder / f"{name}.profile.toml").write_text(f'venv = "{self.folder}/venv"\n{where}')

    def __call__(self, *arguments: str, folder: str = ".") -> Completed:
        return self.cluster.mpibatch(*arguments, cwd=self.folder / folder, check=False)

    def start(self, *arguments: str, folder: str = ".") -> Future[Completed]:
        """Run a command that waits for something."""
        return self.pool.submit(self, *arguments, folder=folder)

    def submit(self, job: str, profile: str, *options: str, folder: str = ".") -> str:
        place = ("--quiet", "--profile", f"{self.folder}/{profile}.profile.toml")
        done = self("submit", f"{self.folder}/{job}.toml", *place, "--time", "60", *options, folder=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def began(self, number: str, restart: int = 0) -> None:
        """Wait until a job runs the stand-in."""
        began = self.folder / f"began.{number}.{restart}"
        self.cluster.wait(began.exists, f"job {number} to begin", 40)

    def urgent(self, node: int) -> None:
        """Have a job of higher priority take a whole node."""
        where = ("-p", "urgent", "-w", f"n{node}", "--exclusive")
        self.cluster.command("sbatch", *where, "-o", "/dev/null", "--wrap", "sleep 1")


@pytest.fixture(scope="module")
def cluster(pool: ThreadPoolExecutor) -> Iterator[Cluster]:
    if reason := missing():
        pytest.skip(reason)
    with Cluster() as running:
        # Where a preemption is the end of a job, as it is not on the partition that is there already.
        spot = ("PartitionName=spot", "Nodes=ALL", "MaxTime=INFINITE", "PriorityTier=1", "PreemptMode=CANCEL")
        running.command("scontrol", "create", *spot)
        yield running


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:  # outlives the cluster: what hangs in there ends with that
        yield threads


@pytest.fixture(scope="module")
def user(cluster: Cluster, pool: ThreadPoolExecutor) -> User:
    return User(cluster, pool)


@pytest.fixture(scope="module")
def chain(user: User) -> tuple[str, Future[Completed]]:
    """A chain that is preempted at once, and the command that follows it."""
    number = user.submit("heat", "chains", "--chain")
    user.began(number)
    following = user.start("logs", "-f", number)
    user.cluster.wait((user.folder / f"heat-{number}.out").exists, "its log")
    user.urgent(2)
    return number, following


def test_a_preemption_that_cancels_is_an_end(user, chain, cluster):
    number = user.submit("heat", "spot")
    place = ("--profile", "spot.profile.toml", "--folder", "study")
    study = ("scale", "heat.toml", *place, "--ranks", "1", "--time", "60")
    waiting = user.start(*study, "--wait")
    submitted = user.folder / "study/points/r00001-t1/submitted"
    cluster.wait(submitted.exists, "the point to be submitted")
    first = submitted.read_text()
    for job in (number, json.loads(first)["number"]):
        user.began(job)
    following = user.start("logs", "-f", number)
    user.urgent(1)
    assert following.result(30).returncode == 0
    shown = waiting.result(30)
    assert ": preempted" in shown.stdout, shown
    assert cluster.state(number) == "PREEMPTED"
    again = user(*study)
    assert again.returncode == 0, again.stderr
    assert submitted.read_text() != first


def test_all_that_goes_on_is_cancelled_and_nothing_else(user, cluster):
    (user.folder / "other").mkdir()
    failed, done, going = (
        user.submit(job, "others", *options, folder="other")
        for job, options in (("fail", ()), ("heat", ("--chain",)), ("heat", ("--chain",)))
    )
    array = user.submit("heat", "others", "--array", "../lines", "--at-once", "1", folder="other")
    forgotten = json.dumps(json.loads((user.folder / "other/.mpibatch/jobs.jsonl").read_text().splitlines()[1]))
    with (user.folder / "other/.mpibatch/jobs.jsonl").open("a") as file:
        file.write(forgotten.replace(f'"{done}"', '"4711"') + "\n")
    (user.folder / f"go.{done}").touch()
    for number, state in ((failed, "FAILED"), (done, "COMPLETED"), (f"{array}_0", "RUNNING")):
        cluster.wait_for(number, state)
    user.began(going)
    answer = user("cancel", "--all", folder="other")
    assert (answer.stdout, answer.returncode) == (f"cancelled {going}, {array}\n", 0), answer.stderr
    for number in (going, f"{array}_0", f"{array}_1"):
        cluster.wait_for(number, "CANCELLED")
    marks = [path.parent.name for path in (user.folder / "other/.mpibatch").glob("*/cancelled")]
    assert marks == [f"heat-{going}"]
    answer = user("cancel", "--all", folder="other")
    assert (answer.stdout[:18], answer.returncode) == ("nothing to cancel:", 0), answer.stderr
    # A task that was cancelled while it waited has ended, too.
    assert user.start("logs", "-f", f"{array}_1", folder="other").result(30).returncode == 0


def test_a_chain_is_followed_through_a_preemption_and_without_a_controller(user, chain, cluster):
    number, following = chain
    user.began(number, restart=1)
    cluster.command("scontrol", "shutdown", "controller")
    for _ in range(2):  # squeue tries for 9 s; the one of the command may begin 5 s later
        assert cluster.command("squeue", check=False).returncode
    cluster.command("slurmctld")
    (user.folder / f"go.{number}").touch()
    cluster.wait_for(number, "COMPLETED")
    shown = following.result(40)
    assert shown.returncode == 0, shown.stderr
    for attempt in (0, 1):
        assert f"stand-in of attempt {attempt}\n" in shown.stdout
    assert shown.stdout.endswith("mpibatch: done\n")
