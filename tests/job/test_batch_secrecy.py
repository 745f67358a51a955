"""Encrypted batches of jobs: no file has in plain what the outputs of items encrypt, also of a run that was killed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.errors import UsageError
from mpibatch.base.log import logger
from mpibatch.cli import main
from mpibatch.io.vault import age, keyring, keys
from mpibatch.io.vault.images import image_of
from mpibatch.job.file.batch import parse_batch
from tests.support.batches import STEPS

Launch = Callable[..., subprocess.CompletedProcess[str]]

JOB = f"""\
[batch]
items = "s*.npy"
table = "TABLE.h5"
{STEPS}path = "out/{{name}}.h5"
record = false
"""
SECRET = JOB.replace("TABLE", "secret").replace("out/", "sealed/") + 'encrypt = "me.txt"\n'
ITEMS = 4
KILLED = """\
import os, signal, sys, numpy as np, mpibatch as mb
def measure(item):
    if item == 5 and sys.argv[1] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 1:
        raise ValueError(f"canary-of-plain-text {item}")
    return {"field": np.full(9, 1.2345678901234567e-89), "number": item * 1.2345678901234567e-89}
encrypt = {"encrypt": "me.txt"} if sys.argv[2] == "secret" else {}
batch = mb.map_items(measure, list(range(9)), journal=f"{sys.argv[2]}.journal", output=f"{sys.argv[2]}.h5", **encrypt)
print(batch)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name, empty in (("_secrets", {}), ("_keys", {}), ("_sources", [])):
        monkeypatch.setattr(keyring, name, empty)
    monkeypatch.delenv("MPIBATCH_IDENTITY", raising=False)
    for number in range(ITEMS):
        np.save(f"s{number}.npy", np.random.default_rng(number).random((8, 8)))
    identity = age.new_identity()
    keys.write_private("me.key", identity.text)
    Path("me.txt").write_text(f"{identity.recipient}\n")
    Path("plain.toml").write_text(JOB.replace("TABLE", "plain"))
    Path("secret.toml").write_text(SECRET)
    yield tmp_path
    logger().handlers.clear()


def files_with(text: bytes, *places: str) -> list[str]:
    files = [file for place in places for file in ([Path(place)] if Path(place).is_file() else Path(place).rglob("*"))]
    assert files
    return [str(file) for file in files if file.is_file() and text in file.read_bytes()]


def test_a_batch_of_jobs_is_encrypted_in_all_its_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", "plain.toml", "--quiet"]) == 0
    assert main(["batch", "secret.toml", "--quiet"]) == 0
    with h5py.File("plain.h5") as file:
        (column,) = (values[...] for name, values in file["items"].items() if name != "item")
    number = np.float64(column[2]).tobytes()
    assert files_with(number, "plain.h5", "plain.h5.journal")
    assert not files_with(number, "secret.h5", "secret.h5.journal", "sealed")
    assert not Path("secret.h5.journal/logs").exists()
    keyring.forget()
    assert main(["batch", "secret.toml", "--quiet"]) == 2
    assert "is encrypted, and no key was given" in capsys.readouterr().err
    keyring.use("me.key")
    assert main(["batch", "secret.toml", "--list"]) == 0
    assert capsys.readouterr().out.count("done") == ITEMS
    with image_of("secret.h5") as image:
        assert image.read(image.size, 0) == Path("plain.h5").read_bytes()
    for number_ in range(ITEMS):
        mine, theirs = (mb.load(f"{place}/s{number_}.h5", "mask") for place in ("sealed", "out"))
        np.testing.assert_array_equal(mine.owned, theirs.owned)


def test_what_would_be_in_plain_is_refused() -> None:
    for old, new, words in (
        ("secret.h5", "secret.csv", "table is a CSV, in plain"),
        ("[batch]", "[batch]\nlogs = true", "logs would keep in plain"),
        ("me.txt", "{name}.txt", "one file of recipients"),
    ):
        with pytest.raises(UsageError, match=words):
            parse_batch(SECRET.replace(old, new), "j")
    batch = parse_batch(SECRET, "j")
    assert (batch.encrypt, batch.has_logs) == ("me.txt", False)
    assert parse_batch(JOB, "j").has_logs


def test_what_a_killed_run_leaves_is_encrypted_and_another_goes_on(folder: Path, launch: Launch) -> None:
    Path("program.py").write_text(KILLED)
    assert launch(1, "program.py", "lives", "plain").returncode == 0
    assert launch(2, "program.py", "dies", "secret").returncode != 0
    canaries = (np.float64(1.2345678901234567e-89).tobytes(), b"canary-of-plain-text")
    assert all(files_with(canary, "plain.h5", "plain.journal") for canary in canaries)
    assert any(file.stat().st_size for file in Path("secret.journal").glob("*.results"))
    assert not any(files_with(canary, "secret.journal") for canary in canaries)
    refused = launch(2, "program.py", "lives", "secret")
    assert refused.returncode != 0
    assert "no key was given" in refused.stderr
    assert not Path("secret.h5").exists()
    done = launch(2, "program.py", "lives", "secret", env={**os.environ, "MPIBATCH_IDENTITY": "me.key"})
    assert done.returncode == 0, done.stderr
    assert "8 done, 1 failed, 0 left" in done.stdout
    assert not any(files_with(canary, "secret.journal", "secret.h5") for canary in canaries)
    keyring.use("me.key")
    with image_of("secret.h5") as image:
        assert image.read(image.size, 0) == Path("plain.h5").read_bytes()
