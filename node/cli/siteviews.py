"""How a site is shown: its batch systems, what its workers offer, workers that get no units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from node.cli.facts import fact_lines
from node.cli.output import say
from node.client import Json


def print_site(reply: Json) -> None:
    known = reply.get("site")
    site: Mapping[str, Any] = known if isinstance(known, dict) else reply
    for line in fact_lines(site):
        say(line)
