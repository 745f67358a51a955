"""Who may sign with keys of SSH: public key files, and lines as ``ssh-keygen -Y verify`` reads of allowed_signers."""

from __future__ import annotations

import base64
import calendar
import re
import struct
import time
from dataclasses import dataclass

from mpibatch.base.errors import UsageError

__all__ = ["KIND", "NAMESPACE", "SshSigners", "is_public", "packed", "parse_public", "unpacked"]

KIND, NAMESPACE = b"ssh-ed25519", b"file"

_WORD = re.compile(r'(?:[^\s"]|"(?:[^"\\]|\\.)*")+')
_TYPE = re.compile(r"(?:sk-)?(?:ssh|ecdsa)-[\w@.-]+")
_OPTION = re.compile(r'([\w-]+)(?:="((?:[^"\\]|\\.)*)")?(?:,(?=.)|$)')
_MOMENT = re.compile(r"(\d{8})(?:(\d{4})(\d{2})?)?(Z?)")
_KNOWN = {"cert-authority", "namespaces", "valid-after", "valid-before"}


@dataclass(frozen=True)
class SshSigners:
    """Public keys, of which any may have signed; `source` says in words where they are from."""

    source: str
    points: frozenset[bytes]


def is_public(data: bytes) -> bool:
    """Whether bytes are those of public keys of SSH, or of lines of allowed_signers. Local."""
    return any(words[-1].startswith("AAAA") for words in map(_words, _lines(data)) if words)


def parse_public(source: str, data: bytes) -> SshSigners:
    """Return the Ed25519 keys of a public key file, or of allowed_signers, that hold now for files. Local.

    UsageError if there is none, or a line is not understood.
    """
    points: set[bytes] = set()
    for number, line in enumerate(_lines(data), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            points |= _points(line)
        except ValueError as error:
            words = f"line {number} of {source} is no public key of SSH: {error}; correct or remove it"
            raise UsageError(words) from None
    if not points:
        raise UsageError(f"{source} has no Ed25519 key that holds for files now; give one: ssh-ed25519 AAAA...")
    return SshSigners(source, frozenset(points))


def packed(*parts: bytes) -> bytes:
    """Return strings as SSH's protocol writes them one after another. Local."""
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def unpacked(data: bytes, count: int) -> list[bytes]:
    """Return as many strings as SSH's protocol has written, and nothing else. Local. ValueError."""
    parts, at = [], 0
    for _ in range(count):
        if len(data) < at + 4:
            raise ValueError("it is too short")
        size = int.from_bytes(data[at : at + 4], "big")
        parts.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    if at != len(data):
        raise ValueError("its lengths do not fit")
    return parts


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").splitlines()


def _words(line: str) -> list[str]:
    """What stands before the key's type, the type and the key; [] if there is no such thing."""
    words = _WORD.findall(line)[:4]
    at = next((number for number, word in enumerate(words[:-1]) if _TYPE.fullmatch(word)), None)
    return words[: at + 2] if at is not None else []


def _points(line: str) -> set[bytes]:
    """The key of a line: none if it is of another type, or does not hold now, or not for files. ValueError."""
    if not (words := _words(line)):
        raise ValueError("it is not [PRINCIPALS [OPTIONS]] TYPE KEY")
    *before, kind, key = words
    if not _holds(_options(before[1] if len(before) > 1 else "")) or kind.encode() != KIND:
        return set()
    named, point = unpacked(base64.b64decode(key, validate=True), 2)
    if named != KIND or len(point) != 32:
        raise ValueError("its key is of another type")
    return {point}


def _options(text: str) -> dict[str, str]:
    """The options of a line by their names in lower case. ValueError."""
    options: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _OPTION.match(text, at)
        if match is None or (name := match[1].lower()) not in _KNOWN or name in options:
            raise ValueError(f"{text[at:]!r} is no option of allowed_signers")
        options[name] = re.sub(r"\\(.)", r"\1", match[2] or "")
        at = match.end()
    return options


def _holds(options: dict[str, str]) -> bool:
    if "cert-authority" in options:  # who signs keys, and no files
        return False
    if "namespaces" in options and not _matches(options["namespaces"]):
        return False
    now = time.time()
    return all(
        now >= _seconds(text) if name == "valid-after" else now <= _seconds(text)
        for name, text in options.items()
        if name.startswith("valid-")
    )


def _matches(patterns: str) -> bool:
    """Whether a pattern of OpenSSH's, with * and ?, stands for files, and none behind a ! does."""
    hits = {pattern[:1] == "!" for pattern in patterns.split(",") if _matcher(pattern).fullmatch(NAMESPACE.decode())}
    return hits == {False}


def _matcher(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern.removeprefix("!")).replace(r"\*", ".*").replace(r"\?", "."))


def _seconds(text: str) -> float:
    """A moment of allowed_signers in seconds since 1970. ValueError."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no moment as YYYYMMDD[HHMM[SS]][Z]")
    day, minute, second, zone = match.groups()
    moment = time.strptime(f"{day}{minute or '0000'}{second or '00'}", "%Y%m%d%H%M%S")
    return float(calendar.timegm(moment)) if zone else time.mktime(moment)
