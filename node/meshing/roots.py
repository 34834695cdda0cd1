"""Do the sites hold the same tables? State roots of shards, compared at equal log positions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from federation.errors import RemoteRefused, Unreachable
from federation.ids import ShardID, SiteID
from federation.ports import Requests
from node.fold.roots import VERSION
from node.services.questions import Reader
from node.store import shards

ROOTS: Final = "roots"
ANSWER_BYTES_MAX: Final = 1024 * 1024
SHARDS_MAX: Final = 4096
POSITIONS_MAX: Final = 256  # of one shard
ROOTS_MAX: Final = 5000  # of all: each has 64 digits, its position, and a part of a shard's id
ANSWER_S_MAX: Final = 15.0  # people wait; a site that takes longer is told of as silent

Roots = Mapping[ShardID, Mapping[int, str]]  # by log position, in hex


@dataclass(frozen=True, slots=True)
class Compared:
    """One shard, here and at another site, at the newest position that both know."""

    site: SiteID
    shard: ShardID
    position: int
    root: str
    equal: bool


class RootServer:
    """Tells members this site's roots."""

    def __init__(self, read: Reader) -> None:
        self._read = read

    def serve(self, requests: Requests) -> None:
        """Answer from now on."""
        requests.serve(ROOTS, self.answer)

    async def answer(self, asking: SiteID, body: bytes) -> bytes:
        found: Roots = await self._read(shards.roots)
        # The newest roots of each are told, as many as one answer holds.
        most = max(1, min(POSITIONS_MAX, ROOTS_MAX // max(1, len(found))))
        by_shard = {
            id_.hex(): sorted(roots.items())[-most:]
            for id_, roots in sorted(found.items())[:SHARDS_MAX]
        }
        return json.dumps({"fold": VERSION, "roots": by_shard}).encode()


class Comparison:
    """Asks all members, and compares."""

    def __init__(
        self,
        reactor: IReactorTime,
        requests: Requests,
        read: Reader,
        others: Callable[[], Sequence[SiteID]],
    ) -> None:
        self._reactor = reactor
        self._requests = requests
        self._read = read
        self._others = others

    async def run(self) -> tuple[list[Compared], dict[SiteID, str]]:
        """(what could be compared, sites that could not, with the reason)."""
        compared: list[Compared] = []
        silent: dict[SiteID, str] = {}
        asked = {site: Deferred.fromCoroutine(self._with(site)) for site in self._others()}
        for site, answer in asked.items():
            try:
                compared += await answer
            except (Unreachable, RemoteRefused) as error:
                silent[site] = str(error)
            except TimeoutError:
                silent[site] = f"no answer within {ANSWER_S_MAX:.0f} s"
        return compared, silent

    async def _with(self, site: SiteID) -> list[Compared]:
        request = self._requests.request(site, ROOTS, b"")
        theirs = read_roots(await request.addTimeout(ANSWER_S_MAX, self._reactor))
        # Read after the answer: what they had then is here by now, or not comparable yet.
        ours: Roots = await self._read(shards.roots)
        return compare(site, ours, theirs)


def compare(site: SiteID, ours: Roots, theirs: Roots) -> list[Compared]:
    """Each shard that both know, at the newest position that both kept."""
    found = []
    for shard in sorted(ours.keys() & theirs.keys()):
        common = ours[shard].keys() & theirs[shard].keys()
        if common:
            position = max(common)
            root = ours[shard][position]
            equal = theirs[shard][position] == root
            found.append(Compared(site, shard, position, root, equal))
    return found


def read_roots(data: bytes) -> Roots:
    """Check an answer of another site. Raises RemoteRefused."""
    if len(data) > ANSWER_BYTES_MAX:
        raise RemoteRefused("its answer is too long")
    try:
        found = json.loads(data)
        if found["fold"] != VERSION:
            raise RemoteRefused(f"it folds in another way: version {str(found['fold'])[:20]}")
        return {
            ShardID(bytes.fromhex(shard)): dict(map(_place, places[:POSITIONS_MAX]))
            for shard, places in list(found["roots"].items())[:SHARDS_MAX]
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise RemoteRefused("its answer is none") from None


def _place(item: Any) -> tuple[int, str]:
    position, root = item
    if type(position) is not int or type(root) is not str or len(root) > 128:
        raise ValueError(item)
    return position, root
