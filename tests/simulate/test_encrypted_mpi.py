"""Encrypted simulations: no plain text at any time, and, gone on with after a kill, the bytes of a plain run."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.checkpoint import contents
from mpibatch.cli import main
from mpibatch.io.vault import age, cipher, envelope, keyring, keys
from mpibatch.io.vault.images import VaultImage
from mpibatch.io.write import series
from mpibatch.io.write.snapshot import Snapshot
from mpibatch.mpi import MPI

pytestmark = pytest.mark.mpi

WORLD = MPI.COMM_WORLD
CANARY = "canary-of-plain-text"
NUMBER = 1.2345678901234567e-89  # its bytes are in no file by chance


class Killed(Exception):
    """The run ends here, on all ranks."""


@pytest.fixture
def folder(mpi_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of all ranks with keys and recipients, chunks of few rows, and no memory of other tests."""
    for store in ("_secrets", "_keys"):
        monkeypatch.setattr(keyring, store, {})
    monkeypatch.setattr(keyring, "_sources", [])
    monkeypatch.delenv("MPIBATCH_IDENTITY", raising=False)
    monkeypatch.setattr(series, "CHUNK_BYTES", 4 * 14 * 8)
    monkeypatch.setattr(series, "SEALED_BYTES", 4 * 14 * 8)
    monkeypatch.chdir(mpi_tmp_path)
    if WORLD.rank == 0:
        for name in ("me", "other"):
            identity = age.new_identity()
            keys.write_private(f"{name}.key", identity.text)
            Path(f"{name}.txt").write_text(f"{identity.recipient}\n")
    WORLD.Barrier()
    return mpi_tmp_path


def live(output: str, encrypt: str | None, kill: int | None = None, by: float = 2.0, **layout: Any) -> mb.Simulation:
    """Run a small program to its end, or until a step in which it is killed; checkpoints are at 4 and 8 steps."""
    checkpoints = mb.Checkpoints(f"{output}.c", every_steps=4, encrypt=encrypt)
    settings = {"checkpoints": checkpoints, "resume": True, "layout": layout, "encrypt": encrypt}
    with mb.Simulation(steps=11, output=output, every_steps=3, **settings) as simulation:
        grid = simulation.grid((9, 14), periodic=True)
        state = {CANARY: grid.full(NUMBER), "v": grid.from_function(lambda y, x: y + np.sin(x))}
        for now in simulation.steps(state, 0.1, diagnostics=lambda s: {"sum": mb.sum(s["v"])}):
            state["v"].owned[...] *= by if kill is not None else 2.0
            if now.step == kill:
                raise Killed
    return simulation


def image(path: str) -> bytes:
    """The bytes of a plain file, or of what is encrypted in one, as rank 0 sees them."""
    WORLD.Barrier()
    if WORLD.rank != 0:
        return b""
    if not keyring.is_sealed(path):
        return Path(path).read_bytes()
    opened = VaultImage(path)
    data = opened.read(opened.size, 0)
    opened.close()
    return data


def traces() -> list[str]:
    """Files in which something can be read: a name, a value, a secret."""
    WORLD.Barrier()
    raw = [*keyring._secrets.values()]
    words = [CANARY.encode(), np.float64(NUMBER).tobytes(), *raw, *(secret.hex().encode() for secret in raw)]
    files = [path for path in Path().rglob("*") if path.is_file() and path.suffix not in (".key", ".toml")]
    shown = [path.name for path in files if any(word in path.read_bytes() for word in words)]
    WORLD.Barrier()
    return shown


def flip(start: int, count: int) -> None:
    """Change bytes of what is left of an output."""
    WORLD.Barrier()
    if WORLD.rank == 0:
        data = bytearray(Path("out.h5.part").read_bytes())
        data[start : start + count] = bytes(byte ^ 1 for byte in data[start : start + count])
        Path("out.h5.part").write_bytes(data)
    WORLD.Barrier()


def killed(step: int, by: float = 2.0) -> bytes:
    """Begin a run, or go on, and be killed; return on rank 0 what is left of the output."""
    with pytest.raises(Killed):
        live("out.h5", "me.txt", step, by)
    assert not traces()
    keyring.forget()
    left = Path("out.h5.part").read_bytes() if WORLD.rank == 0 else b""
    WORLD.Barrier()
    return left


def test_a_killed_run_goes_on_with_the_bytes_of_a_plain_one(folder: Path) -> None:
    live("plain.h5", None)
    plain = image("plain.h5")
    if WORLD.rank == 0:
        assert CANARY.encode() in plain
        Path("plain.h5").unlink()
    keyring.use("me.key")
    # The output of step 6 is written after the checkpoint of step 4, in the end by other values, to the same place.
    left = [killed(7), killed(7, by=3.0), killed(7)]
    ranks = WORLD.size
    live("out.h5", "me.txt", sizes=[[9], [0] * (ranks - 1) + [14]], topology=(1, ranks))
    assert image("out.h5") == plain
    assert not traces()
    if WORLD.rank == 0:
        # Each run had a secret of its own, of which those are needed whose values are still there.
        index = VaultImage("out.h5")._index
        assert len(index.earlier) == 1
        runs = (index.blocks[:, 3] >> cipher.RUN_BITS)[index.blocks[:, 2] > 0]
        assert {*runs.tolist()} == {0, 1}
        place, size, *_ = index.blocks[np.flatnonzero(index.blocks[:, 2] > 0)[runs == 1][0]].tolist()
        low = envelope.HEADER + place
        parts = {data[low : low + size] for data in (*left, Path("out.h5").read_bytes())}
        assert len(parts) == 4
    WORLD.Barrier()
    keyring.forget()
    keyring._sources.clear()
    assert mb.io.verify("out.h5", identity="me.key").is_whole
    for comm in (WORLD, MPI.COMM_SELF):
        keyring.forget()
        run = mb.load("out.h5", "v", comm=comm, identity="me.key")
        value = mb.gather_all(run)[-1, 3, 2]
        assert value == 2.0**11 * (3 + np.sin(2))


def test_damaged_values_are_not_gone_on_from(folder: Path) -> None:
    keyring.use("me.key")
    killed(10)  # the checkpoint of step 4 knows of two outputs, that of step 8 of three
    snapshot = Snapshot.from_extra(contents.read_header(WORLD, "out.h5.c/step-000000008.h5")["extra"])
    assert snapshot is not None
    flip(envelope.HEADER + max(e.offset for e in snapshot.extents if e.dataset == "v"), 1)
    assert live("out.h5", "me.txt").outcome.first == 4
    killed(10)
    flip(envelope.HEADER, 1 << 20)
    with pytest.raises(mb.RunError, match="none can be resumed from"):
        live("out.h5", "me.txt")


def test_what_would_be_plain_is_refused(folder: Path) -> None:
    keyring.use("me.key")
    plain = mb.Checkpoints("plain.c")
    with pytest.raises(mb.UsageError, match="checkpoints would keep in plain"):
        mb.Simulation(steps=1, output="o.h5", encrypt="me.txt", checkpoints=plain)
    with pytest.raises(mb.UsageError, match=r"rows\.csv would keep in plain"):
        mb.Simulation(steps=1, output="o.h5", encrypt="me.txt", diagnostics="rows.csv")
    with pytest.raises(mb.RunError, match=r"absent\.txt"):
        live("out.h5", "absent.txt")
    killed(5)
    with pytest.raises(mb.UsageError, match="was begun encrypted"):
        live("out.h5", None)


JOB = """
[simulation]
program = "heat"
shape = [12, 10]
steps = 8
initial = "mode"
mode = [1, 2]

[output]
path = "out.h5"
every_steps = 2
encrypt = "me.txt"

[checkpoint]
every_steps = 3
encrypt = "me.txt"
"""


def ran(*words: str) -> int:
    """Forget all keys, run the job, and return the exit code."""
    keyring.forget()
    keyring._sources.clear()
    WORLD.Barrier()
    return main(["run", "job.toml", *words])


def test_a_job_is_encrypted_and_gone_on_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if WORLD.rank == 0:
        Path("job.toml").write_text(JOB)
        Path("rows.toml").write_text(JOB + '[diagnostics]\npath = "rows.csv"\n')
        Path("bare.toml").write_text(JOB[: JOB.rindex("encrypt")])
    WORLD.Barrier()
    with monkeypatch.context() as patch:
        patch.setattr("mpibatch.checkpoint.signals.Caught.number", property(lambda _: int(signal.SIGTERM)))
        assert ran() == 75
    capfd.readouterr()
    assert ran("--resume") == 2
    assert ran("--resume", "--identity", "other.key") == 2
    lines = capfd.readouterr().err.splitlines()
    if WORLD.rank == 0:
        assert [line for line in lines if "no key was given" in line]
        assert [line for line in lines if "the key of one of its recipients" in line]
    assert ran("--resume", "--identity", "me.key") == 0
    assert ran("--resume", "--identity", "me.key") == 0  # it is complete
    keyring.forget()
    assert mb.io.verify("out.h5", identity="me.key").is_whole
    assert not traces()
    for name, words in (("rows.toml", "[diagnostics] path"), ("bare.toml", "[checkpoint] would keep in plain")):
        assert main(["run", name]) == 2
        if WORLD.rank == 0:
            assert words in capfd.readouterr().err
