"""Write a description as TOML, which the standard library only reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+\Z")
_LINE_MAX: Final = 96


def dumps(table: Mapping[str, Any]) -> str:
    """TOML that reads back as `table`: scalars first, then tables, then lists of tables."""
    lines: list[str] = []
    _table(table, "", lines)
    return "\n".join(lines).strip() + "\n"


def _table(table: Mapping[str, Any], prefix: str, lines: list[str]) -> None:
    plain = {key: value for key, value in table.items() if not _has_header(value)}
    for key, value in plain.items():
        lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in table.items():
        name = f"{prefix}{_key(key)}"
        if key in plain:
            continue
        for item in value if isinstance(value, list) else [value]:
            lines += ["", f"[[{name}]]" if isinstance(value, list) else f"[{name}]"]
            _table(item, name + ".", lines)


def _has_header(value: Any) -> bool:
    """Lists of tables, and tables that would be long on one line, get headers of their own."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, dict) and item for item in value)
    return isinstance(value, dict) and (
        len(_value(value)) > 60 or any(map(_has_header, value.values()))
    )


def _key(key: str) -> str:
    return key if _BARE.match(key) else _string(key)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        items = [_value(item) for item in value]
        joined = ", ".join(items)
        if len(joined) < _LINE_MAX or any("\n" in item for item in items):
            return f"[{joined}]"
        return "[\n" + "".join(f"    {item},\n" for item in items) + "]"
    return repr(value)
