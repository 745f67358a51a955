"""Signatures of files, as the program minisign makes and verifies them: who says that a file is as it is.

A signature lies beside its file as ``FILE.minisig``. It covers every byte of the file, and a comment with the file's
name and content digest; ``minisign -Vm FILE -p KEY.pub`` verifies it, too. Of a front the comment also tells a hash of
all subfiles, which minisign does not know of: `signed_by` compares it. Keys are files of minisign's without a password,
or those of SSH, whose signatures are `sshsig`'s.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

from mpibatch.base.errors import RunError, UsageError, reason_of
from mpibatch.base.files import replacing
from mpibatch.io.base.names import PathLike, user_path
from mpibatch.io.base.subfiles import place_of
from mpibatch.io.seal import seal, sshsig
from mpibatch.io.seal.ssh_signers import SshSigners, is_public, parse_public
from mpibatch.io.seal.sshsig import SshKey
from mpibatch.io.vault.cipher import require
from mpibatch.io.vault.keys import read_guarded, read_private

__all__ = ["SUFFIX", "PublicKey", "SigningKey", "new_key", "read_public", "read_signing", "sign", "signed_by"]

SUFFIX = ".minisig"
PUBLIC = struct.Struct("2s8s32s")
SECRET = struct.Struct("2s2s2s32s8s8s8s64s32s")
SIGNATURE = struct.Struct("2s8s64s")
KIND, PREHASHED, NO_PASSWORD, CHECKSUM = b"Ed", b"ED", b"\0\0", b"B2"
UNTRUSTED, TRUSTED = "untrusted comment: ", "trusted comment: "
MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class PublicKey:
    """By which signatures are verified; `number` tells which key it is."""

    number: bytes
    point: bytes

    @property
    def name(self) -> str:
        """The number as minisign prints it. Local."""
        return self.number[::-1].hex().upper()

    @property
    def text(self) -> str:
        """What a file of it holds. Local."""
        return _lines(f"minisign public key {self.name}", PUBLIC.pack(KIND, self.number, self.point))


@dataclass(frozen=True)
class SigningKey:
    """By which files are signed. It does not print."""

    number: bytes
    seed: bytes = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """The half that others get. Local."""
        require()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        point = Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
        return PublicKey(self.number, point)

    @property
    def text(self) -> str:
        """What a file of it holds. Local."""
        pair = self.seed + self.public.point
        none = bytes(32), bytes(8), bytes(8)
        # As minisign -W writes it: without a password there is no checksum.
        packed = SECRET.pack(KIND, NO_PASSWORD, CHECKSUM, *none, self.number, pair, bytes(32))
        return _lines("minisign secret key, without a password", packed)

    def signature_of(self, message: bytes) -> bytes:
        """Return 64 bytes. Local."""
        require()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)


def new_key() -> SigningKey:
    """Return a new key. Local."""
    return SigningKey(os.urandom(8), os.urandom(32))


def read_signing(source: PathLike) -> SigningKey | SshKey:
    """Return the key in a file that nobody else may read. Local. RunError or UsageError, never with the key."""
    path = user_path(os.fspath(source))
    data = read_private(path)
    if data.startswith(sshsig.PRIVATE):
        return sshsig.parse_private(path, data)
    try:
        fields = SECRET.unpack(_decoded(data.splitlines(), 1))
    except (ValueError, struct.error):
        raise UsageError(
            f"{path!r} is no signing key of minisign's or SSH's; make one: mpibatch key new --signing FILE"
        ) from None
    kind, password, checksum, _, _, _, number, pair, _ = fields
    if (kind, checksum) != (KIND, CHECKSUM):
        raise UsageError(f"{path!r} is a key of an unknown kind; make one: mpibatch key new --signing FILE")
    if password != NO_PASSWORD:
        raise UsageError(f"the key in {path!r} has a password, which a job cannot ask for; take it off: minisign -C -W")
    key = SigningKey(number, pair[:32])
    if key.public.point != pair[32:]:
        raise RunError(f"the signing key in {path!r} is damaged; restore it from a copy")
    return key


def read_public(source: PathLike) -> PublicKey | SshSigners:
    """Return the public key in a file, or the keys of SSH in it, or in a line. Local. RunError or UsageError."""
    if is_public(line := os.fsencode(source)):
        return parse_public("the key that was given", line)
    path = user_path(os.fspath(source))
    try:
        data = read_guarded(path, "the public key", "others could choose whose signatures are right")
    except OSError as error:
        raise RunError(f"cannot read the public key {path!r}: {reason_of(error)}; check its name") from error
    if not data.startswith(UNTRUSTED.encode()) and is_public(data):
        return parse_public(repr(path), data)
    try:
        kind, number, point = PUBLIC.unpack(_decoded(data.splitlines(), 1))
    except (ValueError, struct.error):
        kind, number, point = b"", b"", b""
    if kind != KIND:
        raise UsageError(
            f"{path!r} is no public key of minisign's or SSH's; give FILE.pub, as mpibatch key new --signing made it"
        )
    return PublicKey(number, point)


def sign(path: PathLike, key: SigningKey | SshKey, about: str) -> Path:
    """Sign a file, write the signature beside it and return its name. Local. RunError or UsageError.

    `about` goes into the comment that is signed, too, and what tells of subfiles; SSH's signatures have no comment.
    """
    file = user_path(os.fspath(path))
    if isinstance(key, SshKey):
        return sshsig.sign(file, key)
    comment = f"file:{Path(file).name}\t{about}{_about_subfiles(file)}"
    signature = key.signature_of(_hash(file))
    whole = key.signature_of(signature + comment.encode())
    text = _lines(f"signature of {Path(file).name}", SIGNATURE.pack(PREHASHED, key.number, signature))
    text += f"{TRUSTED}{comment}\n{base64.b64encode(whole).decode()}\n"
    target = Path(file + SUFFIX)
    try:
        with replacing(target) as part:
            part.write_text(text)
    except OSError as error:
        raise RunError(f"cannot write {str(target)!r}: {reason_of(error)}; sign a copy elsewhere") from error
    return target


def signed_by(path: PathLike, key: PublicKey | SshSigners) -> str:
    """Return the signed comment of a file's signature. Local. RunError unless it is this key's, and of this file.

    That is, of every byte of it and of its subfiles. SSH's signatures have no comment: "".
    """
    require()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    file = user_path(os.fspath(path))
    if isinstance(key, SshSigners):
        sshsig.signed_by(file, key)
        return ""
    try:
        with open(file + SUFFIX, "rb") as opened:
            lines = opened.read(MOST_BYTES).splitlines()
    except OSError as error:
        raise RunError(f"{file!r} is not signed: {file}{SUFFIX} cannot be read: {reason_of(error)}") from error
    try:
        kind, number, signature = SIGNATURE.unpack(_decoded(lines, 1))
        _, _, comment, _ = lines
        whole = _decoded(lines, 3)
        if kind != PREHASHED or not comment.startswith(TRUSTED.encode()):
            raise ValueError
    except (ValueError, IndexError, struct.error):
        raise RunError(f"{file}{SUFFIX} is no signature of minisign's, prehashed; sign the file anew") from None
    if number != key.number:
        other = PublicKey(number, b"").name
        raise RunError(f"{file!r} was signed by the key {other}, not by {key.name}; give the public key of its signer")
    comment = comment[len(TRUSTED) :]
    try:
        verifier = Ed25519PublicKey.from_public_bytes(key.point)
        verifier.verify(signature, _hash(file))
        verifier.verify(whole, signature + comment)
    except (InvalidSignature, ValueError):
        raise RunError(f"the signature of {file!r} is wrong: the file or it has changed since it was signed") from None
    if not comment.endswith(_about_subfiles(file).encode()):
        raise RunError(f"the signature of {file!r} is not of its subfiles: these have changed, or were never signed")
    return comment.decode("utf-8", "replace")


def _about_subfiles(file: str) -> str:
    """What the comment of a front ends with: a hash of the names and hashes of all subfiles. "" if it has none."""
    names = seal.subfiles_of(file)
    total = hashlib.blake2b(digest_size=32)
    for name in names:
        total.update(name.encode() + b"\0" + _hash(str(place_of(file, name))))
    return f"\tsubfiles:{total.hexdigest()}" if names else ""


def _hash(path: str) -> bytes:
    return seal.hash_of_file(path, "blake2b")


def _lines(comment: str, data: bytes) -> str:
    return f"{UNTRUSTED}{comment}\n{base64.b64encode(data).decode()}\n"


def _decoded(lines: list[bytes], number: int) -> bytes:
    if len(lines) <= number:
        raise ValueError
    try:
        return base64.b64decode(lines[number], validate=True)
    except binascii.Error:
        raise ValueError from None
