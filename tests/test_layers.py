"""The architecture, read from the imports in the source: they point down only, and heavy libraries have one door.

Upward imports are wrong wherever they stand: one inside a function is a cycle in hiding.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).resolve().parent.parent / "mpibatch"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# From the bottom up. A part imports from rows below its own, and from itself.
LAYERS = (
    ("base",),
    ("domain", "supervisor"),
    ("mpi",),
    ("fields",),
    ("halo",),
    ("stencil", "reduce", "io", "random"),
    ("checkpoint",),
    ("batch", "filters", "measure", "simulate"),
    ("segment", "fourier", "resample", "particles"),
    ("solve", "projections"),
    ("job",),
    ("tools.slurm", "tools.history"),
    ("tools.doctor", "tools.planning", "tools.drill", "tools.network"),
    ("tools.scaling",),
    ("tools.report", "testing"),
    ("guide",),
    ("cli",),
    ("apps",),
    ("__main__",),
)
ROW = {part: row for row, parts in enumerate(LAYERS) for part in parts}
# Rooms and modules within a part, from the bottom up: each imports from those named before it, and from what is not
# named. Every room of a part has its place here.
ROOMS = {
    "base": ("errors", "units", "progress", "trust", "timing", "tally", "compiler", "compiled", "_loops", "processes"),
    "domain": ("box", "blocks", "walls", "decomposition", "turns", "regions"),
    "supervisor": ("settings", "stacks", "page", "nodes", "rank", "watch"),
    "mpi": (
        "values", "agreement", "transfers", "abort", "watch", "routes", "comm", "failure", "supervision", "counter",
        "teams",
    ),
    "fields": (
        "memory", "axes", "remedies", "operators", "field", "grid", "plans", "pencils", "redistribution", "lines",
        "steps", "parcels", "block_means",
    ),
    "halo": (
        "_loops", "plan", "face_copies", "checks", "stages", "node_memory", "shared_stages", "engines", "exchanges",
        "sums", "surroundings",
    ),
    "stencil": ("language", "walls", "compiled", "call", "kernel", "decorator", "fused", "iteration"),
    "reduce": (
        "_loops", "arrays", "operands", "exact_sums", "axes", "order", "bin_counts", "lines", "totals", "moments",
        "quantiles", "occurrences", "limits",
    ),
    "io": ("base", "vault", "chunks", "formats", "seal", "conventions", "write", "read"),
    "random": ("_loops", "generator"),
    "checkpoint": ("folder", "identity", "signals", "watch", "contents", "checkpoint", "store", "checkpoints"),
    "batch": (
        "records", "payloads", "items", "schedule", "log", "history", "journal", "rows", "fusion", "results", "work",
        "map",
    ),
    "filters": (
        "_loops", "_engine", "passes", "extrema", "_morphology", "correlation", "gradients", "derivatives", "rank",
        "gaussians", "morphology", "edges", "thresholds", "fourier",
    ),
    "measure": (
        "_loops", "_engine", "_components", "_properties", "_groups", "connected_components", "regions",
        "image_moments", "label_sums", "label_order",
    ),
    "segment": ("_loops", "_engine", "distances", "peak_spacing", "peaks"),
    "resample": ("_loops", "_engine", "splines", "zooms", "affine_transforms", "coordinates", "pyramids"),
    "particles": ("_loops", "particles", "clouds", "totals"),
    "projections": ("_loops", "_sinograms", "projection", "radons"),
    "fourier": ("_engine", "fft", "convolution", "spectra"),
    "solve": ("_loops", "operators", "modes", "columns", "residuals", "equations"),
    "simulate": ("schedule", "finiteness", "diagnostics", "restart", "loop"),
    "job": (
        "document", "file", "target", "moves", "execution", "rehearsal", "passes", "plan", "slabs", "runner", "preview",
    ),
    "tools.slurm": (
        "quotes", "durations", "commands", "software", "profiles", "request", "renderer", "submission", "examples",
    ),
    "tools.history": ("chain", "entry"),
    "tools.network": ("ports", "sockets", "rules"),
    "tools.drill": ("launch", "kills", "hangs", "losses", "verdicts"),
    "tools.doctor": ("finding", "checks", "supervisor", "probe_process", "checkup", "report"),
    "tools.planning": (
        "machine", "profile", "halos", "work", "traffic", "prediction", "advice", "run_prediction", "_loops",
        "measurement", "samples", "probe",
    ),
    "tools.scaling": ("records", "study", "folder", "local_machine", "growth", "runs", "batch", "summary"),
    "tools.report": (
        "statistics", "fits", "measures", "comparison", "words", "findings", "tables", "plots", "exports", "extrap",
        "page",
    ),
}  # fmt: skip
MOST_LINES, MOST_MODULES = 400, 14


def part_of(path: Path) -> str:
    words = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(words[:2]) if words[0] == "tools" else words[0]


def part_of_name(words: list[str]) -> str:
    return ".".join(words[1:3]) if words[1:2] == ["tools"] else words[1] if len(words) > 1 else "mpibatch"


@functools.cache
def imports(path: Path, types: bool = True) -> list[tuple[int, str]]:
    """Return (line, dotted name) of all imports, at any depth; `from a import b` is a.b.

    With types=False without those that only annotations need.
    """
    tree = ast.parse(path.read_text(), str(path))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not types:
            skipped.update(inner for part in node.body for inner in ast.walk(part))
    listed: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            listed += ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the absolute name instead of a relative import"
            listed += ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
    return listed


def outside(library: str, is_door: object) -> list[str]:
    """Return the places that import `library` and are not its door."""
    assert callable(is_door)
    return [
        f"{path.relative_to(PACKAGE.parent)}:{line} imports {name}"
        for path in SOURCES
        if not is_door(path)
        for line, name in imports(path)
        if name.split(".")[0] == library
    ]


def upward(path: Path) -> Iterator[str]:
    part = part_of(path)
    for line, name in imports(path):
        words = name.split(".")
        if words[0] != "mpibatch" or words[1:2] == ["__version__"]:
            continue
        if words == ["mpibatch"] and part in ("apps", "tools.drill"):
            continue  # programs are written as users write theirs
        other = part_of_name(words)
        if other not in ROW:
            yield f"{path.name}:{line}: {name}: import from the module itself, not through the package's lazy names"
        elif other != part and ROW[other] >= max(ROW[part], 1):
            yield f"{path.name}:{line}: {part} (row {ROW[part]}) imports {other} (row {ROW[other]})"


def test_every_part_has_a_layer() -> None:
    unknown = {part_of(path) for path in SOURCES} - ROW.keys() - {"__init__", "tools.__init__"}
    assert not unknown, f"add {sorted(unknown)} to LAYERS, and to the map in the package's docstring"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    if path != PACKAGE / "__init__.py":  # the package file only names where things live
        assert not list(upward(path))


@pytest.mark.parametrize("part", ROOMS, ids="rooms of {}".format)
def test_rooms_know_only_those_below(part: str) -> None:
    order = {room: number for number, room in enumerate(ROOMS[part])}
    hits = []
    for path in SOURCES:
        room = room_of(dotted(path), part)
        if room not in order:
            continue
        for line, name in imports(path, types=False):
            other = room_of(name, part)
            if order.get(other, -1) > order[room]:
                hits.append(f"{path.relative_to(PACKAGE)}:{line}: {room} imports {other}")
    assert not hits


def dotted(path: Path) -> str:
    return ".".join(("mpibatch", *path.relative_to(PACKAGE).with_suffix("").parts))


def room_of(name: str, part: str) -> str:
    """The room, or the module in no room, of a part that a dotted name is of."""
    start = f"mpibatch.{part}."
    return name.removeprefix(start).split(".")[0] if name.startswith(start) else ""


@pytest.mark.parametrize("part", sorted(set(ROW) - {"cli", "apps"}), ids="rooms of {}".format)
def test_every_room_has_its_place(part: str) -> None:
    folder = PACKAGE / part.replace(".", "/")
    rooms = {path.parent.name for path in folder.glob("*/__init__.py")}
    there = {path.stem for path in folder.glob("*.py")} | rooms
    named = set(ROOMS.get(part, ()))
    assert rooms <= named, f"add {sorted(rooms - named)} to ROOMS"
    assert named <= there, f"ROOMS names what {part} has not: {sorted(named - there)}"


def test_files_are_short() -> None:
    """So that each has one job; what grows beyond is cut along the nouns in it."""
    paths = [*SOURCES, *(PACKAGE.parent / "scripts").rglob("*.py")]
    lengths = {str(path.relative_to(PACKAGE.parent)): len(path.read_text().splitlines()) for path in paths}
    assert not {path: length for path, length in lengths.items() if length > MOST_LINES}


def test_folders_are_small() -> None:
    """More modules are put into rooms, by what they have in common; each command of the command line has its own."""
    counts = Counter(path.parent for path in SOURCES if path.name != "__init__.py")
    crowded = {str(folder.relative_to(PACKAGE)): count for folder, count in counts.items() if count > MOST_MODULES}
    crowded.pop("cli", None)
    assert not crowded


def test_no_modules_stand_in_a_circle() -> None:
    modules = {dotted(path): path for path in SOURCES}
    known = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    graph = {
        module: {
            target for _, name in imports(path, types=False) for target in _targets(name, known) if target != module
        }
        for module, path in known.items()
        if path.name != "__init__.py"
    }
    while ready := [module for module, others in graph.items() if not others & graph.keys()]:
        for module in ready:
            del graph[module]
    assert not graph, f"circles among {sorted(graph)}"


def _targets(name: str, known: dict[str, Path]) -> list[str]:
    """The modules that an import of this dotted name loads: a module, or the one that has the name."""
    return [name] if name in known else [name.rpartition(".")[0]]


def test_programs_do_not_know_one_another() -> None:
    def is_own(path: Path, name: str) -> bool:
        """Whether both are of one program, whose folder this is."""
        words = path.relative_to(PACKAGE).parts
        return len(words) > 2 and name.split(".")[1:3] == [*words[:2]]

    hits = [
        f"{path.name}:{line}: {name}"
        for path in SOURCES
        for line, name in imports(path)
        if name.startswith("mpibatch.apps") and not is_own(path, name)
    ]
    assert not hits


def test_only_mpi_imports_mpi4py() -> None:
    assert not outside("mpi4py", lambda path: part_of(path) == "mpi")


def test_only_io_imports_h5py() -> None:
    assert not outside("h5py", lambda path: part_of(path) == "io")


def test_only_compiled_loops_import_numba() -> None:
    def is_door(path: Path) -> bool:
        names = path.relative_to(PACKAGE).with_suffix("").parts
        return "_loops" in names or names[:2] in (("base", "compiled"), ("stencil", "compiled"))

    assert not outside("numba", is_door)


# What must work where no MPI is installed, and start at once: none of these modules may be touched.
HEAVY = ("mpi4py", "numba", "h5py", "scipy", "skimage", "rich", "PIL", "tifffile")


@pytest.mark.parametrize(
    "statement",
    [
        "import mpibatch",
        "import mpibatch; dir(mpibatch); mpibatch.__version__; mpibatch.UsageError",
        "import mpibatch; mpibatch.Box; mpibatch.Decomposition",
        "import mpibatch.job",
        "import mpibatch.cli; assert mpibatch.cli.main(['--help']) == 0",
        "import mpibatch.cli; assert mpibatch.cli.main(['run', '--help']) == 0",
        "import mpibatch.cli; assert mpibatch.cli.main(['doctor', '--help']) == 0",
        "import mpibatch.cli; assert mpibatch.cli.main(['scale', '--help']) == 0",
    ],
)
def test_light_things_load_nothing_heavy(statement: str) -> None:
    # None in sys.modules makes any import of that name fail, with the traceback that shows who wanted it.
    code = f"import sys; sys.modules.update(dict.fromkeys({HEAVY}))\n{statement}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_loads_not_even_numpy() -> None:
    code = "import sys, mpibatch; print([name for name in sys.modules if name.split('.')[0] in ('numpy', 'argparse')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
