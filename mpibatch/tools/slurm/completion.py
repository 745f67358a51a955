"""The completion record: what a run itself says of its end, for those who cannot trust a launcher's exit code.

``MPIBATCH_RECORD`` names the file. It is written by rank 0 as the last thing before the process ends, under a
temporary name first: it is complete, or it is not there.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch import __version__
from mpibatch.base.json_files import write_json
from mpibatch.base.log import logger
from mpibatch.base.processes.launch import launched, started_world
from mpibatch.base.trust import privacy

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["VARIABLE", "attempt_of", "is_wanted", "leave", "note", "ranks_of_first", "read"]

VARIABLE = "MPIBATCH_RECORD"

_noted: dict[str, Any] = {}


def is_wanted() -> bool:
    """Whether a record is asked for. Local, and perhaps not the same on all ranks."""
    return bool(os.environ.get(VARIABLE))


def note(**facts: Any) -> None:
    """Keep facts for the record, if one is asked for. Local.

    They are the `output` that was written, and the account of the `run` (see `mpibatch.job.execution.account`).
    """
    _noted.update(facts)


def ranks_of_first() -> int | None:
    """Return the number of ranks on rank 0, None elsewhere. Local."""
    world = started_world()
    rank = launched()[0] if world is None else world.rank
    # Ranks that are each a world of their own are all rank 0 there; the launcher's number tells them apart.
    if rank or launched()[0]:
        return None
    return 1 if world is None else int(world.size)


def leave(code: int) -> None:
    """Write the record of a run that ends with `code`, if one is asked for. Local; only rank 0 writes."""
    path, ranks = os.environ.get(VARIABLE), ranks_of_first()
    if not path or ranks is None:
        return
    record = {
        "code": code,
        **attempt_of(os.environ),
        "ranks": ranks,
        "ended": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "host": privacy.host(socket.gethostname()),
        "version": __version__,
        **_noted,
    }
    if "output" in record:
        record["output"] = privacy.path_text(str(record["output"]))
    output = Path(str(_noted["output"])) if "output" in _noted else None
    try:
        if output is not None:
            # Late: reading a seal takes the libraries that a run has loaded anyway.
            from mpibatch.io.seal.content import content_of

            record |= {"bytes": output.stat().st_size, "digest": content_of(str(output))}
        write_json(Path(path), record, indent=None)
    except OSError as error:
        logger("slurm").warning("the completion record %s cannot be written: %s", path, error)


def attempt_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return which attempt of which job an environment belongs to: a record of another one proves nothing. Local."""
    return {
        "job": environment.get("SLURM_JOB_ID", ""),
        "restart": environment.get("SLURM_RESTART_COUNT") or "0",
        "cluster": environment.get("SLURM_CLUSTER_NAME", ""),
    }


def read(path: Path) -> dict[str, Any] | None:
    """Return the record in a file, or None if there is none that can be read. Local."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("code"), int) else None
