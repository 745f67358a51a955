"""``mpibatch info``: what a file holds."""

from __future__ import annotations

import argparse
import json
from typing import Any

from mpibatch.base.processes.launch import launched
from mpibatch.cli._exit import printable

__all__ = ["add", "execute"]

EPILOG = """\
The digest is the SHA-256 of a dataset's dtype, shape and values (C order, little endian): two runs gave the same bits
if, and only if, their digests are equal. It does not depend on how, or by how many ranks, the file was written.
The content digest of a sealed file stands for all its datasets as they were written, and costs nothing to show;
`mpibatch verify` checks that they still are so.

examples:
  mpibatch info out.h5
  mpibatch info out.h5 --digest
  mpibatch info out.h5 --json --digest
  mpibatch info cells.ome.tif
  mpibatch info secret.h5 --identity me.key
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "info",
        parents=[shared],
        help="list the datasets of a file",
        description="List the datasets of a file: name, shape, dtype, bytes, attributes.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a file of any format that can be read")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--digest", action="store_true", help="add the SHA-256 of each dataset")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; under mpiexec rank 0 alone works. Local."""
    if launched()[0] != 0:
        return 0
    from mpibatch.io import describe, digest, file_attributes
    from mpibatch.io.base.names import split_path
    from mpibatch.io.read.description import tables_of
    from mpibatch.io.seal.content import content_of

    if _is_closed(args):
        return 0
    attributes = file_attributes(args.file)
    content = content_of(split_path(args.file)[0])
    datasets = []
    for description in describe(args.file):
        entry: dict[str, Any] = {
            "name": description.name,
            "shape": list(description.shape),
            "dtype": description.dtype,
            "bytes": description.nbytes,
            "chunks": description.chunks and list(description.chunks),
            "compression": description.compression,
            "attributes": dict(description.attrs),
        }
        if description.refused:
            entry["unreadable"] = description.refused
        elif args.digest:
            file = split_path(args.file)[0] if description.name else args.file
            entry["sha256"] = digest(file, description.name or None)
        datasets.append(entry)
    tables = [
        {"name": t.dataset, "rows": t.shape[0], "columns": list(t.columns), "attributes": dict(t.attrs)}
        for t in tables_of(args.file)
    ]
    if args.json:
        document = {"file": args.file, "sealed": content is not None, "content": content, "tables": tables}
        print(json.dumps({**document, "attributes": attributes, "datasets": datasets}, indent=2))
    else:
        lines = _lines(args.file, attributes, datasets, tables)
        # Others' files have no seal, and miss none.
        sealed = f"  sealed, content {content}" if content else "  NOT SEALED: unfinished, or changed since"
        lines[1:1] = [sealed] if content or "mpibatch_layout" in attributes else []
        print("\n".join(printable(line).replace("\n", "\\n") for line in lines))
    return 0


def _is_closed(args: argparse.Namespace) -> bool:
    """Whether a file is encrypted, and there is no key; then print what it discloses, if anything."""
    from mpibatch.base.units import shape_text
    from mpibatch.io.base.names import split_path
    from mpibatch.io.vault.keyring import NoKey, disclosed, unlock

    path = split_path(args.file)[0]
    try:
        unlock(path)
    except NoKey:
        known = disclosed(path)
        if not known:
            raise
        if args.json:
            print(json.dumps({"file": args.file, "encrypted": True, "datasets": known}, indent=2))
            return True
        print(printable(f"{args.file}: encrypted; without a key it tells of, and does not prove:"))
        for entry in known:
            print(printable(f"  {entry['name']}  {shape_text(entry['shape'])}  {entry['dtype']}"))
        return True
    return False


def _lines(
    file: str, attributes: dict[str, Any], datasets: list[dict[str, Any]], tables: list[dict[str, Any]]
) -> list[str]:
    from mpibatch.base.units import bytes_text, plural, shape_text

    lines = [f"{file}: {plural(len(datasets), 'dataset')}"]
    lines += [f"  {key} = {_shortened(value)}" for key, value in attributes.items()]
    wide = max((len(d["name"]) for d in datasets), default=0)
    for d in datasets:
        line = f"  {d['name']:<{wide}}  {shape_text(d['shape']):>16}  {d['dtype']:<8} {bytes_text(d['bytes']):>10}"
        stored = f"chunks {shape_text(d['chunks'])} {d['compression'] or ''}".rstrip() if d["chunks"] else ""
        lines.append("  ".join(filter(None, [line, stored, d.get("sha256")])))
        lines += [f"    unreadable: {d['unreadable']}"] if "unreadable" in d else []
        lines += [f"    {line}" for line in _attributes(d["attributes"])]
    for table in tables:
        rows = plural(table["rows"], "row")
        lines.append(f"  {table['name']}: a table of {rows}, by columns {', '.join(table['columns'])}")
        lines += [f"    {line}" for line in _attributes(table["attributes"])]
    return lines


def _attributes(attributes: dict[str, Any]) -> list[str]:
    """A line for each attribute; of a grid's geometry only what is out of the ordinary, on one line."""
    from mpibatch.io.base.geometry import PREFIX

    geometry = {key.removeprefix(PREFIX): value for key, value in attributes.items() if key.startswith(PREFIX)}
    ordinary = {"origin": 0.0, "periodic": False, "spacing": 1.0}
    special = [
        f"{key} {_shortened(value)}"
        for key, value in geometry.items()
        if (any(v != ordinary[key] for v in value) if key in ordinary else key != "axes" and value)
    ]
    axes = " ".join(geometry.get("axes", []))
    if not "t z y x".endswith(axes):
        special.insert(0, f"axes {axes}")
    lines = [f"grid: {', '.join(special)}"] if special else []
    return lines + [f"{key} = {_shortened(value)}" for key, value in attributes.items() if not key.startswith(PREFIX)]


def _shortened(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
