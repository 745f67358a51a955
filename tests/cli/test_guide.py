"""README and guide: every block of code is run, on 1 and 2 ranks, and prints what the text says."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.cli import main
from mpibatch.guide import CHAPTERS, chapter
from mpibatch.job.file.batch import is_batch, parse_batch
from mpibatch.job.file.reader import parse_any
from mpibatch.tools.slurm import profiles
from scripts import _architecture
from tests.support.examples import environment
from tests.test_layers import LAYERS

if TYPE_CHECKING:
    from tests.conftest import Launch

REPOSITORY = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTIONAL = ("parasail",)
DOCUMENTS = {"README": (REPOSITORY / "README.md").read_text(), **{name: chapter(name) for name in CHAPTERS}}

# Runs one program after the other in one process, and marks where the output of each begins.
DRIVER = """
import runpy, sys
from mpibatch.mpi import MPI
for path in sys.argv[1:]:
    if MPI.COMM_WORLD.rank == 0:
        print(f"@@ {path}", flush=True)
    runpy.run_path(path)
"""


@dataclass(frozen=True)
class Block:
    """One fenced block of a document; `output` is the block of text that follows, "" if none does."""

    name: str
    language: str
    text: str
    output: str = ""


def blocks() -> list[Block]:
    listed = []
    for document, text in DOCUMENTS.items():
        matches = list(FENCE.finditer(text))
        for number, match in enumerate(matches):
            after = matches[number + 1] if number + 1 < len(matches) else None
            output = after[2] if after is not None and after[1] == "text" else ""
            listed.append(Block(f"{document}_{number}", match[1], match[2], output))
    return listed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the chapters say is there: a volume, and the job files that they show."""
    where = tmp_path_factory.mktemp("guide")
    grid = mb.Grid((48, 40, 36))
    mb.save(where / "volume.h5", raw=mb.random.Generator(seed=2).uniform(grid).astype(np.float32))
    for block in blocks():
        if block.language == "toml":
            path = where / block.text.partition("\n")[0].lstrip("# ")
            assert not path.exists(), f"{path.name} stands in two places"
            path.write_text(block.text)
    return where


def test_every_language_is_known() -> None:
    assert {block.language for block in blocks()} <= {"python", "toml", "sh", "text", "console"}


@pytest.mark.parametrize("ranks", [1, 2])
def test_programs_print_what_is_said(launch: Launch, folder: Path, ranks: int) -> None:
    every = [block for block in blocks() if block.language == "python"]
    programs = [block for block in every if not missing_in(block)]
    for block in programs:
        (folder / f"{block.name}.py").write_text(block.text)
    names = [f"{block.name}.py" for block in programs]
    done = launch(ranks, "-c", DRIVER, *names, timeout=200, cwd=folder, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    printed = parts_of(done.stdout)
    for block in programs:
        if block.output:
            assert printed[f"{block.name}.py"] == block.output, block.name
    if skipped := [f"{block.name} needs {missing_in(block)}" for block in every if block not in programs]:
        pytest.skip(f"all others print what is said; {', '.join(skipped)}")


def missing_in(block: Block) -> str:
    """The library that a block needs and that may be missing, if it is."""
    return next((n for n in OPTIONAL if f"import {n}\n" in block.text and importlib.util.find_spec(n) is None), "")


def parts_of(text: str) -> dict[str, str]:
    """What was printed, by the name in the line before it."""
    parts = re.split(r"^@@ (.*)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_job_files_are_right(folder: Path) -> None:
    jobs = [block for block in blocks() if block.language == "toml"]
    assert len(jobs) >= 3
    for block in jobs:
        tomllib.loads(block.text)
        if block.text.startswith("# site.toml\n"):
            profiles.parse(block.text, block.name, "site")
        elif is_batch(block.text, block.name):
            parse_batch(block.text, block.name).job_of({"item": "volume.h5", "name": "volume", "number": 0})
        else:
            parse_any(block.text, source=block.name)


@pytest.mark.slow
def test_commands_can_be_typed(folder: Path) -> None:
    for block in blocks():
        if block.language == "python":
            (folder / f"{block.name}.py").write_text(block.text)
    first = [block for block in blocks() if block.name.startswith("README") and block.language == "python"]
    for block in first + [b for b in blocks() if b.name.startswith("files") and b.language == "python"]:
        subprocess.run([sys.executable, f"{block.name}.py"], cwd=folder, env=environment(), check=True, timeout=100)
    commands = [block for block in blocks() if block.language == "sh"]
    script = "set -e\n" + "".join(f"echo '@@ {block.name}'\n{block.text}" for block in commands)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=560,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "edges.png").exists()
    printed = parts_of(done.stdout)
    for block in commands:
        if block.output:
            assert printed[block.name] == block.output, block.name


def test_links_and_pictures_are_there() -> None:
    for name, text in DOCUMENTS.items():
        base = REPOSITORY if name == "README" else REPOSITORY / "mpibatch" / "guide"
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (base / target).exists(), f"{name}: {target}"


def test_the_front_door_is_short() -> None:
    text = DOCUMENTS["README"]
    assert len(text.split()) <= 900
    assert text.count("\n") <= 130
    prose = FENCE.sub("", text)
    assert max(len(paragraph.split()) for paragraph in re.split(r"\n\s*\n|\n[-|]", prose)) <= 60


def test_the_architecture_is_that_of_the_code() -> None:
    assert chapter("architecture") == _architecture.text(LAYERS), "run scripts/_architecture.py"


def test_the_command_prints_chapters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guide"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in CHAPTERS)
    assert main(["guide", "files"]) == 0
    assert capsys.readouterr().out == chapter("files")
    assert main(["guide", "flies"]) == 2
    assert "did you mean 'files'" in capsys.readouterr().err
    assert {path.stem for path in (REPOSITORY / "mpibatch" / "guide").glob("*.md")} == set(CHAPTERS)
