"""Encrypted by any number of ranks, and read by any other; no plain text anywhere on the disk."""

from __future__ import annotations

import base64
import signal
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.cli import main
from mpibatch.io.vault import age, keyring
from mpibatch.mpi import MPI
from tests.support.keyrings import CANARY, NUMBER, with_keys

pytestmark = pytest.mark.mpi

SHAPE = (5, 11, 13)
WORLD = MPI.COMM_WORLD


@pytest.fixture
def folder(mpi_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return with_keys(mpi_tmp_path, monkeypatch)


def forget() -> None:
    """As in a new process."""
    keyring.forget()


def field(dtype: str, components: tuple[int, ...], **grid: Any) -> Any:
    index = np.arange(int(np.prod((*SHAPE, *components)))).reshape(*SHAPE, *components)
    u = mb.Grid(SHAPE, **grid).full(1, dtype, 1, components)
    u.owned[...] = (index % 97).astype(dtype)[u.box.slices()]
    return u


def test_any_ranks_encrypt_and_any_ranks_open(folder: Path) -> None:
    ranks = WORLD.size
    last = {"sizes": [None, [0] * (ranks - 1) + [11], None], "topology": (1, ranks, 1)}
    plain: set[str] = set()
    table = mb.regionprops_table(mb.label(field("i4", ()) > 50)[0], properties=("label", "area"))
    for dtype, components, options, cut in (
        ("f4", (), {}, {}),
        ("f4", (), {"chunks": {"a/u": (2, 3, 13)}}, {"topology": (1, ranks, 1)}),
        ("?", (), {"compression": "gzip"}, {"topology": (1, 1, ranks)}),
        ("c16", (3,), {"chunks": {"a/u": (3, 4, 5)}, "compression": "gzip"}, last),
    ):
        u = field(dtype, components, **cut)
        path = folder / "v.h5"
        mb.save(path, {"a/u": u, "t": table, "one": mb.Grid(1).full(NUMBER)}, encrypt=folder / "me.txt", **options)
        forget()
        back = mb.load(path, "a/u", identity=folder / "me.key")
        assert np.array_equal(mb.gather_all(back), mb.gather_all(u))
        areas = [np.concatenate(WORLD.allgather(t["area"])) for t in (cast("Any", mb.load(path, "t")), table)]
        assert np.array_equal(*areas)
        assert mb.io.verify(path).is_whole
        values = mb.gather_all(u)
        if WORLD.rank == 0:
            with mb.open(path) as file:  # one rank alone
                assert np.array_equal(file["a/u"][...], values)
            plain.add(mb.io.digest(path, "a/u"))
            assert np.float64(NUMBER).tobytes() not in path.read_bytes()
        WORLD.Barrier()
    assert WORLD.rank or len(plain) == 3


def test_all_ranks_refuse_together(folder: Path) -> None:
    u = field("f8", ())
    path = folder / "v.h5"
    mb.save(path, u=u, encrypt=folder / "me.txt")
    forget()
    for kind, words, identity in (
        (mb.UsageError, "no key was given", None),
        (mb.UsageError, "none of the 1 keys", folder / "other.key"),
        (mb.RunError, "No such file", folder / "absent.key"),
        (mb.UsageError, "others may read", folder / "me.txt"),
    ):
        with pytest.raises(kind, match=words):
            mb.load(path, identity=identity)
    with pytest.raises(mb.RunError, match="recipients"):
        mb.save(path, u=u, encrypt=folder / "absent.txt")
    assert np.array_equal(mb.gather_all(mb.load(path, identity=folder / "me.key")), mb.gather_all(u))
    WORLD.Barrier()
    if WORLD.rank == 0:
        assert not list(folder.glob("*.part"))
        whole = bytearray(path.read_bytes())
        whole[70000] ^= 1
        path.write_bytes(whole)
    WORLD.Barrier()
    assert not mb.io.verify(path, identity=folder / "me.key").is_whole


JOB = """
[input]
path = "in.h5"
dataset = "{canary}"
identity = "me.key"

[[step]]
filter = "maximum_filter"
size = 3
name = "wide"

[[step]]
filter = "minimum_filter"
size = 3
save = "{canary}-out"

[output]
path = "out.h5"
encrypt = "me.txt"

[checkpoint]
every_steps = 1
encrypt = "me.txt"
"""


def secrets_of(folder: Path) -> list[bytes]:
    """What nobody may read: values and names, the key, and the secrets of files that this process has opened."""
    identity = age.Identity.parsed((folder / "me.key").read_text().strip())
    raw = [identity.private, *keyring._secrets.values()]
    shown = [form for secret in raw for form in (secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b"="))]
    return [CANARY.encode(), np.float64(NUMBER).tobytes(), identity.text.encode()[20:50], *shown]


def traces(folder: Path) -> list[str]:
    """Files in which something can be read."""
    secrets = secrets_of(folder)
    known = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("job.toml", "me.key")]
    return [path.name for path in known if any(secret in path.read_bytes() for secret in secrets)]


def test_a_job_leaves_no_plain_text(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.chdir(folder)
    u = mb.Grid(SHAPE).full(NUMBER)
    mb.save("in.h5", {CANARY: u}, encrypt="me.txt")
    if WORLD.rank == 0:
        Path("job.toml").write_text(JOB.format(canary=CANARY))
    WORLD.Barrier()
    forget()
    # Stopped after the first step, with its result in a checkpoint.
    with monkeypatch.context() as patch:
        patch.setattr("mpibatch.checkpoint.signals.Caught.number", property(lambda _: int(signal.SIGTERM)))
        assert main(["run", "job.toml", "--log-level", "debug"]) == 75
    WORLD.Barrier()
    if WORLD.rank == 0:
        assert list(Path("out.h5.checkpoints").glob("step-*.h5"))
        assert not traces(folder)
    WORLD.Barrier()
    forget()
    assert main(["run", "job.toml", "--resume", "--identity", "other.key"]) == 2
    keyring._sources.clear()
    forget()
    assert main(["run", "job.toml", "--resume", "--identity", "me.key", "--log-level", "debug"]) == 0
    out = mb.load("out.h5", identity="me.key")
    assert np.array_equal(mb.gather_all(out), mb.gather_all(u))
    WORLD.Barrier()
    if WORLD.rank == 0:
        assert not traces(folder)
    told = capfd.readouterr()
    assert str(NUMBER)[:12] not in told.out + told.err
    assert not [secret for secret in secrets_of(folder)[2:] if secret in (told.out + told.err).encode()]
