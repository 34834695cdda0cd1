"""What is said of one unit."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from node.services.refusal import Refusal
from node.services.units import UnitViews


class OneUnit(UnitViews):
    """The service over one unit that has no attempt yet."""

    def __init__(self, live: dict[str, Any] | None) -> None:
        self._away = None
        self._work = cast(Any, SimpleNamespace(live=lambda task, job: live))

    async def _found(self, *_: object) -> Any:
        unit = SimpleNamespace(attempts=(), state="ready", task=1, job=0)
        return SimpleNamespace(name="a", id=b""), unit


@pytest.mark.parametrize(
    ("live", "sentence"),
    [
        ({"host": "w1", "started_ms": 1}, "a/0/main runs for the first time"),
        ({"host": "w1", "started_ms": None}, "has not run yet"),
        (None, "has not run yet"),
    ],
)
def test_the_log_of_a_first_attempt_is_missing_for_a_reason(
    live: dict[str, Any] | None, sentence: str
) -> None:
    with pytest.raises(Refusal, match=sentence):
        asyncio.run(OneUnit(live).log(cast(Any, None), "a", 0, "main", None))
