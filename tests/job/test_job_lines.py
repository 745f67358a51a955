"""Line numbers of TOML keys, against tomllib's own reading of the same text."""

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpibatch.job.document.lines import error_line, key_lines


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    found = {path} if path else set()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found |= paths_of(item, (*path, key))
    return found


TEXT = '''\
# a comment = 1
title = "a [table] # in a string"

[input]
path = 'C:\\no.escape'   # [not.a.table]
"quoted key" = """
[step]
sigma = "5" \\"""
""""" # five quotes end it
when = 1979-05-27 07:32:00

[grid.deep]
a.b."c.d" = 1
sizes = [
    [1, 2],  # one ] bracket
    { x = 1, y.z = [3] },
]

[[step]]
filter = "sobel"
[[step]]
filter = \'\'\'
gaussian\'\'\'
[step.more]
sigma = +1e3
[[step.inner]]
n = 0x_ff
'''


def test_every_key_has_its_line() -> None:
    text = TEXT.replace("0x_ff", "0xff")
    lines = key_lines(text)
    assert set(lines) == paths_of(tomllib.loads(text))
    wanted = {
        ("title",): "title =",
        ("input", "quoted key"): '"quoted key"',
        ("input", "when"): "when =",
        ("grid", "deep", "a", "b", "c.d"): "a.b",
        ("grid", "deep", "sizes"): "sizes =",
        ("grid", "deep", "sizes", 1, "y", "z"): "{ x",
        ("step", 0, "filter"): 'filter = "sobel"',
        ("step", 1, "filter"): "filter = '''",
        ("step", 1, "more", "sigma"): "sigma = +1e3",
        ("step", 1, "inner", 0, "n"): "n = 0x",
    }
    for path, begin in wanted.items():
        assert text.splitlines()[lines[path] - 1].strip().startswith(begin), path


def test_windows_line_ends_count_once() -> None:
    assert key_lines("a = 1\r\n\r\n[b]\r\nc = 2\r\n") == {("a",): 1, ("b",): 3, ("b", "c"): 4}


NAMES = st.one_of(st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True), st.text("ab .#[]{}=,'\\\n\"", max_size=6))
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False),
    st.text("ab #[]{}=,'\\\n\"é", max_size=12),
    st.dates(),
    st.datetimes(),
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)


def key_text(name: str) -> str:
    bare = name and all(c.isalnum() or c in "_-" for c in name) and name.isascii()
    return name if bare else string_text(name)


def string_text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def value_text(value: Any, draw: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        if "'" not in value and draw(st.booleans()):
            return f"'''{value}'''" if not value.startswith("\n") else string_text(value)
        return string_text(value)
    if isinstance(value, list):
        gap = draw(st.sampled_from(["", " ", "\n  ", " # ],}\n"]))
        return "[" + ",".join(gap + value_text(v, draw) for v in value) + gap + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key_text(k)} = {value_text(v, draw)}" for k, v in value.items()) + "}"
    return value.isoformat(" ") if hasattr(value, "hour") else str(value)


def table_text(table: dict[str, Any], path: list[str], draw: Any) -> list[str]:
    """Pairs first, then some of the sub-tables as sections of their own."""
    lines, later = [], []
    for key, value in table.items():
        tables = isinstance(value, list) and value and all(isinstance(v, dict) for v in value)
        if (isinstance(value, dict) or tables) and draw(st.booleans()):
            later.append((key, value))
        else:
            lines.append(f"{key_text(key)} = {value_text(value, draw)}")
    for key, value in later:
        name = ".".join(map(key_text, [*path, key]))
        for entry in value if isinstance(value, list) else [value]:
            lines.append(f"[[ {name} ]]" if isinstance(value, list) else f"[{name}]")
            lines += ["# comment [x]", *table_text(entry, [*path, key], draw)]
    return lines


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(DOCUMENTS, st.data())
def test_keys_agree_with_tomllib(document: dict[str, Any], data: st.DataObject) -> None:
    text = "\n".join(table_text(document, [], data.draw)) + "\n"
    read = tomllib.loads(text)
    lines = key_lines(text)
    assert set(lines) == paths_of(read)
    assert all(1 <= line <= len(text.splitlines()) for line in lines.values())


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = 1\nb = \n", 2), ("a = 1\na = 2\n", 2), ('x = "abc', 1), ("[a]\n[a]\n", 2), ("a = [1,\n2\n", 2)],
)
def test_syntax_errors_have_a_line(text: str, line: int) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads(text)
    assert error_line(caught.value, text) == line
