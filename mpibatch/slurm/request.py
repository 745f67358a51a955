"""What the user asks for: which job, on how many nodes, ranks and threads, for how long, once or in a chain."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mpibatch.errors import UsageError
from mpibatch.job.reading import parse_any, read_text
from mpibatch.slurm import durations
from mpibatch.slurm.profiles import Profile
from mpibatch.slurm.quoting import checked, plain_name

__all__ = ["KINDS", "Request", "array_items", "check", "margin_for", "with_choices"]

KINDS = ("run", "array", "scaling", "chain")

# Seconds between the signal and the time limit when nothing was measured; Slurm looks at limits every half minute.
DEFAULT_MARGIN = 120
LEAST_MARGIN = 60

_JOB_ID = re.compile(r"\d+(_\d+)?")


@dataclass(frozen=True)
class Request:
    """One submission. `settings` are as for ``mpibatch run --set``; `items` are those of each task of an array.

    `folder` is where the output goes, `checkpoints` where the checkpoints of a chain do.
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
    counts: tuple[int, ...] = ()
    repeat: int = 1
    dependent: bool = False
    folder: str = "."
    checkpoints: str = "checkpoints"

    @property
    def ranks(self) -> int:
        """The number of MPI ranks."""
        return self.nodes * self.ntasks_per_node

    @property
    def file_name(self) -> str:
        """The name as part of names of files."""
        return plain_name(self.name)


def with_choices(profile: Profile, **choices: str | None) -> Profile:
    """Return the profile with what the user chose in its place (account, partition, qos). Local."""
    chosen = {key: checked(value, f"--{key}") for key, value in choices.items() if value}
    changed = dataclasses.replace(profile, **chosen)  # type: ignore[arg-type]  # texts all
    missing = [key for key in changed.needs if not getattr(changed, key)]
    if missing:
        options = " ".join(f"--{key} NAME" for key in missing)
        raise UsageError(f"the profile {profile.name!r} needs {' and '.join(missing)}; give {options}")
    return changed


def check(request: Request, profile: Profile) -> None:
    """Raise UsageError for what cannot be meant. Local."""
    for option, value in (
        ("nodes", request.nodes),
        ("ntasks-per-node", request.ntasks_per_node),
        ("cpus-per-task", request.cpus_per_task),
        ("repeat", request.repeat),
    ):
        if value < 1:
            raise UsageError(f"--{option} {value}: give 1 or more")
    cores = request.ntasks_per_node * request.cpus_per_task
    if profile.cores_per_node and cores > profile.cores_per_node:
        raise UsageError(
            f"{request.ntasks_per_node} ranks × {request.cpus_per_task} CPUs are {cores} on each node, but nodes of "
            f"{profile.name!r} have {profile.cores_per_node}; use fewer, or more nodes"
        )
    if request.time is not None and request.margin * 2 > request.time:
        raise UsageError(
            f"--margin {request.margin}: the signal would come in the first half of the time of "
            f"{durations.text(request.time)}; give more --time"
        )
    if request.at_once < 0:
        raise UsageError(f"--at-once {request.at_once}: give 1 or more")
    for number in request.after:
        if not _JOB_ID.fullmatch(number):
            raise UsageError(f"--after {number}: give the number of a job, as {'mpibatch status'!r} shows it")
    for count in request.counts:
        if not 1 <= count <= request.ranks:
            words = f"{request.nodes} nodes × {request.ntasks_per_node} ranks are {request.ranks}"
            raise UsageError(f"--scaling {count}: give from 1 to all ranks of the job; {words}")


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
