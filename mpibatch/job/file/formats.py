"""The format of an output, which its name says, and what the format has no place for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError
from mpibatch.io.base.names import check_suffix, foreign_format
from mpibatch.io.chunks.compression import normal_compression
from mpibatch.io.write.options import check_levels
from mpibatch.job.document import checks
from mpibatch.job.document.tables import Key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.job.document.problems import Problems

__all__ = ["PERMISSIONS", "check_format", "check_secrecy", "check_written"]

# Of all formats.
PERMISSIONS: Mapping[str, Key] = {
    "mode": Key(checks.octal_mode),
    "group": Key(checks.text),
    "acl": Key(checks.text),
}
# What each format has of the settings of an output; all have a path, and HDF5 all but levels.
SETTINGS = ("compression", "chunks", "driver", "pyramid", "encrypt", "disclose")
_TAKES = {
    "HDF5": ("compression", "chunks", "driver", "encrypt", "disclose"),
    "Zarr": ("compression", "chunks"),
    "OME-Zarr": ("compression", "chunks", "pyramid"),
    "OME-TIFF": ("compression", "pyramid"),
}
_ONE_FIELD = ("NIfTI", "OME-TIFF", "npy")
_WITH_ATTRIBUTES = ("HDF5", "Zarr", "OME-Zarr")  # which say what they were made of


def check_written(path: str, problems: Problems) -> None:
    """Note an output under the name of a format that is not written. Local."""
    try:
        check_suffix(path)
    except UsageError as error:
        problems.add(("output", "path"), f"[output] path: {error}")


def check_format(document: Mapping[str, Any], output: Mapping[str, Any], saved: int, problems: Problems) -> None:
    """Note what the format of a pipeline's output cannot have; `saved` is how many results it gets. Local."""
    path = output.get("path", "")
    kind = foreign_format(path) or "HDF5"
    if kind == "HDF5":
        check_written(path, problems)
    if kind in _ONE_FIELD and saved > 1:
        words = f"[output] path = {path!r}: {kind} files hold one field, and {saved} results are saved; write .h5"
        problems.add(("output", "path"), words)
    for key in SETTINGS:
        if output.get(key) and key not in _TAKES.get(kind, ()):
            other = "write .ome.zarr" if key == "pyramid" else "write .h5"
            problems.add(("output", key), f"[output] {key}: {kind} files have none; leave it out, or {other}")
    if "pyramid" in _TAKES.get(kind, ()):
        try:
            check_levels(path, output.get("pyramid", 0), is_possible=True)
        except UsageError as error:
            problems.add(("output", "pyramid"), f"[output] pyramid: {error}")
    _check_compression(kind, output.get("compression"), problems)
    if "checkpoint" in document and kind not in _WITH_ATTRIBUTES:
        words = f"[checkpoint] needs an output in HDF5 or Zarr, which say what they are made of; {path!r} is {kind}"
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


def _check_compression(kind: str, text: Any, problems: Problems) -> None:
    if not isinstance(text, str) or "compression" not in _TAKES.get(kind, ()):
        return
    try:
        normal_compression(text, kind.rpartition("-")[2])
    except UsageError as error:
        problems.add(("output", "compression"), f"[output] {error}")
