"""Units that another site owns: asked about at their owner, and honest when that is away."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred

from federation import codec
from federation.errors import RemoteRefused, Unreachable
from federation.ids import DatasetID, SiteID
from node.meshing.units import (
    LIVE,
    TAIL,
    WHY,
    Elsewhere,
    Owner,
    UnitName,
    UnitServer,
    read_ask,
    write_ask,
)
from node.services.refusal import Refusal
from tests.fakes.requests import Exchange
from tests.unit.node.fold.world import Log, database, document, fold_into
from tests.unit.node.work.house import result_of

HERE = SiteID(b"h" * 32)
WHY_SHOWN = {"state": "ready", "summary": "no slot", "lines": [], "next": []}


class Desk:
    """What a site's work service says of its units."""

    def live(self, task: int, job: int) -> dict[str, Any] | None:
        assert task == 64
        return {"host": "w1", "started_ms": 5, "lost": False} if job == 0 else None

    async def tail(self, task: int, job: int, offset: int) -> tuple[int, bytes] | None:
        return (5, b"printed"[offset:]) if job == 0 else None


class Mesh:
    """Site `desy` owns units 0 and 1 of a dataset; this site owns nothing."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.conn = database()
        log = Log.new()
        log.found()
        self.dataset = DatasetID(log.submit(document("d", jobs=3)))
        log.grant(self.dataset, [0], [0, 2])
        fold_into(self.conn, log.entries)
        self.conn.execute("UPDATE site SET name = 'desy'")
        self.desy = log.site
        UnitServer(self.read, Desk(), self.why).serve(self.exchange.of(self.desy))
        self.elsewhere = Elsewhere(self.exchange.of(HERE), HERE, self.read)

    def read(self, fn: Any) -> Deferred[Any]:
        return maybeDeferred(fn, self.conn)

    async def why(self, unit: UnitName) -> dict[str, Any]:
        if unit.job:
            raise Refusal("not-found", "no such unit")
        return WHY_SHOWN

    def unit(self, job: int = 0) -> UnitName:
        return UnitName(self.dataset, 0, job)

    def owner(self, job: int = 0) -> Owner | None:
        found: Owner | None = self.ask(self.elsewhere.owner(self.unit(job)))
        return found

    def ask(self, work: Any) -> Any:
        return result_of(Deferred.fromCoroutine(work))


@pytest.fixture
def mesh() -> Mesh:
    return Mesh()


def test_the_owner_is_who_was_granted_the_unit(mesh: Mesh) -> None:
    assert mesh.owner(1) == Owner(mesh.desy, "desy")
    assert mesh.owner(2) is None


def test_this_site_is_not_asked_about_its_own_units(mesh: Mesh) -> None:
    at_home = Elsewhere(mesh.exchange.of(mesh.desy), mesh.desy, mesh.read)
    assert mesh.ask(at_home.owner(mesh.unit())) is None


def test_where_a_unit_runs_comes_with_the_name_of_the_site(mesh: Mesh) -> None:
    owner = mesh.owner()
    live = mesh.ask(mesh.elsewhere.live(owner, mesh.unit()))
    assert live == {"host": "w1", "started_ms": 5, "lost": False, "site": "desy"}
    assert mesh.ask(mesh.elsewhere.live(owner, mesh.unit(1))) is None


def test_what_a_running_unit_prints_comes_from_a_byte_on(mesh: Mesh) -> None:
    owner = mesh.owner()
    assert mesh.ask(mesh.elsewhere.tail(owner, mesh.unit(), 3)) == (5, b"nted")
    assert mesh.ask(mesh.elsewhere.tail(owner, mesh.unit(1), 0)) is None


def test_the_owner_explains_its_units(mesh: Mesh) -> None:
    said = mesh.ask(mesh.elsewhere.why(mesh.owner(), mesh.unit()))
    assert said == {**WHY_SHOWN, "summary": "at desy: no slot"}


def test_an_owner_that_is_away_is_the_explanation(mesh: Mesh) -> None:
    mesh.exchange.cut[mesh.desy] = 1
    said = mesh.ask(mesh.elsewhere.why(mesh.owner(), mesh.unit()))
    assert said["summary"] == "it was granted to desy, which cannot be asked now"
    assert "no link leads to" in said["lines"][0]["text"]
    assert said["next"] == ["floe mesh why desy"]


def test_nobody_guesses_where_a_unit_runs_when_its_owner_is_away(mesh: Mesh) -> None:
    mesh.exchange.cut[mesh.desy] = 1
    with pytest.raises(Unreachable):
        mesh.ask(mesh.elsewhere.live(mesh.owner(), mesh.unit()))


@pytest.mark.parametrize("answer", [b"7", b"{", b"[" * 99_999, b'"' + bytes(70_000), b"null"])
def test_an_owner_that_answers_nonsense_explains_nothing(mesh: Mesh, answer: bytes) -> None:
    mesh.exchange.change = lambda _: answer
    said = mesh.ask(mesh.elsewhere.why(mesh.owner(), mesh.unit()))
    assert said["state"] == "unknown"
    assert "its answer is" in said["lines"][0]["text"]


def test_an_explanation_with_strange_lines_is_not_shown(mesh: Mesh) -> None:
    strange = {**WHY_SHOWN, "lines": [{"mark": 1, "text": {}}]}
    mesh.exchange.change = lambda _: json.dumps(strange).encode()
    assert mesh.ask(mesh.elsewhere.why(mesh.owner(), mesh.unit()))["state"] == "unknown"


@pytest.mark.parametrize(
    "fields", [[], 7, [b"x", 0, 0, 0], [b"x" * 32, 64, 0, 0], [b"x" * 32, 0, -1, 0],
               [b"x" * 32, 0, 0, 2**62], [b"x" * 32, "0", 0, 0], [b"x" * 32, True, 0, 0]]
)  # fmt: skip
@pytest.mark.parametrize("kind", [LIVE, TAIL, WHY])
def test_a_question_that_is_none_is_refused(mesh: Mesh, kind: str, fields: Any) -> None:
    asked = mesh.exchange.of(HERE).request(mesh.desy, kind, codec.pack(fields))
    with pytest.raises(RemoteRefused):
        result_of(asked)


def test_a_question_is_read_as_it_was_written(mesh: Mesh) -> None:
    assert read_ask(write_ask(mesh.unit(7), 9)) == (mesh.unit(7), 9)


def test_a_unit_of_an_unknown_dataset_is_refused(mesh: Mesh) -> None:
    body = write_ask(UnitName(DatasetID(b"?" * 32), 0, 0))
    with pytest.raises(RemoteRefused, match="not known here yet"):
        result_of(mesh.exchange.of(HERE).request(mesh.desy, LIVE, body))
