"""Sealed files: every changed, missing or added byte is found, whoever wrote the manifest."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from mpibatch.base.errors import RunError, UsageError
from mpibatch.io import check, verify
from mpibatch.io.seal import seal
from mpibatch.io.seal.content import content_of
from mpibatch.io.seal.digests import extent_of_array, granule, of_array, of_bytes
from mpibatch.io.seal.extent import Extent
from mpibatch.io.seal.manifest import pack, parse
from mpibatch.io.write.layout import Dataset, complete, create, slices

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RNG = np.random.default_rng(11)
U = RNG.normal(size=(12, 40, 30))
MASK = U > 0
COLORS = RNG.integers(0, 256, (5, 6, 3), "u1")


def contiguous(path: Path, extent: Callable[..., object] | None = None) -> Path:
    """Several datasets in one piece each, and attributes such as a run's record."""
    arrays = {"colors": COLORS, "g/mask": MASK, "u": U}
    create(str(path), [Dataset(name, a.shape, a.dtype.str) for name, a in arrays.items()], {"run_record": "x" * 3000})
    with h5py.File(path, "r+") as file:
        for name, array in arrays.items():
            file[name][...] = array
    seal.append(str(path), values={name: of_array(array) for name, array in arrays.items()})
    return path


def in_time(path: Path) -> Path:
    """A series: its values in chunks by time and rows, its table in one piece."""
    create(str(path), [Dataset("u", (0, *U.shape), U.dtype.str, chunks=(1, 5, *U.shape[1:]))], {})
    (places,) = slices(str(path), ["u"], 0, 3)
    extents = []
    for number, chunks in enumerate(places[:2]):
        for low, place in zip(range(0, 12, 5), chunks, strict=True):
            rows = U[low : low + 5] + number
            with open(path, "rb+") as file:
                file.seek(place)
                file.write(rows.tobytes())
            extents.append(extent_of_array("u", rows, place, before=number * U.size + U[:low].size))
    complete(str(path), ["u"], 2, [(Dataset("time", (2,), "<f8"), np.array([0.0, 0.5]))])
    seal.append(str(path), extents)
    return path


def packed(path: Path) -> Path:
    """A compressed dataset: the digests are of the stored bytes."""
    extents = []
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("u", data=U, chunks=(5, 20, 30), compression="gzip")
        for number in range(dataset.id.get_num_chunks()):
            info = dataset.id.get_chunk_info(number)
            _, data = dataset.id.read_direct_chunk(info.chunk_offset)
            start = tuple(map(int, info.chunk_offset))
            stop = tuple(min(low + n, most) for low, n, most in zip(start, (5, 20, 30), U.shape, strict=True))
            per, digests = granule(len(data)), of_bytes(data)
            extents.append(Extent("u", info.byte_offset, info.size, 0, per, digests, (start, stop)))
    seal.append(str(path), extents, {"u": of_array(U)})
    return path


KINDS = {"contiguous": contiguous, "series": in_time, "packed": packed}


@pytest.fixture(params=KINDS)
def sealed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return KINDS[request.param](tmp_path / "a.h5")


def test_a_sealed_file_is_whole_and_opens(sealed: Path) -> None:
    report = verify(sealed)
    assert report.is_whole
    assert (report.size, report.content) == (sealed.stat().st_size, content_of(str(sealed)))
    with h5py.File(sealed) as file:
        np.testing.assert_array_equal(file["u"][0] if file["u"].ndim == 4 else file["u"][...], U)
        names: list[str] = []
        file.visititems(lambda name, thing: names.append(name) if isinstance(thing, h5py.Dataset) else None)
    assert list(report.datasets) == sorted(names)
    assert check(sealed) == report


def test_every_flipped_bit_is_found(sealed: Path) -> None:
    whole = sealed.read_bytes()
    rng = np.random.default_rng(3)
    # Many in the seal and in the metadata, which are small.
    bits = [*rng.integers(0, 8 * len(whole), 250), *rng.integers(8 * (len(whole) - 600), 8 * len(whole), 60)]
    bits += [*rng.integers(0, 8 * 4096, 40)]
    with open(sealed, "rb+", buffering=0) as file:
        for bit in map(int, bits):
            at = bit // 8
            file.seek(at)
            file.write(bytes([whole[at] ^ 1 << bit % 8]))
            report = verify(sealed)
            assert report.broken, f"bit {bit} of {8 * len(whole)}"
            assert any(part.start <= at < part.stop for part in report.broken), (bit, report.broken)
            file.seek(at)
            file.write(whole[at : at + 1])
    assert verify(sealed).is_whole


def test_missing_and_added_bytes_are_found(sealed: Path) -> None:
    whole = sealed.read_bytes()
    rng = np.random.default_rng(4)
    lengths = [0, 1, 63, 64, 65, len(whole) - 64, len(whole) - 1, *map(int, rng.integers(0, len(whole), 60))]
    for length in lengths:
        sealed.write_bytes(whole[:length])
        assert not verify(sealed).is_whole, length
    for extra in (b"\0", b"x" * 64, bytes(4096), whole[-64:], whole):
        sealed.write_bytes(whole + extra)
        assert not verify(sealed).is_whole, extra[:4]
    cut = 8192 if len(whole) > 70_000 else 100
    sealed.write_bytes(whole[:cut] + whole[cut + 8 :])
    assert not verify(sealed).is_whole


def test_what_is_no_sealed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    rng = np.random.default_rng(5)
    for size in (0, 1, 63, 64, 1000):
        path.write_bytes(rng.integers(0, 256, size, "u1").tobytes())
        (found,) = verify(path).broken
        assert "no seal" in str(found)
    path.write_bytes(bytes(1000) + seal.MAGIC + bytes(48))
    assert "locator" in str(verify(path).broken[0])
    with h5py.File(path, "w") as file:
        file["u"] = U
    assert "no seal" in str(verify(path).broken[0])
    with pytest.raises(RunError, match=r"has no seal, so .*give a file that mpibatch wrote"):
        check(path)
    with pytest.raises(RunError, match="no such file"):
        verify(tmp_path / "absent.h5")
    with pytest.raises(RunError, match="not a regular file"):
        verify(tmp_path)
    with pytest.raises(UsageError, match="the file alone"):
        verify(f"{path}::u")


@pytest.mark.parametrize("change", ["value", "attribute", "dataset", "nothing"])
def test_a_file_changed_through_hdf5_is_not_sealed(sealed: Path, change: str) -> None:
    with h5py.File(sealed, "r+") as file:
        if change == "value":
            file["u"][(0,) * file["u"].ndim] = 7
        elif change == "attribute":
            file.attrs["more"] = 1
        elif change == "dataset":
            file["more"] = U
    assert "no seal" in str(verify(sealed).broken[0])
    assert content_of(str(sealed)) is None


def broken_by(path: Path, value: np.ndarray, *indices: tuple[int, ...]) -> list[str]:
    """What verify says after a bit of some of these values flipped."""
    whole = bytearray(path.read_bytes())
    begin = whole.index(value.tobytes())
    for index in indices:
        whole[begin + int(np.ravel_multi_index(index, value.shape)) * value.itemsize] ^= 1
    path.write_bytes(whole)
    return [str(part) for part in verify(path).broken]


def test_regions_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert broken_by(contiguous(tmp_path / "a.h5"), U, (5, 3, 2)) == ["u[0:7, :, :]"]  # of 64 KiB each
    assert broken_by(contiguous(tmp_path / "b.h5"), COLORS, (1, 1, 1)) == ["colors[:, :, :]"]
    monkeypatch.setattr("mpibatch.io.seal.digests.SMALLEST", 1024)
    monkeypatch.setattr("mpibatch.io.seal.digests.FEW", 1 << 30)
    assert broken_by(contiguous(tmp_path / "c.h5"), U, (5, 3, 2)) == ["u[5, 0:5, :]"]
    # Neighbors are told together.
    found = broken_by(contiguous(tmp_path / "d.h5"), U, (5, 3, 2), (5, 5, 2), (11, 39, 29))
    assert found == ["u[5, 0:10, :]", "u[11, 37:40, :]"]
    assert broken_by(in_time(tmp_path / "e.h5"), U[5:10] + 1, (4, 39, 29)) == ["u[1, 9, 36:40, :]"]


def test_broken_chunks_are_named_by_their_boxes(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.h5")
    with h5py.File(path) as file:
        info = file["u"].id.get_chunk_info_by_coord((10, 20, 0))
    whole = bytearray(path.read_bytes())
    whole[info.byte_offset + 30] ^= 64
    path.write_bytes(whole)
    (found,) = verify(path).broken
    assert (found.dataset, str(found)) == ("u", "u[10:12, 20:40, :]")


def test_the_content_digest_is_of_names_and_values_alone(tmp_path: Path) -> None:
    def content(path: Path, name: str, array: np.ndarray, **attrs: str) -> str:
        create(str(path), [Dataset(name, array.shape, array.dtype.str)], attrs)
        with h5py.File(path, "r+") as file:
            file[name][...] = array
        seal.append(str(path))
        return verify(path).content

    path = tmp_path / "a.h5"
    first = content(path, "u", U)
    assert content(path, "u", U, run_record="another run") == first
    assert verify(packed(tmp_path / "b.h5")).content == first
    others = [content(path, "v", U), content(path, "u", U.astype("f4")), content(path, "u", U.reshape(40, 12, 30))]
    changed = U.copy()
    changed[3, 3, 3] = -changed[3, 3, 3]
    assert len({first, *others, content(path, "u", changed)}) == 5


# --- manifests of others -------------------------------------------------------------------------------------------


def resealed(path: Path, change: Callable[[dict], None]) -> str:
    """Change the header of a manifest, set a seal that fits it, and return what verify says."""
    data, size = seal.read(str(path))
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return with_manifest(path, size, len(text).to_bytes(8, "little") + text + data[8 + length :])


def with_manifest(path: Path, size: int, data: bytes) -> str:
    locator = seal.LOCATOR.pack(seal.MAGIC, size, len(data), hashlib.sha256(data).digest())
    path.write_bytes(path.read_bytes()[:size] + data + locator)
    (found,) = verify(path).broken
    content_of(str(path))  # must not fail either
    return str(found)


HOSTILE: dict[str, Callable[[dict], None]] = {
    "version": lambda h: h.update(version="\x1b[2J"),
    "absurd version": lambda h: h.update(version=10**30),
    "size": lambda h: h.update(size=10**30),
    "content": lambda h: h.update(content="\x1b[2J" * 16),
    "another content": lambda h: h.update(content="0" * 64),
    "no datasets": lambda h: h.update(datasets=None),
    "datasets of another kind": lambda h: h.update(datasets=[1, 2]),
    "twice": lambda h: h["datasets"].append(h["datasets"][0]),
    "many extents": lambda h: h["datasets"][0].update(extents=10**15),
    "many digests": lambda h: h["datasets"][0].update(digests=1 << 61),
    "negative": lambda h: h["datasets"][0].update(extents=-1),
    "no integer": lambda h: h["datasets"][0].update(extents=True),
    "absurd shape": lambda h: h["datasets"][0].update(shape=[1 << 40, 1 << 40]),
    "many axes": lambda h: h["datasets"][0].update(shape=[1] * 1000),
    "strange shape": lambda h: h["datasets"][0].update(shape=["1"]),
    "small shape": lambda h: h["datasets"][0].update(shape=[1]),
    "dtype": lambda h: h["datasets"][0].update(dtype="O"),
    "records": lambda h: h["datasets"][0].update(dtype="f8,f8"),
    "unknown dtype": lambda h: h["datasets"][0].update(dtype="<f7"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_manifests_that_cannot_be_ours(tmp_path: Path, what: str) -> None:
    assert "not a seal that this version" in resealed(contiguous(tmp_path / "a.h5"), HOSTILE[what])


def test_a_file_of_another_version_is_not_called_damaged(tmp_path: Path) -> None:
    path = contiguous(tmp_path / "a.h5")
    assert "sealed by another version" in resealed(path, lambda header: header.update(version=1))
    assert verify(path).is_of_other_version
    with pytest.raises(RunError, match="was sealed by another version of mpibatch; load it and save it anew"):
        check(path)


TABLES = [(0, -1), (0, 1 << 62), (0, 0), (1, 1 << 62), (1, 0), (2, -8), (2, 1 << 62), (3, 0), (3, 1)]


@pytest.mark.parametrize(
    ("make", "column"), [*((contiguous, column) for column in TABLES), (packed, (2, 8)), (packed, (2, (1 << 63) - 1))]
)
def test_tables_that_cannot_be_ours(tmp_path: Path, make: Callable[[Path], Path], column: tuple[int, int]) -> None:
    path = make(tmp_path / "a.h5")
    data, size = seal.read(str(path))
    manifest = parse(data, size)
    for dataset in manifest.datasets:
        # Of all: so that offsets 0 overlap.
        dataset.table[:, column[0]] = column[1]
    assert "not a seal that this version" in with_manifest(path, size, pack(manifest))


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 8, b"\xff" * 8, b"\x02" + bytes(7) + b"[]", b"\x02" + bytes(7) + b"{}", b"\x04" + bytes(7) + b"nope"],
)
def test_bytes_that_are_no_manifest(tmp_path: Path, data: bytes) -> None:
    path = contiguous(tmp_path / "a.h5")
    assert "not a seal that this version" in with_manifest(path, 100, data)
    deep = b"[" * 100_000
    assert "not a seal" in with_manifest(path, 100, len(deep).to_bytes(8, "little") + deep)


def test_what_cannot_be_read_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = contiguous(tmp_path / "a.h5")
    manifest = seal.read(str(path))

    def fails(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(seal, "read", lambda _: manifest)
    monkeypatch.setattr("os.pread", fails)
    told = [str(part) for part in verify(path).broken]
    assert {"u[:, :, :]", "g/mask[:, :, :]", "colors[:, :, :]"} < set(told)


def test_small_pieces_make_no_difference(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "PIECE_BYTES", 40)
    assert verify(sealed).is_whole
