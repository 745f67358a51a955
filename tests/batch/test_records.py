"""The journal's records and results as bytes: whatever is torn or changed is passed over, and never a wrong result."""

from __future__ import annotations

import errno
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.base.errors import RunError, UsageError
from mpibatch.batch import payloads, records
from mpibatch.batch.items import identity_of, name_of, text_of
from mpibatch.batch.log import FileLog
from mpibatch.batch.schedule import ALONE, TeamPhase, phases, shares

MARK = 0x12345678
RECORDS = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2**40), st.binary(max_size=40)), max_size=6)


def text_from(entries: list[tuple[int, int, bytes]]) -> tuple[bytes, list[int]]:
    packed = [records.packed(MARK, *entry) for entry in entries]
    return b"".join(packed), [0, *np.cumsum([len(record) for record in packed]).tolist()]


@given(RECORDS, st.data())
def test_of_a_torn_journal_the_whole_records_are_read(
    entries: list[tuple[int, int, bytes]], data: st.DataObject
) -> None:
    text, ends = text_from(entries)
    cut = data.draw(st.integers(0, len(text)))
    whole = sum(end <= cut for end in ends) - 1
    assert list(records.scan(text[:cut], MARK)) == entries[:whole]


@given(RECORDS.filter(bool), st.data())
def test_of_a_changed_journal_the_other_records_are_read(
    entries: list[tuple[int, int, bytes]], data: st.DataObject
) -> None:
    text, ends = text_from(entries)
    bit = data.draw(st.integers(0, 8 * len(text) - 1))
    changed = bytearray(text)
    changed[bit // 8] ^= 1 << bit % 8
    hit = max(number for number, end in enumerate(ends[:-1]) if end <= bit // 8)
    assert list(records.scan(bytes(changed), MARK)) == entries[:hit] + entries[hit + 1 :]


def test_records_of_another_batch_are_none() -> None:
    assert not list(records.scan(records.packed(MARK, records.START, 3), MARK + 1))


VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.booleans(), st.complex_numbers(allow_nan=False)
)


@given(st.dictionaries(st.text("abcXYZ.é ", min_size=1).filter(lambda name: name != "."), VALUES, max_size=4))
def test_results_come_back(values: dict[str, object]) -> None:
    arrays = {
        f"{name}-": np.full((2, 0, 3) if number % 2 else (2, 3), number, "f4") for number, name in enumerate(values)
    }
    restored = payloads.decoded(payloads.encoded({**values, **arrays}))
    assert {name: restored[name][()] for name in values} == values
    for name, array in arrays.items():
        assert restored[name].dtype == array.dtype
        np.testing.assert_array_equal(restored[name], array)


@pytest.mark.parametrize("value", ["text", [1, [2, 3]], object(), 2**70, np.array(["a"])])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="return numbers, or arrays of numbers"):
        payloads.encoded(value)


@pytest.mark.parametrize("name", ["", "a/b", "a\0b", "item", "items", 3])
def test_names_that_are_taken_are_refused(name: object) -> None:
    with pytest.raises(UsageError, match="name values by texts"):
        payloads.encoded({name: 1})


def test_a_function_is_told_by_its_text_or_its_code() -> None:
    def made(text: str) -> dict[str, object]:
        names: dict[str, Any] = {}
        exec(text, names)
        return identity_of(names["f"], [1], 0)

    same, other, inner = (made("def f(x):\n    return " + text) for text in ("x + 1", "x + 2", "[y + 1 for y in x]"))
    assert same == made("def f(x):\n\n    return x + 1")
    assert same["function"] == other["function"]
    assert len({str(each["the function's text"]) for each in (same, other, inner, identity_of(abs, [1], 0))}) == 4
    assert identity_of(abs, [1], 0)["the function's text"] == ""
    # Of a lambda nothing counts that stands beside it.
    calls = [identity_of(lambda x: x + 1, [1], 0), identity_of(lambda x: x + 1, [1], 0) | {}]
    assert calls[0] == calls[1] != identity_of(lambda x: x + 2, [1], 0)


def test_items_have_the_same_text_in_every_process() -> None:
    assert text_of(object()) == "object"
    assert text_of((1, "a", Path("b"), None)) == "(1, 'a', 'b', None)"
    assert text_of(np.zeros(2)) != text_of(np.ones(2))
    assert text_of({"a": np.float64(0.5)}) == "{'a': 0.5}"
    assert [name_of(3, item) for item in ("x.h5", 2, Path("p"), object())] == ["x.h5", "2", "p", "item 3"]
    assert len(name_of(0, "x" * 1000)) < 200


@given(st.lists(st.tuples(st.integers(1, 3), st.floats(0, 1e6)), min_size=1, max_size=30), st.data())
def test_a_schedule_has_every_item_once_and_the_longest_first(
    items: list[tuple[int, float]], data: st.DataObject
) -> None:
    sizes, costs = (np.array(column) for column in zip(*items, strict=True))
    suspects = np.array(data.draw(st.lists(st.sampled_from(range(len(items))), unique=True, max_size=5)), np.int64)
    todo = np.setdiff1d(np.arange(len(items)), suspects)
    plan = phases(todo, suspects, sizes, costs)
    assert sorted(np.concatenate([phase.items for phase in plan])) == list(range(len(items)))
    for phase in plan:
        assert list(costs[phase.items]) == sorted(costs[phase.items], reverse=True)
        assert set(sizes[phase.items]) == {phase.size}
    both = [[phase.size for phase in plan if (phase.most == 1) is alone] for alone in (False, True)]
    assert both == [sorted(part, reverse=True) for part in both]
    many = np.arange(ALONE + 1)
    assert phases(many[:0], many, np.ones(ALONE + 1, int), None)[0].most is None


@pytest.mark.parametrize(
    ("phase", "ranks", "expected"),
    [
        (TeamPhase(1, np.arange(4), None), 1, [0, 1 / 4, 2 / 4, 3 / 4]),
        (TeamPhase(1, np.arange(5), None), 2, [0, 0, 1 / 3, 1 / 3, 2 / 3]),
        (TeamPhase(1, np.arange(4), np.array([6.0, 2, 1, 1])), 1, [0, 6 / 10, 8 / 10, 9 / 10]),
        (TeamPhase(1, np.arange(4), np.array([6.0, 2, 1, 1])), 2, [0, 0, 2 / 6, 3 / 6]),  # one rank has the first alone
        (TeamPhase(2, np.arange(3), np.array([4.0, 3, 1])), 5, [0, 0, 3 / 4]),
        (TeamPhase(1, np.arange(3), np.array([4.0, 3, 1]), 1), 5, [0, 4 / 8, 7 / 8]),
        (TeamPhase(1, np.arange(3), np.array([1e308, 1e308, 1e308])), 1, [0, 1 / 3, 2 / 3]),
        (TeamPhase(1, np.arange(2), np.zeros(2)), 1, [0, 1 / 2]),
        (TeamPhase(1, np.arange(3), np.array([5.0, 0, 0])), 1, [0, 1, 1]),
    ],
)
def test_what_is_over_goes_by_costs_and_ranks(phase: TeamPhase, ranks: int, expected: list[float]) -> None:
    np.testing.assert_allclose(shares([phase], ranks), expected)


def test_phases_follow_one_another() -> None:
    plan = [TeamPhase(2, np.arange(2), np.array([3.0, 1])), TeamPhase(1, np.arange(2, 5), np.array([2.0, 2, 1]))]
    np.testing.assert_allclose(shares(plan, 2), np.array([0, 3, 4, 4, 6]) / 7)
    assert shares([], 3).tolist() == []


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_changed_or_torn_file_never_gives_a_wrong_result(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any file of a journal, cut or with a bit changed: the batch is run to its end, or refused until it is."""
    folder = tmp_path_factory.mktemp("batch")

    def run() -> list[object]:
        values = mb.map_items(square, list(range(6)), journal=folder / "j").gather()
        return [None if value is None else {name: array.tolist() for name, array in value.items()} for value in values]

    expected = run()
    path = data.draw(st.sampled_from(sorted(path for path in (folder / "j").iterdir() if path.stat().st_size)))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        bit = data.draw(st.integers(0, 8 * len(content) - 1))
        content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    if path.name == "batch.json":  # unless the change makes no difference, nobody knows what it is the journal of
        with suppress(RunError, UsageError):
            assert run() == expected
        return
    with suppress(RunError):  # which says that a result is lost, and to give the command again
        assert run() == expected
    assert run() == expected


def square(item: int) -> dict[str, object]:
    return {"square": item * item, "all": np.arange(item % 3)}


def test_what_the_disk_refuses_in_between_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system tells of it once, and to the thread."""
    kept = FileLog(tmp_path / "000001-00000", MARK, lambda: False)
    with monkeypatch.context() as patch:
        patch.setattr("mpibatch.batch.log.LOOK", 0.01)
        patch.setattr("mpibatch.batch.log.FLUSH", 0.01)
        refused = threading.Event()

        def refuse(handle: int) -> None:
            refused.set()
            raise OSError(errno.EIO, "Input/output error")

        patch.setattr("os.fsync", refuse)
        kept.start(0)
        assert refused.wait(10)
    with pytest.raises(RunError, match="cannot write the journal"):
        kept.close()
