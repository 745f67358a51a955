"""``python -m mpibatch.apps.kmers``: spectra of k-mers of genomes, and how alike all pairs of them are."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import mpibatch as mb
from mpibatch.apps.kmers.comparison import Collection, collect
from mpibatch.apps.kmers.genomes import LIST, find_genomes
from mpibatch.apps.kmers.samples import Settings
from mpibatch.apps.kmers.scratch import opened
from mpibatch.apps.kmers.signatures import write_signatures
from mpibatch.base.units import plural
from mpibatch.cli import Parser, command_line
from mpibatch.cli._files import check_targets
from mpibatch.cli._settings import settings_of
from mpibatch.io.vault.crypt4gh import SUFFIX, public_keys, use
from mpibatch.io.write.saver import save_table
from mpibatch.io.write.tables.parquet import load_arrow
from mpibatch.io.write.tables.region_table import RegionTable
from mpibatch.job.execution.progress import reporter
from mpibatch.mpi import MPI, agreed, private

__all__ = ["main"]

FILES = (".h5", ".hdf5")
TABLES = (".csv", f".csv{SUFFIX}", ".parquet", *FILES)
EXAMPLES = f"""\
genomes: FASTA or FASTQ, gzipped or not, encrypted by Crypt4GH or not; names with * and ? in quotes; @LIST is a file
with a name a line
outputs: by the ending of the name; a matrix {", ".join(FILES)}; tables {", ".join(TABLES)}

examples:
  mpiexec -n 4 python -m mpibatch.apps.kmers compare 'genomes/*.fna.gz' distances.h5 --journal distances.work
  mpiexec -n 4 python -m mpibatch.apps.kmers compare @all.txt pairs.csv --min-similarity 0.1 --signatures sketches
  mpiexec -n 4 python -m mpibatch.apps.kmers compare a.fa b.fa exact.h5 --scaled 1 --k 21
  mpiexec -n 4 python -m mpibatch.apps.kmers count reads.fq.gz spectrum.h5 --k 21
  mpiexec -n 4 python -m mpibatch.apps.kmers count '*.fq.gz.c4gh' counts.csv.c4gh --identity me.sec --encrypt lab.pub
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of both commands. Local."""
    top = Parser(
        prog="python -m mpibatch.apps.kmers",
        description="Count the k-mers of many genomes, and compare all with all, with the same bits on any number of "
        "ranks.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual = Settings()
    shared = Parser(add_help=False)
    shared.add_argument("--settings", metavar="FILE.toml", help="what --k, --scaled and --mask are if not given")
    shared.add_argument("--k", type=int, metavar="N", help=f"bases of a k-mer (default: {usual.k})")
    shared.add_argument(
        "--mask", action="store_true", default=None, help="leave out lower case, by which repeats are marked"
    )
    shared.add_argument("--journal", metavar="FOLDER", help="where sets are kept: the same command goes on from it")
    shared.add_argument("--identity", metavar="FILE", help="a private key of Crypt4GH, or fd:N, for encrypted genomes")
    shared.add_argument("--encrypt", metavar="FILE", help=f"public keys of Crypt4GH, for a table .csv{SUFFIX}")
    shared.add_argument("--quiet", action="store_true", help="show no progress")
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = top.add_subparsers(metavar="COMMAND", dest="command", required=True, parser_class=Parser)
    compare = commands.add_parser("compare", parents=[shared], help="how alike all pairs of genomes are")
    count = commands.add_parser("count", parents=[shared], help="how often the k-mers of each genome occur")
    for command in (compare, count):
        command.add_argument("genomes", nargs="+", help="files")
        command.add_argument("output", help="file to write")
    compare.add_argument(
        "--scaled",
        type=int,
        metavar="N",
        help=f"compare one of N k-mers, by their hashes; 1: all, exactly (default: {usual.scaled})",
    )
    count.set_defaults(scaled=None)
    compare.add_argument(
        "--min-similarity",
        type=float,
        metavar="J",
        help="write a table of the pairs whose Jaccard index is J or more, in place of the matrix",
    )
    compare.add_argument("--signatures", metavar="FOLDER", help="where to write NAME.sig of each genome, for sourmash")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code. Collective."""
    commands = {"compare": _compare, "count": _count}
    return command_line(parser(), lambda args: commands[args.command](private(), args), argv)


def _check_output(comm: MPI.Intracomm, args: argparse.Namespace, endings: Sequence[str], *folders: str | None) -> None:
    """Refuse now what could not be written in the end. Local. RunError, UsageError."""
    path, genomes = args.output, args.genomes
    if not path.endswith(tuple(endings)):
        raise mb.UsageError(f"the output {path} has none of the endings {', '.join(endings)}; give it one of them")
    if path.endswith(SUFFIX) != (args.encrypt is not None):
        raise mb.UsageError(
            f"the output {path} and --encrypt {args.encrypt or '(not given)'} do not fit: public keys of Crypt4GH are "
            f"for a table .csv{SUFFIX}"
        )
    if comm.rank == 0 and args.encrypt is not None:
        public_keys(args.encrypt)
    if comm.rank == 0 and path.endswith(".parquet"):
        load_arrow()
    check_targets([(path, "the output")], [*(word.removeprefix(LIST) for word in genomes), args.settings])
    for folder in filter(None, folders):
        if not Path(folder).is_dir():
            raise mb.RunError(f"cannot write to {folder}: there is no such folder; make it first")


def _compare(comm: MPI.Intracomm, args: argparse.Namespace) -> int:
    least = args.min_similarity
    with agreed(comm, "reading the command line"):
        settings = settings_of(Settings, args)
        if least is not None and not 0.0 <= least <= 1.0:
            raise mb.UsageError(f"--min-similarity {least} is not valid; give a Jaccard index, from 0 to 1")
        _check_output(comm, args, FILES if least is None else TABLES, args.signatures)
    if args.identity is not None:
        use(comm, args.identity)
    genomes = find_genomes(comm, args.genomes)
    with opened(comm, args.journal, args.output) as scratch:
        with reporter(comm.rank, args.quiet) as report:
            collection = collect(comm, scratch, genomes, settings, report)
        with reporter(comm.rank, args.quiet) as report:
            collection.compare(report)
        if least is None:
            _save(args.output, collection, collection.matrices())
            text = f"{len(genomes)} × {len(genomes)}"
        else:
            pairs = collection.pairs(least)
            _save_pairs(args.output, collection, pairs, args.encrypt)
            text = f"{pairs.rows} of {math.comb(len(genomes), 2)}, with a Jaccard index of {least:g} or more"
        if args.signatures:
            write_signatures(collection, args.signatures)
    empty = int(np.count_nonzero(collection.sizes == 0))
    if comm.rank == 0:
        print(f"genomes     {len(genomes)}")
        print(f"pairs       {text}")
        if empty:
            print(f"without any k-mer: {plural(empty, 'genome')}, which are like no other; --scaled 1 takes all k-mers")
        sys.stdout.flush()
    return 0


def _count(comm: MPI.Intracomm, args: argparse.Namespace) -> int:
    with agreed(comm, "reading the command line"):
        settings = replace(settings_of(Settings, args), scaled=1)
        _check_output(comm, args, TABLES)
    if args.identity is not None:
        use(comm, args.identity)
    genomes = find_genomes(comm, args.genomes)
    with opened(comm, args.journal, args.output) as scratch:
        with reporter(comm.rank, args.quiet) as report:
            collection = collect(comm, scratch, genomes, settings, report)
        if args.output.endswith(FILES):
            _save(args.output, collection, {"spectra": collection.spectra()})
        else:
            table = collection.table
            mine = genomes[table.first : table.first + len(table["bases"])]
            save_table(table, args.output, "genomes", {"name": [genome.name for genome in mine]}, args.encrypt)
    if comm.rank == 0:
        print(f"genomes     {len(genomes)}", flush=True)
    return 0


def _save(path: str, collection: Collection, values: Mapping[str, mb.Field | RegionTable]) -> None:
    """Write an HDF5 file, with the table of genomes. Collective."""
    settings = collection.settings
    about = {"k": settings.k, "scaled": settings.scaled, "mask": settings.mask}
    mb.save(path, {"genomes": collection.table, **values}, attrs=about)


def _save_pairs(path: str, collection: Collection, pairs: RegionTable, encrypt: str | None) -> None:
    if path.endswith(FILES):
        _save(path, collection, {"pairs": pairs})
    else:
        names = {f"name_{side}": [collection.genomes[n].name for n in pairs[side].tolist()] for side in ("i", "j")}
        save_table(pairs, path, "pairs", names, encrypt)


if __name__ == "__main__":
    sys.exit(main())
