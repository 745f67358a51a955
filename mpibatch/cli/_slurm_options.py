"""The options of all commands that submit: what the user wants of a site in place of what its profile says."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError
from mpibatch.base.log import logger
from mpibatch.base.trust import privacy

if TYPE_CHECKING:
    import argparse

    from mpibatch.tools.slurm.profiles import Profile

__all__ = ["add", "chosen", "describe"]


def add(group: argparse._ArgumentGroup) -> None:
    """Add the options to a group of a command's. Local."""
    group.add_argument("--time", metavar="T", help="time limit: minutes, HH:MM:SS or D-HH:MM:SS (default: the site's)")
    for key, noun in (("account", "account"), ("partition", "partition"), ("qos", "quality of service")):
        group.add_argument(f"--{key}", metavar="NAME", help=f"the {noun}, in place of the profile's")
    group.add_argument(
        "--memory-limit", metavar="SIZE", help="what a filter may take on one rank beside its block, such as 4G"
    )
    group.add_argument(
        "--export",
        metavar="NAMES",
        help="the variables of this shell that the job gets beside Slurm's own, such as HOME,LANG; or NONE (default: "
        "those that the profile says, else all, as Slurm does)",
    )
    group.add_argument("--packed", metavar="FILE", help="an archive of mpibatch pack, unpacked on each node's own disk")
    group.add_argument(
        "--container", metavar="IMAGE", help="run in this image: FILE.sif, FILE.sqfs, a folder, or a name of podman's"
    )
    group.add_argument(
        "--runner", metavar="R", help="what runs the image: charliecloud, apptainer, singularity, podman"
    )
    group.add_argument("--container-mpi", metavar="FOLDER", help="the host's MPI for it, made by mpibatch pack --mpi")
    pinning = group.add_mutually_exclusive_group()
    pinning.add_argument(
        "--binding",
        metavar="OPTION",
        action="append",
        help="how ranks are bound to cores, in place of the profile's: --binding=--cpu-bind=cores (repeatable)",
    )
    pinning.add_argument("--no-binding", action="store_true", help="leave out the profile's binding of ranks to cores")


def chosen(args: argparse.Namespace) -> Profile:
    """Return the profile ``args.profile``, with what was chosen in its place. Local. Warns of what it leaves open."""
    from mpibatch.tools.slurm import profiles, request

    profile = profiles.load(args.profile)
    for line in _open_places(profile):
        logger("slurm").warning("profile %s: %s", profile.name, line)
    if args.private:
        profile = dataclasses.replace(profile, variables={**profile.variables, privacy.VARIABLE: "1"})
    if args.packed:
        if not Path(args.packed).is_file():
            raise UsageError(f"--packed {args.packed}: there is no such file; make it: mpibatch pack {args.packed}")
        profile = dataclasses.replace(profile, sbcast=str(Path(args.packed).resolve()), venv="", container="")
    if any(given is not None for given in (args.container, args.runner, args.container_mpi)) or profile.container:
        profile = _with_container(profile, args)
    return request.with_choices(
        profile,
        export=args.export,
        account=args.account,
        partition=args.partition,
        qos=args.qos,
        memory_limit=args.memory_limit,
        binding=() if args.no_binding else args.binding,
    )


def _with_container(profile: Profile, args: argparse.Namespace) -> Profile:
    from mpibatch.tools.slurm.software import containers

    if args.packed:
        raise UsageError("--packed and --container: give one of them; an image has its own environment")
    for option in ("container", "runner", "container_mpi"):
        if getattr(args, option) == "":
            raise UsageError(f"--{option.replace('_', '-')} is empty; is a variable unset?")
    if args.container:
        # The profile's runner is that of its own image.
        profile = dataclasses.replace(
            profile, container=args.container, container_command=(), container_runner="", venv="", sbcast=""
        )
    elif not profile.container:
        raise UsageError("--runner and --container-mpi are of an image; name it: --container IMAGE")
    if profile.container_command:
        if args.runner or args.container_mpi:
            raise UsageError(
                f"profile {profile.name}: its container_command runs the image, so that --runner and --container-mpi "
                "mean nothing; leave them out, or name an image: --container IMAGE"
            )
        return profile
    mpi = args.container_mpi or profile.container_mpi
    profile = dataclasses.replace(
        profile,
        container_runner=containers.runner_of(profile.container, args.runner or profile.container_runner),
        container_mpi=mpi and str(Path(mpi).absolute()),
    )
    has_own_paths = args.dry_run or profile.modules or profile.login_shell
    containers.check(profile.container, profile.container_runner, profile.container_mpi, is_local=not has_own_paths)
    if not mpi:
        logger("slurm").warning(
            "no --container-mpi: the image needs an MPI that fits the launcher; for one without: mpibatch pack --mpi"
        )
    return profile


def describe(profile: Profile) -> str:
    """Return in words how ranks are bound, and how much memory they may take. Local."""
    amounts = [f"{profile.memory} of each node" if profile.memory else ""]
    amounts += [f"{profile.memory_per_cpu} for each CPU" if profile.memory_per_cpu else ""]
    memory = next(filter(None, amounts), "the site's default")
    limit = f", filters up to {profile.memory_limit} on a rank" if profile.memory_limit else ""
    return f"pinning: {' '.join(profile.binding) or 'the default of the launcher'}; memory: {memory}{limit}"


def _open_places(profile: Profile) -> list[str]:
    kinds = [key for key in profile.open_places if key != "scratch"]
    lines = []
    if kinds:
        lines.append(
            f"{' or '.join(kinds)} is only a comment there, so that the job takes the mpibatch on the PATH, if its "
            f"nodes see it (active now: {os.environ.get('VIRTUAL_ENV') or 'no virtual environment'})"
        )
    if "scratch" in profile.open_places:
        lines.append("scratch is only a comment there, so that compiled code is kept at home, if nodes see that")
    return [f"{line}; fill it in, in a copy of the profile, and give that: --profile FILE.toml" for line in lines]
