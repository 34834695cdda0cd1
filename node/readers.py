"""Readers of single settings: each raises ValueError with what is wrong and what would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from federation.address import PORT as MESH_PORT
from federation.address import RIGHT as ADDRESS_RIGHT
from federation.address import BadAddress, with_port
from federation.limits import ADDRESSES_MAX
from node.model.units import SIZE_RIGHT, TIME_RIGHT, parse_size, parse_time

PATIENCE_S_MIN = 6
NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
Reader = Callable[[object], Any]


def size(value: object) -> int:
    """Bytes of "2GB" or "2GiB"."""
    try:
        return parse_size(string(value))
    except ValueError as error:
        raise ValueError(f"is no size; {SIZE_RIGHT}") from error


def duration(value: object) -> int:
    """Seconds of "90s", "30m", "4h" or "2d"."""
    try:
        return parse_time(string(value))
    except ValueError as error:
        raise ValueError(f"is no time; {TIME_RIGHT}") from error


def patience(value: object) -> int:
    """Seconds; a third of it lies between two beacons, of which at most one a second goes out."""
    if (seconds := duration(value)) < PATIENCE_S_MIN:
        raise ValueError(f"is too short; write {PATIENCE_S_MIN}s or more")
    return seconds


def string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is no string")
    return value


def site_name(value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError("is no site name; write a-z, 0-9 and -, up to 32 characters")
    return value


def listen(value: object) -> str:
    host, colon, port = string(value).rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError('is no address; write "HOST:PORT", such as "127.0.0.1:0"')
    return string(value)


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("is no list of names")
    return tuple(value)


def addresses(value: object) -> tuple[str, ...]:
    """`HOST` or `HOST:PORT` each."""
    found = names(value)
    if len(found) > ADDRESSES_MAX:
        raise ValueError(f"are too many; name at most {ADDRESSES_MAX}")
    try:
        for address in found:
            with_port(address, MESH_PORT)
    except BadAddress as error:
        raise ValueError(f"cannot be dialled: {error}; {ADDRESS_RIGHT}") from None
    return found


def whole(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"is no whole number from {low} to {high:,}")
        return value

    return read


def table_of(document: Mapping[str, Any], key: str, problems: list[str]) -> Mapping[str, Any]:
    table = document.get(key, {})
    if isinstance(table, dict):
        return table
    problems.append(f"{key} is no table; write [{key}]")
    return {}


def section(
    document: Mapping[str, Any],
    key: str,
    known: Mapping[str, tuple[str, Reader]],
    problems: list[str],
    prefix: str = "",
) -> dict[str, Any]:
    table = table_of(document, key, problems)
    refuse_unknown(table, f"{prefix}{key}.", known, problems)
    return values_of(table, f"{prefix}{key}.", known, problems)


def values_of(
    table: Mapping[str, Any],
    prefix: str,
    known: Mapping[str, tuple[str, Reader]],
    problems: list[str],
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, (name, read) in known.items():
        if key not in table:
            continue
        try:
            found[name] = read(table[key])
        except ValueError as error:
            problems.append(f"{prefix}{key}  {table[key]!r} {error}")
    return found


def refuse_unknown(
    table: Mapping[str, Any], prefix: str, known: Collection[str], problems: list[str]
) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(known)}"
            problems.append(f"{prefix}{key}  is unknown; {hint}")
