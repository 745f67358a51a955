"""The secrets of vaults that this process may read: found with its keys, kept in its memory, told to the other ranks.

Rank 0 alone reads keys. It tells the others the secret of one vault at a time, by messages of MPI, by which the values
travel, too.
"""

from __future__ import annotations

import json
import os
import resource
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import RunError, UsageError, reason_of
from mpibatch.io.vault import envelope
from mpibatch.io.vault.age import Identity, unwrap
from mpibatch.io.vault.cipher import Cipher
from mpibatch.io.vault.keys import check_source, default_source, identities_of

if TYPE_CHECKING:
    from mpibatch.io.base.names import PathLike

__all__ = [
    "Damaged", "NoKey", "Unlocked", "cipher_of", "disclosed", "forget", "has_whole_header", "is_sealed", "keyed",
    "keys_of", "remember", "remember_wrapped", "secret_of", "shield", "take", "unlock", "unlocked", "use",
]  # fmt: skip

Unlocked = tuple[bytes, bytes] | None  # which vault, and its secret


class Damaged(RunError):
    """A vault is not as it was written."""


class NoKey(UsageError):
    """A vault is to be opened, and no key was given."""


# Of headers, by their SHA-256: what is written anew has another one.
_secrets: dict[bytes, bytes] = {}
_keys: dict[str, tuple[Identity, ...]] = {}  # of key files: a descriptor can be read once
_sources: list[str] = []  # key files given for the whole process


def use(source: PathLike) -> None:
    """Try the keys of a file, or of ``fd:N``, from now on with every vault. Local. It is read when one is opened.

    UsageError for a key itself.
    """
    name = os.fspath(source)
    check_source(name)
    _sources.append(name)


def keys_of(source: PathLike) -> tuple[Identity, ...]:
    """Return the keys of a file, or of ``fd:N``, which is read once. Local. RunError or UsageError."""
    name = os.fspath(source)
    if name not in _keys:
        _keys[name] = identities_of(name)
    return _keys[name]


def is_sealed(path: str) -> bool:
    """Whether a file is a vault; not where it cannot be read. Local."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
            heads = [os.pread(file.fileno(), len(envelope.MAGIC), at) for at in (0, envelope.COPY)]
            return any(map(envelope.is_vault, heads))
    except OSError:
        return False


def unlock(path: str, identity: PathLike | None = None) -> None:
    """See to it that a file can be read if it is a vault, by the keys of a file or those in use. Local.

    UsageError if no key was given, or none is for this vault; Damaged.
    """
    if is_sealed(path):
        secret_of(path, _header(path), identity)


def has_whole_header(path: str) -> bool:
    """Whether a file is no vault, or one with two equal copies of its header. Local. As `unlock`."""
    return not is_sealed(path) or _header(path).is_whole


def _header(path: str) -> envelope.Wrapped:
    try:
        with open(path, "rb") as file:
            return envelope.read_header(file.fileno())
    except envelope.Torn as trouble:
        raise Damaged(f"{path!r} cannot be opened: {trouble}; restore it from a copy") from trouble
    except OSError as error:
        raise RunError(f"cannot read {path!r}: {reason_of(error)}") from error


def secret_of(path: str, wrapped: envelope.Wrapped, identity: PathLike | None = None) -> bytes:
    """Return the secret of a vault. Local. As `unlock`."""
    if wrapped.key not in _secrets:
        _keep(wrapped.key, _opened(path, wrapped, identity))
    return _secrets[wrapped.key]


def remember(header: bytes, secret: bytes) -> None:
    """Keep the secret of a vault that this run writes, so that it can read it, too. Local."""
    remember_wrapped(envelope.wrapped_in(header), secret)


def remember_wrapped(data: bytes, secret: bytes) -> None:
    """Keep the secret that an age file of this run holds. Local."""
    _keep(envelope.Wrapped(data, is_whole=True).key, secret)


def _keep(key: bytes, secret: bytes) -> None:
    shield()
    _secrets[key] = secret


def shield() -> None:
    """See to it that the system writes this process's memory nowhere if it crashes. Local."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    # Of 0 bytes, Linux still hands core dumps to a program that takes them; less than a page goes nowhere.
    resource.setrlimit(resource.RLIMIT_CORE, (min(1, hard) if hard >= 0 else 1, hard))
    # Where the limit cannot be more than 0: nothing of the memory is in what such a program is given.
    with suppress(OSError):
        Path("/proc/self/coredump_filter").write_text("0")


def unlocked(path: str, identity: PathLike | None = None) -> Unlocked:
    """`unlock`, and return what other ranks need to read the file, too; None if it is no vault. Local."""
    if not is_sealed(path):
        return None
    wrapped = _header(path)
    return wrapped.key, secret_of(path, wrapped, identity)


def disclosed(path: str) -> list[dict[str, Any]]:
    """Return the names, shapes and dtypes that a vault tells to everybody; [] if none. Local. Not proven to be so."""
    try:
        with open(path, "rb") as file:
            text = envelope.public_text(file.fileno())
        known = json.loads(text)["datasets"] if text else []
        return [
            {"name": str(d["name"]), "shape": [int(n) for n in d["shape"]], "dtype": str(d["dtype"])} for d in known
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def keyed(path: str, digest: str) -> str:
    """Return a digest of a vault's content that tells nothing to whoever has no key; of plain files as it is. Local."""
    if not digest or not is_sealed(path):
        return digest
    return cipher_of(secret_of(path, _header(path))).keyed(digest)


def forget() -> None:
    """Have no secret and no key any more, as a new process; sources of keys stay. Local."""
    _secrets.clear()
    _keys.clear()
    cipher_of.cache_clear()


def take(secret: Unlocked) -> None:
    """Read from now on what another rank has `unlocked`. Local."""
    if secret is not None:
        _keep(*secret)


@lru_cache(maxsize=64)
def cipher_of(secret: bytes) -> Cipher:
    """Return the keys that follow from a secret. Local."""
    return Cipher(secret)


def _opened(path: str, wrapped: envelope.Wrapped, identity: PathLike | None) -> bytes:
    sources = [os.fspath(identity)] if identity is not None else list(_sources)
    if not sources and (default := default_source()) is not None:
        sources = [default]
    keys = [key for source in dict.fromkeys(sources) for key in keys_of(source)]
    if not keys:
        raise NoKey(
            f"{path!r} is encrypted, and no key was given; give the file of one: identity=FILE, --identity FILE, or "
            "MPIBATCH_IDENTITY=FILE"
        )
    try:
        secret = unwrap(wrapped.data, keys)
    except UsageError:  # a ValueError, too
        raise
    except ValueError as error:
        raise Damaged(f"{path!r} cannot be opened: its header is damaged: {error}; restore it from a copy") from error
    if secret is None:
        # Not a RunError: of those of damaged files some are passed over.
        raise UsageError(
            f"{path!r} is encrypted, and for none of the {len(keys)} keys given; give the key of one of its recipients"
        )
    return secret
