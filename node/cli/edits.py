"""Needs as people type them, checked before anything is signed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


def needs_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The needs that were given, as a description writes them. Raises UsageError."""
    from node.model.units import SIZE_RIGHT, TIME_RIGHT, parse_size, parse_time

    readers = {
        "memory": (parse_size, SIZE_RIGHT),
        "disk": (parse_size, SIZE_RIGHT),
        "time": (parse_time, TIME_RIGHT),
    }
    needs = {name: value for name, value in given.items() if value is not None}
    for name, (read, right) in readers.items():
        if name in needs:
            try:
                read(needs[name])
            except ValueError as error:
                raise click.UsageError(f"--{name}: {error}; {right}") from None
    return needs
