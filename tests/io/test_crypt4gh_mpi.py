"""Files of Crypt4GH, held against the reference's package: what it writes is read, and what is written it reads."""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.io.vault import crypt4gh
from mpibatch.io.write.tables.region_table import RegionTable
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.mpi
theirs = pytest.importorskip("crypt4gh.lib", reason="crypt4gh is not installed: Crypt4GH is NOT TESTED")
keys = pytest.importorskip("crypt4gh.keys")
COMM = MPI.COMM_WORLD


@pytest.fixture
def folder(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pairs of keys, by the reference."""
    monkeypatch.setattr(crypt4gh, "_keys", [])
    if COMM.rank == 0:
        for name in ("me", "you"):
            keys.c4gh.generate(f"{shared_tmp}/{name}.sec", f"{shared_tmp}/{name}.pub", None, b"a comment")
        both = [(shared_tmp / f"{name}.pub").read_bytes() for name in ("you", "me")]
        (shared_tmp / "both.pub").write_bytes(b"".join(both))
    COMM.barrier()
    return shared_tmp


def private(folder: Path, name: str) -> bytes:
    key: bytes = keys.get_private_key(f"{folder}/{name}.sec", None)
    return key


def encrypted(folder: Path, data: bytes, *names: str) -> bytes:
    """By the reference."""
    out, writer = io.BytesIO(), private(folder, "you")
    theirs.encrypt([(0, writer, keys.get_public_key(f"{folder}/{name}.pub")) for name in names], io.BytesIO(data), out)
    return out.getvalue()


def decrypted(data: bytes) -> bytes:
    return io.BufferedReader(crypt4gh.Decrypted(io.BytesIO(data), "a.c4gh")).read()


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 200_000])
def test_what_the_reference_writes_is_read(folder: Path, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    crypt4gh.use(COMM, folder / "me.sec")
    assert decrypted(encrypted(folder, data, "me")) == data
    assert decrypted(encrypted(folder, data, "you", "me", "you")) == data
    with pytest.raises(mb.UsageError, match="for none of the 1 keys given"):
        decrypted(encrypted(folder, data, "you"))
    COMM.barrier()


@pytest.mark.parametrize("rows", [1, 3000, 40_000])
def test_tables_are_read_by_the_reference(folder: Path, rows: int) -> None:
    """By each recipient, and by us; on any ranks the same text."""
    bounds = np.linspace(0, rows, COMM.size + 1).astype(int)
    numbers = np.arange(*bounds[COMM.rank : COMM.rank + 2])
    table = RegionTable(COMM, {"label": numbers, "mean": np.sqrt(numbers)}, {})
    table.to_csv(folder / "t.csv")
    table.to_csv(folder / "t.csv.c4gh", encrypt=folder / "both.pub")
    crypt4gh.use(COMM, folder / "me.sec")
    expected, sealed = ((folder / name).read_bytes() for name in ("t.csv", "t.csv.c4gh"))
    assert decrypted(sealed) == expected
    assert b"label" not in sealed
    for name in ("me", "you"):
        out = io.BytesIO()
        theirs.decrypt([(0, private(folder, name), None)], io.BytesIO(sealed), out)
        assert out.getvalue() == expected
    for path, encrypt in (("t.csv", folder / "both.pub"), ("t.csv.c4gh", None)):
        with pytest.raises(mb.UsageError, match=r"ends in \.c4gh"):
            table.to_csv(folder / path, encrypt=encrypt)
    with pytest.raises(mb.UsageError, match="holds no public key"):
        table.to_csv(folder / "n.csv.c4gh", encrypt=folder / "t.csv")
    assert not (folder / "n.csv.c4gh").exists()
    COMM.barrier()


def test_no_damage_passes(folder: Path) -> None:
    """Each byte flipped in turn, and each length, but at the ends of segments, of which the format knows nothing."""
    crypt4gh.use(COMM, folder / "me.sec")
    data = bytes(range(256)) * 257
    whole = COMM.bcast(encrypted(folder, data, "me"))
    head = len(whole) - len(data) - 2 * 28
    draw = np.random.default_rng(COMM.rank)
    places = {*range(head + 30), *draw.integers(0, len(whole), 200).tolist(), len(whole) - 1}
    passed = []
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(draw.integers(8))
        try:
            passed += [place] if decrypted(bytes(flipped)) != data else []
        except (mb.RunError, mb.UsageError):
            continue
    assert not passed
    ends = {head, head + 65536 + 28, len(whole)}
    for length in {*range(head + 1), *draw.integers(0, len(whole), 200).tolist()} - ends:
        with pytest.raises(mb.RunError, match=r"cut short|not of Crypt4GH"):
            decrypted(whole[:length])
    COMM.barrier()


def test_keys_that_are_not_to_be_used(folder: Path) -> None:
    if COMM.rank == 0:
        keys.c4gh.generate(f"{folder}/locked.sec", f"{folder}/locked.pub", b"secret", None)
        (folder / "open.sec").write_bytes((folder / "me.sec").read_bytes())
        (folder / "open.sec").chmod(0o640)
        (folder / "cut.sec").write_bytes((folder / "me.sec").read_bytes()[:60] + b"\n")
        (folder / "cut.sec").chmod(0o600)
    COMM.barrier()
    for name, kind, words in (
        ("locked.sec", mb.UsageError, "locked by a passphrase"),
        ("open.sec", mb.UsageError, "others may read or write"),
        ("cut.sec", mb.UsageError, "damaged|no private key"),
        ("both.pub", mb.UsageError, "others may read|no private key"),
        ("none.sec", mb.RunError, "cannot read the key file"),
    ):
        with pytest.raises(kind, match=words):
            crypt4gh.use(COMM, folder / name)
    with open(folder / "me.sec", "rb") as file:
        crypt4gh.use(COMM, f"fd:{COMM.bcast(file.fileno())}")
    assert decrypted(encrypted(folder, b"abc", "me")) == b"abc"
    crypt4gh._keys.clear()
    with pytest.raises(mb.UsageError, match="no key was given"):
        decrypted(encrypted(folder, b"abc", "me"))
    with pytest.raises(mb.UsageError, match="holds no public key"):
        crypt4gh.public_keys(folder / "me.sec")
    COMM.barrier()


def test_kmers_of_encrypted_sequences(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gzipped or not: the table is that of plain files; encrypted again, too."""
    from mpibatch.apps.kmers.__main__ import main

    monkeypatch.chdir(folder)
    if COMM.rank == 0:
        draw = np.random.default_rng(5)
        for name in ("a", "b"):
            text = ">x\n" + "".join(draw.choice([*"ACGT"], 90_000)) + "\n"
            (folder / f"{name}.fa").write_text(text)
            (folder / f"{name}.fa.c4gh").write_bytes(encrypted(folder, text.encode(), "me"))
        packed = gzip.compress((folder / "b.fa").read_bytes())
        (folder / "b.fa.c4gh").unlink()
        (folder / "b.fa.gz.c4gh").write_bytes(encrypted(folder, packed, "you", "me"))
    COMM.barrier()
    assert main(["count", "a.fa", "b.fa", "plain.csv", "--k", "15", "--quiet"]) == 0
    rest = ["count", "a.fa.c4gh", "b.fa.gz.c4gh", "out.csv.c4gh", "--k", "15", "--quiet"]
    assert main(rest) == 2  # no recipients
    assert main([*rest, "--encrypt", "you.pub"]) == 1  # no key
    assert not (folder / "out.csv.c4gh").exists()
    assert main([*rest, "--encrypt", "both.pub", "--identity", "me.sec"]) == 0
    assert decrypted((folder / "out.csv.c4gh").read_bytes()) == (folder / "plain.csv").read_bytes()
    COMM.barrier()
