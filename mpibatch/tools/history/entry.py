"""What a run tells of itself in the user's history: one chain for all runs, wherever their outputs are.

``MPIBATCH_HISTORY`` names the file, or is 0: no history. The default is in the user's folder for state,
``$XDG_STATE_HOME/mpibatch/history.jsonl``, else ``~/.local/state/...``: what a folder of outputs holds is moved and
removed with it.

A run has two entries: its begin, and its end, which names the number of its begin. What kills a run leaves the first.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import socket
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch import __version__
from mpibatch.base.errors import MpibatchError, reason_of
from mpibatch.base.host import home
from mpibatch.base.log import logger
from mpibatch.base.trust import privacy
from mpibatch.tools.history import chain
from mpibatch.tools.history.runs import BEGIN, process_mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["VARIABLE", "begin", "default_path", "end"]

VARIABLE = "MPIBATCH_HISTORY"
MOST_FILES, MOST_TEXT = 100, 500  # of an entry; of files the first, and how many there are

_open: dict[str, Any] = {}  # the run of this process that has begun and not ended


def default_path() -> Path | None:
    """Return the file of this user's history; None if none is kept. Local."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) if named not in ("", "0") else None
    return Path(os.environ.get("XDG_STATE_HOME") or home() / ".local" / "state") / "mpibatch" / "history.jsonl"


def begin(
    ranks: int | None, *, command: str, job: str, text: str, inputs: Iterable[str], outputs: Iterable[str]
) -> None:
    """Append that a run begins: the job, its text, the files that it reads. Local.

    `ranks` is None on all ranks but the first, which alone writes. What fails here is a warning, and no more.
    """
    _open.clear()
    path = default_path()
    if ranks is None or path is None:
        return
    files = [*outputs]
    with _harmless(path, "the begin of the run"):
        facts: dict[str, Any] = {
            "began": _now(),
            "user": privacy.user(),
            "host": privacy.host(socket.gethostname()),
            "process": process_mark(os.getpid()),
            "folder": privacy.path_text(str(Path.cwd())),
            "command": command,
            "arguments": [word[:MOST_TEXT] for word in privacy.arguments(sys.argv[1:100])],
            "job": privacy.path_text(job),
            "job_sha256": hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(),
            "inputs": _files([*inputs]),
            "ranks": ranks,
            "version": __version__,
        }
        if slurm := os.environ.get("SLURM_JOB_ID"):
            facts["slurm_job"] = slurm
        _open.update(path=path, outputs=files, facts=facts)
        number = chain.append(path, facts, patience=chain.SHORT_PATIENCE)
        # Of a run that is in the history, the end names the begin; of another, it tells all.
        _open["facts"] = {BEGIN: number}


def end(code: int) -> None:
    """Append that the run of this process has ended, where `begin` has been called. Local. Fails no run, either."""
    run = {**_open}
    _open.clear()
    if not run:  # of a run that never began, and on other ranks
        return
    with _harmless(run["path"], "the end of the run"):
        outputs = _files(run["outputs"]) if code == 0 else []
        chain.append(run["path"], {**run["facts"], "ended": _now(), "outputs": outputs, "code": code})


@contextmanager
def _harmless(path: Path, event: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever it is, the run itself goes on
        if isinstance(error, OSError):
            words = reason_of(error)
        else:
            words = str(error) if isinstance(error, MpibatchError) else f"{type(error).__name__}: {error}"
        logger("history").warning("%s is not in the history %s: %s", event, path, words)


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


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
