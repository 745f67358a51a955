"""Sequences for tests: of chance, relatives of one another, and what is true of their k-mers."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["canonical", "counted", "relatives", "sequences_of"]

COMPLEMENT = str.maketrans("ACGT", "TGCA")


def canonical(text: str) -> str:
    """Return the lesser of a k-mer and its reverse complement."""
    return min(text, text.translate(COMPLEMENT)[::-1])


def counted(sequences: list[str], k: int, *, mask: bool = False) -> Counter[str]:
    """Return how often each canonical k-mer occurs, letter by letter."""
    kmers: Counter[str] = Counter()
    for sequence in sequences:
        letters = sequence if mask else sequence.upper()
        for n in range(len(letters) - k + 1):
            kmer = letters[n : n + k]
            if set(kmer) <= set("ACGT"):
                kmers[canonical(kmer)] += 1
    return kmers


def sequences_of(path: Path) -> list[str]:
    """Return the sequences of a FASTA file."""
    return ["".join(record.split("\n")[1:]) for record in path.read_text().split(">")[1:]]


def relatives(folder: Path, count: int, length: int = 3000, seed: int = 1) -> list[Path]:
    """Write genomes of one ancestor, each a little further from it, in two records; return their files."""
    rng = random.Random(seed)
    ancestor = rng.choices("ACGT", k=length)
    paths = []
    for n in range(count):
        genome = list(ancestor)
        for place in rng.sample(range(length), 4 * n):
            genome[place] = rng.choice("ACGTN")
        text = "".join(genome)
        paths.append(folder / f"genome{n}.fa")
        paths[-1].write_text(f">{n} left\n{text[:1000]}\n{text[1000:1700]}\n>{n} right\n{text[1700:]}\n")
    return paths
