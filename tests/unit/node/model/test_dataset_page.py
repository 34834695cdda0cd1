"""docs/dataset.md names every key and says the truth about braces and examples."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from node.model.description import DATASET
from node.model.kinds import Braced, Either, Kind, ListOf, MapOf, Reserved, Table
from pilot import expand
from tests.unit.node.model.drafts import problems
from tests.unit.node.model.test_reserved import reserved_keys

PAGE = (Path(__file__).resolve().parents[4] / "docs/dataset.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
ROWS = re.findall(r"^\| (`.+?`) \| (.+?) \|$", PAGE, re.MULTILINE)
NAMES = {"job": 5, "jobs": 40, "seed": 20005, "cell": 0, "rep": 5, "task": "t", "name": "n"}
TASK = '[[task]]\nname = "t"\n[[task.module]]\nrun = ["true"]\n'


def open_keys(kind: Kind) -> set[str]:
    """Names of all keys below a kind that are not reserved."""
    if isinstance(kind, Table):
        names = {key.name for key in kind.keys if not key.reserved}
        return names.union(*(open_keys(key.kind) for key in kind.keys if not key.reserved))
    if isinstance(kind, ListOf):
        return open_keys(kind.item)
    if isinstance(kind, MapOf):
        return open_keys(kind.value)
    if isinstance(kind, Braced):
        return open_keys(kind.kind)
    if isinstance(kind, Either):
        return set().union(*(open_keys(k) for _, k in kind.kinds if not isinstance(k, Reserved)))
    return set()


def test_every_key_is_explained() -> None:
    explained = set(re.findall(r"`([a-z_]+)`", PAGE)) | set(re.findall(r"`?(\w+) = ", PAGE))
    assert open_keys(DATASET) - explained == set()


def test_every_reserved_key_is_listed() -> None:
    table = PAGE[PAGE.index("## Reserved") :]
    listed = set(re.findall(r"`([a-z_.]+)`", table))
    expected = {
        key if key in listed else key.removeprefix("task.module.").removeprefix("task.")
        for key in reserved_keys(DATASET)
    }
    assert expected - listed == set()


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_are_right(example: str) -> None:
    table = tomllib.loads(example)
    head = "" if "floe" in table else 'floe = 1\nname = "x"\n'
    assert problems(head + example + ("" if "task" in table else TASK)) == {}


def test_there_are_examples_and_rows() -> None:
    assert len(EXAMPLES) >= 5
    assert len(BRACES) >= 20


BRACES = [
    (text[1:-1], outcome)
    for text, outcome in ROWS
    if PAGE.index("| text | becomes |") < PAGE.index(f"| {text} | {outcome} |")
    and PAGE.index(f"| {text} | {outcome} |") < PAGE.index("The rules behind it")
]


@pytest.mark.parametrize(("text", "outcome"), BRACES)
def test_braces_do_what_the_page_says(text: str, outcome: str) -> None:
    try:
        template = expand.compile(text)
        mistakes = template.mistakes(NAMES)
        found = "refused" if mistakes else template.expand(NAMES)
    except expand.ExpandError:
        found = "refused"
    assert found == ("refused" if outcome.startswith("refused") else outcome[1:-1])


def test_the_errors_shown_have_the_real_form() -> None:
    text = 'floe = 1\nname = "x"\n[[task]]\nname = "sim"\nneeds = { memory = "2 gigs" }\n'
    found = problems(text + '[[task.module]]\nrun = ["true"]\n')
    assert found == {"task.sim.needs.memory": '"2 gigs" is no size; write "2GB" or "2GiB"'}
    assert '"2 gigs" is no size; write "2GB" or "2GiB"' in PAGE
