"""The rows of a `foreach` file: CSV with a header, or JSON lines. One row a line, UTF-8.

The client scans the whole file once; a node keeps the offset of every 256th row and reads
single rows. A CSV cell that is written exactly as an integer is one; everything else is text.
"""

from __future__ import annotations

import csv
import io
import json
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final

from node.model.description import FILE_BYTES_MAX, IDENTIFIER, ROWS_MAX
from node.model.kinds import BAD, KEY, SCALAR, Value
from node.model.problems import Report

STEP: Final = 256  # rows between two kept offsets
LINE_BYTES_MAX: Final = 1 << 20
COLUMNS_MAX: Final = 256
_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]{0,37})\Z")
_BOM: Final = b"\xef\xbb\xbf"


class BadRows(ValueError):
    """(what, right) for a table that we cannot take; what names the line."""


@dataclass(frozen=True, slots=True)
class RowTable:
    """What a scan found. digest: BLAKE2b-256 of the whole file."""

    format: str
    columns: tuple[str, ...]
    rows: int
    first: Mapping[str, Any]
    last: Mapping[str, Any]
    digest: bytes
    size: int


def scan(path: Path) -> RowTable:
    """Check every row of a file. Raises BadRows, OSError."""
    size = path.stat().st_size
    if size > FILE_BYTES_MAX:
        raise BadRows("is larger than 1 GiB", "split the dataset")
    with path.open("rb") as file:
        kind = _format_of(path, file.read(4096))
        file.seek(0)
        hasher = blake2b(digest_size=32)
        lines = _lines(file, hasher)
        rows = _csv_rows(lines) if kind == "csv" else _json_rows(lines)
        count = 0
        first: Mapping[str, Any] = {}
        row: Mapping[str, Any] = {}
        for row in rows:
            first = first or row
            count += 1
            if count > ROWS_MAX:
                raise BadRows("has too many rows", f"at most {ROWS_MAX:,}")
    if not count:
        raise BadRows("has no rows", "give it a header and at least one row")
    return RowTable(kind, tuple(first), count, first, row, hasher.digest(), size)


def _format_of(path: Path, start: bytes) -> str:
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return "jsonl"
    if path.suffix.lower() == ".csv":
        return "csv"
    return "jsonl" if start.removeprefix(_BOM).lstrip()[:1] == b"{" else "csv"


def _lines(file: BinaryIO, hasher: Any) -> Iterator[tuple[int, str]]:
    """(number, text) of every line that is not blank, without its end."""
    number = 0
    while raw := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(raw) > LINE_BYTES_MAX:
            raise BadRows(f"line {number} is longer than 1 MiB", "shorten it")
        hasher.update(raw)
        try:
            text = raw.removeprefix(_BOM if number == 1 else b"").decode()
        except UnicodeDecodeError:
            raise BadRows(f"line {number} is no UTF-8", "save the file as UTF-8") from None
        if text.strip():
            yield number, text.rstrip("\r\n")


def _csv_rows(lines: Iterator[tuple[int, str]]) -> Iterator[dict[str, Any]]:
    columns: list[str] = []
    for number, text in lines:
        cells = _cells(text, number)
        if not columns:
            columns = _checked_columns([cell.strip() for cell in cells], number)
            continue
        if len(cells) != len(columns):
            what = f"line {number} has {len(cells)} cells, the header {len(columns)}"
            raise BadRows(what, "write as many in every line; quote cells with commas")
        yield dict(zip(columns, map(typed, cells), strict=True))


def _cells(text: str, number: int) -> list[str]:
    try:
        found = next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration):
        right = "a quoted cell must end on its line; use JSON lines for text with line ends"
        raise BadRows(f"line {number} is no CSV", right) from None
    if "\0" in text:
        raise BadRows(f"line {number} has a NUL character", "take it out")
    return found


def typed(cell: str) -> str | int:
    """A cell as a value: an integer if it is written exactly as one, otherwise text."""
    return int(cell) if _INTEGER.match(cell) else cell


def _checked_columns(columns: Sequence[str], number: int) -> list[str]:
    for column in columns:
        if IDENTIFIER.fault(column)[0]:
            what = f'line {number}: column "{column[:40]}" cannot be used in braces'
            raise BadRows(what, "name columns with letters, digits and '_'")
    if len(set(columns)) < len(columns):
        raise BadRows(f"line {number}: two columns have one name", "rename one of them")
    if not 1 <= len(columns) <= COLUMNS_MAX:
        raise BadRows(f"line {number}: {len(columns)} columns", f"1 to {COLUMNS_MAX}")
    return list(columns)


def _json_rows(lines: Iterator[tuple[int, str]]) -> Iterator[dict[str, Any]]:
    columns: set[str] = set()
    for number, text in lines:
        row = _json_row(text, number)
        if not columns:
            columns = set(_checked_columns(list(row), number))
        elif row.keys() != columns:
            raise BadRows(f"line {number} has other keys than the first", "use the same in all")
        yield row


def _json_row(text: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRows(f"line {number} is no JSON", 'write one object a line: {"run": 1}') from None
    if not isinstance(row, dict):
        raise BadRows(f"line {number} is no object", 'write one object a line: {"run": 1}')
    report = Report()
    for key, value in row.items():
        nested = isinstance(value, list | dict)
        if (Value() if nested else SCALAR).check(value, (key,), report) is BAD or KEY.fault(key)[0]:
            what = report.problems[0].what if report.problems else "a bad key"
            raise BadRows(f"line {number}: {key[:40]} {what}", "use text, numbers, true, false")
    return row


class RowFile:
    """Single rows of a checked file. Building it reads the file once: not in the reactor."""

    def __init__(self, path: Path, kind: str, columns: Sequence[str]) -> None:
        self._path, self._kind, self._columns = path, kind, list(columns)
        self._offsets = array("q")
        self.rows = 0
        with path.open("rb") as file:
            offset, header = 0, kind == "csv"
            for raw in file:
                if raw.strip() and header:
                    header = False
                elif raw.strip():
                    if self.rows % STEP == 0:
                        self._offsets.append(offset)
                    self.rows += 1
                offset += len(raw)

    def row(self, number: int) -> dict[str, Any]:
        """Row `number`, from 0. Raises IndexError, OSError."""
        return self.range(number, number + 1)[0]

    def range(self, lo: int, hi: int) -> list[dict[str, Any]]:
        """Rows lo to hi - 1."""
        if not 0 <= lo <= hi <= self.rows:
            raise IndexError(f"rows {lo} to {hi} of {self.rows}")
        found: list[dict[str, Any]] = []
        at = lo // STEP * STEP
        with self._path.open("rb", buffering=io.DEFAULT_BUFFER_SIZE) as file:
            file.seek(self._offsets[at // STEP] if lo < self.rows else 0)
            while at < hi:
                raw = file.readline()
                if not raw:
                    raise IndexError(f"{self._path} has shrunk")
                if not raw.strip():
                    continue
                if at >= lo:
                    found.append(self._parsed(raw))
                at += 1
        return found

    def _parsed(self, raw: bytes) -> dict[str, Any]:
        text = raw.removeprefix(_BOM).decode().rstrip("\r\n")
        if self._kind == "csv":
            cells = next(csv.reader([text]))
            return dict(zip(self._columns, map(typed, cells), strict=True))
        row = json.loads(text)
        return {column: row[column] for column in self._columns}
