"""Programs of `mpibatch.apps`, run for many cases in one start of MPI."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

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
