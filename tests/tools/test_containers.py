"""Containers: the command that runs one, the host's MPI that it borrows, and a run in one: the bytes of a run outside.

scripts/drill_containers.py builds real images; here the host's own /usr and environment are the image.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mpibatch.base.errors import UsageError
from mpibatch.cli import main
from mpibatch.tools.slurm.software import containers, libraries

REPOSITORY = Path(__file__).resolve().parents[2]
JOB = """\
[simulation]
program = "heat"
shape = [8, 8]
steps = 2

[output]
path = "heat.h5"
record = false
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("job.toml").write_text(JOB)
    for name in ("mpi", "image", "bin", "a,b"):
        Path(name).mkdir()
    for name in ("mpi", "a,b"):
        Path(name, "environment").write_text("")
    Path("i.sif").write_text("")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return tmp_path


@pytest.mark.parametrize(
    ("image", "runner", "words"),
    [
        ("image", "", ["ch-run", "--bind=/scratch:/scratch", "--bind={mpi}:/opt/host-mpi", "--cd=/scratch/me", "--"]),
        ("i.sif", "", ["apptainer exec --env-file={mpi}/environment", "--bind=/data:/data", "--pwd=/scratch/me"]),
        ("i.sif", "singularity", ["singularity exec"]),
        ("localhost/x", "podman", ["--preserve-fds=", "--volume={mpi}:/opt/host-mpi", "--workdir=/scratch/me"]),
    ],
)
def test_the_command_is_that_of_the_runner(folder: Path, image: str, runner: str, words: list[str]) -> None:
    places = ["/data", "/data/inner", "/tmp/x", ""]
    command = " ".join(containers.command(image, runner, f"{folder}/mpi", places, "/scratch/me"))
    for word in words:
        assert word.format(mpi=folder / "mpi") in command
    assert "/data/inner" not in command  # it lies in another
    assert command.count("/scratch:/scratch") == (
        image == "image"
    )  # only charliecloud wants the mount points of images
    assert image in command


@pytest.mark.parametrize("runner", containers.RUNNERS)
def test_every_runner_is_in_scripts(
    folder: Path, runner: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the folders that the job reads and writes, wherever it is submitted."""
    for name in ("jobs", "elsewhere"):
        Path(name).mkdir()
    Path("job.toml").rename("jobs/job.toml")
    monkeypatch.chdir("elsewhere")
    image = "localhost/x" if runner == "podman" else "../image"
    settings = ["--set", "output.path=/mnt/out.h5"]
    options = ["--dry-run", "--container", image, "--runner", runner, "--container-mpi", "../mpi"]
    assert main(["submit", "../jobs/job.toml", *settings, *options]) == 0
    script = capsys.readouterr().out
    for place in ("/mnt", f"{folder}/jobs") if runner != "charliecloud" else ("/mnt",):
        assert f"{place}:{place}" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=30)


def test_a_script_runs_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--dry-run", "--container", "i.sif", "--container-mpi", "mpi"]
    assert main(["submit", "job.toml", *options]) == 0
    script, warning = capsys.readouterr()
    assert f"mpibatch=(apptainer exec --env-file={folder}/mpi/environment" in script
    assert f"{folder}/i.sif mpibatch)" in script
    assert not warning
    assert main(["submit", "job.toml", *options[:-2]]) == 0
    assert "no --container-mpi" in capsys.readouterr().err
    Path("site.toml").write_text('container = "i.sif"\ncontainer_command = ["mine", "exec"]\n')
    assert main(["submit", "job.toml", "--profile", "./site.toml", "--dry-run"]) == 0
    assert "mpibatch=(mine exec i.sif mpibatch)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--container", "none.sif"], "there is no container image 'none.sif'"),
        (["--container", "job.toml"], "--runner podman"),
        (["--container", "i.sif"], "apptainer (apptainer), which is not on the PATH"),
        (["--container", "image", "--runner", "docker"], "known are charliecloud"),
        (
            ["--container", "i.sif", "--dry-run", "--container-mpi", "image"],
            "does not hold the host's MPI for containers",
        ),
        (["--runner", "podman"], "name it: --container IMAGE"),
        (["--container", ""], "--container is empty"),
        (["--container", "x" * 300, "--runner", "charliecloud"], "there is no container image"),
        (["--container", "x" * 300 + ".sif"], "there is no container image"),
        (["--container", "i.sif", "--dry-run", "--container-mpi", "a,b"], "takes ',' for the end of its name"),
    ],
)
def test_bad_input(folder: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "job.toml", *options]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("mpibatch: error:") == 1


def test_a_script_says_what_an_image_lacks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a runner that is there, and cannot find mpibatch in the image."""
    Path("bin/ch-run").write_text('#!/bin/sh\necho "ch-run: error: cannot execve mpibatch" >&2; exit 1\n')
    Path("bin/ch-run").chmod(0o755)
    assert main(["submit", "job.toml", "--dry-run", "--container", "image"]) == 0
    script = capsys.readouterr().out
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, timeout=30,
        env={"PATH": os.environ["PATH"], "SLURM_NNODES": "1", "SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "n"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot run mpibatch in the image image, for the reason above: is ch-run on its PATH" in done.stderr


def image_of_this_host(image: Path) -> list[str]:
    """Make a folder an image by links and mount points; return the folders to bind."""
    bound = {Path("/usr"), REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)}
    for name in ("bin", "sbin", "lib", "lib64"):
        if (place := Path("/", name)).is_symlink():
            (image / name).symlink_to(place.readlink())
        elif place.exists():
            bound.add(place)
    for name in ("dev", "proc", "sys", "tmp", "etc", "opt/host-mpi"):
        (image / name).mkdir(parents=True, exist_ok=True)
    for name in ("passwd", "group", "hosts"):
        (image / "etc" / name).touch()
    for path in bound:
        (image / path.relative_to("/")).mkdir(parents=True, exist_ok=True)
    (image / "opt/mpibatch").symlink_to(sys.prefix)
    return [str(path) for path in bound if path != Path("/usr")]


def test_a_run_in_a_container_with_the_hosts_mpi(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("USER", "root")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    if shutil.which("ch-run") is None:
        pytest.skip("needs charliecloud's ch-run (Debian: apt-get install charliecloud-runtime)")
    mpiexec = Path(sys.prefix) / "bin" / "mpiexec"
    if not mpiexec.exists():
        pytest.skip("needs the environment with MPICH's wheel")
    files, _ = libraries.collect(folder / "host-mpi")
    assert files > 3
    assert (folder / "host-mpi/libmpi.so.12").is_file()
    with pytest.raises(UsageError, match="is there already"):
        libraries.collect(folder / "host-mpi")
    binds = image_of_this_host(folder / "image")
    command = containers.command("image", "", str(folder / "host-mpi"), binds, str(folder))
    command.insert(command.index("ch-run") + 1, "--bind=/usr:/usr")
    possible = subprocess.run([*command, "true"], capture_output=True, text=True, check=False, timeout=30)
    if possible.returncode:
        pytest.skip(f"needs user namespaces: {possible.stderr.strip()}")
    text = (
        "import sys; from mpi4py import MPI; from mpibatch.cli import main; code = main(sys.argv[1:]);"
        "other, large = 1 - MPI.COMM_WORLD.rank, bytes(10**6);"  # such as MPICH copies from the other's memory outside
        "MPI.COMM_WORLD.Sendrecv(large, other, 0, bytearray(10**6), other, 0);"
        "print('RANKS', MPI.COMM_WORLD.size, '/opt/host-mpi/libmpi' in open('/proc/self/maps').read()); sys.exit(code)"
    )
    python = str(Path(sys.prefix) / "bin" / "python")
    inside = [*command, python, "-c", text, "run", "job.toml", "--quiet"]
    done = subprocess.run([mpiexec, "-n", "2", *inside], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" 2 True") == 2, done.stdout
    assert "UCX" not in done.stderr
    within = (folder / "heat.h5").read_bytes()
    assert main(["run", "job.toml", "--quiet"]) == 0
    assert (folder / "heat.h5").read_bytes() == within
