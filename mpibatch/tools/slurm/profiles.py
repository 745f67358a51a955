"""Profiles: what a site's Slurm wants of every job, in a TOML file that is checked as a whole.

A profile is found by name among those that come with mpibatch and those in the user's configuration folder
(``$XDG_CONFIG_HOME/mpibatch/profiles``, else ``~/.config/...``), which win; or by its path.
"""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import MpibatchError, UsageError, nearest
from mpibatch.base.host import home
from mpibatch.base.trust.guards import check_guarded
from mpibatch.job.document import checks
from mpibatch.job.document.caps import toml_document
from mpibatch.job.document.lines import KeyPath, key_lines
from mpibatch.job.document.problems import Place, Problems
from mpibatch.job.document.tables import Key, keys_of
from mpibatch.job.file.reader import read_text
from mpibatch.tools.slurm import durations
from mpibatch.tools.slurm.quotes import checked
from mpibatch.tools.slurm.software.containers import RUNNERS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KEYS", "Profile", "bound", "exported", "known_profiles", "load", "parse", "size"]

SHIPPED = Path(__file__).parent / "profiles"


@dataclass(frozen=True)
class Profile:
    """What a site wants. Texts "" and lists () stand for "not asked for"; see KEYS for what each may be."""

    name: str
    description: str = ""
    # What Slurm is asked for.
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    reservation: str = ""
    time: str = ""
    longest: str = ""
    exclusive: bool = False
    memory: str = ""
    memory_per_cpu: str = ""
    memory_limit: str = ""
    options: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    cores_per_node: int = 0
    requeue: bool = True
    # What the software needs.
    login_shell: bool = False
    purge: bool = False
    module_paths: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    venv: str = ""
    container: str = ""
    container_command: tuple[str, ...] = ()
    container_runner: str = ""
    container_mpi: str = ""
    container_bind: tuple[str, ...] = ()
    sbcast: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    export: tuple[str, ...] = ()
    # How ranks are started.
    launcher: str = "srun"
    mpi: str = ""
    binding: tuple[str, ...] = ()
    # Files.
    scratch: str = ""
    stripe_count: int = 0
    stripe_size: str = ""
    # Keys that stand in the file as comments only, to be filled in by the user: what a site wants but we cannot know.
    open_places: tuple[str, ...] = ()


# What the script says itself: a second one among `options` would silently win or lose.
_OWN_OPTIONS = (
    "account", "array", "chdir", "constraint", "cpus-per-task", "dependency", "error", "exclusive", "export",
    "job-name", "kill-on-invalid-dep", "mem", "mem-per-cpu", "no-requeue", "nodes", "ntasks", "ntasks-per-node",
    "open-mode", "output", "partition", "qos", "requeue", "reservation", "signal", "time", "wrap",
)  # fmt: skip
_OPTION = re.compile(r"--([a-z][a-z-]*)(=.+)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIZE = re.compile(r"[1-9]\d*[KMGT]?")


def _option(value: Any) -> str | None:
    match = _OPTION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return 'an option such as "--hint=nomultithread"'
    return "an option that has no key of its own here" if match[1] in _OWN_OPTIONS else None


def bound(value: Any) -> str | None:
    """Return what a launcher's option for binding should look like, None if `value` does. Local."""
    good = isinstance(value, str) and value.startswith("-")
    return None if good else 'an option of the launcher, such as "--cpu-bind=cores"'


def size(value: Any) -> str | None:
    """Return what an amount of memory should look like, None if `value` does. Local."""
    return None if isinstance(value, str) and _SIZE.fullmatch(value) else 'a size such as "4G"'


def _memory(value: Any) -> str | None:
    return None if value == "all" else size(value) and 'a size for each node such as "200G", or "all"'


def _time(value: Any) -> str | None:
    try:
        durations.seconds(value if isinstance(value, str) else "")
    except UsageError:
        return 'a time such as "01:30:00"'
    return None


def _variables(value: Any) -> str | None:
    good = isinstance(value, dict) and all(_VARIABLE.fullmatch(k) and isinstance(v, str) for k, v in value.items())
    return None if good else "a table of environment variables, each a text"


def exported(value: Any) -> str | None:
    """Return what the variables that a job gets should look like, None if `value` does. Local."""
    is_list = isinstance(value, list) and value and all(isinstance(v, str) and _VARIABLE.fullmatch(v) for v in value)
    if is_list and "ALL" not in value and (value == ["NONE"] or "NONE" not in value):
        return None
    return 'names of variables, without values, such as ["HOME", "LANG"], or ["NONE"]'


_TEXT, _FLAG, _WORDS = Key(checks.text), Key(checks.flag), Key(checks.list_of(checks.text))
KEYS: Mapping[str, Key] = {
    "description": _TEXT,
    **dict.fromkeys(("partition", "account", "qos", "constraint", "reservation"), _TEXT),
    **dict.fromkeys(("time", "longest"), Key(_time)),
    "exclusive": _FLAG,
    "memory": Key(_memory),
    **dict.fromkeys(("memory_per_cpu", "memory_limit"), Key(size)),
    "options": Key(checks.list_of(_option)),
    "needs": Key(checks.list_of(checks.one_of("account", "partition", "qos"))),
    "cores_per_node": Key(checks.integer(1)),
    **dict.fromkeys(("requeue", "login_shell", "purge"), _FLAG),
    **dict.fromkeys(("module_paths", "modules"), _WORDS),
    **dict.fromkeys(("venv", "container", "container_mpi", "sbcast", "scratch"), _TEXT),
    **dict.fromkeys(("container_command", "container_bind"), _WORDS),
    "container_runner": Key(checks.one_of(*RUNNERS)),
    "variables": Key(_variables),
    "export": Key(exported),
    "launcher": Key(checks.one_of("srun", "mpiexec", "mpirun")),
    "mpi": Key(checks.one_of("pmi2", "pmix", "cray_shasta", "pspmi", "none")),
    "binding": Key(checks.list_of(bound)),
    "stripe_count": Key(checks.integer(-1)),
    "stripe_size": Key(size),
}
_EITHER = (
    ("memory", "memory_per_cpu"), ("container", "sbcast"), ("container", "venv"), ("venv", "sbcast"),
    *(("container_command", f"container_{key}") for key in ("runner", "mpi", "bind")),
)  # fmt: skip
# These name places: variables such as $USER in them are filled in when the job is submitted.
_PLACES = ("venv", "container", "container_mpi", "sbcast", "scratch")
_ENVIRONMENTS = ("venv", "container", "sbcast")
_COMMENT = re.compile(rf"^[ \t]*#[ \t]*({'|'.join((*_ENVIRONMENTS, 'scratch'))})[ \t]*=", re.MULTILINE)


def known_profiles() -> dict[str, Path]:
    """Return the profiles that have a name, those of the user before those that come with mpibatch. Local."""
    own = Path(os.environ.get("XDG_CONFIG_HOME") or home() / ".config") / "mpibatch" / "profiles"
    return {path.stem: path for folder in (SHIPPED, own) for path in sorted(folder.glob("*.toml"))}


def load(name: str) -> Profile:
    """Return the profile of this name, or in this file. Local. Raises UsageError with everything that is wrong."""
    if "/" in name or name.endswith(".toml"):
        path = Path(name)
    else:
        known = known_profiles()
        if name not in known:
            raise UsageError(
                f"--profile {name}: there is no profile of this name{nearest(name, known)}; or give a file"
            )
        path = known[name]
    check_guarded(path, "the profile", "others could have their commands in your batch scripts")
    try:
        text = read_text(str(path))
    except MpibatchError as error:
        raise UsageError(str(error).replace("job file", "profile")) from None
    return parse(text, str(path), path.stem)


def parse(text: str, source: str, name: str) -> Profile:
    """Return the profile in a TOML text; `source` is what messages call it. Local."""
    document = toml_document(text, source)
    lines: dict[KeyPath, Place] = {path: (line, f"{source}:{line}") for path, line in key_lines(text).items()}
    problems = Problems(source, lines)
    accepted = keys_of(document, (), "a profile", KEYS, problems)
    for first, second in _EITHER:
        if first in accepted and second in accepted:
            problems.add((second,), f"a profile has {first} or {second}, not both")
    if "mpi" in accepted and accepted.get("launcher", "srun") != "srun":
        problems.add(("mpi",), f"mpi is an option of srun; {accepted['launcher']} has none: leave it out")
    for key, value in accepted.items():
        for item in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
            _check_line(key, item, problems)
    for key, value in accepted.get("variables", {}).items():
        _check_line(f"variables.{key}", value, problems)
    places = {key: os.path.expandvars(accepted[key]) for key in _PLACES if key in accepted}
    for key, place in places.items():
        # Path.expanduser raises where there is no such home.
        places[key] = os.path.expanduser(place)  # noqa: PTH111
        if places[key].startswith("~"):
            words = f"{key} = {accepted[key]!r}: no home of {place.partition('/')[0]} is known here; write the path out"
            problems.add((key,), words)
    binds = _binds(accepted.get("container_bind", []), problems)
    problems.check()
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in accepted.items()
    }
    values["container_bind"] = binds
    values |= {key: str(Path(place)) for key, place in places.items()}
    values["open_places"] = _open_places(text, accepted)
    return dataclasses.replace(Profile(name), **values)


def _binds(places: list[str], problems: Problems) -> tuple[str, ...]:
    whole = tuple(os.path.expanduser(os.path.expandvars(place)) for place in places)  # noqa: PTH111
    for place in whole:
        if not place.startswith("/"):
            problems.add(("container_bind",), f"container_bind holds {place!r}; give whole paths, from /")
    return whole


def _open_places(text: str, accepted: Mapping[str, Any]) -> tuple[str, ...]:
    """The places that are comments only. Of an environment one kind is enough."""
    commented = {match[1] for match in _COMMENT.finditer(text)}
    has_environment = any(key in accepted for key in _ENVIRONMENTS)
    closed = {*accepted, *(_ENVIRONMENTS if has_environment else ())}
    # Where the site is not told either, all that is commented out is an example.
    is_of_site = "partition" in accepted or "modules" in accepted
    return tuple(key for key in _PLACES if is_of_site and key in commented and key not in closed)


def _check_line(key: str, value: Any, problems: Problems) -> None:
    try:
        checked(str(value), key)
    except UsageError as error:
        problems.add(tuple(key.split(".")), str(error))
