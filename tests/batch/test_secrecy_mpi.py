"""Encrypted batches over real ranks: the plain bytes of a plain batch, for those with a key alone."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.errors import UsageError
from mpibatch.batch import rows
from mpibatch.batch.secrecy import NoteCipher
from mpibatch.io.vault import keyring
from mpibatch.io.vault.cipher import Cipher, Forged
from mpibatch.io.vault.images import image_of
from mpibatch.mpi import MPI
from tests.support.keyrings import CANARY, NUMBER, with_keys

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.mpi
WORLD = MPI.COMM_WORLD
ITEMS = list(range(12))
KEYED = "me.key"


@pytest.fixture
def folder(mpi_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return with_keys(mpi_tmp_path, monkeypatch)


def measure(item: int, bound: str = "") -> dict[str, Any]:
    """Numbers, arrays of one shape and of several, and a failure."""
    if item == 7:
        raise ValueError(f"{CANARY} {bound}")
    return {"number": NUMBER, "field": np.full((2, 3), NUMBER + item), "row": [NUMBER] * item, "odd": item % 2}


def forget(*sources: Path) -> None:
    """As in a new process, which has these keys."""
    keyring.forget()
    keyring._sources[:] = [str(source) for source in sources]


def assert_hidden(*places: Path) -> None:
    """No file has the number, nor the text, in plain."""
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*"))]
    texts = {file.name: file.read_bytes() for file in files if file.is_file()}
    assert any(len(text) > 100 for text in texts.values())
    for name, text in texts.items():
        assert np.float64(NUMBER).tobytes() not in text, name
        assert CANARY.encode() not in text, name


@pytest.mark.parametrize("most", [64 << 20, 100])
def test_the_plain_bytes_are_those_of_a_plain_batch(folder: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """In one round of results, and in many: blocks with numbers of their own."""
    monkeypatch.setattr(rows, "ROUND_BYTES", most)
    journal, secret, plain = folder / "journal", folder / "secret.h5", folder / "plain.h5"
    mb.map_items(measure, ITEMS, output=plain)
    batch = mb.map_items(measure, ITEMS, output=secret, journal=journal, encrypt=folder / "me.txt")
    assert CANARY in batch.failed[0].error
    WORLD.Barrier()
    assert np.float64(NUMBER).tobytes() in plain.read_bytes()
    assert_hidden(journal, secret)
    forget(folder / KEYED)
    with image_of(str(secret)) as image:
        assert image.read(image.size, 0) == plain.read_bytes()
    assert mb.io.verify(str(secret)).is_whole
    again = mb.map_items(measure, ITEMS, journal=journal, encrypt=folder / "me.txt")
    assert again.ran == 0
    assert CANARY in again.failed[0].error
    np.testing.assert_array_equal(again.gather()[3]["field"], np.full((2, 3), NUMBER + 3))  # type: ignore[index]


def test_a_run_that_was_stopped_goes_on_for_those_with_a_key(folder: Path) -> None:
    journal, secret, readers = folder / "journal", folder / "secret.h5", folder / "me.txt"
    call = functools.partial(measure, bound=CANARY)
    mb.map_items(call, ITEMS, journal=journal, encrypt=readers, only=range(5))
    WORLD.Barrier()
    assert_hidden(journal)
    before = {file.name: file.read_bytes() for file in journal.iterdir() if file.suffix != ".lock"}
    for sources, words in (((), "no key was given"), ((folder / "other.key",), "none of the 1 keys")):
        forget(*sources)
        with pytest.raises(UsageError, match=words):
            mb.map_items(call, ITEMS, journal=journal, encrypt=readers, output=secret)
        WORLD.Barrier()
        assert {file.name: file.read_bytes() for file in journal.iterdir() if file.suffix != ".lock"} == before
        assert not secret.exists()
    forget(folder / KEYED)
    batch = mb.map_items(call, ITEMS, journal=journal, encrypt=readers, output=secret)
    assert (batch.ran, batch.done, len(batch.failed)) == (7, 11, 1)
    mb.map_items(measure, ITEMS, output=folder / "plain.h5")
    WORLD.Barrier()
    assert_hidden(journal, secret)
    with image_of(str(secret)) as image:
        assert image.read(image.size, 0) == (folder / "plain.h5").read_bytes()


def test_a_plain_journal_is_no_encrypted_one_and_no_csv_is(folder: Path) -> None:
    mb.map_items(measure, ITEMS, journal=folder / "journal")
    with pytest.raises(UsageError, match="journal of another batch: encrypted"):
        mb.map_items(measure, ITEMS, journal=folder / "journal", encrypt=folder / "me.txt")
    with pytest.raises(UsageError, match="would keep in plain"):
        mb.map_items(measure, ITEMS, output=folder / "a.csv", encrypt=folder / "me.txt")
    with pytest.raises(mb.RunError, match="recipients"):
        mb.map_items(measure, ITEMS, journal=folder / "new", encrypt=folder / "lacking.txt")
    assert not (folder / "new").exists()


def test_a_result_that_was_changed_or_moved_is_made_anew(folder: Path) -> None:
    """Also by somebody who knows how to make the digests fit."""
    seal = NoteCipher(bytes(32), 1)
    sealed = [seal.seal(2, item, b"text") for item in (0, 0, 1)]
    assert len({text[:8] for text in sealed}) == 3
    assert NoteCipher(bytes(32), 1).open(2, 0, sealed[1]) == b"text"
    for place, kind, item, text in (
        (2, 2, 0, sealed[0]), (1, 3, 0, sealed[0]), (1, 2, 1, sealed[0]), (1, 2, 0, sealed[0][:7]),
        (1, 2, 0, sealed[0][:8] + bytes([sealed[0][8] ^ 1]) + sealed[0][9:]), (1, 2, 0, sealed[1][:8] + sealed[0][8:]),
    ):  # fmt: skip
        with pytest.raises(Forged):
            NoteCipher(bytes(32), place).open(kind, item, text)
    journal, readers = folder / "journal", folder / "me.txt"
    mb.map_items(measure, ITEMS[:3], journal=journal, encrypt=readers)
    if WORLD.rank == 0:
        file = next(file for file in sorted(journal.glob("*.results")) if file.stat().st_size)
        data = bytearray(file.read_bytes())
        data[20] ^= 1
        file.write_bytes(data)
    WORLD.Barrier()
    with pytest.raises(mb.RunError, match="is then run anew"):
        mb.map_items(measure, ITEMS[:3], journal=journal, encrypt=readers)
    assert mb.map_items(measure, ITEMS[:3], journal=journal, encrypt=readers).ran == 1


def test_parts_of_a_batch_read_one_another_by_a_key(folder: Path) -> None:
    journal, secret, readers = folder / "journal", folder / "secret.h5", folder / "me.txt"
    mb.map_items(measure, ITEMS, journal=journal, encrypt=readers, output=secret, part=(0, 2))
    assert not secret.exists()
    forget(folder / KEYED)
    mb.map_items(measure, ITEMS, journal=journal, encrypt=readers, output=secret, part=(1, 2))
    mb.map_items(measure, ITEMS, output=folder / "plain.h5")
    WORLD.Barrier()
    assert len({file.read_bytes() for file in journal.glob("*.run")}) == 2
    assert_hidden(journal, secret)
    with image_of(str(secret)) as image:
        assert image.read(image.size, 0) == (folder / "plain.h5").read_bytes()


def test_a_team_hides_why_one_of_its_ranks_failed(folder: Path) -> None:
    def fail(item: int, comm: MPI.Intracomm) -> float:
        if comm.rank == comm.size - 1:
            raise ValueError(CANARY * 9)
        return NUMBER

    journal = folder / "journal"
    batch = mb.map_items(fail, [1, 2], journal=journal, encrypt=folder / "me.txt", ranks_per_item=WORLD.size)
    assert [CANARY in failure.error for failure in batch.failed] == [True, True]
    WORLD.Barrier()
    assert_hidden(journal)


def test_a_run_whose_secret_is_damaged_is_refused(folder: Path) -> None:
    journal, readers = folder / "journal", folder / "me.txt"
    mb.map_items(measure, ITEMS, journal=journal, encrypt=readers)
    if WORLD.rank == 0:
        (file,) = journal.glob("*.run")
        file.write_bytes(file.read_bytes()[:-1])
    WORLD.Barrier()
    forget(folder / KEYED)
    with pytest.raises(mb.RunError, match=r"000001\.run' cannot be opened: .* damaged"):
        mb.map_items(measure, ITEMS, journal=journal, encrypt=readers)


def test_no_nonce_of_a_table_stands_for_two_texts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all blocks that any rank encrypts, in many rounds; each cipher is that of one file."""
    used: list[tuple[int, int]] = []
    seal = Cipher.seal

    def watched(self: Cipher, data: Any, dataset: int, block: int, about: bytes) -> Any:
        used.append((dataset, block))
        return seal(self, data, dataset, block, about)

    monkeypatch.setattr(rows, "ROUND_BYTES", 100)
    monkeypatch.setattr(Cipher, "seal", watched)
    mb.map_items(measure, ITEMS, output=folder / "secret.h5", encrypt=folder / "me.txt")
    every = [place for some in WORLD.allgather(used) for place in some]
    assert len(set(every)) == len(every) > 2 * len(ITEMS)
    assert len({dataset for dataset, _ in every}) > 4  # columns, stacks, single arrays, and what is no value
