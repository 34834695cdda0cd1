"""On which line a key stands, for TOML and JSON that is known to parse.

Only read when something is wrong, so it favours being short over being fast.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Final

from node.model.problems import Path

Lines = dict[Path, int]

_SPACE: Final = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRINGS: Final = (
    re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)
_OTHER: Final = re.compile(r"[^\s,\]}#]+(?: \d\d:[^\s,\]}#]+)?")


def toml_lines(text: str) -> Lines:
    """Key path to line, from 1. Best effort: what it cannot follow it leaves out."""
    scanner = _Scanner(text)
    with suppress(IndexError):  # the places that were found serve as well as they can
        scanner.document()
    return scanner.lines


def json_lines(text: str) -> Lines:
    """The same for JSON."""
    scanner = _Scanner(text)
    with suppress(IndexError):
        scanner.space()
        scanner.value(())
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: Lines = {}
        self._counted = (0, 1)  # offset, line there

    def line(self) -> int:
        offset, line = self._counted
        line += self.text.count("\n", offset, self.at)
        self._counted = (self.at, line)
        return line

    def note(self, path: Path) -> None:
        for end in range(1, len(path) + 1):
            self.lines.setdefault(path[:end], self.line())

    def match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise IndexError
        self.at = found.end()
        return found[0]

    def space(self) -> None:
        self.match(_SPACE)

    def document(self) -> None:
        arrays: dict[Path, int] = {}
        prefix: Path = ()
        self.space()
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                prefix = self.header(arrays)
            else:
                self.pair(prefix, "=")
            self.space()

    def header(self, arrays: dict[Path, int]) -> Path:
        """`[a.b]` or `[[a.b]]`: the path that its keys stand below."""
        double = self.text.startswith("[[", self.at)
        line_at = self.at
        self.at += 2 if double else 1
        path: Path = ()
        keys = self.keys()
        for number, key in enumerate(keys):
            path = (*path, key)
            if number == len(keys) - 1 and double:
                arrays[path] = arrays.get(path, -1) + 1
            if path in arrays:
                path = (*path, arrays[path])
        self.at, end = line_at, self.at
        self.note(path)
        self.at = end + (2 if double else 1)
        return path

    def keys(self) -> list[str]:
        found = []
        while True:
            self.match(re.compile(r"[ \t]*"))
            sign = self.text[self.at]
            if sign in "\"'":
                raw = self.match(_STRINGS[2] if sign == '"' else _STRINGS[3])
                found.append(_unquoted(raw))
            else:
                found.append(self.match(_BARE))
            self.match(re.compile(r"[ \t]*"))
            if self.text[self.at : self.at + 1] != ".":
                return found
            self.at += 1

    def pair(self, prefix: Path, sign: str) -> None:
        start = self.at
        path = (*prefix, *self.keys())
        self.at, end = start, self.at
        self.note(path)
        self.at = end
        if self.text[self.at] != sign:
            raise IndexError
        self.at += 1
        self.space()
        self.value(path)

    def value(self, path: Path) -> None:
        sign = self.text[self.at]
        if sign == "[":
            self.at += 1
            self.items(path)
        elif sign == "{":
            self.at += 1
            self.members(path)
        elif sign in "\"'":
            for pattern in _STRINGS:
                if pattern.match(self.text, self.at):
                    self.match(pattern)
                    return
            raise IndexError
        else:
            self.match(_OTHER)

    def items(self, path: Path) -> None:
        index = 0
        self.space()
        while self.text[self.at] != "]":
            self.note((*path, index))
            self.value((*path, index))
            index += 1
            self.space()
        self.at += 1

    def members(self, path: Path) -> None:
        self.space()
        while self.text[self.at] != "}":
            sign = ":" if re.match(r'"(?:[^"\\\n]|\\.)*"\s*:', self.text[self.at :]) else "="
            self.pair(path, sign)
            self.space()
        self.at += 1


def _unquoted(raw: str) -> str:
    if raw[0] == "'":
        return raw[1:-1]
    try:
        return str(json.loads(raw))
    except ValueError:
        return raw[1:-1]
