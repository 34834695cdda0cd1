"""The JSON Schema of a description, for editors."""

from __future__ import annotations

from typing import Any

from node.model.description import DATASET

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12. What needs more than shapes (names, graphs) it cannot say."""
    return {"$schema": DIALECT, "title": "Icefloe dataset", **DATASET.schema()}
