"""What the section [output] of a pipeline says; its format, which the name tells, and what that has no place for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError
from mpibatch.io.base.names import check_suffix, foreign_format, user_place
from mpibatch.io.chunks.compression import normal_compression
from mpibatch.io.write.options import check_levels
from mpibatch.job.document import checks
from mpibatch.job.document.tables import Key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.job.document.problems import Problems

__all__ = ["OUTPUT_KEYS", "PERMISSIONS", "Output", "check_format", "check_secrecy", "check_written"]


# Of all formats.
PERMISSIONS: Mapping[str, Key] = {
    "mode": Key(checks.octal_mode),
    "group": Key(checks.text),
    "acl": Key(checks.text),
}


@dataclass(frozen=True)
class Output:
    """What a pipeline writes. Its parameters are its attributes, and the keys of the section ``[output]``.

    Parameters
    ----------
    path : str
        The file: HDF5, or the format that its ending stands for, as in `mpibatch.save`.
    dataset : str, optional
        The last step's result is written under this name. Default: what the step's `save` says.
    record : bool, default True
        Whether the file tells of this run: date, hosts, decomposition, seconds.
    compression : str, optional
        Such as "gzip" or "zstd:6". Default: none.
    chunks : "auto" or sequence of int, optional
        The shape of chunks, in cells. Default: each dataset in one piece.
    driver : {"direct", "mpio"}, optional
        By which HDF5 is written. Default: ``$MPIBATCH_DRIVER``, else the better one that works here.
    pyramid : int, default 0
        How many coarser levels OME-Zarr and OME-TIFF get.
    encrypt : str, optional
        A file with recipients, who alone can read the output.
    disclose : bool, default False
        Whether names, shapes and dtypes of an encrypted file stay readable for everybody.
    subfiles : int or "node", optional
        In how many files the values lie; "node": in one for each node. Default: in the output itself.
    stripes : int or str, optional
        On Lustre: the number of servers (-1: all), perhaps with the size of a piece: "8:4M". Default: the folder's.
    hints : mapping of str to object, optional
        Hints for MPI-IO, which go before those of ``$MPIBATCH_HINTS``.
    mode, group, acl : str, optional
        Who else may read and write the file, as in `mpibatch.grant`.

    Notes
    -----
    Local. `parse` makes it.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.job.Output("edges.h5", compression="gzip", mode="0640").permissions
    {'mode': '0640'}
    """

    path: str
    dataset: str | None = None
    record: bool = True
    compression: str | None = None
    chunks: str | Sequence[int] | None = None
    driver: str | None = None
    pyramid: int = 0
    encrypt: str | None = None
    disclose: bool = False
    subfiles: Any = None
    stripes: int | str | None = None
    hints: Mapping[str, Any] | None = None
    mode: str | None = None
    group: str | None = None
    acl: str | None = None

    @property
    def permissions(self) -> Mapping[str, str]:
        """What is given of `mpibatch.grant`'s parameters. Local."""
        return {key: value for key in PERMISSIONS if (value := getattr(self, key)) is not None}


OUTPUT_KEYS: Mapping[str, Key] = {
    "path": Key(checks.text, required=True, made=user_place),
    "dataset": Key(checks.text),
    "record": Key(checks.flag),
    "compression": Key(checks.compression),
    "chunks": Key(checks.any_of(checks.one_of("auto"), checks.list_of(checks.integer(1)))),
    "driver": Key(checks.one_of("direct", "mpio")),
    "pyramid": Key(checks.integer(0)),
    "encrypt": Key(checks.text, made=user_place),
    "disclose": Key(checks.flag),
    "subfiles": Key(checks.any_of(checks.one_of("node"), checks.integer(1))),
    "stripes": Key(checks.stripes),
    "hints": Key(checks.hints),
    **PERMISSIONS,
}

# What each format has of the settings of an output; all have a path, and HDF5 all but levels.
SETTINGS = ("compression", "chunks", "driver", "pyramid", "encrypt", "disclose", "subfiles")
_TAKES = {
    "HDF5": ("compression", "chunks", "driver", "encrypt", "disclose", "subfiles"),
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
    if "subfiles" in output and "encrypt" in output:
        problems.add(("output", "subfiles"), "[output] subfiles are not encrypted; leave out one of both")
    if "subfiles" in output and output.get("driver") == "mpio":
        problems.add(("output", "driver"), '[output] driver = "mpio" writes no subfiles; leave it out')
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
