"""A job for each of many items: the section [batch], and the rest of a job file with places to fill in.

``{item}``, ``{name}``, ``{number}`` and the names of an item's own values stand in texts of the other sections. A text
that is nothing but such a place becomes the value itself: ``sigma = "{sigma}"`` a number.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import MpibatchError, UsageError, nearest
from mpibatch.io.base.names import user_place
from mpibatch.job.document import checks
from mpibatch.job.document.caps import toml_document
from mpibatch.job.document.lines import KeyPath, key_lines
from mpibatch.job.document.problems import Place, Problems
from mpibatch.job.document.tables import Key, keys_of, table_of
from mpibatch.job.file.formats import PERMISSIONS
from mpibatch.job.file.overrides import override, toml_value
from mpibatch.job.file.schema import TABLES, Job, Supervising, build
from mpibatch.job.file.simulation import SimulationJob, build_simulation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "BATCH",
    "BATCH_KEYS",
    "BatchJob",
    "Values",
    "cell_value",
    "is_batch",
    "of_grid",
    "of_paths",
    "of_rows",
    "parse_batch",
]

BATCH, SUPERVISE = "batch", "supervise"
BATCH_KEYS: Mapping[str, Key] = {
    "items": Key(checks.any_of(checks.text, checks.list_of(checks.any_of(checks.text, checks.real())))),
    "name": Key(checks.text),
    "ranks_per_item": Key(checks.integer(1)),
    "longest_first": Key(checks.text),
    "journal": Key(checks.text, made=user_place),
    "table": Key(checks.text, made=user_place),
    "max_failures": Key(checks.integer(0)),
    "retries": Key(checks.integer(0)),
    "logs": Key(checks.flag),
}
_PLACE = re.compile(r"\{([A-Za-z_]\w*)\}")

Values = dict[str, Any]  # what an item fills in, by name; "item", "name" and "number" among them


@dataclass(frozen=True)
class BatchJob:
    """A checked [batch], and the document of its items' jobs.

    `settings` are the keys of [batch]; `grid` the values of each parameter; `supervise` when the run is ended because
    no rank goes on; `document` the other sections.
    """

    source: str
    text: str
    settings: Mapping[str, Any]
    grid: Mapping[str, Sequence[Any]]
    document: Mapping[str, Any]
    supervise: Supervising = field(default_factory=Supervising)
    places: Mapping[KeyPath, Place] = field(default_factory=dict, repr=False)

    @property
    def journal(self) -> str:
        """The folder of the journal: by default beside the table, or the job file. Local."""
        beside = self.settings.get("table") or str(Path(self.source).with_suffix(""))
        return str(self.settings.get("journal", f"{beside}.journal"))

    @property
    def permissions(self) -> Mapping[str, str]:
        """What [output] says of mode, group and acl, of all items alike: journal and table have them, too. Local."""
        output = self.document.get("output")
        given = output if isinstance(output, dict) else {}
        words = {key: given[key] for key in PERMISSIONS if isinstance(given.get(key), str)}
        return {key: text for key, text in words.items() if not _PLACE.search(text)}

    @property
    def encrypt(self) -> str | None:
        """The file of recipients, of all items alike, and of journal and table. Local."""
        output = self.document.get("output")
        given = output.get("encrypt") if isinstance(output, dict) else None
        return None if given is None else user_place(str(given))

    @property
    def has_logs(self) -> bool:
        """Whether items have logs, by default where nothing is encrypted: they are in plain. Local."""
        return bool(self.settings.get("logs", self.encrypt is None))

    def named(self, values: Values) -> Values:
        """Return an item's values with the name that [batch] gives it. Local. UsageError."""
        if "name" not in self.settings:
            return values
        problems = Problems(self.source, self.places)
        name = _filled(self.settings["name"], values, (BATCH, "name"), problems)
        problems.check()
        return {**values, "name": str(name)}

    def job_of(self, values: Values) -> Job | SimulationJob:
        """Return the job of an item. Local. UsageError with everything that is wrong."""
        problems = Problems(self.source, self.places, remedy=f"(of item {values['number']}, {values['name']})")
        document = _filled(self.document, values, (), problems)
        text = f"{self.text}# item {values['number']}: {checks.shown(values['item'])} ({values['name']})\n"
        if "checkpoint" in document:
            problems.add(("checkpoint",), "a job with [batch] has no [checkpoint]: the journal tells what is done")
        if "simulation" in document:
            return build_simulation(document, problems, text)
        return build(document, problems, text)

    def output_of(self, values: Values) -> str:
        """Return what an item's job writes, as far as it is known without looking at the rest. Local."""
        output = self.document.get("output")
        path = output.get("path", "") if isinstance(output, dict) else ""
        return str(_filled(path, values, ("output", "path"), Problems(self.source)))


def is_batch(text: str, source: str) -> bool:
    """Return whether a job file has the section [batch]. Local. UsageError if it is no TOML."""
    return BATCH in toml_document(text, source)


def parse_batch(text: str, source: str, settings: Sequence[str] = ()) -> BatchJob:
    """Return the batch in a TOML text, with ``KEY=VALUE`` settings in place of what the text says. Local. UsageError.

    What is wrong with the jobs of items shows in `BatchJob.job_of`.
    """
    document = toml_document(text, source)
    places: dict[KeyPath, Place] = {path: (line, f"{source}:{line}") for path, line in key_lines(text).items()}
    problems = Problems(source, places)
    if BATCH not in document:
        raise UsageError(f"{source} has no section [batch], which says what the items are; add it, or use mpibatch run")
    override(document, list(settings), places, problems)
    raw = document.pop(BATCH)
    if not isinstance(raw, dict):
        raise UsageError(f"{source}: batch is {checks.shown(raw)}; write it as a section [batch]")
    grid = raw.pop("grid", {})
    accepted = keys_of(raw, (BATCH,), "[batch]", BATCH_KEYS, problems)
    if not isinstance(grid, dict) or not all(isinstance(values, list) and values for values in grid.values()):
        problems.add((BATCH, "grid"), "[batch.grid] has a list of values for each parameter, such as sigma = [1, 2]")
    # Of the run, not of an item: with another limit the journal is that of the same batch.
    supervising = table_of(document, SUPERVISE, TABLES[SUPERVISE], problems)
    document.pop(SUPERVISE, None)
    if grid and "items" in raw:
        problems.add((BATCH, "items"), "[batch] has items or a [batch.grid], not both")
    _check_secrecy(document, accepted, problems)
    problems.check()
    full_text = "\n".join([text.rstrip("\n"), *(f"# --set {setting}" for setting in settings), ""])
    return BatchJob(
        source=source, text=full_text, settings=accepted, grid=grid, document=document,
        supervise=Supervising(**supervising), places=places,
    )  # fmt: skip


def _check_secrecy(document: Mapping[str, Any], settings: Mapping[str, Any], problems: Problems) -> None:
    """Note where a batch would leave in plain what its items' outputs encrypt."""
    output = document.get("output")
    if not isinstance(output, dict) or "encrypt" not in output:
        return
    if not isinstance(output["encrypt"], str) or _PLACE.search(output["encrypt"]):
        words = "[output] encrypt names one file of recipients, for all items, journal and table; without {places}"
        problems.add(("output", "encrypt"), words)
    if settings.get("logs"):
        words = "[batch] logs would keep in plain what [output] encrypts; leave it out: there are none then"
        problems.add((BATCH, "logs"), words)
    if str(settings.get("table", ".h5")).endswith(".csv"):
        words = "[batch] table is a CSV, in plain, and [output] encrypts; name it .h5, which is encrypted, too"
        problems.add((BATCH, "table"), words)


def of_paths(paths: Sequence[Any]) -> list[Values]:
    """Return items that are files, or other texts: each is called by its file's name without the ending. Local."""
    stems = [Path(str(path)).stem or str(path) for path in paths]
    counts = Counter(stems)
    names = [f"{stem}-{number}" if counts[stem] > 1 else stem for number, stem in enumerate(stems)]
    if len(set(names)) < len(names):  # of files called so
        names = [f"{stem}-{number}" for number, stem in enumerate(stems)]
    return [
        {"item": path, "name": name, "number": number}
        for number, (path, name) in enumerate(zip(paths, names, strict=True))
    ]


def of_grid(grid: Mapping[str, Sequence[Any]]) -> list[Values]:
    """Return every combination of parameters, the last one changing fastest. Local."""
    return _named([dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())])


def of_rows(columns: Mapping[str, Sequence[Any]]) -> list[Values]:
    """Return the rows of a table, each by the names of its columns. Local."""
    return _named([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])


def _named(rows: list[Values]) -> list[Values]:
    if rows and "number" in rows[0]:
        raise UsageError("the items have a column named 'number', which stands for the item's own number; rename it")
    return [
        {"item": number, "name": ",".join(f"{key}={value}" for key, value in row.items()), "number": number, **row}
        for number, row in enumerate(rows)
    ]


def cell_value(text: str) -> Any:
    """Return what a cell of a CSV file means: a number, true or false, or the text. Local."""
    try:
        value = toml_value(text)
    except MpibatchError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _filled(value: Any, values: Values, path: KeyPath, problems: Problems) -> Any:
    """Return a value of a document with its places filled in; note places that nothing is known for."""
    if isinstance(value, dict):
        return {key: _filled(inner, values, (*path, key), problems) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, values, (*path, number), problems) for number, inner in enumerate(value)]
    if not isinstance(value, str):
        return value
    for name in _PLACE.findall(value):
        if name not in values:
            problems.add(path, f"nothing is known for {{{name}}}{nearest(name, values)}")
            return value
    whole = _PLACE.fullmatch(value)
    return values[whole[1]] if whole else _PLACE.sub(lambda place: str(values[place[1]]), value)
