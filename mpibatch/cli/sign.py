"""``mpibatch sign``: signatures of files, for mpibatch verify --signed-by, for minisign and for ssh-keygen."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from mpibatch.base.errors import UsageError
from mpibatch.base.processes.launch import launched
from mpibatch.cli._exit import OK, on_first_rank, printable

__all__ = ["add", "execute"]

EPILOG = """\
The signature, FILE.minisig, covers every byte of the file, the content digest that its seal tells, and its subfiles. A
file is verified before it is signed. It tells who has said that the file is as it is; mpibatch verify alone finds
accidents. minisign itself looks at no subfiles: for it, mpibatch merge makes one file of them.

A key of SSH (Ed25519, without a password) writes FILE.sig, as ssh-keygen -Y sign -n file does. It covers every byte of
the file, the seal among them, and cannot tell of subfiles: files with some are refused.

examples:
  mpibatch key new --signing release.key
  mpibatch sign out.h5 --key release.key
  mpibatch verify out.h5 --signed-by release.key.pub
  minisign -Vm out.h5 -p release.key.pub
  mpibatch sign out.h5 --key ~/.ssh/id_ed25519
  ssh-keygen -Y verify -f allowed_signers -I me@lab -n file -s out.h5.sig < out.h5

exit codes: 0 signed, 1 a file is damaged or not there, 2 usage error, such as a key that others may read
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "sign",
        parents=[shared],
        help="sign files",
        description="Verify files that mpibatch wrote, and write a signature of minisign's or SSH's beside each.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="HDF5 file written by mpibatch")
    parser.add_argument(
        "--key", metavar="KEY", required=True, help="the signing key of minisign's or SSH's, which nobody else may read"
    )
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command: the ranks verify, rank 0 signs. Collective."""
    from mpibatch.io import check
    from mpibatch.io.seal.signature import read_signing, sign

    key = on_first_rank(f"reading {args.key}", lambda: read_signing(args.key))
    for file in args.files:
        if Path(file).is_dir():
            raise UsageError(
                f"cannot sign {file!r}: it is a folder, and a signature is of a file; sign an archive of it"
            )
        content = f"content:{check(file).content}"
        target = on_first_rank(f"signing {file}", partial(sign, file, key, content))
        if launched()[0] == 0 and not args.quiet:
            print(printable(str(target)))
    return OK
