"""What timing found: kept for the same processor, kernel and shape; damaged files and full disks cost nothing else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from mpibatch.base.errors import UsageError
from mpibatch.stencil import choices
from mpibatch.stencil.choices import Topic, forget_choices, known_choices, timed_anew
from mpibatch.stencil.compiled.strips import Strips
from mpibatch.stencil.fused.trials import BUDGETS, Choice, Tuning

if TYPE_CHECKING:
    from pathlib import Path

STRIPS = Topic("strips", "heat on 8 × 9 × 10", "f8")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(choices, "_folder", lambda: tmp_path)
    return tmp_path


def test_a_choice_is_recalled_for_equal_things_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mpibatch")
    assert STRIPS.recall() is None
    STRIPS.remember(30, {"30 rows": 0.5, "60 rows": 1.0})
    assert STRIPS.recall() == 30
    with timed_anew():
        assert STRIPS.recall() is None
    assert STRIPS.recall() == 30
    assert "strips of heat on 8 × 9 × 10: 30, the fastest of 30 rows 0.5 s, 60 rows 1 s" in caplog.text
    assert Topic("strips", STRIPS.subject, "f4").recall() is None
    assert known_choices() == ["strips of heat on 8 × 9 × 10: 30"]
    monkeypatch.setattr(choices, "_processor", lambda: ("another", [1, 2]))
    assert STRIPS.recall() is None
    assert known_choices() == []
    forget_choices()
    monkeypatch.undo()


def test_what_is_damaged_or_impossible_is_timed_again(folder: Path) -> None:
    STRIPS.remember([30, 0], {})
    assert Strips((100, 30), STRIPS).is_settled
    assert not Strips((100, 60), STRIPS).is_settled
    assert not Strips((100, 30), STRIPS, 1, (1, 3)).is_settled
    (path,) = folder.iterdir()
    for text in ("{", "[3]", "{}", '{"choice": "30"}', '{"choice": 30}', "[" * choices.LARGEST):
        path.write_text(text)
        assert not Strips((100, 30), STRIPS).is_settled
    path.write_text('{"choice": [30.0, 0.0]}')
    assert type(Strips((100, 30), STRIPS).current().rows) is int
    last = BUDGETS[-1]
    for choice, found in (
        ([4, last, 0], Choice(4, last)), ([5, BUDGETS[0], 0], None), ([4, 1, 0], None), ([4, last, 1], None),
        ([4, last], None), ([[4], {}, 0], None), (4, None),
    ):  # fmt: skip
        STRIPS.remember(choice, {})
        tuning = Tuning(8, 1)
        tuning.recall(STRIPS)
        assert tuning.settled == found
    STRIPS.remember([4, BUDGETS[0], 0], {})
    narrow = Tuning(3, 1)
    narrow.recall(STRIPS)
    assert narrow.best().steps == 1
    STRIPS.remember([4.0, float(last), 0.0], {})
    tuning = Tuning(8, 1)
    tuning.recall(STRIPS)
    assert type(tuning.best().steps) is type(tuning.best().budget) is int
    assert tuning.settled == Choice(4, last)


def test_a_folder_that_cannot_be_written_and_one_that_is_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "MOST", 4)
    monkeypatch.setattr(choices, "LOOK_EVERY", 1)
    for number in range(9):
        Topic("strips", f"kernel {number}", "").remember(number, {})
    assert 1 < len(list(folder.iterdir())) <= 4
    assert Topic("strips", "kernel 8", "").recall() == 8
    monkeypatch.setattr(choices, "_folder", lambda: folder / "file" / "below")
    (folder / "file").write_text("")
    STRIPS.remember(30, {})
    assert STRIPS.recall() is None

    def refuse() -> Path:
        raise UsageError("others may write")

    monkeypatch.setattr(choices, "_folder", refuse)
    STRIPS.remember(30, {})
    assert STRIPS.recall() is None


def test_what_is_on_disk_is_not_written_again(folder: Path) -> None:
    STRIPS.remember(30, {"30 rows": 0.5})
    (path,) = folder.iterdir()
    before = path.read_bytes()
    STRIPS.remember(30, {"30 rows": 0.6})
    assert path.read_bytes() == before
    STRIPS.remember(60, {"60 rows": 0.6})
    assert STRIPS.recall() == 60
