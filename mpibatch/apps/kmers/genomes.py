"""The genomes that are asked for: their files, in order, and what they are called."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mpibatch as mb
from mpibatch.base.errors import reason_of
from mpibatch.cli._files import fitting_files
from mpibatch.io.base.names import user_path
from mpibatch.io.vault.crypt4gh import SUFFIX
from mpibatch.mpi import MPI, agreed

__all__ = ["LIST", "Genome", "find_genomes"]

LIST = "@"  # before the name of a file with a genome a line
PACKED = ".gz"


@dataclass(frozen=True)
class Genome:
    """A file, and what tells its contents from others."""

    name: str
    path: str
    size: int
    modified: int  # nanoseconds


def find_genomes(comm: MPI.Intracomm, words: Sequence[str]) -> list[Genome]:
    """Return the genomes that words stand for: files, names with * and ?, @LIST. Collective. RunError, UsageError.

    Rank 0 alone looks: ten thousand files on as many ranks are too much for a file server.
    """
    genomes: list[Genome] = []
    with agreed(comm, "looking for genomes"):
        if comm.rank == 0:
            genomes = [_genome(path) for word in words for path in _paths(word)]
            _check_names(genomes)
    every: list[Genome] = comm.bcast(genomes, root=0)
    return every


def _paths(word: str) -> Iterator[Path]:
    if word.startswith(LIST):
        lists = Path(user_path(word.removeprefix(LIST)))
        try:
            lines = lists.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else "it is no text in UTF-8"
            raise mb.RunError(f"the list {lists} cannot be read: {reason}") from None
        for line in filter(None, map(str.strip, lines)):
            yield Path(user_path(line))
        return
    pattern = user_path(word)
    if not set(pattern) & set("*?["):
        yield Path(pattern)
        return
    yield from fitting_files(pattern)


def _genome(path: Path) -> Genome:
    try:
        state = path.stat()
    except OSError as error:
        raise mb.RunError(f"{path} cannot be read: {reason_of(error)}") from None
    if not path.is_file():
        raise mb.RunError(f"{path} is no file; give FASTA or FASTQ files")
    if not state.st_size:
        raise mb.RunError(f"{path} is empty; give FASTA or FASTQ with sequences in it")
    name = path.name.removesuffix(SUFFIX).removesuffix(PACKED)
    return Genome(os.fsencode(Path(name).stem).decode("utf-8", "replace"), str(path), state.st_size, state.st_mtime_ns)


def _check_names(genomes: Sequence[Genome]) -> None:
    if not genomes:
        raise mb.RunError("there are no genomes in the list; name a file in each line")
    paths: dict[str, str] = {}
    for genome in genomes:
        if genome.name in paths:
            raise mb.UsageError(
                f"{paths[genome.name]} and {genome.path} would both be called {genome.name}; rename one, or give it "
                "once"
            )
        paths[genome.name] = genome.path
