"""Any facts as indented lines, for what has no view of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from node.cli.output import duration, harmless, number, size


def fact_lines(table_of: Mapping[str, Any], indent: str = "") -> list[str]:
    """Any tree of facts as indented lines, sizes and times readable."""
    lines: list[str] = []
    for name, value in table_of.items():
        label = harmless(str(name).removesuffix("_bytes").removesuffix("_s").replace("_", " "))
        if isinstance(value, dict):
            lines += [f"{indent}{label}", *fact_lines(value, indent + "  ")]
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for item in value:
                lines += [f"{indent}{label}", *fact_lines(item, indent + "  ")]
        elif name != "schema":
            lines.append(f"{indent}{label:<20} {_fact(str(name), value)}")
    return lines


def _fact(name: str, value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if name in ("memory_bytes", "disk_bytes") and value == 0:
        return "all of it"  # of the machine; see LocalConfig
    if name.endswith("_bytes"):
        return size(value)
    if name.endswith("_s"):
        return duration(value)
    if isinstance(value, list):
        return harmless(", ".join(str(item) for item in value)) or "-"
    return number(value) if isinstance(value, int) else harmless(value)
