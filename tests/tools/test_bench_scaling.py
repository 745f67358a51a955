"""scripts/bench_scaling.sh, from end to end, with arrays that are too small to measure anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mpibatch.tools.scaling import folder as folders

pytest.importorskip("matplotlib")
pytest.importorskip("scipy")

REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT = "300"  # seconds


def left() -> tuple[set[Path], int]:
    """What the script could leave behind: files beside it or at the top, and a new picture for the README."""
    scripts = REPOSITORY / "scripts"
    return {*REPOSITORY.glob("[!.]*"), *scripts.glob("*.*")}, (scripts / "scaling.png").stat().st_mtime_ns


@pytest.mark.slow
@pytest.mark.skipif(
    Path(sys.prefix).resolve() != REPOSITORY / ".venv", reason="takes the .venv that scripts/test.sh makes"
)
def test_the_script_makes_studies_reports_and_a_picture(tmp_path: Path) -> None:
    before = left()
    # timeout ends all that the script has started, too.
    command = ["timeout", "-k", "10", LIMIT, str(REPOSITORY / "scripts" / "bench_scaling.sh"), "--quick", "out"]
    done = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    out = tmp_path / "out" / "24"
    made = folders.load(out / "gaussian-weak")
    assert [(point.ranks, len(point.runs)) for point in made.points] == [(1, 1), (2, 1)]
    assert made.profile_of_machine is not None
    assert [Path(work["job"]).name for work in made.profile_of_machine["work"]] == ["gaussian.toml", "heat.toml"]
    page = made.path / "report" / "index.html"
    assert str(page) in done.stdout
    assert "gaussian_filter" in (page.parent / "roofline.svg").read_text()
    assert (out / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert left() == before
