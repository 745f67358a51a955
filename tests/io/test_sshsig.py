"""Signatures by keys of SSH: as ssh-keygen makes and verifies them, and what is refused."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

import mpibatch as mb
from mpibatch.cli import main
from mpibatch.io.seal import seal, signature, ssh_signers, sshsig

PROGRAM = shutil.which("ssh-keygen") or ""
needs_program = pytest.mark.skipif(not PROGRAM, reason="needs ssh-keygen (openssh-client)")

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
PUBLIC = KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
# What OpenSSH 9.2's ssh-keygen -Y sign -n file wrote for "Measured.\n" by this key.
SIGNATURE = """\
-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgA6EHv/POEL4dcN0Y50vAmWfk1j
CbpQ1fHdyGZBJVMbgAAAAEZmlsZQAAAAAAAAAGc2hhNTEyAAAAUwAAAAtzc2gtZWQyNTUx
OQAAAEBZHeSR6jPmmzYfY8GnhBn9Nr0RvOr4gvjDhOIjAse77lL9ZEJ4pAmCUk3KBbEFhZ
MsyhehpgfEosutquqzNToC
-----END SSH SIGNATURE-----
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    written("id", PRIVATE, 0o600)
    written("id.pub", PUBLIC)
    mb.save("p.h5", u=mb.Grid((5, 11)).full(1.5))


def written(name: str, text: str, mode: int = 0o644) -> str:
    Path(name).write_text(text)
    Path(name).chmod(mode)
    return name


def keygen(*words: str, message: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([PROGRAM, *words], input=message, capture_output=True, check=False)


def signers(text: str) -> ssh_signers.SshSigners:
    return ssh_signers.parse_public("these lines", text.encode())


def test_a_signature_of_ssh_keygen_is_made_bit_for_bit() -> None:
    written("m.txt", "Measured.\n")
    written("m.txt.sig", SIGNATURE)
    sshsig.signed_by("m.txt", signers(PUBLIC))
    Path("m.txt.sig").unlink()
    # Ed25519 takes no random numbers.
    key = signature.read_signing("id")
    assert isinstance(key, sshsig.SshKey)
    assert "seed" not in repr(key)
    assert sshsig.sign("m.txt", key).read_text() == SIGNATURE


@needs_program
def test_ssh_keygen_verifies_ours_and_we_its() -> None:
    assert keygen("-q", "-t", "ed25519", "-N", "", "-f", "k").returncode == 0
    Path("k.pub").chmod(0o644)
    written("allowed", f'me@lab namespaces="file,git" {Path("k.pub").read_text()}')
    message = Path("p.h5").read_bytes()
    verified = ("-Y", "verify", "-f", "allowed", "-I", "me@lab", "-n", "file", "-s", "p.h5.sig")
    assert main(["sign", "p.h5", "--key", "k"]) == 0
    assert keygen(*verified, message=message).returncode == 0
    assert keygen(*verified, message=message + b"\0").returncode != 0
    Path("p.h5.sig").unlink()
    for name in sshsig.HASHES:
        assert keygen("-Y", "sign", "-n", "file", "-O", f"hashalg={name}", "-f", "k", "p.h5").returncode == 0
        for public in ("k.pub", "allowed", Path("k.pub").read_text(), Path("allowed").read_text()):
            assert main(["verify", "p.h5", "--signed-by", public]) == 0
        assert main(["verify", "p.h5", "--signed-by", "id.pub"]) == 1
        Path("p.h5.sig").unlink()


@needs_program
@pytest.mark.parametrize(
    ("line", "is_allowed"),
    [
        ("{key}", None),  # without principals ssh-keygen takes it for none of its lines
        ("me@lab {key}", True),
        ("*@lab,!you@lab {key} O\"Brien's", True),
        ('me@lab namespaces="git,f?le" {key}', True),
        ('me@lab NAMESPACES="git" {key}', False),
        ('me@lab namespaces="*,!file" {key}', False),
        ('me@lab valid-after="20200101",valid-before="30000101Z" {key}', True),
        ('me@lab valid-before="202001010000" {key}', False),
        ('me@lab valid-after="30000101000000Z" {key}', False),
        ("me@lab cert-authority {key}", False),
        ('me@lab no-such-option="1" {key}', False),
        ('me@lab valid-after="now" {key}', False),
        ("# me@lab {key}", False),
        ("me@lab ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==", False),
    ],
)
def test_lines_of_allowed_signers_mean_what_ssh_keygen_says(line: str, is_allowed: bool | None) -> None:
    assert main(["sign", "p.h5", "--key", "id"]) == 0
    written("allowed", line.format(key=PUBLIC) + "\n")
    assert main(["verify", "p.h5", "--signed-by", "allowed"]) == (0 if is_allowed in (None, True) else 2)
    if is_allowed is not None:
        done = keygen(
            "-Y", "verify", "-f", "allowed", "-I", "me@lab", "-n", "file", "-s", "p.h5.sig",
            message=Path("p.h5").read_bytes(),
        )  # fmt: skip
        assert (done.returncode == 0) is is_allowed, done.stderr


def test_a_flipped_bit_is_refused() -> None:
    target = signature.sign("p.h5", signature.read_signing("id"), "")
    keys = signature.read_public("id.pub")
    assert signature.signed_by("p.h5", keys) == ""
    good = target.read_bytes()
    data = base64.b64decode(b"".join(good.splitlines()[1:-1]))
    for at in range(len(data)):
        wrong = bytearray(data)
        wrong[at] ^= 1 << at % 8
        text = base64.b64encode(wrong).decode()
        target.write_text(f"{sshsig.BEGIN.decode()}\n{text}\n{sshsig.END.decode()}\n")
        with pytest.raises(mb.RunError):
            signature.signed_by("p.h5", keys)
    target.write_bytes(good[:-40])
    with pytest.raises(mb.RunError, match="sign the file anew"):
        signature.signed_by("p.h5", keys)
    target.write_bytes(good)
    whole = Path("p.h5").read_bytes()
    Path("p.h5").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(mb.RunError, match="has changed since it was signed"):
        signature.signed_by("p.h5", keys)
    target.unlink()
    with pytest.raises(mb.RunError, match="is not signed"):
        signature.signed_by("p.h5", keys)


@needs_program
def test_a_signature_for_another_purpose_is_refused() -> None:
    assert keygen("-Y", "sign", "-n", "git", "-f", "id", "p.h5").returncode == 0
    with pytest.raises(mb.RunError, match="for 'git', not for 'file'"):
        signature.signed_by("p.h5", signature.read_public("id.pub"))


def test_keys_that_others_reach_are_refused() -> None:
    Path("id").chmod(0o640)
    with pytest.raises(mb.UsageError, match="chmod 600"):
        signature.read_signing("id")
    Path("id.pub").chmod(0o646)
    with pytest.raises(mb.UsageError, match="everybody may write it"):
        signature.read_public("id.pub")


def test_keys_that_do_not_fit_are_refused() -> None:
    written("torn", PRIVATE[:150], 0o600)
    with pytest.raises(mb.UsageError, match="restore it"):
        signature.read_signing("torn")
    other = generate_private_key(SECP256R1())
    written("ec", other.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode(), 0o600)
    with pytest.raises(mb.UsageError, match="no Ed25519 key"):
        signature.read_signing("ec")
    written("ec.pub", other.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())
    with pytest.raises(mb.UsageError, match="no Ed25519 key that holds"):
        signature.read_public("ec.pub")
    written("two.pub", f"{PUBLIC}\nssh-ed25519\n")
    with pytest.raises(mb.UsageError, match="line 2"):
        signature.read_public("two.pub")


@needs_program
def test_a_key_with_a_password_is_refused() -> None:
    assert keygen("-q", "-t", "ed25519", "-N", "a password", "-f", "k").returncode == 0
    with pytest.raises(mb.UsageError, match="has a password"):
        signature.read_signing("k")


def test_files_with_subfiles_are_refused() -> None:
    mb.save("s.h5", u=mb.Grid((8, 8)).full(1.0), subfiles=1)
    assert main(["sign", "s.h5", "--key", "id"]) == 2
    # Signed by a program that does not know of subfiles.
    key = signature.read_signing("id")
    assert isinstance(key, sshsig.SshKey)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seal, "subfiles_of", lambda file: ())
        sshsig.sign("s.h5", key)
    assert main(["verify", "s.h5", "--signed-by", "id.pub"]) == 1
