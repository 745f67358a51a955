"""``mpibatch verify``: whether files are, byte for byte, what was written."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import RunError
from mpibatch.base.processes.launch import launched
from mpibatch.cli._exit import OK, RUN_ERROR, on_first_rank, printable

if TYPE_CHECKING:
    from mpibatch.io import Report

__all__ = ["add", "execute"]

EPILOG = """\
Every file that mpibatch writes ends with a seal: digests of all values, computed before they went to the file, and
hashes of all other bytes. A file without one was not completed, or was changed by another program. This detects errors
of disks, networks and memory; it does not protect against somebody who makes values fit the seal, or writes a new one:
--signed-by does, of subfiles, too.

The content digest covers names, dtypes, shapes and values only: two files with the same content digest hold the same
data, whatever their attributes, and however and by however many ranks they were written.

examples:
  mpibatch verify out.h5
  mpiexec -n 8 mpibatch verify out.h5        the ranks share the reading
  mpibatch verify --json results/*.h5
  mpibatch verify out.h5 --identity me.key   an encrypted file
  mpibatch verify out.h5 --signed-by release.key.pub
  mpibatch verify out.h5 --signed-by ~/.ssh/id_ed25519.pub      the signature of a key of SSH

exit codes: 0 all files are whole, 1 a file is damaged or could not be read, 2 usage error, 3 none of these, but
mpibatch did not write some of the files, and cannot check them
"""
MOST_LINES = 20
FOREIGN = 3  # exit code


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "verify",
        parents=[shared],
        help="check that files are as they were written",
        description="Check every byte of files that mpibatch wrote, and name the dataset and region of any damage.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="HDF5 file written by mpibatch")
    parser.add_argument(
        "--signed-by",
        metavar="KEY.pub",
        help="also verify the signature FILE.minisig by this key, or FILE.sig by one of SSH's: a public key file, "
        "one as allowed_signers, or a line of one",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a file, one on a line")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command. Collective."""
    from mpibatch.io import verify

    speaks = launched()[0] == 0
    code = OK
    for file in args.files:
        report: Report | None = None
        try:
            report = verify(file)
            trouble = ""
            # Of a broken file the signature is wrong, too, and the places tell more.
            if args.signed_by is not None and (report.is_whole or report.is_foreign):
                _check_signature(file, args.signed_by)
        except RunError as error:
            report = None
            if len(args.files) == 1 and not args.json:
                raise
            # The others are looked at all the same.
            trouble = str(error)
        is_whole = report is not None and report.is_whole
        if report is not None and report.is_foreign:
            code = code or FOREIGN
        elif not is_whole:
            code = RUN_ERROR
        if speaks and (args.json or not (args.quiet and is_whole)):
            print(_json(file, report, trouble) if args.json else printable("\n".join(_lines(file, report, trouble))))
    return code


def _check_signature(file: str, public: str) -> None:
    """Raise RunError unless a file has a signature by this key. Collective: rank 0 reads the file."""
    from mpibatch.io.seal.signature import read_public, signed_by

    on_first_rank(f"verifying {file}", lambda: signed_by(file, read_public(public)))


def _json(file: str, report: Report | None, trouble: str) -> str:
    record: dict[str, Any] = {"file": file, "whole": report is not None and report.is_whole}
    if report is None:
        record["error"] = trouble
    else:
        record |= {"bytes": report.size, "content": report.content or None, "datasets": list(report.datasets)}
        record["foreign"] = report.is_foreign
        record["broken"] = [
            {"dataset": part.dataset or None, "what": part.description, "bytes": [part.start, part.stop]}
            for part in report.broken
        ]
    return json.dumps(record)


def _lines(file: str, report: Report | None, trouble: str) -> list[str]:
    shown = file.replace("\n", "\\n")
    if report is None:
        return [f"{shown}: error: {trouble}"]
    if report.is_whole:
        return [f"{shown}: whole, content {report.content}"]
    if report.is_foreign or report.is_of_other_version:
        return [f"{shown}: {report.broken[0].description}"]
    lines = [f"{shown}: BROKEN"]
    lines += [f"  {part.description}".replace("\n", "\\n") for part in report.broken[:MOST_LINES]]
    if len(report.broken) > MOST_LINES:
        lines.append(f"  and {len(report.broken) - MOST_LINES} more places")
    return lines
