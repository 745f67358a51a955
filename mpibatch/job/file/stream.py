"""What the section [stream] of a job says: that the data go through memory in slabs, and how much memory that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpibatch.base.units import bytes_of
from mpibatch.io.base.names import foreign_format, user_place
from mpibatch.job.document import checks
from mpibatch.job.document.tables import Key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.job.document.problems import Problems

__all__ = ["STREAM_KEYS", "Streaming", "check_streaming", "lasting_text"]

# What is written slab by slab is written by one driver, into one file.
_WHOLE = ("driver", "pyramid", "subfiles")


@dataclass(frozen=True)
class Streaming:
    """How a pipeline goes through data that exceed memory. Its parameters are its attributes.

    Parameters
    ----------
    memory : str, optional
        What a rank may take, such as "2 GiB". Default: ``$MPIBATCH_MEMORY_LIMIT``, else 1 GiB.
    slab : int, optional
        Planes of a slab. Default: as many as `memory` allows.
    path : str, optional
        The folder of what lies between passes. Default: beside the output.

    Notes
    -----
    Local. `parse` makes it of a section ``[stream]``. From Python see `mpibatch.stream`, too.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.job.Streaming(memory="2 GiB").slab is None
    True
    """

    memory: str | None = None
    slab: int | None = None
    path: str | None = None


def _amount(value: Any) -> str | None:
    is_one = isinstance(value, str) and bytes_of(value) is not None
    return None if is_one else 'an amount of memory as text, such as "2 GiB"'


STREAM_KEYS: Mapping[str, Key] = {
    "memory": Key(_amount),
    "slab": Key(checks.integer(1)),
    "path": Key(checks.text, made=user_place),
}


def check_streaming(document: Mapping[str, Any], problems: Problems) -> None:
    """Note what a streamed job cannot have. Local."""
    if "stream" not in document:
        return
    grid, output = (document[name] if isinstance(document.get(name), dict) else {} for name in ("grid", "output"))
    for key in ("sizes", "weights"):
        if key in grid:
            problems.add(("grid", key), f"[grid] {key} is for whole arrays, and [stream] cuts slabs; leave it out")
    for key in _WHOLE:
        if key in output:
            words = f"[output] {key}: [stream] writes one file slab by slab, in its own way; leave it out"
            problems.add(("output", key), words)
    if "encrypt" in output:
        words = "[output] encrypt: [stream] would write in plain; leave out one of both"
        problems.add(("output", "encrypt"), words)
    path = output.get("path")
    if isinstance(path, str) and (kind := foreign_format(path)) is not None:
        problems.add(("output", "path"), f"[output] path = {path!r}: [stream] writes HDF5, and not {kind}; write .h5")
    if "checkpoint" in document:
        problems.add(("checkpoint",), "[checkpoint]: a job with [stream] can be resumed without it; leave it out")


def lasting_text(text: str) -> str:
    """Return a job's text without its section [stream], which changes no value, and settings of it. Local."""
    kept, inside = [], False
    for line in text.splitlines():
        words = line.strip()
        if words.startswith("["):
            inside = words.split("#")[0].strip() == "[stream]"
        if words.startswith("# --set "):
            inside = False
        if not inside and not words.startswith("# --set stream."):
            kept.append(line)
    return "\n".join(kept).rstrip("\n") + "\n"
