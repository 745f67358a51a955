#!/usr/bin/env python3
"""Build a container image without MPI, and run it with the host's: the same values as without a container.

    scripts/drill_containers.py                         # Debian 12, MPICH
    scripts/drill_containers.py --release trixie        # another Debian, and its Python
    scripts/drill_containers.py --openmpi /usr/lib/x86_64-linux-gnu/libmpi.so.40 --slurm --podman

No registry of images is asked: mmdebstrap makes the root file system from Debian's packages, and the steps of the
Containerfile (scripts/_recipes.py) the rest, with wheels that pip fetches here. Needs root, and Debian's mmdebstrap,
charliecloud and squashfs-tools. Images are kept under .cache/containers, some 600 MB each. Every run prints one JSON
object; exit code 1 if one of them ends in other values than the run without a container.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import h5py

from mpibatch.tools.slurm.software import containers, libraries

if TYPE_CHECKING:
    from collections.abc import Sequence

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
CACHE = REPOSITORY / ".cache" / "containers"
BIN = Path(sys.executable).parent
JOB = """\
[simulation]
program = "heat"
shape = [256, 256]
steps = 1000

[output]
path = "heat.h5"
record = false

[checkpoint]
every_steps = 50
"""
ROOT = {"USER": "root", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def main() -> int:
    """Run the drill."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--release", default="bookworm", help="of Debian (default: %(default)s)")
    parser.add_argument("--openmpi", metavar="LIBMPI", help="also by this Open MPI, and its mpirun")
    parser.add_argument("--podman", action="store_true", help="also by podman")
    parser.add_argument("--slurm", action="store_true", help="also as a job of a Slurm of its own")
    args = parser.parse_args()
    absent = [name for name in ("mmdebstrap", "ch-run", "mksquashfs") if shutil.which(name) is None]
    if absent:
        parser.error(f"{', '.join(absent)} not found; apt-get install mmdebstrap charliecloud squashfs-tools")
    image = built(args.release)
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        return _drill(args, image, Path(folder))


def built(release: str) -> Path:
    """Return the folder of an image, built if it is not there, and its squashfs beside it."""
    from scripts import _recipes

    image, part = CACHE / release, CACHE / f"{release}.part"
    squashed = image.with_suffix(".sqfs")
    if not image.exists():
        shutil.rmtree(part, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        install = next(step for step in _recipes.STEPS if step.startswith("apt-get install"))
        packages = ",".join(install.split()[4:])
        _run("mmdebstrap", "--variant=minbase", f"--include={packages}", release, str(part))
        (part / "opt" / "source").mkdir(parents=True)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(REPOSITORY / name, part / "opt" / "source")
        shutil.copytree(
            REPOSITORY / "mpibatch", part / "opt/source/mpibatch", ignore=shutil.ignore_patterns("__pycache__")
        )
        python = next(path.name for path in (part / "usr/bin").glob("python3.*") if path.name[8:].isdigit())
        with tempfile.TemporaryDirectory(prefix="wheels-") as wheels:
            download = [sys.executable, "-m", "pip", "download", "-qq", "-d", wheels]
            project = (REPOSITORY / "pyproject.toml").read_text()
            needs = re.findall(r'"([a-z0-9]+>=[0-9.]+)"', project.partition("dependencies = [")[2].partition("]")[0])
            _run(*download, "--only-binary=:all:", f"--python-version={python[6:]}", *needs)
            _run(*download, "hatchling>=1.27")
            settings = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels}
            steps = [step for step in _recipes.STEPS if "apt" not in step.split("/")[0] and "/apt/" not in step]
            options = [f"--set-env={name}={value}" for name, value in settings.items()]
            _run("ch-run", "--write", "--unset-env=*", *options, str(part), "--", "sh", "-ec", "\n".join(steps))
        part.rename(image)
    if not squashed.exists():
        options = ["-quiet", "-no-progress", "-comp", "zstd", "-Xcompression-level", "3"]
        _run("mksquashfs", str(image), f"{squashed}.part", *options)
        Path(f"{squashed}.part").rename(squashed)
    return image


def _drill(args: argparse.Namespace, image: Path, folder: Path) -> int:
    libraries.collect(folder / "mpich")
    mpiexec = [str(BIN / "mpiexec"), "-n", "2"]
    bare = [str(BIN / "mpibatch")]
    wanted = _case("no container", folder, mpiexec, bare)
    inside = {"folder": _inside(image, "", folder / "mpich", folder)}
    inside["squashfs"] = _inside(image.with_suffix(".sqfs"), "", folder / "mpich", folder)
    if args.podman:
        name = f"localhost/mpibatch:{args.release}"
        with subprocess.Popen(["tar", "-C", str(image), "-c", "."], stdout=subprocess.PIPE) as tar:
            change = "--change=ENV PATH=/opt/mpibatch/bin:/usr/bin:/bin"
            subprocess.run(["podman", "import", "-q", change, "-", name], stdin=tar.stdout, check=True)
        inside["podman"] = _inside(Path(name), "podman", folder / "mpich", folder)
    values = {name: _case(name, folder, mpiexec, command) for name, command in inside.items()}
    if args.openmpi:
        libraries.collect(folder / "openmpi", Path(args.openmpi))
        command = _inside(image, "", folder / "openmpi", folder)
        start = ["mpirun.openmpi", "--oversubscribe", "-n", "2"]
        values["Open MPI"] = _case("Open MPI", folder, start, command)
    for first, then in ((bare, inside["squashfs"]), (inside["folder"], bare)):
        name = "begun without, ended in a container" if first is bare else "begun in a container, ended without"
        values[name] = _case(name, folder, mpiexec, then, begun_by=first)
    if args.slurm:
        values["Slurm"] = _as_job(folder, image.with_suffix(".sqfs"))
    wrong = [name for name, found in values.items() if found != wanted]
    print(json.dumps({"runs": 1 + len(values), "other values": wrong}))
    return 1 if wrong else 0


def _inside(image: Path, runner: str, mpi: Path, folder: Path) -> list[str]:
    command = containers.command(str(image), runner, str(mpi), [], str(folder / "job"))
    return [*command, "mpibatch"]


def _case(
    name: str, folder: Path, start: Sequence[str], command: Sequence[str], begun_by: Sequence[str] = ()
) -> dict[str, str]:
    """Run the job; return what is in its file. ``begun_by``: another command begins it, and is asked to stop."""
    place = folder / "job"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "heat.toml").write_text(JOB)
    record, cache = place / "record.json", folder / "cache"
    environment = {**os.environ, **ROOT, "MPIBATCH_CACHE_DIR": str(cache), "MPIBATCH_RECORD": str(record)}
    run = ["run", "heat.toml", "--quiet"]
    if begun_by:
        with subprocess.Popen([*start, *begun_by, *run], cwd=place, env=environment) as begun:
            while begun.poll() is None and not [*place.glob("heat.h5.checkpoints/step-*.h5")]:
                time.sleep(0.02)
            begun.send_signal(signal.SIGUSR1)
        if begun.returncode != 75:
            raise SystemExit(f"{name}: asked to stop, the run left with {begun.returncode}, not 75")
        run.append("--resume")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*start, *command, *run], cwd=place, env=environment, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{name}: exit code {done.returncode}")
    about = {
        "case": name,
        "start_seconds": json.loads(record.read_text())["run"]["start_seconds"],
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
    }
    print(json.dumps(about), flush=True)
    return _values(place / "heat.h5")


def _as_job(folder: Path, image: Path) -> dict[str, str]:
    from tests.support.slurm_cluster import ENDED, Cluster

    with Cluster() as cluster:
        place = cluster.folder / "user"
        place.mkdir()
        (place / "heat.toml").write_text(JOB)
        (place / "site.toml").write_text(f'mpi = "pmi2"\n[variables]\nMPIBATCH_CACHE_DIR = "{folder}/cache"\n')
        given = ("--container", str(image), "--container-mpi", str(folder / "mpich"), "--nodes", "2", "--time", "10")
        number = cluster.mpibatch(
            "submit", "heat.toml", "--quiet", "--profile", "./site.toml", *given, cwd=place
        ).stdout
        state = cluster.wait_for(number.strip(), *ENDED, seconds=300)
        if state != "COMPLETED":
            raise SystemExit(f"Slurm: {state}\n" + "".join(path.read_text() for path in place.glob("*.out")))
        record = json.loads(next(place.glob(".mpibatch/heat-*/record.json")).read_text())
        about = {"case": "Slurm", "start_seconds": record["run"]["start_seconds"], "hosts": len(record["run"]["hosts"])}
        print(json.dumps(about), flush=True)
        return _values(place / "heat.h5")


def _values(path: Path) -> dict[str, str]:
    """A digest of every dataset and attribute, but for the versions of the libraries that wrote them."""
    values: dict[str, str] = {}
    with h5py.File(path) as file:

        def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                values[name] = hashlib.sha256(item[()].tobytes()).hexdigest()
            for key, value in item.attrs.items():
                if key != "versions":
                    values[f"{name}@{key}"] = repr(value)

        visit("", file)
        file.visititems(visit)
    return values


def _run(*command: str) -> None:
    subprocess.run(command, check=True, env={**os.environ, **ROOT}, stdout=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
