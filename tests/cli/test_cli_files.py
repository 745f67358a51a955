"""The commands that look into files, on every kind of file that the product writes, against h5py."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.json_files import write_json
from mpibatch.base.log import logger
from mpibatch.cli import main
from tests.support.studies import build

if TYPE_CHECKING:
    from collections.abc import Iterator

DTYPES = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16")
HEAT = """\
[simulation]
program = "heat"
steps = 4
shape = [6, 8]
[output]
path = "series.h5"
every_steps = 2
[diagnostics]
path = "series.csv"
every_steps = 2
"""
ODD = "odd\n\x1b[31mname.h5"  # a line break, and what would color a terminal
NO_TEXT = "odd\udcffname.h5"  # as Python writes bytes that are no UTF-8


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of every kind."""
    folder = tmp_path_factory.mktemp("made")
    before = Path.cwd()
    os.chdir(folder)
    try:
        grid = mb.Grid((6, 8))
        fields = {
            "d_" + np.dtype(d).name: grid.from_function(lambda y, x: (8 * y + x).astype(np.int64) % 2, d)
            for d in DTYPES
        }
        fields |= {
            "vector": grid.full(2.5, "f4", components=(3,)),
            "group/tensor": grid.full(1, "c8", components=(2, 2)),
        }
        attrs = {"number": np.nan, "many": np.arange(100), "text": "é", "empty": ""}
        mb.save("plain.h5", fields, attrs=attrs, record=True)
        mb.save("packed.h5", fields, chunks=(3, 4), compression="gzip")
        mb.save(ODD, fields)
        with mb.Checkpoints("checkpoints", every_steps=1, keep=1) as checkpoints:
            checkpoints.save(1, {"u": fields["d_float64"]}, {"note": "x"})
        Path("heat.toml").write_text(HEAT)
        assert main(["run", "heat.toml", "--quiet"]) == 0
        write_json(Path("machine.json"), {"name": "a machine"})
        build(folder / "study")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(autouse=True)
def _here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(made)
    yield
    logger().handlers.clear()
    logger().propagate = True


def every_file() -> list[str]:
    return [str(path) for path in sorted(Path().rglob("*")) if path.is_file()]


def is_hdf5(file: str) -> bool:
    return bool(h5py.is_hdf5(os.fsencode(file)))


def test_every_command_on_every_file(capsys):
    kinds = {Path(file).suffix for file in every_file()}
    assert {".h5", ".csv", ".json", ".toml"} <= kinds
    assert sum(map(is_hdf5, every_file())) >= 5
    for file in every_file():
        for command in (
            ["info"],
            ["info", "--digest"],
            ["info", "--json", "--digest"],
            ["verify"],
            ["verify", "--json"],
        ):
            code = main([command[0], file, *command[1:]])
            out, err = capsys.readouterr()
            report = f"{command} {file!r}: {code}\n{out}{err}"
            assert "unexpected" not in report, report
            assert "Traceback" not in report, report
            assert "\x1b" not in report, report
            if is_hdf5(file):
                assert (code, err) == (0, ""), report
            elif command[0] == "info":
                assert code == 1, report
                assert len(err.splitlines()) == 1, report
            else:
                assert code == 3, report
                assert len(out.splitlines()) == 1, report
            if "--json" in command and out:
                json.loads(out, parse_constant=pytest.fail)


@pytest.mark.parametrize("file", ["plain.h5", "packed.h5", "series.h5"])
def test_what_info_tells_is_what_h5py_reads(file, capsys):
    assert main(["info", file, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sealed"]
    with h5py.File(file) as opened:
        for entry in document["datasets"]:
            dataset = opened[entry["name"]]
            assert (entry["shape"], np.dtype(entry["dtype"])) == ([*dataset.shape], dataset.dtype)
            assert entry["bytes"] == dataset.nbytes


@pytest.mark.parametrize("file", ["plain.h5", "packed.h5", "series.h5", ODD])
def test_every_dataset_is_a_picture_or_a_clear_refusal(file, capsys):
    with h5py.File(os.fsencode(file)) as opened:
        main(["info", file, "--json"])
        for entry in json.loads(capsys.readouterr().out)["datasets"]:
            code = main(["view", f"{file}::{entry['name']}", "x.png"])
            out, err = capsys.readouterr()
            is_complex = opened[entry["name"]].dtype.kind == "c"
            assert code == (2 if is_complex else 0), err
            assert len((err if is_complex else out).splitlines()) == 1
            assert "unexpected" not in err
            assert "\x1b" not in out + err
    Path("x.png").unlink()


def test_view_tells_the_slice_and_the_time(capsys):
    with h5py.File("series.h5") as opened:
        times = opened["time"][...]
    for options, place in (([], 2), (["--slice", "0:1"], 1), (["--slice=-3:0"], 0)):
        assert main(["view", "series.h5::u", "x.png", *options]) == 0
        assert f"t = {place} of 0 to 2 (time {times[place]:.6g} s)" in capsys.readouterr().out
    Path("x.png").unlink()


def test_a_file_of_others_is_not_called_broken(capsys, tmp_path):
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file["u"] = np.arange(4)
    (tmp_path / "theirs.npy").write_bytes(b"\x93NUMPY\x01\x00")
    whole = Path("plain.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[:-1])
    (tmp_path / "short.h5").write_bytes(whole[:100])
    (tmp_path / "headless.h5").write_bytes(bytes(512) + whole[512:-1])
    (tmp_path / "empty.h5").touch()
    codes = {path.name: main(["verify", str(path)]) for path in sorted(tmp_path.iterdir())}
    assert codes == {"theirs.h5": 3, "theirs.npy": 3} | dict.fromkeys(
        ("cut.h5", "short.h5", "headless.h5", "empty.h5"), 1
    )
    assert capsys.readouterr().out.count("mpibatch did not write it") == 2
    assert main(["verify", str(tmp_path / "theirs.h5"), str(tmp_path / "cut.h5"), "plain.h5"]) == 1
    with pytest.raises(mb.RunError, match="give a file that mpibatch wrote"):
        mb.io.check(tmp_path / "theirs.h5")


def test_names_that_are_no_text_are_kept_in_json(tmp_path):
    write_json(tmp_path / "names.json", {"path": NO_TEXT})
    assert json.loads((tmp_path / "names.json").read_text()) == {"path": NO_TEXT}


@pytest.mark.parametrize("command", ["info", "verify", "view"])
def test_names_that_are_no_text_are_spelled_out(command, capsys):
    assert main([command, NO_TEXT, *(["x.png"] if command == "view" else [])]) == 2
    assert r"odd\udcffname.h5" in capsys.readouterr().err
