"""Short ways to descriptions for these tests."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from node.model.dataset import DatasetSpec
from node.model.document import Submission, load
from node.model.problems import Invalid
from node.model.rules import Foreign

NONCE = bytes(range(16))
SMALL: dict[str, Any] = {
    "floe": 1,
    "name": "small",
    "task": [{"name": "sim", "module": [{"run": ["true"]}]}],
}


def small(**changes: Any) -> dict[str, Any]:
    """The smallest description, with other top-level keys; None removes one."""
    table = copy.deepcopy(SMALL) | changes
    return {key: value for key, value in table.items() if value is not None}


def with_task(**changes: Any) -> dict[str, Any]:
    """The smallest description, its one task changed."""
    table = small()
    table["task"][0] |= changes
    return table


def with_module(**changes: Any) -> dict[str, Any]:
    """The smallest description, its one module changed; None removes a key."""
    module = {"run": ["true"]} | changes
    return with_task(module=[{k: v for k, v in module.items() if v is not None}])


def resolve(name: str) -> Foreign:
    """One other dataset, "other", of 10 jobs and two tasks."""
    if name != "other":
        raise LookupError(f'no dataset "{name}"')
    return Foreign(b"o" * 32, 10, ("gen", "sim"))


def built(source: Any, base: Path | None = None) -> Submission:
    """A description that is right."""
    return load(source, base).build(resolve, NONCE)


def spec_of(source: Any, base: Path | None = None) -> DatasetSpec:
    return built(source, base).spec


def problems(source: Any, base: Path | None = None) -> dict[str, str]:
    """Place to `what; right` of everything that is wrong with a description."""
    try:
        load(source, base).build(resolve, NONCE)
    except Invalid as invalid:
        found: dict[str, str] = {}
        for error in invalid.errors:
            text = f"{error.what}; {error.right}"
            assert error.right, f"no way out of {text}"
            found[error.where] = f"{found[error.where]} | {text}" if error.where in found else text
        return found
    return {}
