"""Encrypted files on one rank: keys, what is refused, and other programs that read them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.io.seal import signature
from mpibatch.io.vault import age, bech32, drafts, envelope, keyring, keys
from mpibatch.io.vault.cipher import SEGMENT, Cipher, Forged
from mpibatch.io.vault.rotation import rotate, wrapped_secret

CANARY = "canary-of-plain-text"


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test has the keys of another, nor what it opened."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MPIBATCH_IDENTITY", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    for store in (keyring._secrets, keyring._keys, keyring._sources):
        monkeypatch.setattr(keyring, _name_of(store), type(store)())


def _name_of(store: object) -> str:
    return next(name for name, value in vars(keyring).items() if value is store)


def forget() -> None:
    """As in a new process."""
    keyring.forget()


def pair(name: str = "me") -> age.Identity:
    """Make NAME.key and NAME.txt."""
    identity = age.new_identity()
    keys.write_private(f"{name}.key", identity.text)
    Path(f"{name}.txt").write_text(f"# {name}\n\n{identity.recipient}\n")
    return identity


def saved(path: str = "v.h5", **options: Any) -> np.ndarray:
    u = mb.Grid((6, 40, 50), spacing=0.5).from_function(lambda z, y, x: 1000.0 * z + y * x)
    mb.save(path, {CANARY: u, "mask": u > 9}, attrs={"sample": CANARY}, **{"encrypt": "me.txt", **options})
    forget()
    return np.asarray(mb.gather_all(u))


@given(st.binary(max_size=40), st.sampled_from(["age", "age-secret-key-", "a1b"]))
def test_bech32_comes_back_and_notices_a_slip(data: bytes, prefix: str) -> None:
    text = bech32.encode(prefix, data)
    assert bech32.decode(text) == bech32.decode(text.upper()) == (prefix, data)
    other = "q" if text[-1] != "q" else "p"
    for wrong in (text[:-1] + other, text[:-1] + text[-1].upper() + "A", text[:-2]):
        with pytest.raises(ValueError, match=r"checksum|mixes|letters"):
            bech32.decode(wrong)


def test_age_and_we_read_one_another() -> None:
    pyrage = pytest.importorskip("pyrage")
    identity, others = age.new_identity(), [age.new_identity() for _ in range(3)]
    theirs = pyrage.x25519.Identity.from_str(identity.text)
    assert str(theirs.to_public()) == str(identity.recipient)
    wrapped = age.wrap(b"content", [*(other.recipient for other in others), identity.recipient])
    assert pyrage.decrypt(wrapped, [theirs]) == b"content"
    assert age.unwrap(pyrage.encrypt(b"content", [theirs.to_public()]), [*others, identity]) == b"content"
    assert age.unwrap(wrapped, [age.new_identity()]) is None


def test_a_damaged_header_of_age_gives_nothing() -> None:
    identity = age.new_identity()
    wrapped = age.wrap(b"content", [age.new_identity().recipient, identity.recipient])
    assert age.unwrap(wrapped, [identity]) == b"content"
    for at in range(0, len(wrapped), 7):
        damaged = wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :]
        with contextlib.suppress(ValueError):
            assert age.unwrap(damaged, [identity]) is None


def test_the_program_age_opens_the_secret() -> None:
    program = shutil.which("age")
    if program is None:
        pytest.skip("the program age is not installed")
    pair()
    saved()
    done = subprocess.run(
        [program, "-d", "-i", "me.key"], input=wrapped_secret("v.h5"), capture_output=True, check=True
    )
    with open("v.h5", "rb") as file:
        index, _ = envelope.read_index(file.fileno(), Cipher(done.stdout))
    assert index.about[0] == "metadata"
    identity = age.new_identity()
    theirs = subprocess.run(
        [program, "-r", str(identity.recipient)], input=b"content", capture_output=True, check=True
    ).stdout
    assert age.unwrap(theirs, [age.new_identity(), identity]) == b"content"


def test_no_nonce_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, int, int]] = []
    before = Cipher.seal

    def noted(self: Cipher, data: Any, dataset: int, block: int, about: bytes) -> Any:
        segments = -(-memoryview(data).nbytes // SEGMENT)
        seen.extend((id(self), dataset, block, segment) for segment in range(segments))
        return before(self, data, dataset, block, about)

    monkeypatch.setattr(Cipher, "seal", noted)
    monkeypatch.setattr(drafts, "PIECE", 4096)
    pair()
    saved(chunks=(1, 7, 50), compression={"mask": "gzip"}, record=True)
    assert len(seen) == len(set(seen)) > 50


def test_segments_open_in_their_place_only() -> None:
    cipher, data = Cipher(bytes(32)), os.urandom(2 * SEGMENT + 5)
    sealed, tags = cipher.seal(data, 3, 4, b"u")
    out = bytearray(SEGMENT)
    cipher.open(sealed[SEGMENT : 2 * SEGMENT], tags[16:32], (3, 4, 1), b"u", memoryview(out))
    assert out == data[SEGMENT : 2 * SEGMENT]
    for place, about in (((3, 4, 0), b"u"), ((3, 5, 1), b"u"), ((2, 4, 1), b"u"), ((3, 4, 1), b"v")):
        with pytest.raises(Forged):
            cipher.open(sealed[SEGMENT : 2 * SEGMENT], tags[16:32], place, about, memoryview(out))
    with pytest.raises(Forged):
        Cipher(bytes(31) + b"\1").open(sealed[:SEGMENT], tags[:16], (3, 4, 0), b"u", memoryview(out))


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"chunks": (2, 9, 50), "record": True}])
def test_it_is_the_plain_file_but_encrypted(options: dict[str, Any]) -> None:
    pair()
    values = saved(**options)
    whole = Path("v.h5").read_bytes()
    assert CANARY.encode() not in whole
    assert values[3, 5].tobytes()[:64] not in whole
    with mb.open("v.h5", identity="me.key") as file:
        assert file.attrs["sample"] == CANARY
        assert np.array_equal(file[CANARY][...], values)
        assert np.array_equal(file["mask"][1, ::3], values[1, ::3] > 9)
    assert mb.io.verify("v.h5").is_whole
    u = mb.Grid((6, 40, 50), spacing=0.5).from_function(lambda z, y, x: 1000.0 * z + y * x)
    mb.save("p.h5", {CANARY: u}, encrypt=None)
    assert mb.io.digest("v.h5", CANARY) == mb.io.digest("p.h5", CANARY)


def test_digests_tell_nothing_without_the_key() -> None:
    pair()
    for name in ("a.h5", "b.h5"):
        saved(name)
    saved("plain.h5", encrypt=None, chunks="auto")
    contents = {mb.io.verify(name, identity="me.key").content for name in ("a.h5", "b.h5", "plain.h5")}
    assert len(contents) == 3


@pytest.mark.parametrize("disclose", [False, True])
def test_names_are_told_by_choice(disclose: bool, capsys: pytest.CaptureFixture[str]) -> None:
    from mpibatch.cli import main

    pair()
    saved(disclose=disclose)
    assert (CANARY.encode() in Path("v.h5").read_bytes()) == disclose
    assert main(["info", "v.h5", "--json"]) == (0 if disclose else 2)
    if disclose:
        known = json.loads(capsys.readouterr().out)["datasets"]
        assert known == [
            {"name": CANARY, "shape": [6, 40, 50], "dtype": "<f8"},
            {"name": "mask", "shape": [6, 40, 50], "dtype": "|b1"},
        ]
        whole = Path("v.h5").read_bytes()
        Path("v.h5").write_bytes(whole.replace(CANARY.encode(), b"X" + CANARY[1:].encode()))
        assert not mb.io.verify("v.h5", identity="me.key").is_whole


def refused(kind: type[Exception], *words: str, **options: Any) -> None:
    with pytest.raises(kind) as caught:
        mb.load("v.h5", CANARY, **options)
    for word in words:
        assert word in str(caught.value)


def test_bad_keys_are_refused_in_words() -> None:
    identity = pair()
    pair("other")
    values = saved()
    refused(mb.UsageError, "encrypted", "no key was given", "--identity")
    refused(mb.UsageError, "none of the 1 keys", identity="other.key")
    refused(mb.RunError, "No such file", identity="absent.key")
    Path("me.key").chmod(0o640)
    refused(mb.UsageError, "0640", "chmod 600", identity="me.key")
    Path("me.key").chmod(0o600)
    Path("slip.key").write_text(identity.text[:-1] + ("Q" if identity.text[-1] != "Q" else "P"))
    Path("slip.key").chmod(0o600)
    with pytest.raises(mb.UsageError, match=r"line 1 of 'slip.key' is not a key") as caught:
        mb.load("v.h5", CANARY, identity="slip.key")
    assert identity.text[20:40] not in str(caught.value)
    assert identity.text[20:40] not in repr(identity)
    assert np.array_equal(mb.gather_all(mb.load("v.h5", CANARY, identity="me.key")), values)


def test_keys_come_from_a_descriptor_the_environment_or_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = pair()
    values = saved()
    reader, writer = os.pipe()
    os.write(writer, identity.text.encode())
    os.close(writer)
    assert np.array_equal(mb.gather_all(mb.load("v.h5", CANARY, identity=f"fd:{reader}")), values)
    forget()
    os.close(reader)
    monkeypatch.setenv("MPIBATCH_IDENTITY", "me.key")
    mb.load("v.h5", CANARY)
    forget()
    monkeypatch.delenv("MPIBATCH_IDENTITY")
    Path("credentials").mkdir()
    shutil.copy("me.key", "credentials/mpibatch.identity")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(Path("credentials").resolve()))
    mb.load("v.h5", CANARY)
    if os.getuid() == 0:  # as systemd gives it to a service of another user: by an access list
        Path("credentials/mpibatch.identity").chmod(0o440)
        forget()
        mb.load("v.h5", CANARY)
        Path("credentials/mpibatch.identity").chmod(0o444)
        forget()
        refused(mb.UsageError, "others may read", "0444")


def test_a_key_is_not_taken_for_the_name_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = pair()
    saved()
    for text in (identity.text, identity.text.lower()):
        with pytest.raises(mb.UsageError, match="make a new one") as caught:
            mb.load("v.h5", CANARY, identity=text)
        assert identity.text[20:40].lower() not in str(caught.value).lower()
        with pytest.raises(mb.UsageError, match="make a new one"):
            keyring.use(text)
    monkeypatch.setenv("MPIBATCH_IDENTITY", identity.text)
    refused(mb.UsageError, "make a new one")
    monkeypatch.delenv("MPIBATCH_IDENTITY")
    Path("open.key").write_text(identity.text)
    Path("open.key").chmod(0o644)
    with open("open.key", "rb") as file:
        refused(mb.UsageError, "0644", "descriptor", identity=f"fd:{file.fileno()}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file"),
        ("# nobody\n", "no recipient"),
        ("age1qqqq\n", "line 1"),
        ("\nssh-ed25519 AAAA\n", "line 2"),
    ],
)
def test_bad_recipients_are_refused_and_nothing_is_lost(text: str | None, words: str) -> None:
    pair()
    values = saved()
    if text is not None:
        Path("bad.txt").write_text(text)
    with pytest.raises(mb.MpibatchError, match=words):
        saved(encrypt="bad.txt")
    assert np.array_equal(mb.gather_all(mb.load("v.h5", CANARY, identity="me.key")), values)
    assert not list(Path().glob("*.part"))


def test_recipients_that_everybody_may_change_are_refused() -> None:
    pair()
    for mode in (0o666, 0o646):
        Path("me.txt").chmod(mode)
        with pytest.raises(mb.UsageError, match="others could name who reads"):
            keys.recipients_of("me.txt")
    if os.geteuid() == 0:
        Path("me.txt").chmod(0o664)
        os.chown("me.txt", 0, 12345)
        with pytest.raises(mb.UsageError, match="the group 12345 may write it"):
            keys.recipients_of("me.txt")
        os.chown("me.txt", 12345, 0)
        with pytest.raises(mb.UsageError, match="belongs to user 12345"):
            keys.recipients_of("me.txt")
        os.chown("me.txt", 0, 0)
    reading, writing = os.pipe()
    os.write(writing, Path("me.txt").read_bytes())
    os.close(writing)
    assert len(keys.recipients_of(f"/dev/fd/{reading}")) == 1
    os.close(reading)
    Path("me.txt").chmod(0o646)
    with pytest.raises(mb.UsageError, match="chmod go-w"):
        saved()


def test_what_cannot_be_encrypted_is_refused() -> None:
    pair()
    u = mb.Grid(4).zeros()
    with pytest.raises(mb.UsageError, match="encrypt"):
        mb.save("u.npy", u=u, encrypt="me.txt")
    with pytest.raises(mb.UsageError, match="does not encrypt"):
        mb.save("u.h5", u=u, encrypt="me.txt", driver="mpio")


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pair()
    saved()
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    for act in (saved, lambda: mb.load("v.h5", identity="me.key")):
        with pytest.raises(mb.UsageError, match=r"mpibatch\[seal\]"):
            act()


def test_rotation_changes_the_header_and_who_can_read() -> None:
    pair()
    pair("other")
    values = saved()
    before = Path("v.h5").read_bytes()
    with pytest.raises(mb.UsageError, match="none of the 1 keys"):
        rotate("v.h5", "other.txt", "other.key")
    assert Path("v.h5").read_bytes() == before
    rotate("v.h5", "other.txt", "me.key")
    after = Path("v.h5").read_bytes()
    assert after[envelope.HEADER :] == before[envelope.HEADER :]
    forget()
    refused(mb.UsageError, "none of the 1 keys", identity="me.key")
    assert np.array_equal(mb.gather_all(mb.load("v.h5", CANARY, identity="other.key")), values)


def test_a_rotation_that_was_broken_off_leaves_a_file_that_opens() -> None:
    pair()
    pair("other")
    saved()
    before = Path("v.h5").read_bytes()
    rotate("v.h5", "other.txt", "me.key")
    after = Path("v.h5").read_bytes()
    for reached in (envelope.COPY, envelope.COPY + 100, 2 * envelope.COPY):
        # The second copy is written first.
        torn = before[: envelope.COPY] + after[envelope.COPY : reached] + before[reached:]
        Path("v.h5").write_bytes(torn)
        forget()
        mb.load("v.h5", CANARY, identity="me.key")
        if reached > envelope.COPY:
            assert "header" in str(mb.io.verify("v.h5").broken[0])
    torn = after[:100] + before[100 : envelope.COPY] + after[envelope.COPY :]
    Path("v.h5").write_bytes(torn)
    forget()
    mb.load("v.h5", CANARY, identity="other.key")


@pytest.mark.parametrize("bad", [None, 0, 1])
def test_a_rotation_mends_the_copy_that_is_broken_first(bad: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one copy is whole wherever it is broken off, as another one was before."""
    pair()
    pair("other")
    saved()
    if bad is not None:
        data = bytearray(Path("v.h5").read_bytes())
        data[bad * envelope.COPY + 100] ^= 1
        Path("v.h5").write_bytes(data)

    def broken_off(handle: int, data: bytes, offset: int) -> None:
        os.pwrite(handle, data[:200], offset)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(envelope, "write_at", broken_off)
        with pytest.raises(mb.RunError, match="Input/output error"):
            rotate("v.h5", "other.txt", "me.key")
    forget()
    mb.load("v.h5", CANARY, identity="me.key")


def test_a_file_of_many_recipients_has_a_header_or_is_refused() -> None:
    one = age.new_identity()
    recipients = [age.new_identity().recipient for _ in range(150)]
    assert age.unwrap(envelope.wrapped_in(envelope.new_header(bytes(32), [*recipients, one.recipient])), [one])
    with pytest.raises(mb.UsageError, match="too many"):
        envelope.new_header(bytes(32), recipients * 3)


def test_signatures_are_minisigns() -> None:
    saved("p.h5", encrypt=None)
    key = signature.new_key()
    keys.write_private("s.key", key.text)
    Path("s.pub").write_text(key.public.text)
    assert signature.read_signing("s.key") == key
    Path("s.pub").chmod(0o646)
    with pytest.raises(mb.UsageError, match="everybody may write it"):
        signature.read_public("s.pub")
    Path("s.pub").chmod(0o644)
    target = signature.sign("p.h5", key, "content:abc")
    assert "content:abc" in signature.signed_by("p.h5", signature.read_public("s.pub"))
    if program := shutil.which("minisign"):
        assert subprocess.run([program, "-Vm", "p.h5", "-p", "s.pub"], capture_output=True, check=False).returncode == 0
        subprocess.run([program, "-G", "-W", "-p", "t.pub", "-s", "t.key"], capture_output=True, check=True)
        theirs = signature.read_signing("t.key")
        assert theirs.public == signature.read_public("t.pub")
    good, lines = target.read_bytes(), target.read_text().splitlines()
    for number in range(1, 4):
        for at in range(17, len(lines[number]), 9):
            swapped = "A" if lines[number][at] != "A" else "B"
            wrong = [*lines[:number], lines[number][:at] + swapped + lines[number][at + 1 :], *lines[number + 1 :]]
            target.write_text("\n".join(wrong))
            with pytest.raises(mb.RunError):
                signature.signed_by("p.h5", key.public)
    target.write_bytes(good)
    with pytest.raises(mb.RunError, match="not by"):
        signature.signed_by("p.h5", signature.new_key().public)
    whole = Path("p.h5").read_bytes()
    Path("p.h5").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(mb.RunError, match="wrong"):
        signature.signed_by("p.h5", key.public)
    target.unlink()
    with pytest.raises(mb.RunError, match="not signed"):
        signature.signed_by("p.h5", key.public)


def test_keys_of_signatures_that_do_not_fit_are_refused() -> None:
    key = signature.new_key()
    lines = key.text.splitlines()
    data = bytearray(base64.b64decode(lines[1]))
    for at, words in ((70, "damaged"), (2, "password"), (0, "unknown kind")):
        other = bytearray(data)
        other[at] ^= 1
        Path("w.key").unlink(missing_ok=True)
        keys.write_private("w.key", f"{lines[0]}\n{base64.b64encode(other).decode()}\n")
        with pytest.raises(mb.MpibatchError, match=words):
            signature.read_signing("w.key")
    Path("w.key").chmod(0o644)
    with pytest.raises(mb.UsageError, match="chmod 600"):
        signature.read_signing("w.key")


def test_forty_damages_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from mpibatch.cli import main

    assert main(["drill", "--only", "encrypted-damage", "--launcher", "env"]) == 0, capsys.readouterr().out


def test_the_commands_keep_keys_from_others(capsys: pytest.CaptureFixture[str]) -> None:
    from mpibatch.cli import main

    assert main(["key", "new", "k"]) == 0
    recipient = capsys.readouterr().out
    assert Path("k").stat().st_mode & 0o777 == 0o600
    assert main(["key", "new", "k"]) == 1
    assert main(["key", "show", "k"]) == 0
    assert capsys.readouterr().out == recipient
    Path("me.txt").write_text(recipient)
    saved()
    assert main(["verify", "v.h5"]) == 2
    assert main(["verify", "v.h5", "--identity", "k"]) == 0
    assert main(["key", "new", "--signing", "s"]) == 0
    assert main(["sign", "v.h5", "--key", "s"]) == 0
    Path("folder.zarr").mkdir()
    assert main(["sign", "folder.zarr", "--key", "s"]) == 2
    assert main(["sign", "v.h5", "--key", "absent"]) == 1
    assert main(["verify", "v.h5", "--signed-by", "s.pub"]) == 0
    pair("other")
    assert main(["key", "rotate", "v.h5", "--to", "other.txt"]) == 0
    assert main(["verify", "v.h5", "--signed-by", "s.pub"]) == 1
    assert main(["key", "rotate", "v.h5"]) == 2
    assert main(["key", "rotate", "k", "--to", "other.txt"]) == 2
    assert main(["key", "rotate", "absent.h5", "--to", "other.txt"]) == 1
    capsys.readouterr()


KILLED = """
import os, resource, signal, sys
import mpibatch as mb
from mpibatch.io.write.commit import _HeldFile
_HeldFile.commit = lambda *_: os.kill(os.getpid(), signal.SIGABRT)
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))  # it would leave a core dump
u = mb.Grid((5, 11, 13)).full(float(sys.argv[2]))
mb.save("killed.h5", {sys.argv[1]: u}, attrs={"sample": sys.argv[1]}, encrypt="me.txt", record=True)
"""


def test_what_a_killed_run_leaves_is_encrypted() -> None:
    number = 1.2345678901234567e-89
    pair()
    command = [sys.executable, "-c", KILLED, CANARY, repr(number)]
    done = subprocess.run(command, check=False, capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGABRT, done.stderr.decode()
    left = Path("killed.h5.part").read_bytes()
    assert len(left) > envelope.HEADER + 5 * 11 * 13 * 8
    assert np.float64(number).tobytes() not in left
    assert CANARY.encode() not in left
    assert {path.name for path in Path().iterdir()} == {"me.key", "me.txt", "killed.h5.part"}
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern.startswith(("/", "|")):
        pytest.skip(f"core dumps do not come into this folder, but where {pattern!r} says: nobody has looked there")
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("no process here may leave a core dump (ulimit -Hc 0)")
