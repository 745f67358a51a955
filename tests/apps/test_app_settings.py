"""The files of settings that programs ship: complete, with the usual values, and read as options are."""

from __future__ import annotations

import argparse
import tomllib
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

import mpibatch as mb
from mpibatch.apps.catalog.catalogs import Settings as Catalogs
from mpibatch.apps.cells.segmentation import Settings as Cells
from mpibatch.apps.kmers.__main__ import main as kmers
from mpibatch.apps.kmers.samples import Settings as Kmers
from mpibatch.apps.risk.__main__ import main as risk
from mpibatch.apps.risk.book import Settings as Risk
from mpibatch.apps.tomo.volumes import Settings as Tomo
from mpibatch.cli._settings import settings_of

KINDS = {"catalog": Catalogs, "cells": Cells, "kmers": Kmers, "risk": Risk, "tomo": Tomo}


@pytest.mark.parametrize("name", KINDS)
def test_a_shipped_file_has_all_settings_with_their_usual_values(name: str) -> None:
    kind: Any = KINDS[name]
    file = resources.files(f"mpibatch.apps.{name}") / f"{name}.toml"
    names = [field.name for field in fields(kind)]
    assert [*tomllib.loads(file.read_text(encoding="utf-8"))] == names
    given = argparse.Namespace(settings=str(file), **dict.fromkeys(names))
    assert repr(settings_of(kind, given)) == repr(kind())  # as text: a number that is to be found is NaN
    assert f"python -m mpibatch.apps.{name}`" in file.read_text(encoding="utf-8")


def test_kmers_takes_what_options_do_not_say_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("a", "ACGTTGCAacgtGGATCC" * 9), ("b", "ACGTTGCATTGGCCAA" * 9)):
        Path(f"{name}.fa").write_text(f">x\n{text}\n")
    Path("few.toml").write_text("k = 5\nscaled = 2\nmask = true\n")
    both = ["compare", "a.fa", "b.fa"]
    assert kmers([*both, "options.h5", "--k", "7", "--scaled", "2", "--mask"]) == 0
    assert kmers([*both, "file.h5", "--settings", "few.toml", "--k", "7"]) == 0
    assert Path("options.h5").read_bytes() == Path("file.h5").read_bytes()
    assert kmers(["count", "a.fa", "options.csv", "--k", "5", "--mask"]) == 0
    assert kmers(["count", "a.fa", "file.csv", "--settings", "few.toml"]) == 0
    assert Path("options.csv").read_bytes() == Path("file.csv").read_bytes()


def test_risk_takes_what_options_do_not_say_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("book.csv").write_text("type,S,K,T,r,sigma\neuropean call,100,100,1,0.03,0.15\n")
    Path("some.toml").write_text("seed = 5\nregression-paths = 100\n")
    rest = ["--paths", "1000"]
    assert risk(["price", "book.csv", "options.csv", "--seed", "5", *rest]) == 0
    assert risk(["price", "book.csv", "file.csv", "--settings", "some.toml", *rest]) == 0
    assert risk(["price", "book.csv", "other.csv", *rest]) == 0
    assert Path("options.csv").read_bytes() == Path("file.csv").read_bytes() != Path("other.csv").read_bytes()
    capsys.readouterr()
    Path("some.toml").write_text("sed = 5\n")
    assert risk(["price", "book.csv", "no.csv", "--settings", "some.toml", *rest]) == 2
    assert "some.toml: sed is no setting; there are regression_paths, seed, steps" in capsys.readouterr().err
    Path("some.toml").write_text('seed = "x"\n')
    with pytest.raises(mb.UsageError, match="seed = 'x' is not valid"):
        settings_of(Risk, argparse.Namespace(settings="some.toml", seed=None, steps=None, regression_paths=None))
