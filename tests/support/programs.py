"""Programs of `mpibatch.apps`, run for many cases in one start of MPI."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mpibatch.io import describe, digest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Launch

# Runs one case after another; what goes wrong is told by every rank.
DRIVER = """
import importlib, json, sys
import mpibatch as mb
program = importlib.import_module(f"mpibatch.apps.{sys.argv[1]}")
for parameters, options in json.loads(sys.argv[2]):
    try:
        known = {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}
        with mb.Simulation(**options) as simulation:
            program.run(program.Parameters(**known), simulation)
    except mb.MpibatchError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
"""
Case = tuple[dict[str, Any], dict[str, Any]]  # of parameters, and options of the simulation


def ran(
    launch: Launch, folder: Path, ranks: int, program: str, cases: dict[str, Case], timeout: float = 170
) -> list[str]:
    """Run the cases, each into a file of its name in a folder, and return the lines written."""
    folder.mkdir(exist_ok=True)
    listed = [(parameters, options | {"output": f"{name}.h5"}) for name, (parameters, options) in cases.items()]
    done = launch(ranks, "-c", DRIVER, program, json.dumps(listed), cwd=folder, timeout=timeout)
    assert done.returncode == 0, done.stderr
    lines: list[str] = done.stdout.splitlines()
    return lines


def digests(folder: Path) -> dict[tuple[str, str], str]:
    """Return what all datasets of the files in a folder hold, as digests."""
    return {(path.stem, d.name): digest(path, d.name) for path in sorted(folder.glob("*.h5")) for d in describe(path)}


def ran_alike(
    launch: Launch, folder: Path, program: str, cases: dict[str, Case], errors: dict[str, Case] | None = None,
    steps: int = 8, timeout: float = 170,
) -> tuple[Path, list[str]]:  # fmt: skip
    """Run the cases on one rank; their first steps, there and on three ranks, are the same to the bit.

    `errors`: cases that end in one. Return the folder with the files of one rank, and the lines of these four ranks.
    """
    begun: dict[str, Case] = {}
    for name, (parameters, options) in cases.items():
        rest = {key: value for key, value in options.items() if key != "until"}
        begun[f"begun-{name}"] = (parameters, rest | {"steps": steps})
    alone, apart = folder / "1", folder / "3"
    lines = ran(launch, alone, 1, program, cases | begun | (errors or {}), timeout)
    lines += ran(launch, apart, 3, program, begun | (errors or {}), timeout)
    assert sorted(path.stem for path in apart.glob("*.h5")) == sorted(begun)
    found = digests(alone)
    assert digests(apart) == {key: found[key] for key in found if key[0] in begun}
    assert {stem for stem, _ in found} == {*cases, *begun}
    return alone, lines
