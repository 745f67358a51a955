"""The format of an output, which its name says, and what the format has no place for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError
from mpibatch.io.base.names import check_suffix, flat_format

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.job.document.problems import Problems

__all__ = ["check_format", "check_secrecy", "check_written"]

ONLY_HDF5 = ("compression", "chunks", "driver", "encrypt")


def check_written(path: str, problems: Problems) -> None:
    """Note an output under the name of a format that is not written. Local."""
    try:
        check_suffix(path)
    except UsageError as error:
        problems.add(("output", "path"), f"[output] path: {error}")


def check_format(document: Mapping[str, Any], output: Mapping[str, Any], saved: int, problems: Problems) -> None:
    """Note what the format of a pipeline's output cannot have; `saved` is how many results it gets. Local."""
    path = output.get("path", "")
    kind = flat_format(path)
    if kind is None:
        check_written(path, problems)
        return
    if kind != "FITS" and saved > 1:
        words = f"[output] path = {path!r}: {kind} files hold one field, and {saved} results are saved; write .h5"
        problems.add(("output", "path"), words)
    for key in ONLY_HDF5:
        if key in output:
            problems.add(("output", key), f"[output] {key}: {kind} files have none; leave it out, or write .h5")
    if "checkpoint" in document:
        words = f"[checkpoint] needs an output in HDF5, which says what it was made of; {path!r} is {kind}: write .h5"
        problems.add(("checkpoint",), words)


def check_secrecy(document: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]], problems: Problems) -> None:
    """Note where a job would leave in plain what it is to encrypt. Local."""
    output, checkpoint = tables["output"], tables["checkpoint"]
    if "encrypt" in output and "checkpoint" in document and "encrypt" not in checkpoint:
        words = "[checkpoint] would keep in plain what [output] encrypts; give it encrypt = ..., too"
        problems.add(("checkpoint",), words)
    if output.get("disclose") and "encrypt" not in output:
        words = "[output] disclose is for encrypted files; leave it out, or give encrypt = ..."
        problems.add(("output", "disclose"), words)
    if "encrypt" in output and output.get("driver") == "mpio":
        words = '[output] driver = "mpio" does not encrypt; leave it out'
        problems.add(("output", "driver"), words)
