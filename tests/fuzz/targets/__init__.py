"""Every decoder that is fuzzed."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import (
    descriptions,
    documents,
    entries,
    folding,
    joining,
    keys,
    links,
    local,
    pilots,
    requests,
)

TARGETS: tuple[Target, ...] = (
    *entries.TARGETS,
    *links.TARGETS,
    *requests.TARGETS,
    *keys.TARGETS,
    *documents.TARGETS,
    *descriptions.TARGETS,
    *pilots.TARGETS,
    *local.TARGETS,
    *folding.TARGETS,
    *joining.TARGETS,
)
assert len({target.name for target in TARGETS}) == len(TARGETS)
