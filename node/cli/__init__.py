"""The `floe` command: one file a group of verbs, each imported only when it is called."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status, and never a traceback for what a person did."""
    from node.cli.root import run

    return run(arguments)
