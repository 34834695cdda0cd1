"""On which line a key stands."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from node.model import toml
from node.model.lines import json_lines, toml_lines

TEXT = '''# a comment = "x"
floe = 1
"quoted key" = 'x'
a.b.c = """
two
lines"""
[params]  # [not]
list = [
    1,  # one
    "]",
    { deep = [2,
      3] },
]
when = 1979-05-27 07:32:00
[[task]]
name = "a"
[[task.module]]
run = ["x",
  "y"]
[[task.module]]
env = { vars = { A = "1", "B.C" = "2" } }
[[task]]
  [task.needs]
  memory = "2GB"
[task.outputs."x.npz"]
to = []
'''


def test_keys_of_toml() -> None:
    tomllib.loads(TEXT)
    lines = toml_lines(TEXT)
    expected: dict[tuple[str | int, ...], int] = {
        ("floe",): 2,
        ("quoted key",): 3,
        ("a", "b", "c"): 4,
        ("params",): 7,
        ("params", "list"): 8,
        ("params", "list", 0): 9,
        ("params", "list", 1): 10,
        ("params", "list", 2, "deep"): 11,
        ("params", "list", 2, "deep", 1): 12,
        ("params", "when"): 14,
        ("task",): 15,
        ("task", 0, "name"): 16,
        ("task", 0, "module", 0): 17,
        ("task", 0, "module", 0, "run"): 18,
        ("task", 0, "module", 0, "run", 1): 19,
        ("task", 0, "module", 1, "env", "vars", "B.C"): 21,
        ("task", 1): 22,
        ("task", 1, "needs"): 23,
        ("task", 1, "needs", "memory"): 24,
        ("task", 1, "outputs", "x.npz"): 25,
        ("task", 1, "outputs", "x.npz", "to"): 26,
    }
    assert {path: lines.get(path) for path in expected} == expected


def test_keys_of_json() -> None:
    text = '{\n "a": [1,\n  {"b": "x:}",\n   "c": null}],\n "d\\"e": true }'
    json.loads(text)
    lines = json_lines(text)
    assert (lines["a",], lines["a", 1, "b"], lines["a", 1, "c"]) == (2, 3, 4)
    assert lines['d"e',] == 5


def paths(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value)
    found = set()
    for key, item in below:
        found.add((*path, key))
        if isinstance(item, dict | list):
            found |= paths(item, (*path, key))
    return found


SCALARS = (
    st.integers()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet="ab \"'\\[]{}#=,:\n")
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab.\"' ", max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text("ab.\"' ", max_size=3), VALUES, max_size=4))
def test_every_key_of_any_description_is_found(table: dict[str, Any]) -> None:
    assert paths(table) <= set(toml_lines(toml.dumps(table)))
    assert paths(table) <= set(json_lines(json.dumps(table, indent=1)))


@given(st.text(alphabet="[]{}=.,:\"'# \nab1"))
def test_any_text_is_survived(text: str) -> None:
    toml_lines(text)
    json_lines(text)
