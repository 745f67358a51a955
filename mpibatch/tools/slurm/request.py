"""What the user asks for: which job, on how many nodes, ranks and threads, for how long, once or in a chain."""

from __future__ import annotations

import dataclasses
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError
from mpibatch.job.file.reader import parse_any, read_text
from mpibatch.tools.slurm import durations, profiles
from mpibatch.tools.slurm.quotes import checked, plain_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.tools.slurm.profiles import Profile

__all__ = ["KINDS", "Request", "array_items", "check", "margin_for", "with_choices"]

KINDS = ("run", "array", "scaling", "chain", "batch")

# Seconds between the signal and the time limit when nothing was measured; Slurm looks at limits every half minute.
DEFAULT_MARGIN = 120
LEAST_MARGIN = 60
MOST_MARGIN = 65535  # that sbatch takes

_JOB_ID = re.compile(r"\d+(_\d+)?")


@dataclass(frozen=True)
class Request:
    """One submission. `settings` are as for ``mpibatch run --set``; `items` are those of each task of an array.

    `folder` is where the output goes, `checkpoints` where checkpoints do, or a batch's journal is ("": the job saves
    none); `command` is the command that runs the job, `parts` the number of tasks that share a batch; `point` is the
    folder of the scaling study's point that the runs belong to. `ntasks` is the number of ranks where the last node
    holds fewer; `identity` the file of a key that the job needs, never a key.
    """

    job: str
    kind: str = "run"
    name: str = "job"
    nodes: int = 1
    ntasks_per_node: int = 1
    cpus_per_task: int = 1
    time: int | None = None
    margin: int = DEFAULT_MARGIN
    settings: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    items: tuple[tuple[str, ...], ...] = ()
    at_once: int = 0
    ntasks: int = 0
    repeat: int = 1
    dependent: bool = False
    folder: str = "."
    checkpoints: str = ""
    point: str = ""
    command: str = "run"
    parts: int = 1
    identity: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        """The options of the command that runs the job."""
        settings = [word for text in self.settings for word in ("--set", text)]
        return (*settings, *(("--identity", self.identity) if self.identity else ()))

    @property
    def can_stop(self) -> bool:
        """Whether a signal before the time limit is of use: one that saves nothing would lose the rest of its time."""
        return bool(self.checkpoints) or self.kind == "scaling"

    @property
    def ranks(self) -> int:
        """The number of MPI ranks."""
        return self.ntasks or self.nodes * self.ntasks_per_node

    @property
    def tasks(self) -> int:
        """The number of an array's tasks; 0 of a job that is none."""
        return len(self.items) or (self.parts if self.parts > 1 else 0)

    @property
    def repeats(self) -> tuple[str, ...]:
        """The numbers of a point's runs, as in the names of their files."""
        return tuple(f"{number:02d}" for number in range(1, self.repeat + 1))

    @property
    def file_name(self) -> str:
        """The name as part of names of files."""
        return plain_name(self.name)


def with_choices(
    profile: Profile, *, binding: Sequence[str] | None = None, export: str | None = None, **choices: str | None
) -> Profile:
    """Return the profile with what the user chose in its place. Local.

    `choices` are texts of the profile, such as its account; None and "" leave its own.
    """
    given = {key: checked(value, _option(key)) for key, value in choices.items() if value}
    if (size := given.get("memory_limit")) and profiles.size(size):
        raise UsageError(f"--memory-limit {size}: expected {profiles.size(size)}")
    changed = dataclasses.replace(profile, **given)  # type: ignore[arg-type]  # texts all
    if {"partition", "qos"} & {*given}:
        changed = dataclasses.replace(changed, longest="")  # which was that of the profile's own
    if binding is not None:
        for word in binding:
            if profiles.bound(checked(word, "--binding")):
                raise UsageError(f"--binding {word}: expected {profiles.bound(word)}")
        changed = dataclasses.replace(changed, binding=tuple(binding))
    if export is not None:
        names = tuple(word.strip() for word in export.split(","))
        if expected := profiles.exported([*names]):
            raise UsageError(f"--export {export}: expected {expected}")
        changed = dataclasses.replace(changed, export=names)
    missing = [key for key in changed.needs if not getattr(changed, key)]
    if missing:
        options = " ".join(f"{_option(key)} NAME" for key in missing)
        raise UsageError(f"the profile {profile.name!r} needs {' and '.join(missing)}; give {options}")
    return changed


def _option(key: str) -> str:
    """The option of the command line for a field."""
    return f"--{key.replace('_', '-')}"


def check(request: Request, profile: Profile) -> None:
    """Raise UsageError for what is not valid. Local."""
    for option, value in (
        ("nodes", request.nodes),
        ("ntasks-per-node", request.ntasks_per_node),
        ("cpus-per-task", request.cpus_per_task),
        ("repeat", request.repeat),
        ("parts", request.parts),
    ):
        if value < 1:
            raise UsageError(f"--{option} {value}: give 1 or more")
    cores = request.ntasks_per_node * request.cpus_per_task
    if profile.cores_per_node and cores > profile.cores_per_node:
        raise UsageError(
            f"{request.ntasks_per_node} ranks × {request.cpus_per_task} CPUs are {cores} on each node, but nodes of "
            f"{profile.name!r} have {profile.cores_per_node}; use fewer, or more nodes"
        )
    if not 1 <= request.margin <= MOST_MARGIN:
        raise UsageError(f"--margin {request.margin}: give 1 to {MOST_MARGIN} seconds")
    if request.can_stop and request.time is not None and request.margin * 2 > request.time:
        raise UsageError(
            f"--margin {request.margin}: the signal would come in the first half of the time of "
            f"{durations.text(request.time)}; give more --time"
        )
    longest = durations.seconds(profile.longest) if profile.longest else None
    if request.time is not None and longest is not None and request.time > longest:
        raise UsageError(
            f"--time {durations.text(request.time)}: jobs of {profile.name!r} may take {profile.longest} at most; give "
            "less, and --chain where a run takes longer"
        )
    if request.at_once < 0:
        raise UsageError(f"--at-once {request.at_once}: give 1 or more")
    for number in request.after:
        if not _JOB_ID.fullmatch(number):
            raise UsageError(f"--after {number}: give the number of a job, as {'mpibatch status'!r} shows it")


def margin_for(time: int | None, measured: float | None) -> int:
    """Return how many seconds before the limit the signal shall come. Local.

    `measured` is how long such a run took to stop before, from the signal over its checkpoint to its end: three times
    that, and some for a file system that is busier then.
    """
    if measured is not None:
        return max(LEAST_MARGIN, round(3 * measured) + 30)
    # A short job, such as a test, must not be told to leave before it has begun.
    return DEFAULT_MARGIN if time is None else min(DEFAULT_MARGIN, time // 4)


def array_items(path: str, job: str, settings: Sequence[str] = ()) -> tuple[tuple[str, ...], ...]:
    """Return the settings on each line of a file, for the tasks of an array. Local.

    A line is KEY=VALUE words as for ``mpibatch run --set``, quoted as for a shell; # starts a comment. Every line must
    make a job without mistakes, and no two may write the same file.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--array {path}: cannot be read ({error}); give a file with settings on each line") from None
    text = read_text(job)
    items: list[tuple[str, ...]] = []
    outputs: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        try:
            words = tuple(shlex.split(line, comments=True))
        except ValueError as error:
            raise UsageError(f"{path}:{number}: {error}; quote as for a shell") from None
        if not words:
            continue
        try:
            output = _output(text, job, [*settings, *words])
        except UsageError as error:
            raise UsageError(f"{path}:{number}: {error}") from None
        if output in outputs:
            raise UsageError(
                f"{path}:{number}: writes {output}, as line {outputs[output]} does; give each its own output.path"
            )
        outputs[output] = number
        items.append(words)
    if not items:
        raise UsageError(f"--array {path}: holds no line with settings, such as: output.path=out-1.h5")
    return tuple(items)


def _output(text: str, job: str, settings: Sequence[str]) -> str:
    output = parse_any(text, job, settings).output
    return output if isinstance(output, str) else output.path
