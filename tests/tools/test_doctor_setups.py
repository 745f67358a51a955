"""`mpibatch doctor` on whole and on deliberately broken set-ups, each of which it must name; nothing may hang it.

They are real where that can be had: another MPI's mpiexec, folders and limits that fail, a rank that never comes, a
library that crashes when imported, a Slurm that starts worlds of one rank.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.support.slurm_cluster import Cluster, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REPOSITORY = Path(__file__).resolve().parents[2]
BESIDE = Path(sys.executable).parent
OTHER = shutil.which("mpiexec.openmpi")
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
SOON = 10.0  # seconds, as promised; it takes 1 to 4, and twice SOON is granted to a machine that does other things too

pytestmark = pytest.mark.skipif(not (BESIDE / "mpiexec.hydra").exists(), reason="needs the wheel mpich beside Python")
other_mpi = pytest.mark.skipif(OTHER is None, reason="needs a second MPI (Debian: openmpi-bin)")


class Report:
    """What the doctor said."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.shown = done.stdout + done.stderr
        assert done.stdout.startswith("{"), self.shown
        self.document = json.loads(done.stdout[: done.stdout.rindex("\n}") + 2])
        self.code = done.returncode

    def finding(self, check: str) -> dict[str, str]:
        """The worst finding of a check."""
        rows = [row for row in self.document["findings"] if row["check"] == check]
        assert rows, self.shown
        return max(rows, key=lambda row: ("skipped", "ok", "warning", "error").index(row["level"]))

    def names(self, check: str, level: str, *words: str) -> None:
        """Assert that a check has found something, in these words, and has advice."""
        row = self.finding(check)
        assert row["level"] == level, self.shown
        for word in words:
            assert word in f"{row['found']} → {row['advice']}", self.shown
        assert row["advice"], self.shown

    def bad(self) -> set[str]:
        """The checks with errors."""
        return {row["check"] for row in self.document["findings"] if row["level"] == "error"}


class Doctor(Protocol):
    def __call__(
        self, *arguments: str, ranks: int = 0, env: dict[str, str] | None = None, wrap: Sequence[str] = (),
        around: Sequence[str] = (), limits: Callable[[], None] | None = None,
    ) -> Report: ...  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where it is run."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def doctor(folder: Path, tmp_path: Path) -> Doctor:
    """Run ``mpibatch doctor --json`` in a folder of its own; nothing may be left there."""
    # Half of the time would go into importing numba, which is well or not in one test alone.
    light = tmp_path / "light"
    light.mkdir()
    (light / "numba.py").write_text("import importlib.metadata\n__version__ = importlib.metadata.version('numba')\n")

    def run(
        *arguments: str, ranks: int = 0, env: dict[str, str] | None = None, wrap: Sequence[str] = (),
        around: Sequence[str] = (), limits: Callable[[], None] | None = None,
    ) -> Report:  # fmt: skip
        start = [str(BESIDE / "mpiexec"), "-n", str(ranks)] if ranks else []
        command = [*around, *start, *wrap, sys.executable, "-m", "mpibatch", "doctor", "--json", *arguments]
        (tmp_path / "none").mkdir(exist_ok=True)
        # Without an mpiexec to try: that takes a second, and has tests of its own.
        path = f"{BESIDE}:{os.environ['PATH']}" if ranks else str(tmp_path / "none")
        settings = {**os.environ, "PATH": path, **(env or {})}
        settings["PYTHONPATH"] = ":".join(filter(None, [(env or {}).get("PYTHONPATH"), str(light), str(REPOSITORY)]))
        for name in [name for name in settings if name.startswith("SLURM_")]:
            if name not in (env or {}):
                del settings[name]
        done = subprocess.run(
            command, cwd=folder, env=settings, preexec_fn=limits, capture_output=True, text=True, check=False,
            timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert not [*folder.glob(".mpibatch-doctor*")]
        return Report(done)

    return run


def mounted(kind: str, folder: Path) -> list[str]:
    """Return a command's beginning: run it where a file system in memory is mounted on `folder`."""
    unshare = [shutil.which("unshare") or "unshare", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False, timeout=10).returncode:
        pytest.skip("needs the right to mount (root)")
    place = shlex.quote(str(folder))
    script = (
        f"path=$PATH; PATH=/usr/sbin:/usr/bin:/sbin:/bin; mount -t tmpfs -o {kind},mode=755 tmpfs {place} || exit 3; "
    )
    if kind == "size=64k":
        script += f"head -c 100000 /dev/zero >{place}/ballast 2>/dev/null; "
    return [*unshare, "/bin/sh", "-c", script + 'PATH=$path; exec "$@"', "sh"]


def test_a_healthy_set_up_alone(doctor):
    report = doctor(env={"PATH": f"{BESIDE}:/usr/bin:/bin"})
    assert not report.bad()
    assert report.finding("launcher")["found"] == "two ranks started by mpiexec are one world"
    assert report.finding("MPI-IO")["level"] == "ok"
    assert report.document["environment"]["mpi"]["family"] == "mpich"
    assert report.document["environment"]["versions"]["h5py"]
    # The machine may have been busy: once more.
    assert (
        report.document["seconds"] < SOON or doctor(env={"PATH": f"{BESIDE}:/usr/bin:/bin"}).document["seconds"] < SOON
    )


def test_a_healthy_set_up_on_four_ranks(doctor):
    report = doctor(ranks=4)
    assert not report.bad()
    assert report.document["ranks"] == 4
    for check in (
        "launcher",
        "messages",
        "fetches",
        "ranks alike",
        "shared folder",
        "locks between ranks",
        "MPI-IO",
        "one MPI",
    ):
        assert report.finding(check)["level"] == "ok", report.shown
    few = len(os.sched_getaffinity(0)) < 4
    assert report.finding("cores")["level"] == ("warning" if few else "ok")
    assert report.code == report.document["exit_code"] <= 1
    assert report.document["seconds"] < 2 * SOON


@other_mpi
def test_another_mpis_mpiexec_is_first_on_path(doctor, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mpiexec").symlink_to(str(OTHER))
    report = doctor(env={"PATH": f"{tmp_path}/bin"})
    report.names("mpiexec", "error", "Open MPI", "but mpi4py has loaded MPICH", f"export PATH={BESIDE}:$PATH")
    assert report.bad() == {"mpiexec"}
    assert report.code == 2


@other_mpi
@pytest.mark.parametrize("slow", ["", "0", "1"], ids=["", "rank 0 is slow", "rank 1 is slow"])
def test_another_mpis_launcher_and_worlds_that_do_not_start(doctor, tmp_path, slow):
    late = f"""
import os, sys, time
if os.environ["OMPI_COMM_WORLD_RANK"] == "{slow}" and "mpibatch.tools.doctor.probe_process" in sys.orig_argv:
    time.sleep(2.5)
"""
    report = doctor(
        around=[str(OTHER), "--oversubscribe", "-n", "2"],
        env=AS_ROOT | {"PATH": f"{BESIDE}:/usr/bin:/bin"} | broken(tmp_path / "fake", "sitecustomize", late),
    )
    report.names("launcher", "error", "2 processes were started", "Open MPI's mpiexec", "has loaded MPICH")
    assert report.bad() == {"launcher"}  # a rank is not given up, while it needs nobody, because the other has failed
    assert report.finding("MPI-IO")["level"] == "skipped"
    assert report.code


@other_mpi
def test_worlds_of_one_rank(doctor):
    report = doctor(ranks=3, env={"MPI4PY_LIBMPI": "libmpi.so.40"})
    report.names("launcher", "error", "3 processes were started, but each is a world of its own", "loaded Open MPI")
    assert report.bad() == {"launcher"}  # one report, by one process
    assert report.code == 2


def test_no_mpi_library_and_kernels_that_are_not_compiled(doctor):
    report = doctor(env={"MPI4PY_LIBMPI": "/nowhere/libmpi.so", "NUMBA_DISABLE_JIT": "1"})
    report.names("compiled code", "error", "NUMBA_DISABLE_JIT", "unset NUMBA_DISABLE_JIT")
    report.names("MPI library", "error", "/nowhere/libmpi.so: cannot open", "unset MPI4PY_LIBMPI")
    assert report.bad() == {"MPI library", "compiled code"}
    assert report.finding("messages")["found"] == "not tried: needs an MPI library"


def test_an_mpi_that_mpi4py_does_not_know(doctor):
    report = doctor(env={"MPI4PY_MPIABI": "lam"})
    report.names("MPI library", "error", "mpi4py cannot be used", "unset MPI4PY_MPIABI")


def broken(folder: Path, name: str, text: str) -> dict[str, str]:
    """A module that is found before the installed one."""
    folder.mkdir()
    (folder / f"{name}.py").write_text(text)
    return {"PYTHONPATH": str(folder)}


def test_h5py_is_missing(doctor, tmp_path):
    report = doctor(env=broken(tmp_path / "fake", "h5py", "raise ModuleNotFoundError(\"No module named 'h5py'\")"))
    report.names("h5py", "error", "cannot be imported", "No module named 'h5py'", "pip install")
    assert report.finding("MPI-IO")["level"] == "ok"  # all else was examined


def test_libraries_that_cannot_be_loaded(doctor, tmp_path):
    text = "raise ImportError('libhdf5.so.103: cannot open shared object file: No such file or directory')"
    env = broken(tmp_path / "fake", "h5py", text)
    (tmp_path / "fake" / "numba.py").write_text("raise ImportError('Numba needs NumPy 2.2 or less. Got NumPy 2.4.')")
    report = doctor(env=env)
    report.names("h5py", "error", "libhdf5.so.103: cannot open", "the module of the HDF5 that h5py was built with")
    report.names("numba", "error", "Numba needs NumPy 2.2 or less", "pip install")


def test_h5py_crashes_python(doctor, tmp_path):
    text = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"
    report = doctor(ranks=2, env=broken(tmp_path / "fake", "h5py", text))
    report.names("h5py", "error", "importing h5py ended the process: SIGSEGV")
    assert report.finding("MPI-IO")["level"] == "ok"
    assert report.code == 2


def test_a_library_that_hangs(doctor, tmp_path):
    env = broken(tmp_path / "fake", "h5py", "import time\ntime.sleep(60)")
    begin = time.monotonic()
    report = doctor("--patience", "3", env=env)
    report.names("h5py", "error", "importing h5py took longer than 3 s")
    assert time.monotonic() - begin < 2 * SOON


def test_a_rank_that_never_comes(doctor, tmp_path):
    done = shlex.quote(str(tmp_path / "done"))
    waits = f"for i in $(seq 300); do [ -e {done} ] && exit; sleep 0.1; done"
    script = f'if [ "$PMI_RANK" = 1 ]; then {waits}; else "$@" --patience 3; code=$?; touch {done}; exit $code; fi'
    report = doctor(ranks=2, wrap=["sh", "-c", script, "sh"])
    report.names("MPI starts", "error", "starting MPI (MPI_Init) took longer than 6 s", "--patience")
    assert report.finding("messages")["found"] == "not tried: MPI did not start"
    assert report.document["seconds"] < 2 * SOON


def test_a_rank_that_dies_within_mpi(doctor, tmp_path):
    text = f"""
import os, sys
if os.environ["PMI_RANK"] == "1" and "mpibatch.tools.doctor.probe_process" in sys.orig_argv:
    import threading, time
    def die():
        while "mpibatch.tools.doctor.checks.storage" not in sys.modules:
            time.sleep(0.001)
        os.kill(os.getpid(), {int(signal.SIGKILL)})
    threading.Thread(target=die, daemon=True).start()
"""
    begin = time.monotonic()
    report = doctor(ranks=3, env=broken(tmp_path / "fake", "sitecustomize", text))
    assert any("rank 1: " in row["found"] and "SIGKILL" in row["found"] for row in report.document["findings"]), (
        report.shown
    )
    assert report.code
    assert time.monotonic() - begin < 2 * SOON


def test_little_shared_memory(doctor):
    report = doctor(ranks=2, around=mounted("size=1m", Path("/dev/shm")))
    report.names("shared memory", "error", "free of 1.0 MiB", "mount -o remount,size=2g /dev/shm", "--shm-size=2g")


def test_limits(doctor):
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))

    report = doctor(limits=few)
    rows = [row for row in report.document["findings"] if row["check"] == "limits"]
    assert [row["level"] for row in rows] == ["warning"] * 3
    for row, words, flag in zip(rows, ("100 open files", "1.0 GiB", "8.0 GiB"), "nfv", strict=True):
        assert words in row["found"]
        assert row["advice"].startswith(f"ulimit -{flag} ")


def test_a_file_size_limit_below_what_mpi_needs(doctor):
    report = doctor(limits=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)))
    report.names("limits", "error", "no more than 48.8 KiB (ulimit -f)", "ulimit -f unlimited")
    assert report.code == 2


def test_a_full_folder(doctor, folder):
    report = doctor("--folder", str(folder), around=mounted("size=64k", folder))
    report.names("folder", "error", "is full (tmpfs on", "make room")


def test_a_read_only_folder_and_cache(doctor, tmp_path):
    cache = tmp_path / "cache"
    (cache / "numba").mkdir(parents=True)
    env = {"MPIBATCH_CACHE_DIR": str(cache)}
    report = doctor("--folder", str(cache / "numba"), env=env, around=mounted("ro", cache / "numba"))
    report.names("folder", "error", "is read-only (tmpfs on", "--folder")
    report.names("compiled code", "error", f"{cache}/numba cannot be written to", f"rm -r {cache}")


def test_a_folder_that_is_another_on_each_rank(doctor, folder):
    inner = mounted("size=8m", folder)
    script = f'if [ "$PMI_RANK" = 1 ]; then exec {shlex.join(inner)} "$@"; else exec "$@"; fi'
    report = doctor("--patience", "2", "--folder", str(folder), ranks=2, wrap=["sh", "-c", script, "sh"])
    report.names("shared folder", "error", f"what rank 0 writes in {folder} is not seen by rank 1", "all nodes mount")


def test_too_many_threads_and_forgotten_variables(doctor, tmp_path):
    info = tmp_path / "old" / "numba-0.50.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: numba\nVersion: 0.50.0\n")
    (tmp_path / "file").touch()
    report = doctor(
        env={
            "OMP_NUM_THREADS": "64",
            "HDF5_USE_FILE_LOCKING": "maybe",
            "MPIBATCH_CACHE_DIR": f"{tmp_path}/file/cache",
            "UCX_TLS": "tcp,self",
            "PYTHONPATH": str(info.parent),
        }
    )
    report.names("cores", "warning", "1 rank × 64 threads on", "export OMP_NUM_THREADS=")
    report.names("locking", "warning", "HDF5_USE_FILE_LOCKING=maybe", "unset it")
    report.names(
        "compiled code", "warning", f"{tmp_path}/file/cache cannot be written to", "export MPIBATCH_CACHE_DIR="
    )
    report.names("variables", "warning", "UCX_TLS=tcp,self", "export UCX_TLS=all")
    report.names(
        "packages", "error", "numba 0.50.0 is installed", "or later is needed", "pip install --upgrade 'numba>="
    )
    assert report.code == 2


def test_all_ranks_on_one_core_and_slurm_says_something_else(doctor):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    core = min(os.sched_getaffinity(0))
    wrong = ["SLURM_JOB_ID=7", "SLURM_NTASKS=8", "SLURM_CPUS_PER_TASK=4", "OMP_NUM_THREADS=1"]
    report = doctor(ranks=2, wrap=["env", *wrong], limits=lambda: os.sched_setaffinity(0, {core}))
    report.names("binding", "warning", f"2 ranks on {os.uname().nodename} are bound to core {core} of", "-bind-to core")
    report.names("cores", "warning", "2 ranks on 1 core of")
    messages = [row["found"] for row in report.document["findings"] if row["check"] == "Slurm"]
    assert messages == [
        "job 7 has 8 tasks (SLURM_NTASKS), but 2 ranks were started",
        "job 7: 4 cores for each rank (SLURM_CPUS_PER_TASK), but 1 thread",
    ]
    assert report.code == 1


@pytest.mark.slurm
def test_under_a_real_slurm():
    if reason := missing():
        pytest.skip(reason)
    with Cluster() as cluster:
        env: dict[str, Any] = {**cluster.environment, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "mpibatch", "doctor", "--json"]

        def under(*arguments: str) -> Report:
            return Report(cluster.command("srun", *arguments, *command, env=env, check=False))

        report = under("--mpi=none", "-n2")
        report.names(
            "launcher", "error", "2 processes were started, but each is a world of its own", "srun --mpi=pmi2 -n 2"
        )
        assert report.code == 2
        report = under("--mpi=pmi2", "-N2", "-n2")
        assert report.finding("launcher")["found"] == "one world of 2 ranks, started by srun"
        assert report.finding("Slurm")["found"].startswith("job 2: 2 tasks on 2 nodes (n[")
        assert not report.bad(), report.shown


@pytest.mark.parametrize(("arguments", "words"), [(["--patience", "0"], "--patience 0"), (["--floder"], "--floder")])
def test_bad_arguments(capsys, arguments, words):
    from mpibatch.cli import main

    assert main(["doctor", *arguments]) == 2
    assert words in capsys.readouterr().err
