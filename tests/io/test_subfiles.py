"""Subfiles on one rank: a run that is killed at any moment leaves the file that was there, and the next tidies up."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.cli import main
from mpibatch.domain import Box
from mpibatch.io.base.names import HAZARDS
from mpibatch.io.base.subfiles import LOCATOR, MAGIC, identity_of, is_subfile, subfile_name
from mpibatch.io.seal import signature
from mpibatch.io.seal.digests import of_bytes
from mpibatch.io.seal.manifest import build, pack, pieces_outside
from mpibatch.io.write.subfiles.bands import Bands, Turn

if TYPE_CHECKING:
    from collections.abc import Sequence

WRITER = """
import os, signal, sys
import mpibatch as mb
real, left = os.fsync, int(sys.argv[2])
def fsync(handle):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)
u = mb.Grid((40, 30)).full(2.0)
os.fsync = fsync
mb.save(sys.argv[1], u=u, subfiles=2)
"""


def test_a_killed_run_leaves_what_was_there(tmp_path: Path) -> None:
    path, folder = tmp_path / "out.h5", tmp_path / "out.h5.subfiles"
    mb.save(path, u=mb.Grid((40, 30)).full(1.0), subfiles=2)
    before = {file.name for file in folder.iterdir()}
    # In the first subfile, in the second one, and when names are to be given.
    for number in (1, 3, 5):
        done = subprocess.run(
            [sys.executable, "-c", WRITER, str(path), str(number)], check=False, env={**os.environ}, timeout=60
        )
        assert done.returncode == -signal.SIGKILL
        assert mb.io.verify(path).is_whole
        assert mb.io.read_slice(path, "u", (5, 6)) == 1.0
        assert {file.name for file in folder.iterdir()} > before
        assert (tmp_path / "out.h5.part").exists()
    mb.save(path, u=mb.Grid((40, 30)).full(1.0), subfiles=2)
    assert {file.name for file in folder.iterdir()} == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.h5", "out.h5.subfiles"]


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, whole = str(tmp_path / "out.h5"), str(tmp_path / "whole.h5")
    mb.save(path, u=mb.Grid((40, 30)).from_function(lambda y, x: y + x), subfiles=3)
    assert main(["info", path, "--digest"]) == 0
    told = capsys.readouterr().out
    assert main(["verify", path]) == 0
    assert main(["merge", path, whole]) == 0
    assert main(["verify", whole]) == 0
    assert main(["info", whole, "--digest"]) == 0
    assert capsys.readouterr().out.partition("\n  sealed")[2].partition("\n")[0] in told
    assert main(["view", path, str(tmp_path / "out.png")]) == 0
    next((tmp_path / "out.h5.subfiles").iterdir()).unlink()
    assert main(["verify", path]) == 1
    assert main(["view", path, str(tmp_path / "out.png")]) == 1
    assert main(["merge", path, whole]) == 1
    assert "missing" in capsys.readouterr().err


def test_every_row_is_written_once() -> None:
    for rows, step, count, ranks in itertools.product((1, 5, 12), (1, 3, 20), (1, 2, 5, 9), (1, 2, 3, 7)):
        bands = Bands((rows, 4), step, count, ranks)
        written = np.zeros(rows, int)
        for number in range(bands.turns):
            turn = Turn(bands, number)
            for rank in range(ranks):
                box = turn.box(rank)
                written[box.start[0] : box.stop[0]] += 1
                for other in (Box((0, 0), (rows, 4)), Box((rows // 2, 1), (rows // 2 + 1, 3))):
                    assert (rank in turn.overlapping(other)) == bool(box.intersect(other).size)
        assert (written == 1).all()
        ends = [bands.rows(number) for number in range(count)]
        assert all(low % step == 0 or low == rows for low, _ in ends)


def read(path: Path, **options: Any) -> float:
    return float(mb.gather_all(mb.load(path, "u", **options))[5, 6])


def test_a_renamed_front_keeps_its_subfiles(tmp_path: Path) -> None:
    path, kept, folder = tmp_path / "out.h5", tmp_path / "keep.h5", tmp_path / "out.h5.subfiles"
    grid = mb.Grid((40, 30))
    mb.save(path, u=grid.full(1.0), subfiles=2)
    for number, subfiles in enumerate((2, None, 3)):
        path.rename(kept)
        # The same values, and so the same subfiles; then others, in their place.
        mb.save(path, u=grid.full(1.0), subfiles=2)
        mb.save(path, u=grid.full(2.0), subfiles=subfiles)
        mb.save(path, u=grid.full(3.0), subfiles=2)
        assert (read(kept), read(path)) == (1.0, 3.0), number
        assert mb.io.verify(kept).is_whole
        assert len([*folder.glob("*.h5")]) == 4
        kept.rename(path)
    path.rename(tmp_path / "last.h5")
    mb.save(path, u=grid.full(4.0))
    assert read(tmp_path / "last.h5") == 1.0


def test_a_front_behind_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "u.h5"
    link.symlink_to("../real/out.h5")
    for value in (1.0, 2.0):
        mb.save(link, u=mb.Grid((40, 30)).full(value), subfiles=2)
        assert link.is_symlink()
        assert read(link) == value
        assert mb.io.verify(link).is_whole
        mb.io.merge(link, tmp_path / "merged.h5")
    assert [*(tmp_path / "links").iterdir()] == [link]
    # HDF5 looks beside the link, and where it runs, before it follows the link.
    monkeypatch.chdir(tmp_path)
    for beside in (tmp_path, tmp_path / "links"):
        shutil.copytree(tmp_path / "real" / "out.h5.subfiles", beside / "out.h5.subfiles")
        first = next((beside / "out.h5.subfiles").iterdir())
        first.write_bytes(first.read_bytes()[:-1])
        with pytest.raises(mb.RunError, match="cut off"):
            read(link)
        assert first.name in str(mb.io.verify(link).broken[0])
        shutil.rmtree(beside / "out.h5.subfiles")
    assert read(link) == 2.0


def test_what_is_not_the_fronts_own_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    mb.save(tmp_path / "other.h5", u=mb.Grid((40, 30)).full(7.0), subfiles=2)
    mb.save(path, u=mb.Grid((40, 30)).full(1.0), subfiles=2)
    first = min((tmp_path / "out.h5.subfiles").iterdir())
    whole, strange = first.read_bytes(), min((tmp_path / "other.h5.subfiles").iterdir()).read_bytes()
    for data, words in ((strange, "exchanged"), (whole[:-1], "cut off")):
        first.write_bytes(data)
        for allow in ((), ("missing",), HAZARDS):
            with pytest.raises(mb.RunError, match=words):
                read(path, allow=allow)
    first.unlink()
    assert read(path, allow=("missing",)) == 0.0  # the fill value
    first.write_bytes(whole)
    assert read(path) == 1.0
    # Not even opened by who merges it.
    path.write_bytes(path.read_bytes().replace(b"OHDR", b"OHDS", 1))
    with pytest.raises(mb.RunError, match="cannot merge"):
        mb.io.merge(path, tmp_path / "merged.h5")


def seal_forged(path: Path, subfiles: Sequence[str] = ()) -> None:
    """Set a seal on whatever is there: anybody can."""
    data = path.read_bytes()
    draft = build(len(data), {}, [], {})
    hashes = tuple(hashlib.sha256(data[low:high]).digest() for low, high in pieces_outside(draft))
    manifest = pack(replace(draft, hashes=hashes, subfiles=tuple(subfiles)))
    tail = LOCATOR.pack(MAGIC, len(data), len(manifest), hashlib.sha256(manifest).digest())
    path.write_bytes(data + manifest + tail)


def forged(folder: Path, kind: str, *, is_front: bool, is_hidden: bool, is_sealed: bool) -> Path:
    """A file of a stranger that shows what is in another one, a secret, through something like a subfile."""
    secret, draft = folder / "secret", folder / "draft"
    (folder / "f.h5.subfiles").mkdir()
    with h5py.File(draft, "w") as file:
        if kind == "external storage":
            file.create_dataset("u", (5,), "u1", external=[(str(secret), 0, 5)])
        elif kind == "external link":
            with h5py.File(folder / "shown.h5", "w") as other:
                other.create_dataset("u", (5,), "u1", external=[(str(secret), 0, 5)])
            file["u"] = h5py.ExternalLink(str(folder / "shown.h5"), "u")
        else:
            file.create_dataset("v", (5,), "u1", external=[(str(secret), 0, 5)])
            layout = h5py.VirtualLayout((5,), "u1")
            layout[:] = h5py.VirtualSource(file["v"])
            file.create_virtual_dataset("u", layout)
    seal_forged(draft)
    name = f"f.h5.subfiles/{subfile_name(0, identity_of(str(draft)))}"
    draft.rename(folder / name)
    layout = h5py.VirtualLayout((5,), "u1")
    layout[:] = h5py.VirtualSource(name, "u", (5,))
    with h5py.File(folder / "f.h5", "w") as file:
        file.create_virtual_dataset("g/u", layout)
        file.attrs["mpibatch_layout"] = 1
        if is_front:
            file.attrs["mpibatch_subfiles"] = '{"g/u": [null, null]}'
        if is_hidden:
            file.attrs["mpibatch_views"] = ["g"]
    if is_sealed:
        seal_forged(folder / "f.h5", [name])
    else:
        with open(folder / "f.h5", "ab") as file:
            file.write(LOCATOR.pack(MAGIC, file.tell(), 0, bytes(32)))
    return folder / "f.h5"


@pytest.mark.parametrize(
    ("kind", "is_front", "is_hidden", "is_sealed"),
    [
        ("external storage", False, False, True), ("external storage", False, False, False),
        ("external storage", True, False, True), ("external storage", True, True, True),
        ("external link", True, False, True), ("virtual", True, False, True),
    ],
)  # fmt: skip
def test_a_forger_reads_no_file_of_the_reader(
    tmp_path: Path, kind: str, *, is_front: bool, is_hidden: bool, is_sealed: bool
) -> None:
    (tmp_path / "secret").write_bytes(b"12345")
    path = forged(tmp_path, kind, is_front=is_front, is_hidden=is_hidden, is_sealed=is_sealed)
    with h5py.File(path) as file:
        assert bytes(file["g/u"][:]) == b"12345"  # so would whoever reads without looking
    error = mb.RunError if is_front else mb.UsageError
    for _ in range(2):
        with pytest.raises(error, match="changed" if is_front else "virtual dataset"):
            mb.load(path, "g/u")
    with pytest.raises(error), mb.open(f"{path}::g/u") as opened:
        opened["g/u"][:]


def test_names() -> None:
    name = f"000003-{'0a' * 16}.h5"
    assert is_subfile(f"out.h5.subfiles/{name}")
    for strange in (name, f"../out.h5.subfiles/{name}", f"/out.h5.subfiles/{name}", f"a/out.h5.subfiles/{name}",
                    f"out.h5/{name}", "out.h5.subfiles/../u.h5", f".subfiles/{name}"):  # fmt: skip
        assert not is_subfile(strange)


def collision() -> tuple[int, int]:
    """What may be added to the first two words of values, and leaves their digest: the least such vector."""
    weights = [int(of_bytes(np.eye(2, dtype="<u4")[word])[0]) for word in range(2)]
    # Of words (x, y) with x w + y v = 0 modulo 2^64: a basis, made short by Gauss's reduction.
    long, short = (0, 2**64), (1, -weights[0] * pow(weights[1], -1, 2**64) % 2**64)
    while True:
        factor = round(Fraction(long[0] * short[0] + long[1] * short[1], short[0] ** 2 + short[1] ** 2))
        long, short = short, (long[0] - factor * short[0], long[1] - factor * short[1])
        if short[0] ** 2 + short[1] ** 2 >= long[0] ** 2 + long[1] ** 2:
            return long


def test_a_signature_covers_subfiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    added = collision()
    values = np.arange(64, dtype="<u4").reshape(8, 8)
    values[0, :2] = [0 if word > 0 else 2**32 - 1 for word in added]
    mb.save("out.h5", u=mb.scatter(values, mb.Grid((8, 8))), subfiles=2)
    assert main(["key", "new", "--signing", "s"]) == 0
    assert main(["sign", "out.h5", "--key", "s"]) == 0
    assert main(["verify", "out.h5", "--signed-by", "s.pub"]) == 0
    first = min((tmp_path / "out.h5.subfiles").glob("000000-*.h5"))
    forged = values.copy()
    forged[0, :2] = (values[0, :2].astype(int) + added).tolist()
    whole = first.read_bytes()
    first.write_bytes(whole.replace(values[0].tobytes(), forged[0].tobytes()))
    assert first.read_bytes() != whole
    # The seal, which finds accidents, does not see it.
    assert main(["verify", "out.h5"]) == 0
    assert main(["verify", "out.h5", "--signed-by", "s.pub"]) == 1
    assert "subfiles" in capsys.readouterr().err
    first.write_bytes(whole)
    assert main(["verify", "out.h5", "--signed-by", "s.pub"]) == 0
    # A signature that tells of no subfiles is that of a front alone.
    assert "\tsubfiles:" in Path("out.h5.minisig").read_text()
    monkeypatch.setattr(signature, "_about_subfiles", lambda file: "")
    signature.sign("out.h5", signature.read_signing("s"), "content:abc")
    monkeypatch.undo()
    assert main(["verify", str(tmp_path / "out.h5"), "--signed-by", str(tmp_path / "s.pub")]) == 1
