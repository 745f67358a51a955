"""How a command is run in a container image: by which program, with which folders of the host, and with its MPI.

The image has no MPI. A folder that :func:`mpibatch.tools.slurm.software.libraries.collect` has made holds the host's,
with the variables by which it is found there; it is bound to the same place in images of every kind.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ENVIRONMENT", "HOST_MPI", "RUNNERS", "check", "command", "runner_of"]

# The program of each runner.
RUNNERS = {"charliecloud": "ch-run", "apptainer": "apptainer", "singularity": "singularity", "podman": "podman"}
HOST_MPI = "/opt/host-mpi"
# The file with variables in the folder of the host's MPI.
ENVIRONMENT = "environment"

_ENDINGS = {".sif": "apptainer", ".sqfs": "charliecloud", ".squashfs": "charliecloud"}
_PATH = "/opt/mpibatch/bin:/usr/local/bin:/usr/bin:/bin"
# Folders of an image that must stay its own: of the host's, only what lies deeper is bound.
_OWN = {"bin", "dev", "etc", "lib", "lib32", "lib64", "opt", "proc", "run", "sbin", "sys", "usr"}
# Ranks that start at once would each make it, and all but one fail.
_MOUNT_POINT = 'mkdir -p "/var/tmp/${USER:-$(id -un)}.ch/mnt" && exec "$@"'
# MPICH's ranks meet by an open file, of which podman passes on the first ones only.
_PODMAN = (
    'passed=0; if [ -n "${PMI_FD:-}" ]; then exec 3<&"$PMI_FD"; export PMI_FD=3; passed=1; fi; '
    'exec podman run --preserve-fds="$passed" "$@"'
)
# What a runner takes for the end of a folder's name, where it is told what to bind.
_ENDS = {"charliecloud": ":", "apptainer": ":,", "singularity": ":,", "podman": ":"}


def runner_of(image: str, runner: str = "") -> str:
    """Return what runs an image: `runner` if given, else by the image's kind. Local. Raises UsageError."""
    if runner:
        if runner not in RUNNERS:
            raise UsageError(f"a container runner {runner!r} is not known; known are {', '.join(RUNNERS)}")
        return runner
    if os.path.isdir(image):  # noqa: PTH112  # False for names that cannot be
        return "charliecloud"
    try:
        return _ENDINGS[Path(image).suffix]
    except KeyError:
        raise UsageError(
            f"the container image {image!r} is no folder, and its name does not end in {', '.join(_ENDINGS)}; if it is "
            "one of podman's, say so: --runner podman, or container_runner in the profile"
        ) from None


def check(image: str, runner: str, mpi: str, *, is_local: bool = True) -> None:
    """Refuse an image, a runner or a folder of the host's MPI that is not there. Local. Raises UsageError.

    ``is_local=False``: programs may be on other paths where the job runs.
    """
    kind = runner_of(image, runner)
    if kind != "podman" and not os.path.exists(image):  # noqa: PTH110  # False for names that cannot be
        raise UsageError(f"there is no container image {image!r}; `mpibatch guide containers` tells how to make one")
    if is_local and shutil.which(RUNNERS[kind]) is None:
        raise UsageError(
            f"the container image {image!r} is run by {RUNNERS[kind]} ({kind}), which is not on the PATH; install it, "
            f"load its module in the profile, or take another: --runner {' or '.join(sorted({*RUNNERS} - {kind}))}"
        )
    if mpi and not os.path.isfile(Path(mpi) / ENVIRONMENT):  # noqa: PTH113
        raise UsageError(f"{mpi!r} does not hold the host's MPI for containers; make it: mpibatch pack --mpi {mpi}")


def command(image: str, runner: str, mpi: str, folders: Iterable[str], folder: str) -> list[str]:
    """Return the command by which another one, behind it, runs in an image. Local.

    `folders` of the host are seen there under their own paths; `folder` is the one that the command starts in.
    Raises UsageError for one whose name the runner would take for something else.
    """
    kind = runner_of(image, runner)
    places = _outermost([folder, *folders])
    for place in [*places, mpi]:
        _check_name(place, kind, "=" if place == mpi else "")
    if kind == "charliecloud":
        # A mount point must lie in the image, so that whole file systems are bound; /tmp always is.
        places = sorted({_mount_point(place) for place in places} - {"/tmp"})
        binds = [f"--bind={place}:{place}" for place in places]
        binds += [f"--bind={mpi}:{HOST_MPI}", f"--set-env={mpi}/{ENVIRONMENT}"] if mpi else []
        # Where $TMPDIR is set, ch-run binds it in place of /tmp.
        before = [] if Path(image).is_dir() else ["sh", "-c", _MOUNT_POINT, "sh"]
        return [
            *before,
            "env",
            "--unset=TMPDIR",
            "ch-run",
            *binds,
            f"--set-env=PATH={_PATH}",
            f"--cd={folder}",
            image,
            "--",
        ]
    variables = [f"--env-file={mpi}/{ENVIRONMENT}"] if mpi else []
    binds = [f"{place}:{place}" for place in places] + ([f"{mpi}:{HOST_MPI}"] if mpi else [])
    if kind == "podman":
        host = ["--rm", "--env-host", "--network=host", "--ipc=host", "--pid=host", "--ulimit=host"]
        host += ["--security-opt=label=disable"]
        # Of the host is also the folder in which ranks meet, as it is in containers of the others without being told.
        volumes = [f"--volume={bind}" for bind in [*binds, "/tmp:/tmp"]]
        return ["bash", "-c", _PODMAN, "podman", *host, *variables, *volumes, f"--workdir={folder}", image]
    return [RUNNERS[kind], "exec", *variables, *(f"--bind={bind}" for bind in binds), f"--pwd={folder}", image]


def _check_name(folder: str, kind: str, more: str) -> None:
    ends = sorted(set(_ENDS[kind] + more) & set(folder))
    if ends:
        listed = " and ".join(map(repr, ends))
        raise UsageError(
            f"the folder {folder!r} cannot be bound into the image: {RUNNERS[kind]} takes {listed} for the end of its "
            "name; rename it, or go there by a link"
        )


def _outermost(folders: Iterable[str]) -> list[str]:
    """The folders that do not lie in others of them."""
    listed = sorted({Path(folder) for folder in folders if folder})
    return [str(path) for path in listed if not any(other in path.parents for other in listed)]


def _mount_point(folder: str) -> str:
    parts = Path(folder).parts
    return folder if len(parts) < 2 or parts[1] in _OWN else f"/{parts[1]}"
