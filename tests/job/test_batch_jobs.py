"""Jobs for each of many items: what [batch] may say, and the command, mostly on one rank."""

from __future__ import annotations

import io
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.errors import UsageError
from mpibatch.base.files import hold
from mpibatch.base.log import logger
from mpibatch.cli import main
from mpibatch.job.file.batch import of_grid, of_paths, parse_batch
from mpibatch.job.file.reader import parse_any
from tests.support.batches import STEPS

Launch = Callable[..., subprocess.CompletedProcess[str]]

REST = f'{STEPS}path = "out/{{name}}.h5"\n'
JOB = f"""\
[batch]
items = "s*.npy"
table = "found.csv"
longest_first = "size"
{REST}"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for number in range(5):
        np.save(f"s{number}.npy", np.random.default_rng(number).random((8, 8 + number)))
    Path("job.toml").write_text(JOB)
    yield tmp_path
    logger().handlers.clear()


def test_a_job_is_run_for_each_file(folder: Path, launch: Launch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("s3.npy").write_text("no array")
    done = launch(2, "-m", "mpibatch", "batch", "job.toml", cwd=folder)
    assert done.returncode == 1, done.stderr
    assert "4 of 5 items done (5 in this run" in done.stdout
    assert "failed: 3 (s3): cannot read 's3.npy'" in done.stdout
    assert "run these again: mpibatch batch job.toml --failed" in done.stdout
    log = Path("found.csv.journal/logs/000003-s3.log").read_text()
    assert "failed after" in log
    assert "Traceback" in log
    assert "binarize took" in Path("found.csv.journal/logs/000001-s1.log").read_text()
    assert main(["batch", "job.toml", "--list"]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["done"] * 3 + ["failed", "done"]
    np.save("s3.npy", np.random.default_rng(3).random((8, 11)))
    assert main(["batch", "job.toml"]) == 1  # what failed stays so
    assert main(["batch", "job.toml", "--failed", "--quiet"]) == 0
    rows = np.genfromtxt("found.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert rows["name"].tolist() == [f"s{number}" for number in range(5)]
    for number in range(5):
        mask = mb.load(f"out/s{number}.h5", "mask")
        above = np.load(f"s{number}.npy") > rows["maskthreshold"][number]
        np.testing.assert_array_equal(mb.gather(mask), above)


def test_items_come_from_standard_input(folder: Path, launch: Launch) -> None:
    Path("job.toml").write_text("[batch]\n" + REST)
    command = ("-m", "mpibatch", "batch", "job.toml")
    with Path("list").open("w") as file:
        file.write("s2.npy\n\ns0.npy\n")
    with Path("list").open() as file:
        done = launch(2, *command, "-", cwd=folder, stdin=file)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 items done" in done.stdout
    assert sorted(path.name for path in Path("out").iterdir()) == ["s0.h5", "s2.h5"]
    again = launch(0, *command, "--list", cwd=folder)  # the journal knows them
    assert [line.split() for line in again.stdout.splitlines()] == [["0", "done", "s2"], ["1", "done", "s0"]]
    other = launch(0, *command, "s1.npy", cwd=folder)
    assert other.returncode == 2
    assert "is the journal of another batch" in other.stderr


def state(folder: Path) -> dict[Path, tuple[int, int, bytes]]:
    """All that a folder holds, and when it was changed."""
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_mode, b"" if path.is_dir() else path.read_bytes())
        for path in [folder, *folder.rglob("*")]
    }


@pytest.mark.parametrize("options", [(), ("--part", "0/2"), ("--failed",)])
@pytest.mark.parametrize("first", ["s2.npy", "-"])
def test_a_refused_batch_changes_nothing_in_the_journal(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    options: tuple[str, ...],
) -> None:
    """Neither the list of items nor a lock: of a journal with a list, and of one without."""
    Path("job.toml").write_text("[batch]\n" + REST)

    def run(*words: str, lines: str = "") -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        return main(["batch", "job.toml", *words])

    assert run(first, lines="s2.npy\n") == 0
    before = state(Path("job.journal"))
    assert run("-", *options, lines="s0.npy\ns1.npy\n") == 2
    assert "is the journal of another batch" in capsys.readouterr().err
    assert state(Path("job.journal")) == before
    monkeypatch.setattr("mpibatch.base.files.PATIENCE", 0.1)
    handle = hold(Path("job.journal/.lock"))
    assert run("-", *options, lines="s2.npy\n") == 1
    assert "another run is using the journal" in capsys.readouterr().err
    assert state(Path("job.journal")) == before
    os.close(handle)


def test_lines_of_a_refused_or_wrong_job_are_not_kept(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is that of the batch whose journal it is, not of one that never began; a lost one is written again."""
    wrong = "[batch]\n" + REST.replace("{name}", "x")
    Path("job.toml").write_text(wrong)
    monkeypatch.setattr("sys.stdin", io.StringIO("s0.npy\ns1.npy\n"))
    assert main(["batch", "job.toml", "-"]) == 2
    assert "would both write 'out/x.h5'" in capsys.readouterr().err
    assert not Path("job.journal").exists()
    Path("job.toml").write_text("[batch]\n" + REST)
    Path("s3.npy").write_text("no array")
    for _ in range(2):
        monkeypatch.setattr("sys.stdin", io.StringIO("s2.npy\ns3.npy\n"))
        assert main(["batch", "job.toml", "-"]) == 1
        assert "run these again: mpibatch batch job.toml --failed\n" in capsys.readouterr().out
        kept = Path("job.journal/items.json").read_text()
        Path("job.journal/items.json").write_text("{")
        assert main(["batch", "job.toml", "--failed"]) == 1
        assert "items.json cannot be read" in capsys.readouterr().err
    Path("job.journal/items.json").write_text(kept)
    np.save("s3.npy", np.random.default_rng(3).random((8, 11)))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["batch", "job.toml", "--failed"]) == 0
    assert "2 of 2 items done (1 in this run" in capsys.readouterr().out


def test_the_journal_and_the_table_have_the_permissions_of_the_output(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("job.toml").write_text('[batch]\ntable = "found.csv"\n' + REST + 'mode = "0640"\n')
    monkeypatch.setattr("sys.stdin", io.StringIO("s0.npy\ns1.npy\n"))
    assert main(["batch", "job.toml", "-"]) == 0
    made = [path for path in Path("found.csv.journal").rglob("*") if path.is_file()]
    assert {"items.json", "batch.json", "000001.run", "000000-s0.log"} <= {path.name for path in made}
    files = [Path("found.csv"), Path("out/s0.h5"), *made]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o640}
    folders = (Path("found.csv.journal"), Path("found.csv.journal/logs"))
    assert [stat.S_IMODE(path.stat().st_mode) for path in folders] == [0o750, 0o750]


def test_a_grid_of_parameters_on_teams_and_some_items_only(folder: Path, launch: Launch) -> None:
    text = """
[batch]
name = "s{sigma}-{size}"
ranks_per_item = 2
[batch.grid]
sigma = [1, 2.5]
size = [3, 5]
[input]
path = "s1.npy"
[[step]]
filter = "gaussian_filter"
sigma = "{sigma}"
[[step]]
filter = "median_filter"
size = "{size}"
save = true
[output]
path = "{name}.h5"
"""
    Path("grid.toml").write_text(text)
    done = launch(2, "-m", "mpibatch", "batch", "grid.toml", "--only", "s1-3,2-3", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "3 of 4 items done" in done.stdout
    assert sorted(path.name for path in Path().glob("s*.h5")) == ["s1-3.h5", "s2.5-3.h5", "s2.5-5.h5"]
    expected = mb.filters.median_filter(mb.filters.gaussian_filter(mb.load("s1.npy"), 2.5), 5)
    np.testing.assert_array_equal(mb.gather(mb.load("s2.5-5.h5", "median_filter")), mb.gather(expected))


def test_rows_of_tables_are_items(folder: Path) -> None:
    Path("rows.csv").write_text('file,sigma,note\ns0.npy,1,"a, b"\ns2.npy,2.5,x\n')
    text = REST.replace("{item}", "{file}").replace(
        'filter = "binarize"\nthreshold = "otsu"', 'filter = "gaussian_filter"\nsigma = "{sigma}"'
    )
    text = text.replace("{name}", "{number}")
    Path("job.toml").write_text(f'[batch]\nitems = "rows.csv"\nlongest_first = "sigma"\n{text}')
    assert main(["batch", "job.toml"]) == 0
    expected = mb.filters.gaussian_filter(mb.load("s2.npy"), 2.5)
    np.testing.assert_array_equal(mb.gather(mb.load("out/1.h5", "mask")), mb.gather(expected))
    mb.map_items(lambda x: {"sigma": x}, [0.5, 1.5], output="table.h5")
    other = text.replace("{file}", "s0.npy").replace("out/", "more/")
    Path("job.toml").write_text(f'[batch]\nitems = "table.h5::items"\njournal = "j"\n{other}')
    assert main(["batch", "job.toml"]) == 0
    assert sorted(path.name for path in Path("more").iterdir()) == ["0.h5", "1.h5"]


def test_a_simulation_is_run_for_each_item(folder: Path) -> None:
    Path("job.toml").write_text("""
[batch]
journal = "j"
[batch.grid]
steps = [2, 3]
[simulation]
program = "heat"
shape = [8, 8]
steps = "{steps}"
[output]
path = "heat-{steps}.h5"
every_steps = 1
""")
    assert main(["batch", "job.toml"]) == 0
    assert sorted(path.name for path in Path().glob("heat-*.h5")) == ["heat-2.h5", "heat-3.h5"]


ENDLESS = """
import time
from dataclasses import dataclass

@dataclass(frozen=True)
class Parameters:
    seconds: float = 0.0

def never_comes_back():
    while True: pass

def run(p, simulation):
    state = {"u": simulation.grid((4, 4)).full(1.0)}
    for now in simulation.steps(state, dt=0.1):
        if p.seconds < 0:
            never_comes_back()
        time.sleep(p.seconds / 20)
"""
SUPERVISED = """
[batch.grid]
seconds = [0, 0, {seconds}, 0]
[simulation]
program = "endless.py"
steps = 20
seconds = "{{seconds}}"
[output]
path = "{limit}-{{number}}.h5"
[supervise]
seconds = {limit}
"""


def test_an_item_without_end_is_named_and_a_long_one_is_waited_for(folder: Path, launch: Launch) -> None:
    Path("endless.py").write_text(ENDLESS)
    Path("endless.toml").write_text(SUPERVISED.format(seconds=-1, limit=900))
    Path("long.toml").write_text(SUPERVISED.format(seconds=5.5, limit=1))
    command = ("-m", "mpibatch", "batch")
    # MPICH then takes the two ranks for those of two nodes, of which one has nothing to do.
    nodes = {**os.environ, "MPIR_CVAR_ODD_EVEN_CLIQUES": "1"}
    with ThreadPoolExecutor() as pool:
        pending = pool.submit(launch, 2, *command, "endless.toml", "--supervise", "2", cwd=folder)
        healthy = launch(2, *command, "long.toml", "--quiet", cwd=folder, env=nodes)
        hung = pending.result()
    assert hung.returncode == 70, hung
    assert hung.stderr.count("has made progress for") == 1
    assert "endless.py:10, in never_comes_back: while True: pass\n" in hung.stderr
    assert "at work, or in a loop that does not end; step 1\n" in hung.stderr
    assert ": waiting for others" in hung.stderr
    assert (healthy.returncode, healthy.stderr) == (0, ""), healthy
    # The limit is none of the items' business: their journal is that of the same batch.
    again = launch(0, *command, "long.toml", "--set", "supervise.seconds=9", cwd=folder)
    assert "4 of 4 items done (0 in this run" in again.stdout, again.stderr


@pytest.mark.parametrize(
    ("old", "new", "arguments", "words"),
    [
        ('items = "s*.npy"', "items = 3", (), "job.toml:2: [batch] items = 3; expected a text"),
        ('items = "s*.npy"', "", (), "[batch] does not say what the items are"),
        ('items = "s*.npy"', 'items = "no.csv"', (), "no.csv cannot be read: No such file"),
        ('items = "s*.npy"', 'items = "bad.csv"', (), "bad.csv:3: 1 values for 2 columns"),
        ('items = "s*.npy"', 'items = "numbered.csv"', (), "a column named 'number'"),
        (
            JOB.partition("[[")[0].partition("[input]")[0],
            '[batch]\nitems = "hole.csv"\nlongest_first = "b"\n',
            (),
            "longest_first = 'b', which is '' of item 1 (item=s1.npy,b=); give each item a number",
        ),
        ('items = "s*.npy"', 'item = "s*.npy"', (), "[batch] has no key 'item'; did you mean 'items'?"),
        ('longest_first = "size"', 'longest_first = "long"', (), "longest_first = 'long'; expected \"size\""),
        ('longest_first = "size"', "ranks_per_item = 2", (), "on 2 of the 1 ranks that were started"),
        ('path = "{item}"', 'path = "{itm}"', (), "nothing is known for {itm}; did you mean 'item'?"),
        ("out/{name}.h5", "out.h5", (), "items 0 and 1 would both write 'out.h5'"),
        ('threshold = "otsu"', "sigma = 1", (), "of item 0, s0"),
        (
            "[output]",
            "[supervise]\nsecond = 9\n[output]",
            (),
            "[supervise] has no key 'second'; did you mean 'seconds'?",
        ),
        ("[output]", "[checkpoint]\n[output]", (), "the journal tells what is done"),
        ("", "", ("--only", "9"), "there is no item 9; they are 0 to 4"),
        ("", "", ("--only", "x"), "'x' is neither a number nor the name of an item"),
        ("", "", ("--part", "2/2"), "give K/N, such as 0/4"),
        ("", "", ("--set", "batch.retries=-1"), "[batch] retries = -1; expected a whole number, 0 or more"),
        ("[batch]", "[batch.grid]\nsigma = []\n[batch]", (), "[batch]"),
    ],
)
def test_what_cannot_be_meant_is_one_message(
    folder: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, arguments: tuple[str, ...], words: str
) -> None:
    Path("bad.csv").write_text("a,b\n1,2\n3\n")
    Path("numbered.csv").write_text("a,number\n1,2\n")
    Path("hole.csv").write_text("item,b\ns0.npy,2\ns1.npy,\n")
    Path("job.toml").write_text(JOB.replace(old, new, 1))
    assert main(["batch", "job.toml", *arguments]) in (1, 2)
    assert words in capsys.readouterr().err
    assert not Path("out").exists()


def test_an_item_whose_log_cannot_be_written_does_without(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("job.toml").write_text(JOB)
    Path("found.csv.journal").mkdir()
    Path("found.csv.journal/logs").touch()
    assert main(["batch", "job.toml"]) == 0
    assert "cannot write the log" in capsys.readouterr().err


def test_no_items_are_a_batch_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("job.toml").write_text(JOB.replace("s*.npy", "nothing*.npy"))
    assert main(["batch", "job.toml"]) == 0
    assert "0 of 0 items done" in capsys.readouterr().out
    assert Path("found.csv").read_text() == "item,name\n"


def test_other_commands_say_where_a_batch_belongs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="it is run for each item, by mpibatch batch"):
        parse_any(JOB, "job.toml")
    with pytest.raises(UsageError, match=r"has no section \[batch\]"):
        parse_batch(REST, "job.toml")
    assert main(["submit", "job.toml", "--dry-run", "--parts", "3", "--at-once", "2"]) == 0
    script = capsys.readouterr().out
    assert "#SBATCH --array=0-2%2" in script
    assert 'batch job.toml --part "$SLURM_ARRAY_TASK_ID"/3)' in script
    assert main(["submit", "job.toml", "--dry-run", "--chain"]) == 0
    script = capsys.readouterr().out
    assert 'run=("${mpibatch[@]}" batch job.toml)' in script
    assert "progress=found.csv.journal" in script
    Path("plain.toml").write_text(REST.replace("{item}", "s0.npy").replace("{name}", "x"))
    for arguments, words in (
        (["plain.toml", "--parts", "2"], "has no section [batch], so there is nothing to share"),
        (["job.toml", "--array", "x"], "whose items are run already"),
        (["job.toml", "--parts", "0"], "--parts 0: give 1 or more"),
    ):
        assert main(["submit", "--dry-run", *arguments]) == 2
        assert words in capsys.readouterr().err


def test_names_of_items_are_distinct_and_places_keep_their_type() -> None:
    assert [values["name"] for values in of_paths(["a/x.h5", "b/x.h5", "y.h5"])] == ["x-0", "x-1", "y"]
    assert [values["name"] for values in of_paths(["a/x.h5", "b/x.h5", "x-0.h5"])] == ["x-0", "x-1", "x-0-2"]
    grid = of_grid({"a": [1, 2], "b": ["x"]})
    assert [values["name"] for values in grid] == ["a=1,b=x", "a=2,b=x"]
    batch = parse_batch(JOB.replace('threshold = "otsu"', 'threshold = "{level}"'), "job.toml")
    job = batch.job_of({"item": "a.npy", "name": "a", "number": 0, "level": 0.5})
    assert job.steps[0].parameters == {"threshold": 0.5}
    assert job.text.endswith('# item 0: "a.npy" (a)\n')


def test_enough_failures_of_a_job_end_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line goes before the file."""
    Path("job.toml").write_text('[batch]\nitems = ["no-0.npy", "no-1.npy"]\nmax_failures = 5\nretries = 3\n' + REST)
    assert main(["batch", "job.toml", "--max-failures", "0", "--retries", "1"]) == 1
    assert "1 item failed, and max_failures is 0; 1 are left" in capsys.readouterr().err
    (notes,) = Path().glob("*/*-00000.journal")
    assert b'"attempts": 2' in notes.read_bytes()
