"""How many of a council decide. Pure."""

from __future__ import annotations


def majority(voters: int) -> int:
    """How many of a council are more than half of it."""
    return voters // 2 + 1
