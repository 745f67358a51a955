"""Who may read and write new files: modes, groups, access lists; and whose files are believed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import hypothesis
import pytest
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.base.compiled import _cache_folder, cache_folder
from mpibatch.base.trust import guards, privacy
from mpibatch.cli import main
from mpibatch.job.slabs.journal import SlabJournal

if TYPE_CHECKING:
    from collections.abc import Iterator

JOB = """\
[simulation]
program = "heat"
shape = [12, 12]
steps = 4

[output]
path = "heat.h5"
every_steps = 2
mode = "0640"

[diagnostics]
path = "heat.csv"
"""
PIPELINE = """\
[input]
path = "in.h5"

[[step]]
filter = "gaussian_filter"
sigma = 1

[output]
path = "out{ending}"
{more}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    umask = os.umask(0o022)
    yield tmp_path
    assert os.umask(umask) == 0o022  # every grant has ended


def mode(path: str | Path) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def u() -> mb.Field:
    return mb.Grid((6, 8)).from_function(lambda y, x: y * x)


@pytest.mark.parametrize("ending", [".h5", ".zarr", ".ome.tif", ".npy", ".fits"])
def test_a_file_has_the_mode_that_was_asked_for_whatever_was_there(ending: str) -> None:
    name = f"u{ending}"
    is_folder = ending == ".zarr"
    mb.save(name, u=u())
    assert mode(name) == (0o755 if is_folder else 0o644)
    for given, is_set in ((0o640, 0o640), ("0600", 0o600), ("0664", 0o664), (None, 0o664)):  # None: as it was
        if is_folder and given is None:
            continue
        mb.save(name, u=u(), mode=given)
        expected = is_set | (is_set & 0o444) >> 2 if is_folder else is_set
        assert mode(name) == expected, given
        inner = {mode(path) for path in Path(name).rglob("*") if path.is_file()}
        assert not inner or inner == {is_set}
    assert not list(Path().glob("*.part"))


def modes_of_subfiles(name: str) -> list[int]:
    folder = Path(f"{name}.subfiles")
    return [mode(name), mode(folder), *{mode(file) for file in folder.iterdir()}]


def test_subfiles_have_the_permissions_of_their_front() -> None:
    mb.save("u.h5", u=u(), subfiles=2)
    assert modes_of_subfiles("u.h5") == [0o644, 0o755, 0o644]
    Path("u.h5").chmod(0o600)
    mb.save("u.h5", u=u(), subfiles=2)  # as the front was
    assert modes_of_subfiles("u.h5") == [0o600, 0o700, 0o600]
    mb.save("u.h5", u=u(), subfiles=2, mode="0640")
    assert modes_of_subfiles("u.h5") == [0o640, 0o750, 0o640]
    mb.save("new.h5", u=u(), subfiles=2, mode="0600")
    assert modes_of_subfiles("new.h5") == [0o600, 0o700, 0o600]


def test_a_new_file_is_readable_by_nobody_else_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is looked at when it is made: by `open` of Python, and while HDF5 and MPI have it open."""
    seen: list[tuple[str, int]] = []
    opened, fsync = os.open, os.fsync

    def looking(path: object, *args: object, **options: object) -> int:
        handle = opened(path, *args, **options)
        about = os.fstat(handle)
        if stat.S_ISREG(about.st_mode) and str(path).endswith(".part"):
            seen.append((str(path), stat.S_IMODE(about.st_mode)))
        return handle

    def syncing(handle: int) -> None:
        seen.append(("fsync", stat.S_IMODE(os.fstat(handle).st_mode)))
        fsync(handle)

    monkeypatch.setattr(os, "open", looking)
    monkeypatch.setattr(os, "fsync", syncing)
    mb.save("u.h5", u=u(), mode="0600")
    assert len(seen) >= 2
    assert not [entry for entry in seen if entry[1] & 0o066]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to a group that it is not in")
def test_group_and_access_list() -> None:
    mb.save("u.h5", u=u(), mode="0640", group=12345)
    assert (mode("u.h5"), Path("u.h5").stat().st_gid) == (0o640, 12345)
    mb.save("u.zarr", u=u(), group="12345")
    assert {path.stat().st_gid for path in Path("u.zarr").rglob("*")} == {12345}
    mb.save("s.h5", u=u(), subfiles=2, mode="0640", group=12345)
    for given in ({"mode": "0640", "group": 12345}, {}):  # then as they were
        mb.save("s.h5", u=u(), subfiles=2, **given)
        folder = Path("s.h5.subfiles")
        assert {path.stat().st_gid for path in (Path("s.h5"), folder, *folder.iterdir())} == {12345}
        assert mode(folder) == 0o2750
    if shutil.which("setfacl"):
        mb.save("a.h5", u=u(), mode="0600", acl="u:12346:r")
        shown = subprocess.run(
            ["getfacl", "-np", "a.h5"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
        assert "user:12346:r--" in shown
        assert "other::---" in shown


def number_of(item: int) -> dict[str, int]:
    return {"x": item}


def access(path: str | Path, *options: str) -> set[str]:
    """The entries of an access list."""
    shown = subprocess.run(
        ["getfacl", "-cnpE", *options, str(path)], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    return {*shown.split()}


needs_lists = pytest.mark.skipif(shutil.which("setfacl") is None, reason="needs setfacl")


@needs_lists
def test_a_file_that_takes_the_place_of_another_has_its_access_list() -> None:
    """Where there is a list, what the mode says of the group is the most that the list gives anybody."""
    expected = {"user::rw-", "group::---", "mask::rw-", "other::---"}
    for name in ("a.h5", "a.npy", "a.zarr"):
        mb.save(name, u=u(), mode="0600", acl="u:12346:rw")
        before = access(name)
        mb.save(name, u=u())
        assert access(name) == before
        files = [path for path in Path(name).rglob("*") if path.is_file()] or [Path(name)]
        assert all(expected < access(path) for path in files)
        assert all(len(access(path)) == 5 for path in files)  # and the named user's
        mb.save(name, u=u(), mode="0640")
        mb.save(name, u=u())
        assert not [entry for entry in access(name) if entry.startswith(("user:1", "mask"))]
    # And a folder whose list is for all that is made in it.
    subprocess.run(["setfacl", "-d", "-m", "u:12346:rw", "."], check=True, timeout=30)
    mb.save("a.h5", u=u())
    assert access("a.h5") == {"user::rw-", "group::r--", "other::---"}


def test_tables_checkpoints_and_the_cache_within_a_grant() -> None:
    v = u()
    table = mb.regionprops_table(mb.label(v > 3)[0])
    with mb.grant(mode="0660"):
        table.to_csv("t.csv")
        mb.save("t.h5", t=table)
        mb.map_items(lambda item: {"x": item}, [1, 2], journal="j", output="items.h5")
        with mb.Checkpoints("c") as checkpoints:
            checkpoints.save(1, {"u": v})
    assert [mode(name) for name in ("t.csv", "t.h5", "items.h5")] == [0o660] * 3
    assert (mode("c"), mode(next(Path("c").glob("*.h5")))) == (0o770, 0o660)
    assert {mode(path) for path in Path("j").rglob("*") if path.is_file()} == {0o660}
    assert not [path for path in cache_folder().rglob("*") if path.stat().st_mode & 0o022]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to a group that it is not in")
@needs_lists
def test_group_and_access_list_reach_everything_that_is_made() -> None:
    v = u()
    Path("old").mkdir()  # a folder that was there hands nothing down
    mb.map_items(number_of, [1], journal="old")
    for path in Path("old").glob("[0-9]*"):
        path.unlink()
    with mb.grant(mode="0640", group=12345, acl="u:12346:r,g:12347:4"):
        mb.map_items(number_of, [1, 2], journal="j")
        mb.map_items(number_of, [1], journal="old")
        mb.save("u.zarr", {"group/v": v})
        with mb.Checkpoints("c") as checkpoints:
            checkpoints.save(1, {"v": v})
        journal = SlabJournal(v.grid.comm, "s", {})
        journal.save(journal.begun("new"))
    folders = [Path("j"), Path("c"), Path("u.zarr"), Path("s")]
    made = [*folders, *(path for folder in folders for path in folder.rglob("*"))]
    made += [path for path in Path("old").iterdir() if path.suffix in (".results", ".journal")]
    assert len(made) > 10
    for path in made:
        assert path.stat().st_gid == 12345, path
        entries = access(path)
        assert any(entry.startswith("user:12346:r") for entry in entries), path
        assert any(entry.startswith("group:12347:r") for entry in entries), path
        assert "other::---" in entries
        if path.is_dir():
            assert {"user:12346:r-x", "group:12347:r-x", "mask::r-x"} <= entries, path
        else:
            assert "mask::r--" in entries, path


def test_jobs() -> None:
    Path("job.toml").write_text(JOB)
    assert main(["run", "job.toml", "--quiet"]) == 0
    assert (mode("heat.h5"), mode("heat.csv")) == (0o640, 0o640)
    mb.save("in.h5", u=u())
    for ending in (".h5", ".zarr", ".npy"):
        Path("job.toml").write_text(PIPELINE.format(ending=ending, more='mode = "0600"'))
        assert main(["run", "job.toml", "--quiet"]) == 0
        assert mode(f"out{ending}") == (0o700 if ending == ".zarr" else 0o600)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mode = 640", "quotes"),
        ('mode = "0477"', "6 for the owner"),
        ('mode = "rw"', "6 for the owner"),
        ('group = "no-such-group"', "knows no such group"),
        ('acl = "u:me:r; rm x"', "no access list"),
    ],
)
def test_what_cannot_be_meant(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    mb.save("in.h5", u=u())
    Path("job.toml").write_text(PIPELINE.format(ending=".h5", more=line))
    assert main(["run", "job.toml"]) == 2
    assert words in capsys.readouterr().err
    assert not list(Path().glob("out*"))


def test_a_link_under_the_temporary_name_is_not_followed() -> None:
    Path("valuable").write_text("as it was")
    for name in ("u.h5", "u.npy", "u.zarr"):
        Path(f"{name}.part").symlink_to("valuable")
        mb.save(name, u=u())
        assert not Path(f"{name}.part").is_symlink()
    assert Path("valuable").read_text() == "as it was"


def test_a_cache_that_others_may_write_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = folder / "cache"
    (shared / "numba").mkdir(parents=True)
    monkeypatch.setenv("MPIBATCH_CACHE_DIR", str(shared))
    assert cache_folder() == shared
    for place, bits in ((shared, 0o777), (shared, 0o1777), (shared / "numba", 0o757)):
        place.chmod(bits)
        _cache_folder.cache_clear()  # as of another process
        with pytest.raises(mb.UsageError, match="everybody may write it") as caught:
            cache_folder()
        assert f"chmod go-w {place}" in str(caught.value)
        place.chmod(0o755)
    assert cache_folder() == shared


def test_a_group_of_ones_own_is_nobody_else(folder: Path) -> None:
    file = folder / "profile.toml"
    file.write_text("")
    file.chmod(0o664)
    import grp
    import pwd

    user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(file.stat().st_gid)
    is_own = (group.gr_name, group.gr_gid) == (user.pw_name, user.pw_gid) and {*group.gr_mem} <= {user.pw_name}
    assert (guards.intruder(file) == "") == is_own
    if os.geteuid() == 0:
        os.chown(file, 0, 12345)
        assert "the group 12345" in guards.intruder(file)
        os.chown(file, 12345, 0)
        assert "belongs to user 12345" in guards.intruder(file)


def test_a_profile_that_others_may_write_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("job.toml").write_text(JOB)
    Path("site.toml").write_text('mpi = "pmi2"\n')
    command = ["submit", "job.toml", "--profile", "./site.toml", "--dry-run"]
    assert main(command) == 0
    Path("site.toml").chmod(0o646)
    assert main(command) == 2
    assert "everybody may write it (mode 0646)" in capsys.readouterr().err


def test_a_script_passes_on_what_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("job.toml").write_text(JOB)
    command = ["submit", "job.toml", "--profile", "generic", "--dry-run"]
    assert main(command) == 0
    assert "--export" not in capsys.readouterr().out
    for given in ("NONE", "HOME,MPIBATCH_CACHE_DIR"):
        assert main([*command, "--export", given, "--private"]) == 0
        script = capsys.readouterr().out
        assert f"#SBATCH --export={given}\n" in script
        assert "export SLURM_EXPORT_ENV=ALL" in script
        assert "export MPIBATCH_PRIVATE=1" in script
        assert "-m mpibatch)" in script
    for given in ("ALL", "NONE,HOME", "TOKEN=abc", "", "a b"):
        assert main([*command, "--export", given]) == 2


def test_records_hold_no_secrets_and_in_private_no_places(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MPIBATCH_PRIVATE", raising=False)
    monkeypatch.setenv("MY_TOKEN", "canary-of-the-environment")
    mb.save("in.h5", u=u())
    text = PIPELINE.format(ending=".h5", more="").replace("in.h5", f"{folder}/in.h5")
    Path("job.toml").write_text(text + "# password = canary-of-the-job\n")
    command = ["mpibatch", "run", "job.toml", "--set", f"output.path={folder}/out.h5", "--quiet"]
    monkeypatch.setattr("sys.argv", [*command, "--set", "gaussian_filter.sigma=1"])
    for is_private in (False, True):
        monkeypatch.setenv("MPIBATCH_RECORD", f"record-{is_private}.json")
        if is_private:
            monkeypatch.setattr("sys.argv", [*command, "--private"])
        assert main([*command[1:], *(["--private"] if is_private else [])]) == 0
        with h5py.File("out.h5") as file:
            told = repr(dict(file.attrs)) + Path(f"record-{is_private}.json").read_text()
        assert "canary" not in told
        assert (str(folder) in told) is not is_private
        assert bool(re.search(rf"['\"]{re.escape(os.uname().nodename)}['\"]", told)) is not is_private
    assert "volume of in.h5" not in told
    monkeypatch.delenv("MPIBATCH_PRIVATE")


NAMES = st.sampled_from(
    [
        "password",
        "db_Password",
        "api-key",
        "apiKey",
        "x.secret-token",
        "passphrase",
        "AWS_SECRET_ACCESS_KEY",
        "credentials",
    ]
)
SIGNS = st.text("\"'\\ ,;:=[]{}()#@/?&$%\tab1", max_size=3)


@hypothesis.given(NAMES, st.lists(SIGNS, min_size=1, max_size=4), st.booleans())
def test_no_part_of_a_secret_stays(name: str, signs: list[str], is_nested: bool) -> None:
    """Whatever is between the parts of the secret, in whatever it is written."""
    secret = "canary".join(["", *signs, ""])
    value = {"a": [secret], "b": 1, "c": secret} if is_nested else secret
    texts = [
        f"{name} = {json.dumps(secret)}", f"{name}=[1, {json.dumps(secret)},\n{json.dumps(secret)}]  # {secret}",
        json.dumps({"a": 1, name: value}), json.dumps({"a": 1, name: value}, indent=1),
        f"{name}={secret}", f"export {name}={shlex.quote(secret)}", f"run --{name} {shlex.quote(secret)} -v",
        f"s3://user:{urllib.parse.quote(secret, safe='')}@host/x",
    ]  # fmt: skip
    texts += [f"{name} = '{secret}'"] if "'" not in secret else []
    texts += [f"{name} = '''\n{secret}\n'''"] if "'''" not in f"{secret}'" else []
    for text in texts:
        assert "canary" not in privacy.words(f"sigma = 2\n{text}\nb = 3"), text
    for words in ([f"--{name}", secret], [f"--{name}={secret}"], ["--set", f"{name}={secret}\n{secret}"]):
        assert "canary" not in str(privacy.arguments(["run", *words])), words


def test_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPIBATCH_PRIVATE", raising=False)
    assert privacy.words("--set db_password=hunter2 sigma=2") == "--set db_password=(left out)"  # it may have blanks
    assert privacy.words('key = "AGE-SECRET-KEY-1ABC"') == 'key = "(left out)"'
    plain = 'path = "/scratch/me/in.h5"\nexpression = "input /b - a / b"'
    assert privacy.words(plain) == plain
    for text in (
        'password = "correct horse hidden"', "passphrase=a,hidden;c", "api-key=hidden", '{"password": "hidden"}',
        "s3://u:hidden@h", "s3://hidden@h/x", "read --token hidden", "x.apiKey : [\n  'a]', # [\n  'hidden'\n]",
        '{"credentials": {\n "a": [1],\n "b": "hidden"\n}}', 'MY_PWD="a\nhidden"', "--token \\\n  hidden",
        'token = """a\n"b" hidden\n"""', "-----BEGIN PRIVATE KEY-----\nhidden\n-----END PRIVATE KEY-----",
        "AGE-SECRET-KEY-1hidden: a key", "RWQAAEIyhidden",
    ):  # fmt: skip
        line = privacy.words(f"a = 1\n{text}\nb = 2")
        assert "hidden" not in line, text
        assert line.startswith("a = 1\n"), text
        assert line.endswith("\nb = 2"), text
    words = ["run", "--token", "hidden", "--x", "secret=hidden\nhidden", "--api-key=hidden", "s3://u:hidden@h", "-v"]
    shown = privacy.arguments(words)
    assert "hidden" not in str(shown)
    assert [shown[place] for place in (0, 1, 3, 7)] == ["run", "--token", "--x", "-v"]
    monkeypatch.setenv("MPIBATCH_PRIVATE", "1")
    assert privacy.words(plain) == 'path = "in.h5"\nexpression = "input /b - a / b"'
    assert privacy.words("read ~/data/x.h5 and ../y.h5, --set=/a") == "read x.h5 and ../y.h5, --set=a"
    assert privacy.user() == privacy.host("node7") == "private"
    assert privacy.numbered({"node7": 3, "node8": 4}) == {"host 0": 3, "host 1": 4}
