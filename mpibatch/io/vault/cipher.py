"""The ciphers of the package cryptography, imported when they are first needed, and the sealing of blocks of values.

A block is cut into segments of 256 KiB. Each is encrypted by AES-256-GCM under the key of its file, which no other
file has, and a nonce that says which it is: dataset, block, segment. So no nonce comes twice, and a segment
in another's place does not open. Ciphertext is as long as what it stands for; the 16 bytes of each segment's tag are
kept apart.
"""

from __future__ import annotations

import hmac
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError

__all__ = [
    "RUN_BITS",
    "SECRET_BYTES",
    "SEGMENT",
    "TAG",
    "Cipher",
    "Forged",
    "agreement",
    "chacha",
    "derived",
    "public_of",
    "require",
]

SEGMENT, TAG = 256 << 10, 16
SECRET_BYTES = 32
MOST_DATASETS, MOST_BLOCKS = 1 << 16, 1 << 40
RUN_BITS = 28  # of a block's number; what is above them tells which of several runs has encrypted it

Bytes = npt.NDArray[np.uint8]


class Forged(ValueError):
    """Something does not open: the key is another one, or a bit has changed."""


def require() -> None:
    """Raise UsageError unless the ciphers are installed. Local."""
    try:
        from cryptography.hazmat.primitives.ciphers import aead
    except ImportError as error:
        raise UsageError(
            "encrypted files need the package cryptography, which is not installed: pip install 'mpibatch[seal]'"
        ) from error
    if not hasattr(aead.AESGCM, "encrypt_into"):
        raise UsageError(
            "encrypted files need cryptography 47 or later, and there is an older one: pip install -U 'mpibatch[seal]'"
        )


def derived(secret: bytes, purpose: bytes, salt: bytes) -> bytes:
    """Return the key of 32 bytes for a purpose, by HKDF with SHA-256. Local."""
    require()
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, salt, purpose).derive(secret)


def chacha(key: bytes) -> Aead:
    """Return ChaCha20-Poly1305 under a key. Local."""
    require()
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return Aead(ChaCha20Poly1305(key))


def gcm(key: bytes) -> Aead:
    """Return AES-256-GCM under a key. Local."""
    require()
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return Aead(AESGCM(key))


class Aead:
    """An authenticated cipher under one key, of the package cryptography; it raises Forged, not InvalidTag."""

    def __init__(self, cipher: Any) -> None:
        from cryptography.exceptions import InvalidTag

        self._cipher, self._invalid = cipher, InvalidTag

    def encrypt(self, nonce: bytes, data: bytes, about: bytes | None) -> bytes:
        """Return ciphertext and tag. Local."""
        return bytes(self._cipher.encrypt(nonce, data, about))

    def decrypt(self, nonce: bytes, data: bytes, about: bytes | None) -> bytes:
        """Return what was encrypted. Local. Raises Forged."""
        try:
            return bytes(self._cipher.decrypt(nonce, data, about))
        except self._invalid:
            raise Forged from None

    def encrypt_into(self, nonce: bytes, data: memoryview, about: bytes, out: memoryview) -> None:
        """Put ciphertext and tag into memory. Local."""
        self._cipher.encrypt_into(nonce, data, about, out)

    def decrypt_into(self, nonce: bytes, data: bytes, about: bytes, out: memoryview) -> None:
        """Put what was encrypted into memory. Local. Raises Forged."""
        try:
            self._cipher.decrypt_into(nonce, data, about, out)
        except self._invalid:
            raise Forged from None


def public_of(private: bytes) -> bytes:
    """Return the public half of an X25519 key. Local."""
    require()
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agreement(private: bytes, public: bytes) -> bytes:
    """Return what two owners of X25519 keys share. Local. Raises ValueError for a key that gives nothing away."""
    require()
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


class Cipher:
    """The keys that follow from the secret of a file."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError("a secret of a strange length")
        self._values = gcm(derived(secret, b"mpibatch vault 1 values", b""))
        self._digests = derived(secret, b"mpibatch vault 1 digests", b"")
        self.index = gcm(derived(secret, b"mpibatch vault 1 index", b""))

    def seal(self, data: Any, dataset: int, block: int, about: bytes) -> tuple[Bytes, bytes]:
        """Return a block's ciphertext, of the same length, and its tags. Local.

        `dataset` and `block` are numbers of which each pair is used once; `about` is what else must be the same when it
        is opened.
        """
        plain = memoryview(data).cast("B")
        sealed = np.empty(len(plain) + TAG, np.uint8)
        into, tags = sealed.data, []
        for segment, low in enumerate(range(0, len(plain), SEGMENT)):
            high = min(low + SEGMENT, len(plain))
            # The tag comes behind, where the next segment's ciphertext then goes.
            self._values.encrypt_into(_nonce(dataset, block, segment), plain[low:high], about, into[low : high + TAG])
            tags.append(bytes(into[high : high + TAG]))
        return sealed[: len(plain)], b"".join(tags)

    def keyed(self, digest: str) -> str:
        """Return what stands for a digest to those who have the secret. Local."""
        return hmac.digest(self._digests, digest.encode(), "sha256").hex()

    def open(self, sealed: Any, tag: bytes, place: tuple[int, int, int], about: bytes, into: Any) -> None:
        """Open the segment of a place (dataset, block, segment) into memory of its length. Local. Raises Forged."""
        self._values.decrypt_into(_nonce(*place), b"".join((sealed, tag)), about, into)


def _nonce(dataset: int, block: int, segment: int) -> bytes:
    """Return 12 bytes, others for every segment of a file. Local."""
    if not (0 <= dataset < MOST_DATASETS and 0 <= block < MOST_BLOCKS and 0 <= segment < 1 << 24):
        raise UsageError(
            f"an encrypted file may have {MOST_DATASETS - 1} datasets, and {MOST_BLOCKS} chunks in each; write several"
        )
    return dataset.to_bytes(2, "big") + block.to_bytes(6, "big") + segment.to_bytes(4, "big")
