"""Files of sets for sourmash: JSON, a file for each genome."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.apps.kmers.comparison import Collection
from mpibatch.apps.kmers.genomes import Genome
from mpibatch.apps.kmers.samples import SEED, Settings, hashes_of
from mpibatch.base.errors import reason_of
from mpibatch.base.files import replacing
from mpibatch.mpi import agreed

__all__ = ["write_signatures"]

ENDING = ".sig"


def write_signatures(collection: Collection, folder: str) -> None:
    """Write NAME.sig for each genome, all ranks at once. Collective. RunError."""
    comm, genomes = collection.comm, collection.genomes
    with agreed(comm, f"writing signatures to {folder}"):
        for number in range(comm.rank, len(genomes), comm.size):
            hashes = hashes_of(collection.sample(number).values, collection.settings)
            path = Path(folder) / (genomes[number].name + ENDING)
            try:
                with replacing(path) as part:
                    part.write_text(_signature(genomes[number], collection.settings, hashes), encoding="utf-8")
            except OSError as error:
                raise mb.RunError(f"cannot write {path}: {reason_of(error)}") from None


def _signature(genome: Genome, settings: Settings, hashes: npt.NDArray[np.uint64]) -> str:
    values: Sequence[int] = hashes.tolist()
    # By this sourmash tells sketches apart; no secret is kept by it.
    digest = hashlib.md5("".join(map(str, [settings.k, *values])).encode(), usedforsecurity=False)
    sketch = {
        "num": 0, "ksize": settings.k, "seed": SEED, "max_hash": settings.most, "mins": values,
        "md5sum": digest.hexdigest(), "molecule": "DNA",
    }  # fmt: skip
    signature = {
        "class": "sourmash_signature", "email": "", "hash_function": "0.murmur64", "filename": genome.path,
        "name": genome.name, "license": "CC0", "signatures": [sketch], "version": 0.4,
    }  # fmt: skip
    return json.dumps([signature], ensure_ascii=True, separators=(",", ":"))
