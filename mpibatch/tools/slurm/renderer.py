"""From a template, a profile and a request to the text of a script.

What a template inserts must have been quoted, by one of the filters `sh`, `sbatch` and `note`: anything else ends the
rendering, so that no value can slip in as code.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import RunError
from mpibatch.base.host import home
from mpibatch.tools.slurm import durations
from mpibatch.tools.slurm.quotes import Quoted, comment, directive, shell
from mpibatch.tools.slurm.software import containers
from mpibatch.tools.slurm.software.archive import is_squashfs

if TYPE_CHECKING:
    from collections.abc import Iterator

    import jinja2

    from mpibatch.tools.slurm.profiles import Profile
    from mpibatch.tools.slurm.request import Request

__all__ = ["directives", "render"]

TEMPLATES = Path(__file__).parent / "templates"


def render(request: Request, profile: Profile) -> str:
    """Return the script for this request on this site. Local. Needs Jinja2."""
    template = _environment(TEMPLATES).get_template(f"{request.kind}.sbatch.j2")
    script: str = template.render(
        request=request,
        profile=profile,
        directives=list(directives(request, profile)),
        launcher=launcher(profile),
        command=_command(profile, request),
        runner=_runner(profile),
        squashfs=is_squashfs(profile.sbcast),
    )
    return script


@cache
def _environment(templates: Path) -> jinja2.Environment:
    try:
        import jinja2
    except ModuleNotFoundError:
        raise RunError("scripts are rendered by Jinja2, which is not installed; pip install jinja2") from None

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_only_quoted,
        autoescape=False,  # these are no web pages; see _only_quoted
    )
    environment.filters.update(
        sh=shell, sbatch=directive, note=comment, words=_words, options=_options, settings=_settings
    )
    return environment


def _only_quoted(value: Any) -> Quoted:
    if not isinstance(value, Quoted):
        raise TypeError(f"a template inserts {value!r} unquoted")
    return value


def _words(values: Any) -> Quoted:
    """Return several values as words for bash."""
    return Quoted(" ".join(shell(value) for value in values))


def _settings(values: Any) -> Quoted:
    """Return settings as options of ``mpibatch run``, each after a blank."""
    return _options(word for value in values for word in ("--set", value))


def _options(values: Any) -> Quoted:
    """Return several values as words for bash, each after a blank."""
    return Quoted("".join(f" {shell(value)}" for value in values))


def directives(request: Request, profile: Profile) -> Iterator[tuple[str, str]]:
    """Yield (option, value) for the #SBATCH lines; an option without a value has "". Local."""
    yield "job-name", request.name
    yield "nodes", str(request.nodes)
    if request.ntasks:
        yield "ntasks", str(request.ntasks)
    yield "ntasks-per-node", str(request.ntasks_per_node)
    yield "cpus-per-task", str(request.cpus_per_task)
    time = durations.text(request.time) if request.time else profile.time
    if time:
        yield "time", time
    for option in ("partition", "account", "qos", "constraint", "reservation"):
        if value := getattr(profile, option):
            yield option, value
    if profile.exclusive:
        yield "exclusive", ""
    if profile.memory:
        yield "mem", "0" if profile.memory == "all" else profile.memory
    if profile.memory_per_cpu:
        yield "mem-per-cpu", profile.memory_per_cpu
    if profile.export:
        yield "export", ",".join(profile.export)
    for option in profile.options:
        name, _, value = option.removeprefix("--").partition("=")
        yield name, value
    if request.tasks:
        limit = f"%{request.at_once}" if request.at_once else ""
        yield "array", f"0-{request.tasks - 1}{limit}"
    folder = f"{request.point.replace('%', '%%')}/" if request.point else ""
    yield "output", f"{folder}{request.file_name}-{'%A_%a' if request.tasks else '%j'}.out"
    yield "open-mode", "append"
    if request.can_stop:
        yield "signal", f"B:USR1@{request.margin}"
    yield "requeue" if request.kind == "chain" and profile.requeue else "no-requeue", ""
    if request.after:
        yield "dependency", "afterok:" + ":".join(request.after)
        yield "kill-on-invalid-dep", "yes"


def launcher(profile: Profile) -> list[str]:
    """Return the command that starts the ranks, without their number. Local."""
    if profile.launcher != "srun":
        return [profile.launcher, *profile.binding]
    mpi = [f"--mpi={profile.mpi}"] if profile.mpi else []
    return ["srun", *mpi, "--kill-on-bad-exit=1", *profile.binding]


def _container(profile: Profile, request: Request) -> list[str]:
    image = profile.container if profile.container_runner == "podman" else str(Path(profile.container).absolute())
    own = [str(Path(request.job).parent), request.folder, request.checkpoints, request.point]
    own += [str(Path(request.identity).parent)] if request.identity else []
    folders = [*profile.container_bind, profile.scratch, str(home()) if home().is_dir() else ""]
    folders += [os.path.abspath(place) for place in own if place]  # noqa: PTH100  # "..", too
    return containers.command(image, profile.container_runner, profile.container_mpi, folders, str(Path.cwd()))


def _runner(profile: Profile) -> str:
    """The program that runs the container, "" if there is none."""
    if profile.container_command or not profile.container:
        return next(iter(profile.container_command), "")
    return containers.RUNNERS[containers.runner_of(profile.container, profile.container_runner)]


def _command(profile: Profile, request: Request) -> list[str]:
    if profile.container:
        command = (
            [*profile.container_command, profile.container]
            if profile.container_command
            else _container(profile, request)
        )
        return [*command, "mpibatch"]
    if profile.export and not (profile.venv or profile.sbcast):
        return [sys.executable, "-m", "mpibatch"]  # there may be no PATH by which it is known
    return ["mpibatch"]
