"""A task's rule about sites: `only`, `avoid`, `prefer`, each a list of names or globs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

Rule = Mapping[str, Sequence[str]]


def allowed(rule: Rule, name: str) -> bool:
    """Whether a site may run the task: among `only`, if that is given, and not `avoid`."""
    only = rule.get("only", ())
    return (not only or _named(only, name)) and not _named(rule.get("avoid", ()), name)


def preferred(rule: Rule, name: str) -> bool:
    """Whether the task should run at a site rather than at others."""
    return _named(rule.get("prefer", ()), name)


def _named(globs: Sequence[str], name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
