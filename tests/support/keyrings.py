"""Keys for tests on several ranks, and what must be in no file that is written with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.io.vault import age, keyring, keys
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

__all__ = ["CANARY", "NUMBER", "with_keys"]

CANARY = "canary-of-plain-text"
NUMBER = 1.2345678901234567e-89  # its bytes are in no file by chance


def with_keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of all ranks with two keys and their recipients; other tests leave nothing. Collective."""
    for name, empty in (("_secrets", {}), ("_keys", {}), ("_sources", [])):
        monkeypatch.setattr(keyring, name, empty)
    monkeypatch.delenv("MPIBATCH_IDENTITY", raising=False)
    if MPI.COMM_WORLD.rank == 0:
        for name in ("me", "other"):
            identity = age.new_identity()
            keys.write_private(folder / f"{name}.key", identity.text)
            (folder / f"{name}.txt").write_text(f"{identity.recipient}\n")
    MPI.COMM_WORLD.Barrier()
    return folder
