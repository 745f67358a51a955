"""``mpibatch batch``: a job from a TOML file, for each of many items."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Any

from mpibatch.cli._arguments import add_supervision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.batch.results import Batch
    from mpibatch.job.file.batch import BatchJob, Values

__all__ = ["add", "execute"]

EPILOG = """\
The job file has a section [batch] that says what the items are; the rest is run for each of them:

  [batch]
  items = "scans/*.h5"        # files; or a list; or a table whose rows are items: "samples.csv", "runs.h5::items"
  ranks_per_item = 1          # ranks that work on an item together
  longest_first = "size"      # of the files; or a column of the table
  table = "found.csv"         # the numbers that steps took from the data, a row for each item (.csv or .h5)
  journal = "found.csv.journal"   # a folder that tells what is done; this is the default, beside the table
  max_failures = 10           # the run ends when more have failed; retries = 1: try each again first
  name = "{name}"             # what items are called; logs = false: no log for each item

  [input]
  path = "{item}"

  [[step]]
  filter = "gaussian_filter"
  sigma = 2

  [output]
  path = "out/{name}.h5"      # encrypt = "recipients.txt" is for table (.h5) and journal, too, and leaves out logs

{item} is the file, {name} its name without folder and ending, {number} counts from 0; of a table there is also a {...}
for each column. A grid of parameters takes the place of items: every combination is run.

  [batch.grid]
  sigma = [1, 2, 4]
  threshold = ["otsu", "li"]

A run in which no rank with an item makes progress is ended, as in mpibatch run, and the page says which item it was:

  [supervise]
  seconds = 1800              # the default; end = false: only write the page

The same command goes on where a run has ended early, on any number of ranks. Items that failed stay so until --failed.

examples:
  mpiexec -n 8 mpibatch batch job.toml
  find scans -name '*.h5' -newer last | mpiexec -n 8 mpibatch batch job.toml -
  mpibatch batch job.toml --list
  mpiexec -n 8 mpibatch batch job.toml --failed
"""
MOST_FAILURES = 10  # that are told


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "batch",
        parents=[shared],
        help="run the job in a TOML file for each of many items",
        description="Run the job in a TOML file for each of many items: every rank, or team of ranks, takes the next.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("job", metavar="JOB.toml", help="the job file")
    parser.add_argument(
        "items", metavar="ITEM", nargs="*", help="items in place of the job's; -: the lines of standard input"
    )
    parser.add_argument(
        "--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help="change a value (repeatable)"
    )
    parser.add_argument("--list", action="store_true", help="show all items and what became of them; run nothing")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", metavar="N,M", help="run these items alone; 5-9 is a range, and names will do, too")
    which.add_argument("--failed", action="store_true", help="run those again that have failed")
    which.add_argument("--part", metavar="K/N", help="run part K of N (from 0) while other jobs run the others")
    parser.add_argument("--max-failures", type=int, metavar="N", help="end when more items than these have failed")
    parser.add_argument("--retries", type=int, metavar="N", help="try an item that failed so often again")
    add_supervision(parser)
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command. Collective."""
    from mpibatch.batch.map import map_items
    from mpibatch.job.execution.items import STDIN, ItemRun, costs, items_of
    from mpibatch.job.execution.progress import reporter
    from mpibatch.job.target import permitted
    from mpibatch.mpi import agreed, private, supervise
    from mpibatch.tools.history import entry
    from mpibatch.tools.slurm import completion

    comm = private()
    batch = _read(args, comm)
    rows = items_of(batch, comm, args.items)
    if args.list:
        return _list(batch, rows, comm)
    with agreed(comm, f"reading {args.job}"):
        only, part = _numbers(args.only, rows), _part(args.part)
        hints = costs(batch, rows) if comm.rank == 0 else None
    if "longest_first" in batch.settings:
        hints = comm.bcast(hints, root=0)
    settings = batch.settings
    table = settings.get("table")
    # Of rows of a table, and of a grid, an item is a number.
    paths = [values["item"] for values in rows if isinstance(values["item"], str)]
    ranks, outputs = completion.ranks_of_first(), [table] if table else []
    entry.begin(ranks, command="batch", job=batch.source, text=batch.text, inputs=paths, outputs=outputs)
    given = batch.supervise.seconds if args.supervise is None else args.supervise
    lines = [values["item"] for values in rows] if args.items == [STDIN] else None
    with (
        permitted(comm, batch.permissions),
        supervise(given, end=batch.supervise.end),
        reporter(comm.rank, args.quiet) as report,
    ):
        done = map_items(
            ItemRun(batch, lines),
            rows,
            comm=comm,
            names=[str(values["name"]) for values in rows],
            ranks_per_item=int(settings.get("ranks_per_item", 1)),
            costs=hints,
            journal=batch.journal,
            output=() if table is None else table,
            max_failures=settings.get("max_failures") if args.max_failures is None else args.max_failures,
            retries=int(settings.get("retries", 0)) if args.retries is None else args.retries,
            only="failed" if args.failed else only,
            part=part,
            progress=report,
            encrypt=batch.encrypt,
        )
    if str(table).endswith(".h5") and not done.left:
        completion.note(output=table)
    if comm.rank == 0:
        _tell(args, batch, done, rows)
    return 1 if done.failed else 0


def _read(args: argparse.Namespace, comm: Any) -> BatchJob:
    from mpibatch.job.file.batch import parse_batch
    from mpibatch.job.file.reader import read_text
    from mpibatch.mpi import agreed

    text = ""
    with agreed(comm, f"reading {args.job}"):
        if comm.rank == 0:
            text = read_text(args.job)
    text = comm.bcast(text, root=0)
    with agreed(comm, f"reading {args.job}"):
        return parse_batch(text, args.job, args.settings)


def _numbers(text: str | None, rows: Sequence[Values]) -> list[int] | None:
    """The items that --only means."""
    from mpibatch.base.errors import UsageError

    if text is None:
        return None
    names = {str(values["name"]): int(values["number"]) for values in rows}
    numbers: list[int] = []
    for word in text.split(","):
        low, dash, high = word.strip().partition("-")
        if word in names:
            numbers.append(names[word])
        elif low.isdecimal() and (high.isdecimal() or not dash):
            numbers += range(int(low), int(high or low) + 1)
        else:
            raise UsageError(f"--only {text}: {word!r} is neither a number nor the name of an item; see --list")
    if wrong := [number for number in numbers if number >= len(rows)]:
        raise UsageError(f"--only {text}: there is no item {wrong[0]}; they are 0 to {len(rows) - 1}")
    return numbers


def _part(text: str | None) -> tuple[int, int]:
    from mpibatch.base.errors import UsageError

    number, _, count = (text or "0/1").partition("/")
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise UsageError(f"--part {text}: give K/N, such as 0/4: part K of N, counted from 0")
    return int(number), int(count)


def _list(batch: BatchJob, rows: Sequence[Values], comm: Any) -> int:
    """Show all items. Collective."""
    from mpibatch.batch.map import state_of
    from mpibatch.job.execution.items import ItemRun

    names = [str(values["name"]) for values in rows]
    states = state_of(ItemRun(batch), rows, batch.journal, comm=comm, encrypt=batch.encrypt)
    if comm.rank == 0:
        for number, (name, state) in enumerate(zip(names, states, strict=True)):
            print(f"{number:>6}  {state:<7}  {name}")
    return 0


def _tell(args: argparse.Namespace, batch: BatchJob, done: Batch, rows: Sequence[Values]) -> None:
    """Print what was done, and how to run what was not."""
    from mpibatch.base.units import plural
    from mpibatch.job.execution.items import STDIN, log_of

    settings = [word for text in args.settings for word in ("--set", text)]
    # Lines of standard input are kept, and read where neither the job nor the command names items.
    items = [] if args.items == [STDIN] and not (batch.grid or "items" in batch.settings) else args.items
    again = shlex.join(["mpibatch", "batch", args.job, *items, *settings])
    if not args.quiet:
        print(
            f"{done.done} of {plural(len(rows), 'item')} done ({done.ran} in this run, {done.seconds:.1f} s, ranks "
            f"busy {100 * done.busy:.0f} %), {len(done.failed)} failed, {done.left} left; journal: {batch.journal}"
        )
        if "table" in batch.settings and not done.left:
            print(f"wrote {batch.settings['table']}")
    for failure in done.failed[:MOST_FAILURES]:
        print(f"  failed: {failure.item} ({failure.name}): {failure.error}")
        if (path := log_of(batch, rows[failure.item])).exists():
            print(f"          {path}")
    if len(done.failed) > MOST_FAILURES:
        print(f"  and {len(done.failed) - MOST_FAILURES} more: {again} --list")
    if done.failed:
        print(f"run these again: {again} --failed")
    if done.left and not args.part:
        print(f"run what is left: {again}")
