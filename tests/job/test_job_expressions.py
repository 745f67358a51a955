"""Steps that join results: what is accepted, where a mistake is shown, and what a rehearsal knows; caps on files."""

import subprocess
import sys

import numpy as np
import pytest

from mpibatch.base.errors import UsageError
from mpibatch.job import parse
from mpibatch.job.document.caps import json_value, toml_document
from mpibatch.job.file.arithmetic import OPERATIONS, evaluate, names_in, operate, parsed
from mpibatch.job.file.explanation import explained, reference
from mpibatch.job.file.functions import known_filters, parameters_of
from mpibatch.job.file.schema import STEP_KEYS, TABLES
from mpibatch.job.rehearsal import Rehearsed, Values, rehearsed


@pytest.mark.parametrize(
    ("text", "words", "column"),
    [("a + ", "not valid", None), ("a.b", "Attribute is not taken", 0), ("a + f(b)", "no function 'f'", 4),
     ("a + 'x'", "no number", 4), ("a // b", "FloorDiv", 0), ("(" * 70 + "-" * 61 + "a" + ")" * 70, "nested", None),
     ("__import__('os')", "no function", 0), ("[x for x in a]", "not taken", 0), ("sqrt(a, b)", "takes 1", 0)],
)  # fmt: skip
def test_an_expression_is_refused_with_its_place(text, words, column):
    with pytest.raises(UsageError, match=words) as caught:
        parsed(text)
    if column is not None:
        assert str(caught.value).splitlines()[-1].index("^") == 4 + column


def test_expressions_are_numpy():
    import mpibatch as mb

    rng = np.random.default_rng(3)
    a, b = rng.random((2, 5, 7))
    grid = mb.Grid((5, 7))
    fields = {"a": mb.scatter(a, grid), "b": mb.scatter(b, grid)}
    for text in ("a - 0.5 * b > t", "0.2 < a <= 0.7", "where(a > b, a, -b) ** 2", "minimum(a, b) / (1 + abs(b))"):
        want = eval(
            text.replace("0.2 < a <= 0.7", "(0.2 < a) & (a <= 0.7)"),
            {"a": a, "b": b, "t": 0.1, "where": np.where, "minimum": np.minimum},
        )
        np.testing.assert_array_equal(evaluate(text, {**fields, "t": 0.1}).owned, want)
    np.testing.assert_array_equal(evaluate("not (a > b) and b > a", fields).owned, ~(a > b) & (b > a))
    for name, (function, count) in OPERATIONS.items():
        given = [a > 0.5, a, b] if count == 3 else [a, b][:count]
        joined = operate(name, [mb.scatter(one, grid) for one in given])
        np.testing.assert_array_equal(joined.owned, getattr(np, function)(*given))
    assert names_in(parsed("b + sqrt(a) * b")) == ["b", "a"]
    with pytest.raises(UsageError, match="one number"):
        evaluate("9 ** 9 ** 9 + 1", {})


REFUSALS = """
import itertools
import numpy as np
from mpibatch.base.compiled import interpret
interpret()
from mpibatch.base.errors import MpibatchError
from mpibatch.job.rehearsal import Values, rehearse
from mpibatch.job.file.schema import Step
for shape, channels, dtype in itertools.product([(4,), (4, 4), (4, 4, 4)], [(), (3,)], ["bool", "u1", "f4", "c16"]):
    values = Values("x", shape, channels, np.dtype(dtype).name, (False,) * len(shape))
    for name in ("canny", "rgb2gray", "sobel"):
        fits = {"canny": len(shape) == 2 and not channels, "rgb2gray": channels == (3,), "sobel": True}[name]
        try:
            rehearse([Step("s", name, "input")], values)
            assert fits and dtype != "c16", (name, values)
        except MpibatchError:
            assert not fits or dtype == "c16", (name, values)
"""


def test_a_rehearsal_refuses_what_the_filter_refuses():
    done = subprocess.run([sys.executable, "-c", REFUSALS], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_rehearsal_in_a_process_of_its_own():
    job = parse(
        '[input]\npath="i"\n[[step]]\nfilter="sobel"\n[[step]]\nfilter="less"\ninput=["input","sobel"]\n'
        '[output]\npath="o"\n'
    )
    assert rehearsed(job, Values("x", (9, 9), (), "float32", (False, False))) == (
        [Rehearsed("float32", (), (1, 1)), Rehearsed("bool", (), (0, 0))],
        "",
    )


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 3000, "a = 1" + "0" * 4000, ".".join("a" * 50_000) + " = 1", "#" * 2_000_000]
)
def test_files_that_are_too_large_are_refused_at_once(text):
    with pytest.raises(UsageError, match=r"nested more|more than|characters"):
        toml_document(text, "job.toml")


def test_json_too_deep():
    with pytest.raises(UsageError, match="nested more"):
        json_value("[" * 100_000, "profile")


def test_too_many_steps():
    with pytest.raises(UsageError, match="2001 steps"):
        parse('[input]\npath="i"\n' + '[[step]]\nfilter="sobel"\n' * 2001 + '[output]\npath="o"\n')


def test_every_filter_is_explained_and_every_key_listed():
    for name in known_filters():
        words = explained(name)
        assert all(f"  {p.name}" in words for p in parameters_of(name))
        assert f'filter = "{name}"' in words
        assert ">>>" not in words
    lines = [line.split()[0] for line in reference().splitlines()]
    assert {*STEP_KEYS, *(key for keys in TABLES.values() for key in keys)} <= {*lines}
