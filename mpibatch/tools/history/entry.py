"""What a run tells of itself in the user's history: one chain for all runs, wherever their outputs are.

``MPIBATCH_HISTORY`` names the file, or is 0: no history. The default is in the user's folder for state,
``$XDG_STATE_HOME/mpibatch/history.jsonl``, else ``~/.local/state/...``: what a folder of outputs holds is moved and
removed with it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch import __version__
from mpibatch.base.errors import MpibatchError, reason_of
from mpibatch.base.host import home
from mpibatch.base.log import logger
from mpibatch.base.trust import privacy
from mpibatch.tools.history import chain

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["VARIABLE", "default_path", "leave", "note"]

VARIABLE = "MPIBATCH_HISTORY"
MOST_FILES, MOST_TEXT = 100, 500  # of an entry; of files the first, and how many there are

_noted: dict[str, Any] = {}


def default_path() -> Path | None:
    """Return the file of this user's history; None if none is kept. Local."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) if named not in ("", "0") else None
    return Path(os.environ.get("XDG_STATE_HOME") or home() / ".local" / "state") / "mpibatch" / "history.jsonl"


def note(*, job: str, text: str, inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """Keep for the entry which job this is, its text, and the files that it reads and writes. Local; cheap."""
    _noted.update(job=job, text=text, inputs=[*inputs], outputs=[*outputs])


def leave(command: str, code: int, ranks: int) -> None:
    """Append the entry of a run that has ended. Local: rank 0's. What fails here is a warning, and no more."""
    path = default_path()
    noted = {**_noted}
    _noted.clear()
    if path is None or not noted:  # of a run that never began
        return
    try:
        facts = {
            "ended": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "user": privacy.user(),
            "host": privacy.host(socket.gethostname()),
            "folder": privacy.path_text(str(Path.cwd())),
            "command": command,
            "arguments": [privacy.words(word)[:MOST_TEXT] for word in sys.argv[1:100]],
            "job": privacy.path_text(noted["job"]),
            "job_sha256": hashlib.sha256(noted["text"].encode("utf-8", "replace")).hexdigest(),
            "inputs": _files(noted["inputs"]),
            "outputs": _files(noted["outputs"]) if code == 0 else [],
            "ranks": ranks,
            "code": code,
            "version": __version__,
        }
        if slurm := os.environ.get("SLURM_JOB_ID"):
            facts["slurm_job"] = slurm
        chain.append(path, facts)
    except Exception as error:  # whatever it is, the run itself is done
        if isinstance(error, OSError):
            words = reason_of(error)
        else:
            words = str(error) if isinstance(error, MpibatchError) else f"{type(error).__name__}: {error}"
        logger("history").warning("the run is not in the history %s: %s", path, words)


def _files(paths: list[str]) -> list[dict[str, Any]]:
    """What is known of files without reading their values: their size, and the content digest of sealed ones."""
    from mpibatch.io.base.names import split_path
    from mpibatch.io.seal.content import content_of

    known: list[dict[str, Any]] = []
    for path in paths[:MOST_FILES]:
        about: dict[str, Any] = {"path": privacy.path_text(path)[:MOST_TEXT]}
        try:
            file, _ = split_path(path)
            about["bytes"] = Path(file).stat().st_size
            if digest := content_of(file):
                about["digest"] = digest
        except Exception as error:  # of a file that is damaged, say
            about["unknown"] = type(error).__name__
        known.append(about)
    if len(paths) > MOST_FILES:
        known.append({"more": len(paths) - MOST_FILES})
    return known
