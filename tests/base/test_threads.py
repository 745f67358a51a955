"""A number of threads that is none: numba would not start, and say so in its own words."""

import os
import subprocess
import sys

import pytest

USES = {
    "filters": "mb.filters.gaussian_filter(u, 1.0)",
    "sums": "mb.sum(u)",
    "random": "mb.random.Generator(1).normal(u.grid)",
    "programs": "import mpibatch.apps.heat",
}


@pytest.mark.parametrize("text", ["0", "-1", "many"])
@pytest.mark.parametrize("use", sorted(USES))
def test_no_threads_are_refused(use: str, text: str) -> None:
    program = f"import mpibatch as mb\nu = mb.Grid((8, 8)).zeros()\n{USES[use]}\n"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NUMBA_NUM_THREADS": text},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert f"NUMBA_NUM_THREADS={text} was given" in last
    assert "give a whole number, 1 or more" in last
