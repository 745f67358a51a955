"""What scripts/release.sh makes: wheel and sdist with the same bytes anywhere, and no audit that says nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import _release

EPOCH = "1700000000"
# The clock of the second build is five days ahead.
LATER = "import time, runpy, sys; now = time.time; time.time = lambda: now() + 432000.0; sys.argv[0] = 'hatchling'; \
runpy.run_module('hatchling', run_name='__main__')"


def builds_of(tree: Path, out: Path, program: tuple[str, ...], mask: int) -> dict[str, bytes]:
    """Build wheel and sdist; return their bytes by name."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    command = [sys.executable, *program, "build", "-d", str(out)]
    subprocess.run(command, cwd=tree, env=environment, umask=mask, check=True, capture_output=True, timeout=120)
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.slow
def test_wheel_and_sdist_have_the_same_bytes_at_another_time_and_place(tmp_path: Path) -> None:
    if not (_release.REPOSITORY / ".git").exists():
        pytest.skip("needs a checkout: what is committed is built")
    first = _release.committed(tmp_path / "first")
    second = _release.committed(tmp_path / "a longer name")
    for tree in (first, second):
        shutil.rmtree(tree / "tests")  # most of the time would go there
    for path in [second, *second.rglob("*")]:
        path.chmod(path.stat().st_mode & 0o700)
        os.utime(path, (1e9, 1e9))
    once = builds_of(first, tmp_path / "once", ("-m", "hatchling"), 0o022)
    again = builds_of(second, tmp_path / "again", ("-c", LATER), 0o077)
    assert sorted(Path(name).suffix for name in once) == [".gz", ".whl"]
    assert once == again


def about(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": "1.0", **more}


def test_an_audit_that_looked_nothing_up_is_not_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known, unknown = about("numpy", vulns=[]), about("rich", skip_reason="not found")
    ours = about("mpibatch", skip_reason="not found")
    assert _release.verdict({"dependencies": [known, ours]}) == ([], [])
    assert _release.verdict({"dependencies": [known, unknown]}) == ([], ["rich"])
    bad = about("jinja2", vulns=[{"id": "CVE-1", "fix_versions": ["3.1.6"]}])
    assert _release.verdict({"dependencies": [bad, known]})[0] == ["jinja2 1.0: CVE-1, mended in 3.1.6"]
    answers = iter(['{"dependencies": [{"name": "rich", "version": "1", "skip_reason": "not found"}]}', ""])
    done = subprocess.CompletedProcess([], 1, "", "Traceback\nno such host")
    monkeypatch.setattr(_release.subprocess, "run", lambda *_, **__: vars(done).update(stdout=next(answers)) or done)
    assert _release.audit(tmp_path) == ([], "pypi: does not know rich; osv: no such host")
