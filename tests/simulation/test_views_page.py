"""VIEWS.md names, for each failure and view, a test that is there and looks at that view."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent
FILES = {
    "V": [HERE / "test_views.py"],
    "T": [HERE / "test_tending.py"],
    "N": sorted(TESTS.glob("netns/test_*.py")),
    "U": [
        TESTS / "unit/federation/test_hostile_links.py",
        TESTS / "unit/node/services/test_metrics.py",
    ],
}
ASKS = {
    "mesh": r"\.mesh\(\)|\.states\(\)|\.sees_as",
    "links": r"\.links\(\)|\.linked\(\)",
    "shards": r"\.shards\(\)|\.shard\(",
    "why": r"\.why\(|\.explains\b",
    "verify": r"\.verify\(\)|\.agrees_with\b|\.ended\(",
    "metrics": r"\.metrics\(\)|Metrics\(",
}
NOTHING = "–"


def rows(page: Path) -> list[list[str]]:
    """The cells of a page's table, without its head."""
    lines = [line for line in page.read_text("utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@functools.cache
def functions(path: Path) -> dict[str, ast.FunctionDef]:
    tree = ast.parse(path.read_text("utf-8"))
    return {each.name: each for each in tree.body if isinstance(each, ast.FunctionDef)}


def source(name: str, known: dict[str, ast.FunctionDef]) -> str:
    """The text of a test, and of all functions of its file that it comes to call."""
    found: dict[str, str] = {}
    ahead = [name]
    while ahead:
        function = known[each := ahead.pop()]
        found[each] = ast.unparse(function)
        called = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
        ahead += sorted((called & known.keys()) - found.keys() - set(ahead))
    return "\n".join(found.values())


@functools.cache
def asking(cell: str) -> list[str]:
    """The texts of the tests that a cell names."""
    letter, _, words = cell.partition(" ")
    part = words.replace(" ", "_")
    found = []
    for path in FILES[letter]:
        known = functions(path)
        tests = [name for name in known if name.startswith("test_") and part in name]
        found += [source(name, known) for name in tests]
    return found


def test_every_failure_has_a_row() -> None:
    survived = [row[0] for row in rows(HERE / "README.md")]
    assert [row[0] for row in rows(HERE / "VIEWS.md")] == survived


def test_every_cell_names_a_test_that_asks_the_view() -> None:
    wrong = [
        f"{what}: {view}: {cell!r}"
        for what, *cells in rows(HERE / "VIEWS.md")
        for view, cell in zip(ASKS, cells, strict=True)
        if cell != NOTHING and not _one_that_asks(cell, view)
    ]
    assert not wrong, "\n".join(wrong)


def _one_that_asks(cell: str, view: str) -> bool:
    texts = asking(cell)
    return len(texts) == 1 and re.search(ASKS[view], texts[0]) is not None
