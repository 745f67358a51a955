"""From fields to one HDF5 file, or to one of another format."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase
from mpibatch.base.trust import grants
from mpibatch.fields.field import Field, check_field
from mpibatch.io.base.geometry import PREFIX, to_attributes
from mpibatch.io.base.marks import VERSION_ATTRIBUTE
from mpibatch.io.base.names import PathLike, check_tree, foreign_format, normal_name, output_path, user_path
from mpibatch.io.base.subfiles import SUBFILES
from mpibatch.io.chunks.codec import by_dataset, stored_as
from mpibatch.io.formats.hdf5 import COLUMNS
from mpibatch.io.formats.source import numeric
from mpibatch.io.seal.digests import of_field
from mpibatch.io.vault.crypt4gh import SUFFIX
from mpibatch.io.vault.vault import begun
from mpibatch.io.write import shared_file
from mpibatch.io.write.column import columns_of, field_of, group_of
from mpibatch.io.write.commit import committed
from mpibatch.io.write.drivers import choose
from mpibatch.io.write.foreign_formats import check_options
from mpibatch.io.write.foreign_formats import save as save_foreign
from mpibatch.io.write.layout import Dataset
from mpibatch.io.write.options import Options, check_levels
from mpibatch.io.write.provenance import RECORD, VERSIONS, add_record, versions
from mpibatch.io.write.storage.hints import hints, node_hints
from mpibatch.io.write.subfiles.writer import count_of
from mpibatch.io.write.subfiles.writer import write as begun_subfiles
from mpibatch.io.write.tables.csv_text import quoted, write_text
from mpibatch.io.write.tables.parquet import write_parquet
from mpibatch.io.write.tables.region_table import RegionTable
from mpibatch.mpi import MPI, agreed

if TYPE_CHECKING:
    from mpibatch.io.base.block import Block

__all__ = ["OURS", "check_attributes", "planned", "save", "save_table", "with_columns"]

Attributes = Mapping[str, Any]

# Beginnings of names of root attributes that no user may give.
OURS = (VERSION_ATTRIBUTE, RECORD, SUBFILES)
# By these HDF5 and VTK know a dataset's axes and role.
TAKEN = ("Attribute", "CLASS", "DIMENSION_LIST", "NAME", "REFERENCE_LIST")


def save(
    path: PathLike,
    fields: Mapping[str, Field | RegionTable] | None = None,
    /,
    *,
    attrs: Attributes | None = None,
    dataset_attrs: Mapping[str, Attributes] | None = None,
    overwrite: bool = True,
    chunks: Any = None,
    compression: Any = None,
    driver: str | None = None,
    record: bool = False,
    pyramid: int = 0,
    encrypt: PathLike | None = None,
    disclose: bool = False,
    subfiles: int | Literal["node"] | None = None,
    mode: str | int | None = None,
    group: str | int | None = None,
    acl: str | None = None,
    **named: Field | RegionTable,
) -> None:
    """Write fields and tables into one HDF5 file, or into Zarr, OME-TIFF, FITS, NIfTI or npy, all ranks at once.

    ``save("out.h5", temperature=w, labels=n)``, or a dict for names with groups: ``save(path, {"step1/edges": e})``.
    The file is written as ``out.h5.part`` and renamed when it is complete and on disk: until then, and if writing
    fails, what was there before stays. The same fields give the same bytes on any ranks, unless `record` is asked for,
    or the driver mpio for compressed datasets. The file ends with a seal, by which `mpibatch.io.verify` finds every
    byte that has changed since.

    The ending of the name chooses another format, complete or absent in the same way:

    - .zarr: a Zarr 3 store, with arrays and groups by name, in shards of about 32 MiB; .ome.zarr: images of OME-Zarr
      0.5, a single field as the store's root. A store has a seal, too, and has the same bytes on any ranks.
    - .tif, .tiff, .ome.tif: one field as OME-TIFF in tiles, without a seal.
    - .fits: fields as images and tables as binary tables, `attrs` as keywords; .nii, .npy: one field. No seal.

    What a format has no place for is refused, but for the grid: OME-TIFF keeps spacing, origin and units, npy nothing.

    Parameters
    ----------
    path : str or path-like
        The file; its folder must exist and be shared by all nodes.
    fields : mapping of str to Field or RegionTable, optional
        Fields by the name of their dataset, of one communicator; their grids may differ. A table becomes a group of
        this name, with a dataset for each column, that tells the table's `attrs`.
    attrs : mapping of str to object, optional
        Attributes of the file: numbers, text, or lists of one of them.
    dataset_attrs : mapping of str to mapping, optional
        The same for datasets, by their names.
    overwrite : bool, default True
        Whether a file of this name is replaced.
    chunks : None, "auto", tuple of int or dict, default None
        None (each dataset in one piece), "auto" (chunks of about 1 MiB, as near to cubes as the shape allows), or their
        shape in cells; or a dict of these by dataset. Zarr always has chunks.
    compression : None, str or dict, default None
        None, "gzip", "zstd", "lz4" or "blosc2", perhaps with a level: "gzip:6"; or a dict of these by dataset. All but
        gzip need the extra "compression". Implies chunks. Ranks pack their shares at the same time. Zarr knows gzip,
        zstd and blosc (of the extra "formats"), OME-TIFF gzip.
    driver : str, optional
        "direct", or "mpio" where h5py has MPI. Default: ``$MPIBATCH_DRIVER``, else the better one that works here.
    record : bool, default False
        Whether the attribute ``run_record`` tells of this run: date, hosts, decomposition, driver, seconds. HDF5 only.
    pyramid : int, default 0
        How many coarser levels OME-Zarr and OME-TIFF get, each of half as many cells along the axes of space (OME-TIFF:
        along rows and columns): means of blocks, as `mpibatch.pyramid` has them.
    encrypt : str or path-like, optional
        A file with recipients, one ``age1...`` a line, who alone can read the file by their keys. Every rank encrypts
        what it writes; no byte of values, names or attributes reaches the disk in plain. Implies chunks. Needs the
        extra "seal".
    disclose : bool, default False
        Whether names, shapes and dtypes of an encrypted file stay readable for everybody.
    subfiles : int or "node", optional
        The values in so many files, or in as many as there are nodes, each written by its own ranks (neighbors in their
        order) as a sealed file in the folder ``out.h5.subfiles``; ``out.h5`` itself then holds virtual datasets of
        them, and reads as ever, here and in other programs, as long as it lies beside its folder.
        `mpibatch.io.merge` makes one file of it. Takes the memory of one field more. HDF5 only.
    mode : str or int, optional
        Who may read and write the file, such as "0640", or ``0o640``: the owner reads and writes, the group reads.
        Default: that of `mpibatch.grant` around the call, of the file that it replaces, or the umask's.
    group : str or int, optional
        Name or number of the group that the file is given to; this user must be in it.
    acl : str, optional
        Further entries of the file's access list, as ``setfacl -m`` takes them, where there is such a program.
    **named : Field or RegionTable
        Further ones by the name of their dataset.

    Raises
    ------
    UsageError
        The same on every rank: names, dtypes or attributes that a file cannot have, no fields at all, a driver that
        does not work here.
    RunError
        The same on every rank: no such folder, a full disk, a file that is not to be replaced or that another run is
        writing.

    Notes
    -----
    Collective. Every rank writes its own cells where they belong in the file; values are not gathered. It returns when
    the file is on disk.

    Examples
    --------
    >>> import mpibatch as mb
    >>> grid = mb.Grid((4, 6), spacing=0.5, units="mm")
    >>> u = grid.from_function(lambda y, x: y + x)
    >>> mb.save("saved.h5", {"raw/heights": u}, attrs={"sample": "A7"}, slopes=u > 2)
    >>> for info in mb.io.describe("saved.h5"):
    ...     print(info.name, info.shape, info.dtype)
    raw/heights (4, 6) float64
    slopes (4, 6) bool
    """
    given = {**(fields or {}), **named}
    first = next((f for f in given.values() if isinstance(f, Field | RegionTable)), None)
    if first is None:
        for name, value in given.items():
            check_field(f"saving {name!r}", value)
        # No communicator to agree over; but this is the same on every rank unless ranks run different programs.
        raise UsageError(
            f"cannot write {os.fspath(path)!r} without any field; give at least one: save(path, name=field)"
        )
    comm = first.grid.comm if isinstance(first, Field) else first.comm
    with agreed(comm, f"writing {path}"):
        given_to = grants.checked(mode, group, acl)
    with grants.granted(given_to), phase("io"):
        with agreed(comm, f"writing {path}"):
            if fields and (twice := set(fields) & set(named)):
                raise UsageError(
                    f"datasets {sorted(twice)} were given twice, in the dict and by keyword; give each once"
                )
            kind = foreign_format(user_path(path))
        options = Options(chunks, compression, pyramid)
        if comm.bcast(kind is not None, root=0):
            with agreed(comm, f"writing {path}"):
                checked = {
                    normal_name(n): v if isinstance(v, RegionTable) else _checked(n, v, comm) for n, v in given.items()
                }
                about = _extra(dataset_attrs or {}, given)
                if str(kind).endswith("Zarr"):
                    for values in (attrs or {}, *about.values()):
                        check_attributes(values, OURS)
                refused = (
                    ("driver", driver), ("record", record), ("encrypt", encrypt), ("disclose", disclose),
                    ("subfiles", subfiles),
                )  # fmt: skip
                check_options(user_path(path), refused)
            save_foreign(comm, user_path(path), checked, attrs or {}, about, options=options, overwrite=overwrite)
            return
        with agreed(comm, f"writing {path}"):
            target = output_path(path)
            check_levels(target, pyramid, is_possible=False)
            check_attributes(attrs or {}, OURS)
            plan = _with_tables(given, dataset_attrs or {}, comm, chunks, compression, is_cut=encrypt is not None)
            attributes = {VERSIONS: versions() if comm.rank == 0 else "", **_plain(attrs or {})}
        datasets, chosen = [dataset for dataset, _ in plan], [block for _, block in plan]
        on_root, attributes = comm.bcast((datasets, attributes), root=0)
        with agreed(comm, f"writing {path}"):
            if datasets != on_root:
                raise UsageError(
                    f"ranks were to write different datasets: {datasets} here, {on_root} on rank 0; give all the same"
                )
        count = count_of(comm, subfiles, driver, encrypt)
        vault = None
        if encrypt is not None:
            vault = begun(comm, encrypt, datasets, driver, discloses=disclose)
            chosen = [field_of(comm, block) for block in chosen]
        # Parallel HDF5 writes what it is given.
        is_direct = vault is not None or count > 0
        by = choose(comm, "direct" if is_direct else driver, any(d.chunks for d in datasets), target)
        with committed(comm, target, overwrite, vault=vault) as part, ExitStack() as resources:
            # Chunks have digests of their own bytes; these are of the values, however they are stored.
            part.values = {dataset.name: of_field(comm, block) for dataset, block in plan if dataset.chunks}
            front = resources.enter_context(begun_subfiles(comm, part, datasets, chosen, count))
            with phase("io"):  # closed before the record tells of it
                write = by.driver.write if vault is None else partial(shared_file.write, vault=vault)
                part.extents = write(comm, part.path, front.datasets, chosen, {**attributes, **front.attribute})
            if record:
                cut = {d.name: u for d, u in plan if isinstance(u, Field)}
                add_record(comm, part.path, cut, by.name, hints(node_hints(comm, part.path)))


def save_table(
    table: RegionTable,
    path: PathLike,
    name: str,
    texts: Mapping[str, Sequence[str]] | None = None,
    encrypt: PathLike | None = None,
) -> None:
    """Write a table as CSV or Parquet, or, under a name, into what `save` writes: HDF5, FITS. Collective.

    texts: columns that come before the others, of this rank's rows; only CSV and Parquet have a place for text.
    encrypt: of CSV, a file of public keys of Crypt4GH.
    """
    target = os.fspath(path)
    if target.endswith((".csv", f".csv{SUFFIX}")):
        words = {title: np.array([*map(quoted, column)], object) for title, column in (texts or {}).items()}
        write_text(table.comm, path, {**words, **table}, table.first, overwrite=True, encrypt=encrypt)
    elif target.endswith(".parquet"):
        words = {}
        for title, column in (texts or {}).items():
            width = table.comm.allreduce(max(map(len, column), default=1), op=MPI.MAX)
            words[title] = np.array(column, f"U{width}")
        write_parquet(table.comm, path, {**words, **table}, table.first, table.rows, overwrite=True)
    else:
        save(path, {name: table})


def planned(
    given: Mapping[str, Any],
    attrs: Mapping[str, Attributes],
    comm: MPI.Intracomm,
    chunks: Any = None,
    compression: Any = None,
) -> list[tuple[Dataset, Field]]:
    """Return what to write, in the order of names, so that the file does not depend on that of arguments. Local."""
    fields = {normal_name(name): _checked(name, field, comm) for name, field in given.items()}
    extra = _extra(attrs, given)
    check_tree(fields)
    cut, packed = by_dataset("chunks", chunks, fields), by_dataset("compression", compression, fields)
    return [
        (
            Dataset(
                name, u.shape, u.dtype.str, {**to_attributes(u.grid), **_plain(extra.get(name, {}))},
                *stored_as(name, u.shape, u.dtype, len(u.components), cut.get(name), packed.get(name)),
            ),
            u,
        )
        for name, u in sorted(fields.items())
    ]  # fmt: skip


def _with_tables(
    given: Mapping[str, Any],
    attrs: Mapping[str, Attributes],
    comm: MPI.Intracomm,
    chunks: Any,
    compression: Any,
    *,
    is_cut: bool,
) -> list[tuple[Dataset, Block]]:
    """What to write of fields and of tables, in the order of names; with `is_cut`, all of it in chunks."""
    tables = {name: value for name, value in given.items() if isinstance(value, RegionTable)}
    extra = _extra(attrs, given)
    about = {name: values for name, values in attrs.items() if name not in tables}
    rest = {name: value for name, value in given.items() if name not in tables}
    if is_cut:
        chunks = {name: cut or "auto" for name, cut in by_dataset("chunks", chunks, map(normal_name, rest)).items()}
        chunks = {normal_name(name): chunks.get(normal_name(name), "auto") for name in rest}
    groups = {name: extra.get(normal_name(name), {}) for name in tables}
    return [*with_columns(planned(rest, about, comm, chunks, compression), tables, groups, comm, is_cut=is_cut)]


def with_columns(
    fields: Sequence[tuple[Dataset, Any]], tables: Mapping[str, RegionTable], groups: Mapping[str, Attributes],
    comm: MPI.Intracomm, *, is_cut: bool = False,
) -> list[tuple[Dataset, Any]]:  # fmt: skip
    """Return what to write of fields, planned already, and of tables with attributes; in the order of names. Local."""
    plan = [*fields]
    for name, table in tables.items():
        check_attributes(table.attrs, (COLUMNS,))
        # Of all columns the first to be made brings the attributes of their group.
        group = _plain(group_of(table, groups[name]))
        for place, (column, block) in enumerate(sorted(columns_of(name, table, comm).items())):
            cut = stored_as(column, block.shape, block.dtype, 0, "auto", None) if is_cut else (None, None)
            plan.append((Dataset(column, block.shape, block.dtype.str, {}, *cut, {} if place else group), block))
    counts = Counter(dataset.name for dataset, _ in plan)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise UsageError(
            f"cannot save {', '.join(twice)} twice, as a field and as a column of a table; rename the field"
        )
    check_tree(counts)
    return sorted(plan, key=lambda entry: entry[0].name)


def _extra(attrs: Mapping[str, Attributes], given: Mapping[str, Any]) -> dict[str, Attributes]:
    """The attributes of datasets by their names, checked, as the names are."""
    names = set(map(normal_name, given))
    if len(names) < len(given):
        raise UsageError(
            f"cannot save the datasets {sorted(given)}: some of these names are the same; give distinct ones"
        )
    extra = {normal_name(name): values for name, values in attrs.items()}
    if unknown := set(extra) - names:
        raise UsageError(f"dataset_attrs has {sorted(unknown)}, but only {sorted(names)} are saved; use their names")
    for values in extra.values():
        check_attributes(values, (PREFIX, COLUMNS))
    return extra


def _checked(name: str, field: Any, comm: MPI.Intracomm) -> Field:
    if not isinstance(field, Field):
        if np.ndim(field) == 0:
            raise UsageError(f"cannot save {name!r}: it is a single value; give it as attrs={{...}}")
        check_field(f"saving {name!r}", field)
    if field.grid.comm != comm:
        raise UsageError(f"cannot save {name!r} with fields of another communicator; save them into separate files")
    if numeric(field.dtype.str) is None:
        # Their values have bytes that mean nothing, and other machines have another type of this name.
        raise UsageError(
            f"cannot save {name!r}: other machines may be unable to read {field.dtype}; convert it to f8 or c16"
        )
    result: Field = field
    return result


def check_attributes(attrs: Attributes, reserved: tuple[str, ...]) -> None:
    """Raise UsageError unless HDF5 can hold these attributes, none of them ours. Local."""
    for name, value in attrs.items():
        if name.startswith(reserved):
            ours = " or ".join(map(repr, reserved))
            raise UsageError(f"attribute {name!r} was given, but names that begin with {ours} are reserved; rename it")
        if name in TAKEN:
            raise UsageError(f"attribute {name!r} was given, but HDF5 or VTK uses this name; rename it")
        array = np.asarray(value)
        words = np.asarray(value, object).ravel() if array.dtype.kind == "U" else ()
        if array.dtype.kind not in "biufcU" or array.ndim > 1 or not all(isinstance(word, str) for word in words):
            raise UsageError(f"attribute {name!r} is {value!r}; give a number, text, or a list of one of them")


def _plain(attrs: Attributes) -> dict[str, Any]:
    """Checked attributes as they are stored, and can be sent to other ranks: of enumerations, what they stand for."""
    return {str.__str__(name): _plain_value(value) for name, value in attrs.items()}


def _plain_value(value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind != "U":
        return array[()]
    # Not str(): that of a member of an enumeration may be its name.
    words = [str.__str__(word) for word in np.asarray(value, object).ravel()]
    return words if array.ndim else words[0]
