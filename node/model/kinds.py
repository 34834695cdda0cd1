"""Kinds of values in a description: each checks a value, and writes its own JSON Schema.

Our own rather than pydantic: submitting must start in a quarter of a second, of which pydantic
alone takes most; reserved keys need a type check before they are refused; and the messages say
what would be right in the words of the description.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from node.model.problems import Path, Report, meant
from node.model.units import SIZE_RIGHT, TIME_RIGHT, parse_size, parse_time

BAD: Final = object()  # what check() returns for a value that it reported
INTEGER_BITS_MAX: Final = 128
NESTING_MAX: Final = 20
HINTS_MAX: Final = 20  # problems after which "did you mean" is not looked for


class Kind(Protocol):
    """What may stand as the value of a key."""

    def check(self, value: Any, path: Path, report: Report) -> Any:
        """The value without its bad parts, or BAD; everything bad goes to `report`."""

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the kind."""


def named(value: Any) -> str:
    """What a value is, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value[:40]}{"..." if len(value) > 40 else ""}"'
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) or abs(value) < 10**18 else "the number"
    return "a list" if isinstance(value, list) else "a table"


@dataclass(frozen=True, slots=True)
class Int:
    lo: int
    hi: int

    def check(self, value: Any, path: Path, report: Report) -> Any:
        if type(value) is int and self.lo <= value <= self.hi:
            return value
        what = "is out of range" if type(value) is int else "is no integer"
        report.add(path, f"{_plain(value)} {what}", self.right())
        return BAD

    def right(self) -> str:
        return f"write an integer from {self.lo} to {self.hi:_}".replace("_", ",")

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.lo, "maximum": self.hi}


def _plain(value: Any) -> str:
    return str(value) if type(value) is int and abs(value) < 10**30 else named(value)


@dataclass(frozen=True, slots=True)
class Bool:
    def check(self, value: Any, path: Path, report: Report) -> Any:
        if isinstance(value, bool):
            return value
        report.add(path, f"{named(value)} is neither true nor false", "write true or false")
        return BAD

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Only:
    """One value alone."""

    value: bool

    def check(self, value: Any, path: Path, report: Report) -> Any:
        if value is self.value:
            return value
        report.add(path, f"{named(value)} cannot stand here", f"write {named(self.value)}")
        return BAD

    def schema(self) -> dict[str, Any]:
        return {"const": self.value}


@dataclass(frozen=True, slots=True)
class Text:
    """A string: bounded in UTF-8 bytes, without NUL; `pattern` must match it whole."""

    bytes_max: int = 4096
    pattern: str = ""
    what: str = "is not allowed here"
    right: str = ""
    empty: bool = True

    def check(self, value: Any, path: Path, report: Report) -> Any:
        if not isinstance(value, str):
            report.add(path, f"{named(value)} is no text", self.right or "put it in quotes")
            return BAD
        what, right = self.fault(value)
        if what:
            report.add(path, what, right)
            return BAD
        return value

    def fault(self, value: str) -> tuple[str, str]:
        """(what is wrong with a string, what would be right), or two empty strings."""
        if "\0" in value:
            return "text with a NUL character", "take it out"
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            return "text that is no valid Unicode", "take the lone surrogates out"
        if size > self.bytes_max:
            return f"{size:,} bytes are too many", f"at most {self.bytes_max:,}"
        if not value and not self.empty:
            return "is empty", self.right or "write something"
        if self.pattern and not re.fullmatch(self.pattern, value):
            return f"{named(value)} {self.what}", self.right or "choose another"
        return "", ""

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string", "maxLength": self.bytes_max}
        if self.pattern:
            schema["pattern"] = f"^(?:{self.pattern})$"
        if not self.empty:
            schema["minLength"] = 1
        return schema


@dataclass(frozen=True, slots=True)
class Unit:
    """A size or a time: text with its unit. `lo` in bytes or seconds."""

    parse: Callable[[str], int]
    right: str
    lo: int

    def check(self, value: Any, path: Path, report: Report) -> Any:
        if not isinstance(value, str):
            kind = "has no unit" if isinstance(value, int | float) else "is no text"
            report.add(path, f"{named(value)} {kind}", self.right)
            return BAD
        try:
            amount = self.parse(value)
        except ValueError as error:
            report.add(path, str(error), self.right)
            return BAD
        if amount < self.lo:
            report.add(path, f"{named(value)} is too little", self.right)
            return BAD
        return value

    def schema(self) -> dict[str, Any]:
        units = "(B|[kKMGTP]B|[KMGTP]iB)" if self.parse is parse_size else "[smhd]"
        return {"type": "string", "pattern": rf"^[0-9]+(\.[0-9]+)? ?{units}$"}


SIZE: Final = Unit(parse_size, SIZE_RIGHT, 1)
TIME: Final = Unit(parse_time, TIME_RIGHT, 1)
ANY_TIME: Final = Unit(parse_time, TIME_RIGHT, 0)


@dataclass(frozen=True, slots=True)
class ListOf:
    item: Kind
    items_max: int
    items_min: int = 0

    def check(self, value: Any, path: Path, report: Report) -> Any:
        if not isinstance(value, list):
            report.add(path, f"{named(value)} is no list", "write [ ... ]")
            return BAD
        if not self.items_min <= len(value) <= self.items_max:
            right = f"write {self.items_min} to {self.items_max:,}"
            report.add(path, f"a list of {len(value):,}", right)
            return BAD
        checked = [self.item.check(v, (*path, i), report) for i, v in enumerate(value)]
        return [item for item in checked if item is not BAD]

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array", "items": self.item.schema()}
        return schema | {"minItems": self.items_min, "maxItems": self.items_max}


@dataclass(frozen=True, slots=True)
class MapOf:
    """A table whose keys the user chooses."""

    key: Text
    value: Kind
    keys_max: int

    def check(self, value: Any, path: Path, report: Report) -> Any:
        if not isinstance(value, dict):
            report.add(path, f"{named(value)} is no table", "write { name = value }")
            return BAD
        if len(value) > self.keys_max:
            report.add(path, f"{len(value):,} keys are too many", f"at most {self.keys_max:,}")
            return BAD
        result = {}
        for key, item in value.items():
            what, right = self.key.fault(key)
            if what:
                report.add((*path, key), what, right)
                continue
            checked = self.value.check(item, (*path, key), report)
            if checked is not BAD:
                result[key] = checked
        return result

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "propertyNames": {k: v for k, v in self.key.schema().items() if k != "type"},
            "additionalProperties": self.value.schema(),
            "maxProperties": self.keys_max,
        }


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table. reserved: its type is checked, then it is refused."""

    name: str
    kind: Kind
    doc: str
    default: Any = None
    required: bool = False
    reserved: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table with fixed keys; others are refused."""

    keys: tuple[Key, ...]
    by_name: Mapping[str, Key] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {key.name: key for key in self.keys})

    def check(self, value: Any, path: Path, report: Report) -> Any:
        if not isinstance(value, dict):
            report.add(path, f"{named(value)} is no table", "write { key = value }")
            return BAD
        result = {}
        for name, item in value.items():
            checked = self._check_key(name, item, (*path, name), report)
            if checked is not BAD:
                result[name] = checked
        for key in self.keys:
            if key.required and key.name not in value:
                report.add((*path, key.name), "is missing", f"write {key.name} = ...")
        return result

    def _check_key(self, name: str, item: Any, path: Path, report: Report) -> Any:
        key = self.by_name.get(name)
        if key is None:
            close = meant(name, self.by_name) if len(report.problems) < HINTS_MAX else ""
            report.add(path, "unknown key", close or "known: " + ", ".join(self.by_name))
            return BAD
        if key.reserved:
            return reserved(key.kind, name, item, path, report)
        return key.kind.check(item, path, report)

    def schema(self) -> dict[str, Any]:
        properties = {key.name: _key_schema(key) for key in self.keys}
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        required = [key.name for key in self.keys if key.required]
        if required:
            schema["required"] = required
        return schema | {"additionalProperties": False}


def reserved(kind: Kind, what: str, value: Any, path: Path, report: Report) -> Any:
    """Check a value that a later release will take, then refuse it; always BAD."""
    before = len(report.problems)
    kind.check(value, path, report)
    if len(report.problems) == before:
        report.add(path, f"{what} is not yet supported", "leave it out")
    return BAD


def _key_schema(key: Key) -> dict[str, Any]:
    if key.reserved:
        return {"description": f"{key.doc} Reserved: not yet supported.", "not": {}}
    schema = key.kind.schema() | {"description": key.doc}
    return schema if key.default is None else schema | {"default": key.default}


@dataclass(frozen=True, slots=True)
class Either:
    """One of several kinds, told apart by their Python type."""

    kinds: tuple[tuple[type, Kind], ...]
    right: str

    def check(self, value: Any, path: Path, report: Report) -> Any:
        for type_, kind in self.kinds:
            if type(value) is type_:
                return kind.check(value, path, report)
        report.add(path, f"{named(value)} cannot stand here", self.right)
        return BAD

    def schema(self) -> dict[str, Any]:
        shown = [kind.schema() for _, kind in self.kinds if not isinstance(kind, Reserved)]
        return shown[0] if len(shown) == 1 else {"anyOf": shown}


@dataclass(frozen=True, slots=True)
class Reserved:
    """A kind of value that a later release will take."""

    kind: Kind
    what: str

    def check(self, value: Any, path: Path, report: Report) -> Any:
        return reserved(self.kind, self.what, value, path, report)

    def schema(self) -> dict[str, Any]:
        return {"not": {}}


@dataclass(frozen=True, slots=True)
class Braced:
    """A kind whose text may one day hold an expression."""

    kind: Kind
    what: str

    def check(self, value: Any, path: Path, report: Report) -> Any:
        if isinstance(value, str) and "{" in value:
            return reserved(Text(), self.what, value, path, report)
        return self.kind.check(value, path, report)

    def schema(self) -> dict[str, Any]:
        return self.kind.schema()


@dataclass(frozen=True, slots=True)
class Value:
    """Any scalar, list or table, nested up to 20 deep."""

    def check(self, value: Any, path: Path, report: Report) -> Any:
        return BAD if self._bad(value, path, report, 0) else value

    def _bad(self, value: Any, path: Path, report: Report, depth: int) -> bool:
        if depth > NESTING_MAX:
            report.add(
                path[: -NESTING_MAX or None],
                f"is nested deeper than {NESTING_MAX}",
                "make it flatter",
            )
            return True
        if isinstance(value, list):
            bad = [self._bad(v, (*path, i), report, depth + 1) for i, v in enumerate(value)]
            return any(bad)
        if isinstance(value, dict):
            bad = [self._bad(v, (*path, k), report, depth + 1) for k, v in value.items()]
            bad += [KEY.check(k, (*path, k), report) is BAD for k in value]
            return any(bad)
        return SCALAR.check(value, path, report) is BAD

    def schema(self) -> dict[str, Any]:
        return {"type": ["string", "number", "boolean", "array", "object"]}


@dataclass(frozen=True, slots=True)
class Scalar:
    """Text, an integer of up to 128 bits, a float, or a boolean."""

    text: Text = Text(65_536)

    def check(self, value: Any, path: Path, report: Report) -> Any:
        if isinstance(value, str):
            return self.text.check(value, path, report)
        if isinstance(value, bool):
            return value
        if isinstance(value, int):
            if value.bit_length() <= INTEGER_BITS_MAX:
                return value
            report.add(path, f"has more than {INTEGER_BITS_MAX} bits", "write it as text")
            return BAD
        if isinstance(value, float) and value - value == 0:
            return value
        report.add(path, f"{named(value)} cannot stand here", "write text, a number, true or false")
        return BAD

    def schema(self) -> dict[str, Any]:
        return {"type": ["string", "number", "boolean"]}


KEY: Final = Text(255, empty=False)
SCALAR: Final = Scalar()
