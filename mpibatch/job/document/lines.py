"""Line numbers of the keys of a TOML text, which tomllib does not give.

Reads only text that tomllib has accepted, so that it needs to follow the structure (headers, dotted keys, strings,
brackets) and not to check it. A path is what one would write to reach the value in tomllib's result, as in
``("step", 1, "sigma")``; tables that a dotted name only implies have the line where they are first named.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field

__all__ = ["KeyPath", "error_line", "key_lines"]

KeyPath = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
# Longest first: a triple quote also begins with an empty single-quoted string.
_STRINGS = (
    re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})', re.DOTALL),
    re.compile(r"'''.*?'''(?:'{0,2})", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)
_SKIP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_PLAIN = re.compile(r"[^,\]}\s#]+(?: [0-9][^,\]}\s#]*)?")  # a date may hold one space before its time
_AT_LINE = re.compile(r"at line (\d+)")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line (from 1) where each key, table and array-of-tables entry of a valid TOML text begins. Local."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.lines


def error_line(error: tomllib.TOMLDecodeError, text: str) -> int:
    """Return the line of a syntax error: tomllib says it only in words. Local."""
    match = _AT_LINE.search(str(error))
    return int(match.group(1)) if match else max(1, len(text.splitlines()))


@dataclass
class _Scanner:
    text: str
    at: int = 0
    lines: dict[KeyPath, int] = field(default_factory=dict)
    entries: dict[KeyPath, int] = field(default_factory=dict)  # how many [[...]] each array of tables has so far
    count: int = 1  # the line in which `counted` is
    counted: int = 0

    def document(self) -> None:
        table: KeyPath = ()
        while self.skip(_SKIP) < len(self.text):
            if self.text.startswith("[", self.at):
                table = self.header()
            else:
                self.pair(table)

    def header(self) -> KeyPath:
        """Read ``[a.b]`` or ``[[a.b]]``; an array of tables on the way means its last entry."""
        line = self.line()
        array = self.text.startswith("[[", self.at)
        self.at += 2 if array else 1
        path: KeyPath = ()
        names = self.dotted()
        for i, name in enumerate(names):
            path = (*path, name)
            self.lines.setdefault(path, line)
            last = i == len(names) - 1
            if array and last:
                self.entries[path] = self.entries.get(path, 0) + 1
            if path in self.entries:
                path = (*path, self.entries[path] - 1)
                self.lines.setdefault(path, line)
        self.at += 2 if array else 1
        return path

    def pair(self, table: KeyPath) -> None:
        """Read ``a.b = value`` into `table`."""
        line = self.line()
        path = table
        for name in self.dotted():
            path = (*path, name)
            self.lines.setdefault(path, line)
        self.at += 1  # the equals sign
        self.skip(_SPACE)
        self.value(path)

    def value(self, path: KeyPath) -> None:
        opening = self.text[self.at]
        if opening == "{":
            self.items(path, "}")
        elif opening == "[":
            self.items(path, "]")
        elif opening in "\"'":
            self.string()
        else:
            self.skip(_PLAIN)

    def items(self, path: KeyPath, closing: str) -> None:
        """Read an array or an inline table: values numbered from 0, or pairs."""
        self.at += 1
        number = 0
        while self.skip(_SKIP) < len(self.text) and self.text[self.at] != closing:
            if closing == "}":
                self.pair(path)
            else:
                self.lines[(*path, number)] = self.line()
                self.value((*path, number))
                number += 1
            self.skip(_SKIP)
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1

    def dotted(self) -> list[str]:
        """Read a dotted name and the blanks around it."""
        names: list[str] = []
        while True:
            self.skip(_SPACE)
            if self.text[self.at] in "\"'":
                names.append(str(tomllib.loads(f"x = {self.string()}")["x"]))
            else:
                begin = self.at
                names.append(self.text[begin : self.skip(_BARE)])
            self.skip(_SPACE)
            if self.text[self.at] != ".":
                return names
            self.at += 1

    def string(self) -> str:
        begin = self.at
        for pattern in _STRINGS:
            if pattern.match(self.text, self.at):
                return self.text[begin : self.skip(pattern)]
        raise AssertionError("not a string: the text was not checked by tomllib first")

    def skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at

    def line(self) -> int:
        # Only what is new is counted: a text of many keys would otherwise be counted over and over.
        self.count += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.count
