"""Jobs on a real Slurm, from `mpibatch submit` to the record that they leave; see tests/support/slurm_cluster.py.

Most of what happens here is waiting: all jobs are submitted at once, and the tests ask for them one after the other.
A stand-in takes the place of `mpibatch run` where only the script is tested; where bits count, the run is real.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import pytest

import mpibatch as mb
from mpibatch.io.vault.keyring import is_sealed
from mpibatch.tools.slurm.quotes import directive
from tests.support.slurm_cluster import ENDED, Cluster, missing

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slurm

PROGRAM = '''\
"""Steps that take their time."""

import os
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Parameters:
    cells: int = 1000


def run(p, simulation):
    grid = simulation.grid((p.cells,))
    state = {"u": grid.from_function(lambda x: x / 7.0)}
    for now in simulation.steps(state, dt=1.0):
        u = state["u"].owned
        u += 0.1 * now.step - u / 3.0
        time.sleep(float(os.environ.get("PAUSE", "0")))
    return state["u"]
'''

JOB = """\
[simulation]
program = "slow.py"
steps = 120

[output]
path = "{name}.h5"
every_steps = 40
record = false  # which would tell when and where it ran

[checkpoint]
every_steps = 10
"""

# What it does is told by $STAND; whatever is no run goes to the real one.
STAND_IN = """\
#!/bin/bash
if [ "$1" != run ]; then exec {real} "$@"; fi
echo "${{SLURM_STEP_NUM_TASKS:-$PMI_SIZE}} $*" >>"$STAND.${{SLURM_JOB_ID}}"
leave() {{
    if [ "${{SLURM_PROCID:-0}}" = 0 ] && [ "${{PMI_RANK:-0}}" = 0 ]; then
        printf '{{"code": %d, "job": "%s", "restart": "%s", "cluster": "%s"}}' \\
            "$1" "$SLURM_JOB_ID" "${{SLURM_RESTART_COUNT:-0}}" "$SLURM_CLUSTER_NAME" >"$MPIBATCH_RECORD"
    fi
    exit "$1"
}}
case $STAND in
done) leave 0 ;;
idle) leave 75 ;;
lost) exit 0 ;;
wait)
    trap 'leave 75' USR1
    while :; do sleep 0.1; done
    ;;
esac
"""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if reason := missing():
        pytest.skip(reason)
    with Cluster() as running:
        yield running


class Site:
    """A user's folder on the cluster, and what was submitted from it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.folder = cluster, cluster.folder / "user"
        self.folder.mkdir()
        real = Path(sys.executable).parent
        self._software("real", f"PATH={real}:$PATH\n")
        stand = self._software("stand", f"PATH={self.folder}/stand/bin:$PATH\n")
        (stand / "mpibatch").write_text(STAND_IN.format(real=real / "mpibatch"))
        (stand / "mpibatch").chmod(0o755)
        (self.folder / "slow.py").write_text(PROGRAM)
        for name in ("job", "survivor", "hop", "limit"):
            (self.folder / f"{name}.toml").write_text(JOB.format(name=name))
        encrypt = 'encrypt = "recipients.txt"\n'
        (self.folder / "hop.toml").write_text(
            f"{JOB.format(name='hop')}{encrypt}".replace("record =", f"{encrypt}record =")
        )
        self("key", "new", "hop.key")
        (self.folder / "recipients.txt").write_text(self("key", "show", "hop.key").stdout)
        (self.folder / "plain.toml").write_text(JOB.format(name="plain").partition("[checkpoint]")[0])
        # The same job, to be run without interruption.
        self.alone = self.folder / "alone"
        self.alone.mkdir()
        for name in ("slow.py", "survivor.toml"):
            shutil.copy(self.folder / name, self.alone)
        elsewhere = 'options = ["--exclude=n[3-4]"]\n'
        real_one = f'venv = "{self.folder}/real"\n'
        self.profile("real", real_one + elsewhere + 'mpi = "pmi2"\n')
        self.profile("wrong", real_one + elsewhere + 'mpi = "none"\n')
        self.profile("hop", real_one + elsewhere + 'mpi = "pmi2"\n[variables]\nPAUSE = "0.2"\n')
        self.profile("limit", real_one + elsewhere + 'mpi = "pmi2"\n[variables]\nPAUSE = "0.4"\n')
        nodes = 'options = ["--nodelist=n[3-4]"]\nexclusive = true\n'
        self.profile("drill", real_one + nodes + 'mpi = "pmi2"\n[variables]\nPAUSE = "0.1"\n')
        for stand_in in ("done", "idle", "lost", "wait"):
            text = f'venv = "{self.folder}/stand"\n{elsewhere}[variables]\nSTAND = "{stand_in}"\n'
            self.profile(stand_in, text)
        by_mpiexec = f'venv = "{self.folder}/stand"\nlauncher = "mpiexec"\n{elsewhere}'
        self.profile("mpiexec", by_mpiexec + '[variables]\nSTAND = "done"\n')
        (stand / "mpiexec").write_text(f'#!/bin/bash\nexec {real}/mpiexec "$@"\n')
        (stand / "mpiexec").chmod(0o755)

    def _software(self, name: str, activate: str) -> Path:
        folder = self.folder / name / "bin"
        folder.mkdir(parents=True)
        (folder / "activate").write_text(activate)
        return folder

    def profile(self, name: str, text: str) -> None:
        (self.folder / f"{name}.profile.toml").write_text(text)

    def __call__(
        self, *arguments: str, check: bool = True, folder: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run mpibatch in the folder, inside the cluster."""
        return self.cluster.mpibatch(*arguments, cwd=folder or self.folder, check=check)

    def submit(self, job: str, profile: str, *arguments: str, folder: Path | None = None) -> str:
        options = ("--quiet", "--profile", f"{self.folder}/{profile}.profile.toml")
        return self("submit", f"{job}.toml", *options, *arguments, folder=folder).stdout.strip()

    def study(self, profile: str, ranks: str) -> str:
        """Submit a study of the job; return what the command said."""
        site = ("--profile", f"{self.folder}/{profile}.profile.toml", "--ntasks-per-node", "2")
        return self("scale", "job.toml", "--ranks", ranks, "--repeat", "2", "--folder", "study", *site).stdout

    def result(self, number: str, folder: Path | None = None) -> dict[str, Any]:
        lines = self("status", "--json", folder=folder).stdout.splitlines()
        return next(row for row in map(json.loads, lines) if row["job"] == number)

    def log(self, job: str, number: str) -> str:
        paths = [folder / f"{job}-{number}.out" for folder in (self.folder, self.alone)]
        return "".join(path.read_text() for path in paths if path.exists())

    def number_of(self, job: str, number: str) -> str:
        """Return the number of a chain's newest job."""
        lines = self.lines(f"{job}-{number}/attempts.jsonl")
        return [number, *(line["job"] for line in lines if line["event"] == "successor")][-1]

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return a file of JSON lines of the folder .mpibatch."""
        return [json.loads(line) for line in (self.folder / ".mpibatch" / name).read_text().splitlines()]

    def newest(self, job: str) -> str:
        return max((path.name for path in self.folder.glob(f"{job}.h5.checkpoints/*.h5")), default="")

    def await_progress(self, job: str, seconds: float = 60) -> None:
        before = self.newest(job)
        self.cluster.wait(lambda: self.newest(job) > before, f"a new checkpoint of {job}", seconds)


@pytest.fixture(scope="module")
def site(cluster: Cluster) -> Site:
    return Site(cluster)


@pytest.fixture(scope="module")
def jobs(site: Site, cluster: Cluster) -> dict[str, str]:
    """Submit all that needs nothing but time; return the numbers of the jobs."""
    (site.folder / "lines").write_text("output.path=a.h5\noutput.path='b $(touch CANARY).h5' simulation.steps=7\n")
    two, four = ("--nodes", "2"), ("--nodes", "2", "--ntasks-per-node", "2")
    submissions: dict[str, Callable[[], str]] = {
        "limit": lambda: site.submit("limit", "limit", "--chain", "--time", "1", "--margin", "25"),
        "signal": lambda: site.submit("job", "wait", "--time", "1", "--margin", "25"),
        "plain": lambda: site.submit("plain", "hop"),
        "survivor": lambda: site.submit("survivor", "drill", "--chain", "--nodes", "2", "--time", "10"),
        "real": lambda: site.submit("survivor", "real", *two, folder=site.alone),
        "hop": lambda: site.submit(
            "hop", "hop", "--chain=dependent", "--ntasks-per-node", "2", "--identity", "hop.key"
        ),  # encrypted
        "cancelled": lambda: site.submit("job", "wait", "--chain"),
        "wrong": lambda: site.submit("job", "wrong", *two, "--set", "output.path=wrong.h5"),
        "array": lambda: site.submit("job", "done", "--array", "lines"),
        "study": lambda: site.study("done", "1,2,4"),
        "lost": lambda: site.submit("job", "lost"),
        "idle": lambda: site.submit("job", "idle", "--chain=dependent"),
        "mpiexec": lambda: site.submit("job", "mpiexec", *four),
    }
    with ThreadPoolExecutor(2) as pool:  # most of it is the start of Python, again and again
        started = {name: pool.submit(submit) for name, submit in submissions.items()}
    numbers = {name: future.result() for name, future in started.items()}
    cluster.wait(lambda: [*site.folder.glob("plain.h5*")] != [], "the plain run to begin")
    cluster.command("scancel", "--batch", "--signal=USR1", numbers["plain"])
    cluster.wait(lambda: site.newest("hop") != "", "a checkpoint of hop")
    cluster.command("scancel", "--batch", "--signal=USR1", numbers["hop"])
    return numbers


def test_the_cluster_cannot_be_reached_from_outside(cluster):
    assert {*cluster.listeners()} == {"127.0.0.1"}
    outside = Path("/proc/net/tcp").read_text()
    assert f":{26800:04X} " not in outside


def test_a_preempted_run_goes_on(site, jobs, cluster):
    """The survivor's first attempt ends by `mpibatch cancel`, the second by a job of higher priority; see below."""
    number = jobs["survivor"]
    site.await_progress("survivor")
    site("cancel", number)
    cluster.wait_for(number, "CANCELLED")
    assert site.result(number)["result"] == "not done: exit code 75"
    jobs["survivor"] = number = site.submit("survivor", "drill", "--chain", "--nodes", "2", "--time", "10")
    site.await_progress("survivor")
    urgent = [
        "sbatch",
        "--parsable",
        "-p",
        "urgent",
        "-w",
        "n[3-4]",
        "--exclusive",
        "-o",
        "/dev/null",
        "--wrap",
        "true",
    ]
    urgent_job = cluster.command(*urgent).stdout.strip()
    cluster.wait_for(urgent_job, "COMPLETED")
    cluster.wait(lambda: cluster.job(number)["Restarts"] == "1", "the survivor to be requeued")
    assert "not done; a checkpoint was saved; going on" in site.log("survivor", number)


def test_a_run_leaves_its_record(site, jobs, cluster):
    number = jobs["real"]
    assert cluster.wait_for(number, *ENDED) == "COMPLETED", site.log("survivor", number)
    record = json.loads((site.alone / f".mpibatch/survivor-{number}/record.json").read_text())
    assert record["code"] == 0
    assert record["ranks"] == 2
    assert record["job"] == number
    assert record["bytes"] == (site.alone / record["output"]).stat().st_size
    assert site.result(number, site.alone)["result"] == "done: survivor.h5"
    shown = site("logs", "-f", number, folder=site.alone).stdout
    assert "mpibatch: 2 ranks × 1 threads on 2 nodes (n[1-2]), by: srun --mpi=pmi2" in shown
    assert shown.endswith("mpibatch: done: survivor.h5\n")


def test_a_node_that_dies_is_survived(site, jobs, cluster):
    number = jobs["survivor"]
    cluster.wait_for(number, "RUNNING", seconds=60)
    site.await_progress("survivor")
    cluster.kill_node("n4")
    # Else Slurm would find out by itself, after SlurmdTimeout.
    cluster.command("scontrol", "update", "nodename=n4", "state=down", "reason=drill")
    cluster.wait(lambda: cluster.job(number)["Restarts"] == "2", "the survivor to be requeued")
    cluster.start_node("n4")


def test_ranks_that_are_each_alone_refuse_to_start(site, jobs, cluster):
    number = jobs["wrong"]
    assert cluster.wait_for(number, *ENDED) == "FAILED"
    log = site.log("job", number)
    assert "2 ranks were started, but MPI sees 1" in log, log
    assert site.result(number)["result"].startswith("not done")
    assert not (site.folder / "wrong.h5").exists()


def test_each_task_of_an_array_is_a_run_with_its_settings(site, jobs, cluster):
    number = jobs["array"]
    for task in "01":
        assert cluster.wait_for(f"{number}_{task}", *ENDED) == "COMPLETED"
        assert site.result(f"{number}_{task}")["result"] == "done"
    texts = [path.read_text() for path in site.folder.glob("done.*")]
    commands = sorted(text for text in texts if "run job.toml --set output.path" in text)
    assert commands == [
        "1 run job.toml --set output.path=a.h5\n",
        "1 run job.toml --set output.path=b $(touch CANARY).h5 --set simulation.steps=7\n",
    ]
    assert not (site.folder / "CANARY").exists()


def test_a_study_is_a_job_for_each_number_of_ranks(site, jobs, cluster):
    numbers = {entry["name"]: entry["number"] for entry in site.lines("jobs.jsonl") if entry["kind"] == "scaling"}
    assert all(number in jobs["study"] for number in numbers.values())
    for ranks, nodes in ((1, 1), (2, 1), (4, 2)):
        number, point = numbers[f"job-r{ranks:05}-t1"], site.folder / f"study/points/r{ranks:05}-t1"
        log = point / f"job-r{ranks:05}-t1-{number}.out"
        assert cluster.wait_for(number, *ENDED) == "COMPLETED", log.read_text()
        assert cluster.job(number)["NumNodes"] == str(nodes)
        assert site.result(number)["result"] == f"done: study/points/{point.name}"
        # Two runs that count, and one before.
        started = (site.folder / f"done.{number}").read_text().splitlines()
        assert [line.split(" --set ")[0] for line in started] == [f"{ranks} run study/job.toml"] * 3 * ranks
        assert json.loads((point / "submitted").read_text())["number"] == number
        assert {path.name for path in point.glob("*.json")} == {"run-01.json", "run-02.json"}
        record = json.loads((point / "run-02.json").read_text())["point"]
        assert (record["ranks"], record["threads"], record["repeat"]) == (ranks, 1, 2)
        assert 0 < record["launch_seconds"] < 60
    (point / "run-01.json").unlink()
    assert "1 of 6 runs" in site.study("done", "1,2,4")
    number = site.lines("jobs.jsonl")[-1]["number"]
    assert cluster.wait_for(number, *ENDED) == "COMPLETED"
    assert len((site.folder / f"done.{number}").read_text().splitlines()) == 4  # nothing is compiled any more
    assert (point / "run-01.json").exists()


def test_a_launcher_that_says_0_is_not_believed(site, jobs, cluster):
    number = jobs["lost"]
    assert cluster.wait_for(number, *ENDED) == "FAILED"
    assert "left no completion record" in site.log("job", number)


def test_ranks_are_started_by_mpiexec_where_the_site_wants_it(site, jobs, cluster):
    number = jobs["mpiexec"]
    assert cluster.wait_for(number, *ENDED) == "COMPLETED", site.log("job", number)
    assert len((site.folder / f"done.{number}").read_text().splitlines()) == 4


def test_attempts_without_progress_end(site, jobs, cluster):
    number = jobs["idle"]
    assert cluster.wait_for(number, *ENDED) == "COMPLETED"  # it has a successor
    successor = site.number_of("job", number)
    assert successor != number
    assert cluster.wait_for(successor, *ENDED) == "FAILED"
    assert "2 attempts in a row made no progress: stopping" in site.log("job", successor)
    assert site.result(successor)["attempts"] == 2


def test_a_cancelled_chain_does_not_go_on(site, jobs, cluster):
    number = jobs["cancelled"]
    cluster.wait((site.folder / f"wait.{number}").exists, "it to run")
    assert site("cancel", number).stdout == f"cancelled {number}\n"
    cluster.wait_for(number, "CANCELLED")
    assert "it was cancelled" in site.log("job", number) or "CANCELLED" in site.log("job", number)
    time.sleep(1)
    assert cluster.state(number) == "CANCELLED"
    assert site("cancel", "99", check=False).returncode == 2


def test_a_chain_of_dependent_jobs(site, jobs, cluster):
    first = jobs["hop"]
    cluster.wait(lambda: site.number_of("hop", first) != first, "a successor")
    second = site.number_of("hop", first)
    assert cluster.wait_for(second, *ENDED, seconds=60) == "COMPLETED", site.log("hop", second)
    assert site.result(second)["attempts"] == 2
    # The number that `status` shows now is known as well as the first.
    assert site("logs", second).stdout == site("logs", first).stdout == site.log("hop", second)
    assert site("cancel", second).stdout == site("cancel", first).stdout
    assert is_sealed(str(site.folder / "hop.h5"))
    with mb.open(site.folder / "hop.h5", identity=site.folder / "hop.key") as file:
        assert file["u"][...].tobytes() == values(site.alone / "survivor.h5")


def test_all_attempts_together_end_in_the_result_of_one(site, jobs, cluster):
    number = jobs["survivor"]
    assert cluster.wait_for(number, *ENDED, seconds=90) == "COMPLETED", site.log("survivor", number)
    folders = [path.name for path in site.folder.glob(".mpibatch/survivor-*/")]
    attempts = [line for name in folders for line in site.lines(f"{name}/attempts.jsonl")]
    assert sum(line["event"] == "begin" for line in attempts) == 4
    assert (site.folder / "survivor.h5").read_bytes() == (site.alone / "survivor.h5").read_bytes()
    assert not (site.folder / "survivor.h5.checkpoints").exists()


def test_the_signal_before_the_time_limit_reaches_the_ranks(site, jobs, cluster):
    number = jobs["signal"]
    assert cluster.wait_for(number, *ENDED, seconds=90) == "FAILED"
    assert cluster.job(number)["ExitCode"] == "75:0"
    assert "not done; a checkpoint was saved; go on with" in site.log("job", number)
    assert 0 <= site.lines(f"job-{number}/attempts.jsonl")[-1]["stopping"] < 20


def test_a_run_longer_than_its_time_limit_goes_on_by_itself(site, jobs, cluster):
    number = jobs["limit"]
    assert cluster.wait_for(number, *ENDED, seconds=120) == "COMPLETED", site.log("limit", number)
    assert "not done; a checkpoint was saved; going on" in site.log("limit", number)
    attempts = site.lines(f"limit-{number}/attempts.jsonl")
    count = len(attempts) // 2
    assert count > 1
    assert [(line["event"], line["restart"]) for line in attempts] == [
        (event, str(n)) for n in range(count) for event in ("begin", "end")
    ]
    assert [line["code"] for line in attempts[1::2]] == [75] * (count - 1) + [0]
    stopping = max(line["stopping"] for line in attempts[1:-1:2])
    assert 0 <= stopping < 20
    assert values(site.folder / "limit.h5") == values(site.alone / "survivor.h5")
    # The next one of this name is told to stop so much earlier as this one took.
    again = site("submit", "limit.toml", "--profile", "limit.profile.toml", "--chain", "--time", "60", "--dry-run")
    assert f"#SBATCH --signal=B:USR1@{max(60, 3 * stopping + 30)}\n" in again.stdout


def test_a_run_that_saves_nothing_is_not_asked_to_stop(site, jobs, cluster):
    number = jobs["plain"]
    assert cluster.wait_for(number, *ENDED, seconds=60) == "COMPLETED", site.log("plain", number)
    assert values(site.folder / "plain.h5") == values(site.alone / "survivor.h5")
    script = site("submit", "plain.toml", "--profile", "hop.profile.toml", "--dry-run").stdout
    assert "--signal" not in script


def test_an_unknown_partition_is_told(site):
    for command in (("submit",), ("scale", "--ranks", "1", "--folder", "other")):
        options = ("--profile", "done.profile.toml", "--partition", "urgnet")
        done = site(*command, "job.toml", *options, check=False)
        assert done.returncode == 2
        assert "did you mean 'urgent'?" in done.stderr
        assert done.stderr.count("mpibatch: error:") == 1


def test_sbatch_reads_quoted_options_as_they_were(cluster):
    texts = [
        "a b",
        "$(touch X) `x`",
        '"',
        "'",
        "\\",
        "a\\",
        "#x",
        "a #b",
        "a\"b'c",
        " x ",
        '\\"',
        "ä–😀",
        "--wrap=x",
        ";",
    ]
    for text in texts:
        script = f"#!/bin/bash\n#SBATCH --hold --comment={directive(text)} --job-name={directive(text)}\ntrue\n"
        path = cluster.folder / "quoted.sbatch"
        path.write_text(script)
        number = cluster.command("sbatch", "--parsable", str(path)).stdout.strip()
        shown = cluster.command("squeue", "-h", "-j", number, "-o", "%j\x1f%k").stdout.rstrip("\n")
        assert shown.split("\x1f") == [text, text]
        cluster.command("scancel", number)


def test_the_environment_can_come_as_an_archive(site, cluster):
    inner = site.folder / "archive" / "bin"
    inner.mkdir(parents=True)
    (inner / "python").write_text(f'#!/bin/bash\nshift 2\nexec "{site.folder}/stand/bin/mpibatch" "$@"\n')
    (inner / "python").chmod(0o755)
    with tarfile.open(site.folder / "environment.tar", "w") as archive:
        archive.add(inner, "bin")
    site.profile("archive", f'sbcast = "{site.folder}/environment.tar"\n[variables]\nSTAND = "done"\n')
    number = site.submit("job", "archive")
    assert cluster.wait_for(number, *ENDED) == "COMPLETED", site.log("job", number)
    assert not [*Path("/tmp").glob(f"mpibatch-{number}*")]


def values(path: Path) -> bytes:
    with h5py.File(path) as file:
        assert file["u"].shape[0] == 4
        return file["u"][()].tobytes()
