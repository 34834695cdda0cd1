"""The published JSON Schema agrees with what is taken."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from node.model.description import DATASET
from node.model.schema import json_schema
from tests.unit.node.model.drafts import problems, small, with_module, with_task
from tests.unit.node.model.test_reserved import RESERVED

EXAMPLES = sorted((Path(__file__).resolve().parents[4] / "examples").rglob("*.toml"))
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}


def is_a(value: Any, kind: str) -> bool:
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """A small judge of the keywords that the schema uses."""
    if "not" in schema:
        return not fits(value, schema["not"])
    if "const" in schema and value != schema["const"]:
        return False
    if "anyOf" in schema and not any(fits(value, choice) for choice in schema["anyOf"]):
        return False
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(is_a(value, kind) for kind in kinds):
        return False
    if isinstance(value, str):
        shape = re.search(schema.get("pattern", ""), value) is not None
        return shape and len(value) <= schema.get("maxLength", 1 << 30)
    if isinstance(value, int) and not isinstance(value, bool):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    if isinstance(value, list):
        good = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 1 << 30)
        return good and all(fits(item, schema.get("items", {})) for item in value)
    return fits_table(value, schema) if isinstance(value, dict) else True


def fits_table(value: dict[str, Any], schema: dict[str, Any]) -> bool:
    others = schema.get("additionalProperties", {})
    for key, item in value.items():
        inner = schema.get("properties", {}).get(key, others)
        if inner is False or not fits(item, inner):
            return False
        if not fits(key, schema.get("propertyNames", {})):
            return False
    return all(key in value for key in schema.get("required", []))


def test_the_schema_is_json_of_the_dialect() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["properties"]) == {key.name for key in DATASET.keys}
    assert all(inner.get("description") for inner in schema["properties"].values())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_fit(path: Path) -> None:
    assert fits(tomllib.loads(path.read_text()), json_schema())


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize(("table", "where", "name"), RESERVED)
def test_reserved_keys_do_not_fit(table: dict[str, Any], where: str, name: str) -> None:
    beyond_shapes = name.endswith(":") or name.startswith('":')
    assert fits(table, json_schema()) is beyond_shapes


@pytest.mark.parametrize(
    "table",
    [
        small(),
        small(jobs=5, priority=0, labels={"a": "b"}, files=["x", {"from": "y", "to": "z"}]),
        with_task(outputs=["a", "b*"], inputs={"a": "https://h/a"}),
        with_task(outputs={"a": True, "b": {"to": ["file:///d/b"], "temp": True}}),
        with_module(write={"a": {"b": [1, "x", 2.5, True]}}, exit={"ok": [0, 3]}),
        with_module(run=None, script="echo"),
    ],
)
def test_what_is_taken_fits(table: dict[str, Any]) -> None:
    assert set(problems(table)) <= {"files[0]", "files[1]"}
    assert fits(table, json_schema())


@pytest.mark.parametrize(
    "table",
    [
        small(jobs=0),
        small(floe=2),
        small(name=None),
        small(name="A"),
        small(extra=1),
        small(needs={"memory": 5}),
        small(needs={"memory": "2 gigs"}),
        small(env={"vars": {"FLOE_X": "a"}}),
        with_task(name=None),
        with_task(outputs={"a": False}),
        with_module(run=[]),
        with_module(run="x"),
        with_module(cwd=5),
    ],
)
def test_what_is_refused_for_its_shape_does_not_fit(table: dict[str, Any]) -> None:
    assert problems(table)
    assert not fits(table, json_schema())
