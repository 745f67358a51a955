"""``mpibatch plan``: what a job would need and take on any number of ranks, before it runs."""

from __future__ import annotations

import argparse
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpibatch.tools.planning.machine import Machine
    from mpibatch.tools.planning.prediction import Model, Prediction
    from mpibatch.tools.planning.work import Subject

__all__ = ["add", "execute"]

DESCRIPTION = """\
Show, for each number of ranks, the process grid, the blocks and their imbalance, memory, messages, files, and the
predicted time; of a job with [stream] also its passes through the data. Needs no MPI and reads no values. Times and
memory come from `mpibatch probe`, which measures the machine and the job; without it, the plan has grids, blocks,
halos and a lower bound of memory.
"""
EPILOG = """\
--ranks takes a list, and dots that double, up to the cells of the grid: 1,2,4,96 or 1..1024 or 1,2,4,...,65536.

--machine names the profile of another machine: what the job costs is taken from there, or from this folder's profile
and scaled by the ratio of the two triads. A profile may be written by hand:

  {"schema": 1, "name": "cluster X", "cores_per_node": 128, "memory_per_node": 256e9,
   "triad": {"1": 20, "128": 350}, "latency": 5e-7, "bandwidth": 1e10,
   "internode": {"latency": 1.5e-6, "bandwidth": 2.4e10}}

with triad in GB/s by ranks on a node, latency in seconds, bandwidth in bytes per second.

examples:
  mpiexec -n 2 mpibatch probe job.toml && mpibatch plan job.toml --ranks 1..1024
  mpibatch plan job.toml --ranks 96,97,128 --machine cluster.json --set simulation.shape=[2048,2048,2048]
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "plan",
        parents=[shared],
        help="show what a job would need and take on any number of ranks",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("job", metavar="JOB.toml", help="the job file")
    parser.add_argument("--ranks", default="1..1024", metavar="LIST", help="numbers of ranks (default: %(default)s)")
    parser.add_argument("--ranks-per-node", type=int, metavar="N", help="ranks on a node (default: one per core)")
    parser.add_argument(
        "--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help="change a value of the job"
    )
    parser.add_argument(
        "--machine", metavar="FILE", help="the machine's profile (default: $MPIBATCH_MACHINE or .mpibatch/machine.json)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; under mpiexec rank 0 alone works. Local."""
    import json

    from mpibatch.base.errors import UsageError
    from mpibatch.base.processes.launch import launched
    from mpibatch.job.file.reader import parse_any, read_text
    from mpibatch.tools.planning.advice import counts, limit_of, traps

    if launched()[0] != 0:
        return 0
    ranks = counts(args.ranks)
    if args.ranks_per_node is not None and args.ranks_per_node < 1:
        raise UsageError(f"--ranks-per-node {args.ranks_per_node}: give 1 or more")
    job = parse_any(read_text(args.job), args.job, args.settings)
    machine, home = _machines(args.machine)
    subject, measured_at, notes = _subject(job, machine, home)
    ranks, more = _fitting(args.ranks, ranks, subject.cells)
    model = _model(subject, machine, args.ranks_per_node or 0, measured_at)
    predictions = [model.at(count) for count in ranks]
    advice, limit = traps(model, ranks), limit_of(model)
    notes += [*more, *_notes(model, args)]
    if args.json:
        document = _as_document(model, predictions, notes)
        document["advice"] = [{"ranks": a.ranks, "better": a.better, "gain": a.gain, "text": str(a)} for a in advice]
        document["limit"] = {"half_efficiency": limit.half, "no_gain_beyond": limit.useless}
        print(json.dumps(document))
        return 0
    print("\n".join([*_head(model), *_passes(job, ranks), *_moves(job, ranks), "", *_table(model, predictions)]))
    for line in [*map(str, advice), *([str(limit)] if str(limit) else []), *notes]:
        print(f"- {line}")
    return 0


def _fitting(text: str, ranks: list[int], cells: int) -> tuple[list[int], list[str]]:
    """The numbers of ranks, without those beyond the cells that dots led to, and a note if there are any."""
    words = [word.strip() for word in text.replace("…", "...").split(",")]
    named = {int(word) for before, word in pairwise(["", *words]) if word.isdecimal() and set(before) != {"."}}
    fitting = [count for count in ranks if count <= cells or count in named]
    if not fitting or fitting == ranks:
        return ranks, []
    return fitting, [f"more ranks than {cells} are left out: the grid has no more cells, and ranks without only wait"]


def _machines(named: str | None) -> tuple[Machine | None, Machine | None]:
    """The machine that is planned for, and that of the folder; None for those that are not there."""
    from pathlib import Path

    from mpibatch.tools.planning.profile import default_path, load

    path = default_path()
    home = load(path) if path.exists() else None
    return (load(Path(named)), home) if named else (home, home)


def _subject(job: Any, machine: Machine | None, home: Machine | None) -> tuple[Subject, Machine | None, list[str]]:
    """The job with what it costs, and the machine that this was measured on."""
    from mpibatch.tools.planning.work import subject_of

    if machine is home or (machine is not None and home is None):
        return subject_of(job, machine), machine, []
    assert home is not None
    assert machine is not None
    from mpibatch.base.errors import UsageError

    try:
        subject = subject_of(job, machine)
        if subject.work is not None:
            return subject, machine, []
    except UsageError:
        pass  # its grid may be known where it was probed
    subject = subject_of(job, home)
    if subject.work is None:
        return subject, machine, []
    return subject, home, [f"seconds per cell are those of {home.name}, by the ratio of the two machines' triads"]


def _model(subject: Subject, machine: Machine | None, ranks_per_node: int, measured_at: Machine | None) -> Model:
    from mpibatch.tools.planning.prediction import Model

    return Model(subject, machine, ranks_per_node, measured_at)


def _notes(model: Model, args: argparse.Namespace) -> list[str]:
    """What cannot be said, and what to type for it."""
    notes = []
    probe = f"mpiexec -n 2 mpibatch probe {args.job}" + "".join(f" --set {setting}" for setting in args.settings)
    if model.work is None:
        notes.append(f"no times, and of memory a lower bound: this job was not probed; type: {probe}")
        notes.append("halos are those that filters' parameters and kernels' texts tell, each once in a step")
        return notes
    machine = model.machine
    assert machine is not None
    if machine.links is None and machine.internode is None:
        notes.append(f"messages take no time here: the machine was probed by one rank alone; type: {probe}")
    elif machine.links is None:
        notes.append(
            "messages within a node are taken to be as slow as between two: probe with two ranks or more on each"
        )
    elif machine.internode is None:
        notes.append("messages between nodes are taken to be as fast as within one: probe on two nodes")
    if model.machine is not None and model.machine.memory_per_node is None:
        notes.append("memory_per_node is not in the profile: whether it suffices is not told")
    if max(model.work.steps[0].seconds_per_cell) < machine.cores_per_node:
        most = max(model.work.steps[0].seconds_per_cell)
        notes.append(f"the job was measured on up to {most} of {machine.cores_per_node} cores; more follow the triad")
    return notes


def _head(model: Model) -> list[str]:
    from mpibatch.base.units import bytes_text, shape_text
    from mpibatch.job.file.simulation import SimulationJob

    subject, machine = model.subject, model.machine
    job = subject.job
    workload = f"program {job.program.name}" if isinstance(job, SimulationJob) else f"{len(job.steps)} filters"
    lines = [f"job      {job.source}: {workload}, {shape_text(subject.shape)} cells"]
    if subject.is_pipeline:
        lines.append(f"input    {bytes_text(subject.cells * subject.cell_bytes)} to be read, by all ranks together")
    if machine is None:
        return [*lines, "machine  not known"]
    memory = f", {bytes_text(machine.memory_per_node)}" if machine.memory_per_node else ""
    nodes = f"{machine.cores_per_node} cores a node{memory}, {model.ranks_per_node} ranks on each"
    return [*lines, f"machine  {machine.name}: {nodes}" + (f"; measured {machine.date[:10]}" if machine.date else "")]


def _moves(job: Any, ranks: list[int]) -> list[str]:
    """What steps that need whole lines or images move, on the first number of ranks that is more than one."""
    if not hasattr(job, "input"):
        return []
    from mpibatch.base.units import plural
    from mpibatch.job.plan import moved, values_of

    count = next((count for count in ranks if count > 1), 1)
    moves = moved(job, values_of(job), count)
    return [f"moves    {name} on {plural(count, 'rank')}: {each.words}" for name, each in moves.items()]


def _passes(job: Any, ranks: list[int]) -> list[str]:
    """The passes of a streamed job, on the first number of ranks that has room for them."""
    if getattr(job, "stream", None) is None:
        return []
    from mpibatch.base.errors import UsageError
    from mpibatch.base.units import plural
    from mpibatch.job.passes.outlook import outlooks
    from mpibatch.job.plan import slab_source, values_of
    from mpibatch.job.rehearsal import rehearsed

    values = values_of(job)
    slab_source(job, values)
    results, note = rehearsed(job, values)
    if not results:
        return [f"stream   {note}"]
    refusal = ""
    for count in ranks:
        try:
            passes = outlooks(job, results, values, count)
        except UsageError as error:
            refusal = str(error)
            continue
        times, where = plural(len(passes), "time"), plural(count, "rank")
        return [
            f"stream   goes {times} through its data on {where}; below: in memory",
            *(f"pass {number + 1:<3} {each.words}" for number, each in enumerate(passes)),
        ]
    return [f"stream   {refusal}"]


def _table(model: Model, predictions: list[Prediction]) -> list[str]:
    from mpibatch.base.units import bytes_text

    step = "filters" if model.subject.is_pipeline else "a step"
    heads = ("ranks", "grid", "blocks", "uneven", "cells", "memory", "halo", "sent", step, "effic.", "run", "written")
    rows = [heads]
    for prediction in predictions:
        low, high = prediction.smallest, prediction.largest
        blocks = "×".join(str(b) if a == b else f"{a}–{b}" for a, b in zip(low, high, strict=True))
        memory = "?" if prediction.memory_least is None else f"≥ {bytes_text(prediction.memory_least)}"
        if prediction.memory is not None:
            memory = bytes_text(prediction.memory) + ("!" if prediction.fits is False else "")
        rows.append(
            (
                str(prediction.ranks),
                "×".join(map(str, prediction.topology)),
                blocks,
                f"{prediction.imbalance:.2f}",
                str(prediction.cells),
                memory,
                bytes_text(round(prediction.halo_bytes)),
                f"{prediction.messages:.3g}",
                _seconds(prediction.seconds_per_step),
                "?" if prediction.efficiency is None else f"{prediction.efficiency:.2f}",
                _seconds(prediction.seconds),
                "?" if prediction.write_bytes is None else bytes_text(prediction.write_bytes),
            )
        )
    widths = [max(len(row[n]) for row in rows) for n in range(len(heads))]
    lines = ["  ".join(word.rjust(width) for word, width in zip(row, widths, strict=True)) for row in rows]
    if any(prediction.fits is False for prediction in predictions):
        lines.append("! more than a node has")
    return [*lines, ""]


def _seconds(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms" if value >= 1e-3 else f"{1e6 * value:.3g} µs"


def _as_document(model: Model, predictions: list[Prediction], notes: list[str]) -> dict[str, Any]:
    from mpibatch.tools.planning.prediction import as_record

    subject = model.subject
    return {
        "job": subject.job.source,
        "key": subject.key,
        "kind": "pipeline" if subject.is_pipeline else "simulation",
        "shape": list(subject.shape),
        "machine": model.machine.name if model.machine else None,
        "probed": model.work is not None,
        "ranks_per_node": model.ranks_per_node or None,
        "points": [as_record(prediction) for prediction in predictions],
        "notes": notes,
    }
