"""Signatures of files in the format of ``ssh-keygen -Y sign`` (SSHSIG), by keys of SSH: Ed25519 without a password.

A signature lies beside its file as ``FILE.sig``, and ``ssh-keygen -Y verify -n file -s FILE.sig`` verifies it, too. It
covers every byte of the file, and has no comment that could tell of subfiles: files with some are refused.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, UsageError, reason_of
from mpibatch.base.files import replacing
from mpibatch.io.seal import seal
from mpibatch.io.seal.ssh_signers import KIND, NAMESPACE, SshSigners, packed, unpacked
from mpibatch.io.vault.cipher import require

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["PRIVATE", "SUFFIX", "SshKey", "parse_private", "sign", "signed_by"]

SUFFIX = ".sig"
MAGIC, VERSION, HASHES = b"SSHSIG", struct.pack(">I", 1), ("sha256", "sha512")
PRIVATE = b"-----BEGIN OPENSSH PRIVATE KEY-----"
BEGIN, END, WIDTH = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----", 70
MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class SshKey:
    """By which files are signed. It does not print."""

    seed: bytes = field(repr=False)

    @property
    def point(self) -> bytes:
        """The half that others get. Local."""
        return self._key().public_key().public_bytes_raw()

    def signature_of(self, message: bytes) -> bytes:
        """Return 64 bytes. Local."""
        return self._key().sign(message)

    def _key(self) -> Ed25519PrivateKey:
        require()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.seed)


def parse_private(path: str, data: bytes) -> SshKey:
    """Return the key that the bytes of a file hold. Local. UsageError, never with the key."""
    require()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    if _is_locked(data):
        raise UsageError(
            f"the key in {path!r} has a password, which a job cannot ask for; make one without for signing: "
            "ssh-keygen -t ed25519 -N '' -f FILE"
        )
    try:
        key = load_ssh_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UsageError(f"{path!r} is no key of SSH that can be read; restore it from a copy") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path!r} is no Ed25519 key; make one: ssh-keygen -t ed25519 -N '' -f FILE")
    return SshKey(key.private_bytes_raw())


def sign(file: str, key: SshKey) -> Path:
    """Sign a file, write the signature beside it and return its name. Local. RunError or UsageError."""
    if seal.subfiles_of(file):
        raise UsageError(
            f"cannot sign {file!r} by a key of SSH: such a signature cannot tell of its subfiles; sign what mpibatch "
            "merge makes, or by a key of mpibatch key new --signing"
        )
    name = HASHES[1]
    signature = key.signature_of(_message(name, seal.hash_of_file(file, name)))
    blob = MAGIC + VERSION + packed(packed(KIND, key.point), NAMESPACE, b"", name.encode())
    data = base64.b64encode(blob + packed(packed(KIND, signature)))
    lines = [BEGIN, *(data[low : low + WIDTH] for low in range(0, len(data), WIDTH)), END, b""]
    target = Path(file + SUFFIX)
    try:
        with replacing(target) as part:
            part.write_bytes(b"\n".join(lines))
    except OSError as error:
        raise RunError(f"cannot write {str(target)!r}: {reason_of(error)}; sign a copy elsewhere") from error
    return target


def signed_by(file: str, signers: SshSigners) -> None:
    """Raise RunError unless a file's signature is of one of these keys, and of every byte of the file. Local."""
    require()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        with open(file + SUFFIX, "rb") as opened:
            data = opened.read(MOST_BYTES)
    except OSError as error:
        raise RunError(f"{file!r} is not signed: {file}{SUFFIX} cannot be read: {reason_of(error)}") from error
    try:
        point, namespace, name, signature = _parts(data)
    except (ValueError, struct.error):
        raise RunError(f"{file}{SUFFIX} is no Ed25519 signature of ssh-keygen -Y sign; sign the file anew") from None
    if namespace != NAMESPACE:
        shown = namespace.decode("ascii", "replace")
        raise RunError(f"{file}{SUFFIX} is a signature for {shown!r}, not for 'file'; sign with -Y sign -n file")
    if point not in signers.points:
        who = _fingerprint(point)
        raise RunError(f"{file!r} was signed by {who}, which is not in {signers.source}; give its public key")
    try:
        Ed25519PublicKey.from_public_bytes(point).verify(signature, _message(name, seal.hash_of_file(file, name)))
    except (InvalidSignature, ValueError):
        raise RunError(f"the signature of {file!r} is wrong: the file or it has changed since it was signed") from None
    if seal.subfiles_of(file):
        raise RunError(f"the signature of {file!r} is not of its subfiles; sign what mpibatch merge makes")


def _fingerprint(point: bytes) -> str:
    """Return what ssh-keygen -l prints of a key. Local."""
    digest = hashlib.sha256(packed(KIND, point)).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def _message(name: str, digest: bytes) -> bytes:
    """What is signed."""
    return MAGIC + packed(NAMESPACE, b"", name.encode(), digest)


def _parts(data: bytes) -> tuple[bytes, bytes, str, bytes]:
    """The public key, namespace, hash and signature that a signature's file holds. ValueError."""
    data = data.strip()
    if not (data.startswith(BEGIN) and data.endswith(END)):
        raise ValueError
    blob = base64.b64decode(b"".join(data[len(BEGIN) : -len(END)].split()), validate=True)
    if not blob.startswith(MAGIC + VERSION):
        raise ValueError
    public, namespace, reserved, name, sealed = unpacked(blob[len(MAGIC + VERSION) :], 5)
    kind, point = unpacked(public, 2)
    signed_kind, signature = unpacked(sealed, 2)
    # As ssh-keygen does, which verifies as if there was nothing reserved.
    if {kind, signed_kind} != {KIND} or reserved or name.decode("ascii", "replace") not in HASHES:
        raise ValueError
    return point, namespace, name.decode(), signature


def _is_locked(data: bytes) -> bool:
    """Whether a private key has a password, as its cipher tells."""
    try:
        blob = base64.b64decode(b"".join(data.split(PRIVATE)[-1].split(b"-----END")[0].split()), validate=True)
        head = b"openssh-key-v1\0"
        (size,) = struct.unpack_from(">I", blob, len(head))
        return blob.startswith(head) and blob[len(head) + 4 :][:size] != b"none"
    except (ValueError, struct.error):
        return False
