"""Values in messages: they come back as they were, and nothing else does."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pickle
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.base.timing import PhaseStat
from mpibatch.mpi.values.codec import decode, encode

PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary()
    | st.datetimes() | st.dates() | st.times() | st.slices(9) | st.text(alphabet="\ud800\udcff")
)  # fmt: skip
KEYS = st.integers() | st.text() | st.tuples(st.integers(), st.text())
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner) | st.sets(KEYS),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Equal, of the same types, with NaN equal to itself, signs of zeros and orders of dicts."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float | complex):
        return repr(a) == repr(b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes("A") == b.tobytes("A")
    if isinstance(a, dict):
        return [*a] == [*b] and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@hypothesis.given(VALUES)
@hypothesis.settings(max_examples=150, deadline=None)
def test_values_come_back(value: Any) -> None:
    assert same(decode(encode(value)), value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4), np.asfortranarray(np.arange(12).reshape(3, 4)), np.zeros((0, 3), "f4"),
        np.array(5, "u1"), np.arange(20)[::3], np.array(["a", "Ä"]), np.array([b"x"]), np.array([True]),
        np.array([(1, 2.0)], [("a", "<i4"), ("b", "<f8")]), np.array([1 + 2j]), np.arange(3, dtype=">i4"),
        np.array(["2020-01-01"], "M8[D]"), np.zeros((2, 0, 2)),
    ],
)  # fmt: skip
def test_arrays_come_back(array: np.ndarray) -> None:
    back = decode(encode([array, array.dtype]))
    assert same(back[0], array)
    assert back[1] == array.dtype
    assert back[0].flags.writeable
    for number in array.reshape(-1)[:1]:
        assert same(decode(encode(number)), number)
        assert type(decode(encode(number))) is type(number)


def test_records_of_mpibatch_come_back() -> None:
    box = mb.Box((0, 1), (3, 5))
    parts = mb.Grid((8, 6)).decomposition
    for value in (box, parts, {"b": [box]}, Path("a/b")):
        assert decode(encode(value)) == value
    fields = dataclasses.fields(PhaseStat) if dataclasses.is_dataclass(PhaseStat) else ()
    assert fields or issubclass(PhaseStat, tuple)


class Own:
    pass


@dataclasses.dataclass
class OwnRecord:
    x: int = 1


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_lists_in_lists_come_back() -> None:
    value = nested(200)
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        Own(), OwnRecord(), object, len, lambda: 1, np.array([None]), iter([]), [Own()], nested(201), nested(5000),
        np.ma.masked_array([1.0], [True]), np.ma.masked_array([(1, 2)], dtype="i4,i4")[0],
        np.rec.array([(1, 2)], dtype="i4,i4"),
    ],
)  # fmt: skip
def test_what_is_no_plain_value_is_refused(value: Any) -> None:
    with pytest.raises(mb.UsageError, match="cannot be sent to other ranks"):
        encode(value)


def crafted(module: str, name: str, fields: dict[str, Any]) -> bytes:
    return b"r" + encode((module, name, fields))


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps([1]), b"", b"x", b"l" + b"\xff" * 8, b"s" + b"\xff" * 8, encode(1) + b"N", encode("abc")[:-1],
        crafted("os", "system", {"command": "true"}), crafted("subprocess", "Popen", {"args": "true"}),
        crafted("mpibatch.base.files", "os", {}), crafted("mpibatch.base.files", "os.system", {}),
        crafted("mpibatch.base.files", "Path", {}), crafted("mpibatch.base.files", "replacing", {"path": "x"}),
        crafted("mpibatch.no.such", "Thing", {}), crafted("mpibatch.base.errors", "UsageError", {}),
        crafted("mpibatch.domain.box", "Box", {"nothing": 1}),
        b"a" + encode(("|O", (1,), "C")) + encode(b"12345678")[1:], b"D" + encode("O"), b":" + encode((1, 2, 3, 4)),
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"message between ranks|data type"):
        decode(data)


@hypothesis.given(st.binary(max_size=40))
@hypothesis.settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode(data)


def test_no_pickle_in_private_communicators() -> None:
    comm = mb.Grid(4).comm
    assert comm.bcast({"a": (1, 2)}) == {"a": (1, 2)}
    assert comm.allreduce(3) == 3
    assert math.isnan(comm.allgather(math.nan)[0])
    for call in (comm.bcast, comm.gather, comm.allgather, comm.allreduce):
        with pytest.raises(mb.UsageError, match="cannot be sent"):
            call(Own())
    with pytest.raises(mb.UsageError, match="in capitals"):
        comm.alltoall([1])
