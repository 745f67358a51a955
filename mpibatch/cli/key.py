"""``mpibatch key``: keys for encrypted and signed files."""

from __future__ import annotations

import argparse
import sys

from mpibatch.base.processes.launch import launched
from mpibatch.cli._exit import OK

__all__ = ["add", "execute"]

EPILOG = """\
A key file holds a private key, and only its owner may read it (mode 0600). Its recipient, age1..., is for everybody:
who writes a list of recipients, one a line, into a file can encrypt for them (encrypt = "recipients.txt"), and none of
them needs to be there. Files of the program age are the same: age-keygen makes keys, too.

rotate gives an encrypted file other recipients, by a key of one it has now. Only its header is written. Somebody who
could read the file before may have kept a copy, or the header: what must be kept from them has to be saved anew.

--signing makes a pair of keys for mpibatch sign, as minisign has them: FILE is private, FILE.pub is for everybody.
A key of SSH's signs, too: ssh-keygen -t ed25519 -N '' -f FILE makes one.

examples:
  mpibatch key new me.key                      prints the recipient
  mpibatch key show me.key >> recipients.txt
  mpibatch key rotate out.h5 --to recipients.txt --identity me.key
  mpibatch key show out.h5 | age -d -i me.key | xxd       the secret of an encrypted file, by age alone
  mpibatch key new --signing release.key

exit codes: 0 done, 1 a file is damaged or not there, or there already, 2 usage error, such as a key for another file
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "key",
        parents=[shared],
        help="make and show keys, and change who can read an encrypted file",
        description="Make a key, show what of it is for everybody, or give an encrypted file other recipients.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=("new", "show", "rotate"), help="what to do")
    parser.add_argument("file", metavar="FILE", help="a key file; of rotate, and perhaps of show, an encrypted file")
    parser.add_argument("--to", metavar="RECIPIENTS", help="of rotate: a file with the recipients from now on")
    parser.add_argument("--signing", action="store_true", help="of new: a pair of keys for mpibatch sign")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; under mpiexec rank 0 alone works. Local."""
    from mpibatch.base.errors import UsageError

    if (args.to is not None) != (args.action == "rotate"):
        raise UsageError("--to RECIPIENTS belongs to rotate, which needs it")
    if args.signing and args.action != "new":
        raise UsageError("--signing belongs to new")
    if launched()[0] != 0:
        return OK
    {"new": _new_signing if args.signing else _new, "show": _show, "rotate": _rotate}[args.action](args)
    return OK


def _new(args: argparse.Namespace) -> None:
    from mpibatch.io.vault.age import new_identity
    from mpibatch.io.vault.keys import write_private

    identity = new_identity()
    write_private(args.file, f"# recipient: {identity.recipient}\n{identity.text}\n")
    print(identity.recipient)


def _new_signing(args: argparse.Namespace) -> None:
    from pathlib import Path

    from mpibatch.base.errors import RunError
    from mpibatch.io.base.names import user_path
    from mpibatch.io.seal.signature import new_key
    from mpibatch.io.vault.keys import write_private

    key, public = new_key(), Path(user_path(args.file) + ".pub")
    if public.exists():
        raise RunError(f"{str(public)!r} exists; give another name")
    write_private(args.file, key.text)
    public.write_text(key.public.text)
    public.chmod(public.stat().st_mode & 0o755)  # whatever the umask: it is read only if nobody else may write it
    print(f"{public}: public key {key.public.name}")


def _show(args: argparse.Namespace) -> None:
    from mpibatch.io.base.names import user_path
    from mpibatch.io.vault.keyring import is_sealed
    from mpibatch.io.vault.keys import identities_of
    from mpibatch.io.vault.rotation import wrapped_secret

    if is_sealed(user_path(args.file)):
        sys.stdout.flush()
        sys.stdout.buffer.write(wrapped_secret(args.file))
        return
    for identity in identities_of(args.file):
        print(identity.recipient)


def _rotate(args: argparse.Namespace) -> None:
    from mpibatch.io.vault.rotation import rotate

    recipients = rotate(args.file, args.to)
    if not args.quiet:
        print(f"{args.file}: readable by {', '.join(map(str, recipients))}")
