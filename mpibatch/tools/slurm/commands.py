"""Slurm's own commands, and what their refusals mean."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Queued", "answers", "cancel", "find", "goes_on", "overriding", "queue", "submit"]

PATIENCE = 60.0  # seconds; a busy controller may take some
SILENCE = 300.0  # seconds for which the controller may give no answer to one who waits for a job

# The states of jobs that do not go on. From the second ones Slurm takes those back that may be requeued.
_FINAL = ("CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "REVOKED", "TIMEOUT")
_LOST = ("BOOT_FAIL", "NODE_FAIL", "PREEMPTED")

# Words of Slurm for what the user can mend in the request.
_REFUSALS = re.compile(
    r"invalid|not available|unavailable|violates|exceed|unrecognized|disabled|more processors|limit|denied|expired",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Queued:
    """A job as Slurm sees it. `array` is the number under which an array was submitted, `number` is shown."""

    number: str
    state: str
    elapsed: str
    limit: str
    nodes: str
    reason: str


def find(command: str) -> str:
    """Return the path of one of Slurm's commands. Local. Raises UsageError if this machine has none."""
    path = shutil.which(command)
    if path is None:
        raise UsageError(
            f"there is no {command} on the PATH; do this where Slurm's commands are, on a login node of your cluster, "
            "or load their module"
        )
    return path


def _run(command: str, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    path = find(command)
    try:
        return subprocess.run(
            [path, *arguments],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RunError(
            f"{command} did not answer within {PATIENCE:g} s; is Slurm's controller busy? Try later"
        ) from None
    except OSError as error:
        raise RunError(f"{command} cannot be run: {error}") from None


def submit(script: str) -> str:
    """Submit a script; return the job's number. Local. What Slurm refuses is a UsageError, with its words."""
    done = _run("sbatch", "--parsable", text=script)
    number = done.stdout.strip().partition(";")[0]
    if done.returncode == 0 and number.isdecimal():
        return number
    message = _message(done)
    if "partition" in message.lower() and "invalid" in message.lower():
        known = _run("sinfo", "-h", "-o", "%R").stdout.split()
        match = re.search(r"partition specified: (\S+)", message)
        hint = nearest(match[1] if match else "", known) if known else ""
        raise UsageError(f"sbatch refuses the partition: {message}{hint}")
    if _REFUSALS.search(message):
        raise UsageError(f"sbatch refuses the job: {message}; change the request or the profile")
    raise RunError(f"sbatch failed: {message or f'exit code {done.returncode}'}")


def _message(done: subprocess.CompletedProcess[str]) -> str:
    lines = [re.sub(r"^\w+: (error: )?", "", line.strip()) for line in done.stderr.splitlines()]
    return "; ".join(line for line in lines if line)


def queue() -> dict[str, Queued]:
    """Return what Slurm knows of this user's jobs, ended ones included as long as it remembers them. Local.

    An array's tasks are each there, as JOB_TASK, and those that wait together as JOB_[...].
    """
    separator = "\x1f"  # a reason may hold any sign that is seen
    form = separator.join(("%i", "%T", "%M", "%l", "%D", "%R"))
    done = _run("squeue", "-h", "-t", "all", "-u", str(os.getuid()), "-o", form)
    if done.returncode:
        raise RunError(f"squeue failed: {_message(done)}")
    jobs = [Queued(*line.split(separator)) for line in done.stdout.splitlines() if line.count(separator) == 5]
    return {job.number: job for job in jobs}


def answers(advice: str) -> Iterator[dict[str, Queued] | None]:
    """Yield what `queue` returns, each time anew, or None if Slurm gives no answer. Local.

    A controller that is busy, or started anew, answers some minutes later: RunError, which ends with the advice, comes
    only after that.
    """
    answered = time.monotonic()
    while True:
        try:
            known = queue()
        except RunError as error:
            if time.monotonic() - answered > SILENCE:
                raise RunError(f"{error}; {advice}") from None
            yield None
        else:
            answered = time.monotonic()
            yield known


def goes_on(number: str, queued: Mapping[str, Queued], requeues: bool = False) -> bool:
    """Return whether a job waits or runs; of an array, whether any task does. Local.

    A job that `requeues` may also go on after a preemption or the loss of a node.
    """
    array, _, task = number.partition("_")
    together = f"{array}_[" if task else f"{array}_"  # squeue's line for tasks that wait, or all lines of the array
    jobs = [queued[number]] if number in queued else [job for n, job in queued.items() if n.startswith(together)]
    over = _FINAL if requeues else (*_FINAL, *_LOST)
    return any(job.state not in over for job in jobs)


def cancel(numbers: Sequence[str]) -> None:
    """Cancel jobs. Local."""
    done = _run("scancel", *numbers)
    if done.returncode:
        raise RunError(f"scancel failed: {_message(done)}")


def overriding(*, exports: bool = False) -> dict[str, str]:
    """Return the variables of the environment that sbatch prefers to a script's own lines. Local.

    `exports`: one of them says what the job gets of the environment.
    """
    own = {"SBATCH_DEBUG", "SBATCH_NO_REQUEUE", *(() if exports else ("SBATCH_EXPORT",))}
    return {key: value for key, value in os.environ.items() if key.startswith("SBATCH_") and key not in own}
