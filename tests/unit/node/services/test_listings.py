"""Listings of units: each with the site that it ran at or was granted to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from node.http.api import Asked
from node.services.listings import Listings, OutputLists
from node.services.people import Person
from tests.unit.node.fold.world import Log, database, document, fold_into
from tests.unit.node.work.house import result_of

PERSON = Person(b"p" * 32, "ana", (), ())


class Nowhere:
    def live(self, task: int, job: int) -> dict[str, Any] | None:
        return None


class NoBlobs:
    def get(self, digest: bytes) -> bytes:
        raise AssertionError("no unit has outputs")


def at_once(fn: Callable[[], Any]) -> Deferred[Any]:
    return maybeDeferred(fn)


def test_units_that_are_granted_tell_where_they_will_run() -> None:
    conn = database()
    log = Log.new()
    log.found()
    dataset = log.submit(document("d", jobs=3))
    log.grant(dataset, [0], [0, 2])
    fold_into(conn, log.entries)
    conn.execute("UPDATE site SET name = 'desy'")
    listings = Listings(
        lambda fn: maybeDeferred(fn, conn), Nowhere(), OutputLists(NoBlobs(), at_once)
    )
    listed = result_of(
        Deferred.fromCoroutine(listings.jobs(PERSON, dataset.hex(), Asked(limit=10)))
    )
    assert [unit["site"] for unit in listed["units"]] == ["desy", "desy", None]
