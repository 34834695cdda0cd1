"""Work on a home's files without its node: verify, backup, restore, rebuild."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from node.cli.failures import Failed
from node.home import Home


def verify(home: Home, quiet: bool) -> dict[str, Any]:
    raise Failed("this version cannot verify yet")


def backup(home: Home, to: Path, keys: bool) -> dict[str, Any]:
    raise Failed("this version cannot back up yet")


def restore(home: Home, backup: Path) -> dict[str, Any]:
    raise Failed("this version cannot restore yet")


def rebuild(home: Home, quiet: bool) -> dict[str, Any]:
    raise Failed("this version cannot rebuild yet")
