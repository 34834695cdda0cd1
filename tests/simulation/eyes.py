"""What people see of the mesh at a simulated site: the views of node/services and node/cli.

`Eyes` asks a node as its API would, put together as node/edge.py does it, and prints what comes as
`floe mesh` does.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from federation.pulse import Health
from node.cli import meshviews
from node.config import Config
from node.council.standstills import Standstills
from node.council.views import Views
from node.meshing.facts import FactSource, Own
from node.meshing.roots import Comparison
from node.services.facts import Rate, SiteFacts
from node.services.lookups import PeopleTable
from node.services.mesh import MeshViews
from node.services.metrics import Metrics
from node.services.people import People
from node.services.status import Identity, StatusViews, written_not

if TYPE_CHECKING:
    from tests.simulation.host import Host
    from tests.simulation.node import Node
    from tests.simulation.world import World

PRINTED: Mapping[str, Callable[[Any], None]] = {
    "mesh": meshviews.print_mesh,
    "links": meshviews.print_links,
    "shards": meshviews.print_shards,
    "why": meshviews.print_why,
    "verify": meshviews.print_verified,
}
Samples = Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer: for programs, and as people read it."""

    json: Any
    text: str

    def line(self, beginning: str) -> str:
        """The one line that begins so."""
        (line,) = (each for each in self.text.splitlines() if each.startswith(beginning))
        return line


class Eyes:
    """Somebody at a site. Every question takes its time on the virtual clock."""

    def __init__(self, world: World, host: Host) -> None:
        self._world = world
        self._host = host

    def mesh(self) -> Seen:
        return self._ask("mesh", lambda views: views.mesh())

    def links(self) -> Seen:
        return self._ask("links", lambda views: views.links())

    def shards(self) -> Seen:
        return self._ask("shards", lambda views: views.shards())

    def why(self, site: str) -> Seen:
        return self._ask("why", lambda views: views.why(site))

    def verify(self) -> Seen:
        return self._ask("verify", lambda views: views.verify())

    def metrics(self) -> Samples:
        """What Prometheus reads, by name and the values of the labels in order of their names."""

        async def text(node: Node) -> bytes:
            return await Metrics(_status(node).status, _source(node).facts).text()

        samples = [
            sample
            for family in text_string_to_metric_families(self._answer(text).decode())
            for sample in family.samples
        ]
        found = {
            (each.name, *(value for _, value in sorted(each.labels.items()))): each.value
            for each in samples
        }
        assert len(found) == len(samples), "a series came twice"
        return found

    def _ask(self, view: str, ask: Callable[[MeshViews], Awaitable[Any]]) -> Seen:
        async def asked(node: Node) -> Any:
            return await ask(_views(node))

        answer = self._answer(asked)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            PRINTED[view](answer)
        return Seen(answer, printed.getvalue())

    def _answer(self, ask: Callable[[Node], Any]) -> Any:
        answers: list[Any] = []

        async def asked() -> None:
            answers.append(await self._host.of_node(ask))

        self._world.spawn(asked(), "looking")
        self._world.until(lambda: bool(answers))
        self._world.raise_if_broken()
        return answers[0]


def _views(node: Node) -> MeshViews:
    parts, around = node.parts, node.around
    comparison = Comparison(
        node.process,
        parts.meshing.mesh,
        node.read,
        lambda: [site for site in parts.members.members() if site != around.key.site],
    )
    return MeshViews(_source(node).facts, comparison.run, parts.members.name_of)


def _source(node: Node) -> FactSource:
    parts, around, rhythm = node.parts, node.around, node.around.rhythm
    beacons, mesh = parts.sharing.beacons, parts.meshing.mesh

    def own() -> Own:
        told = parts.sharing.own_beacon.now()
        troubles = [*parts.meshing.care.warnings(), *written_not(node.journal)]
        return Own(
            around.software.version, ["local"], told.active, told.ready, told.pilots, "", troubles
        )

    def reached(site: Any) -> bool:
        return parts.meshing.linked(site) or beacons.health(site) is not Health.UNREACHABLE

    views = Views(parts.control, parts.facts, parts.members)
    standstills = Standstills(views, parts.facts, reached, parts.members.name_of)
    return FactSource(
        node.read, parts.members, beacons, mesh.links, own, around.wall_ms,
        parts.council.standing, rhythm.lost_after_s, rhythm.vote_after_s,
        lambda: parts.meshing.care.twins, mesh.misdeeds, standstills,
    )  # fmt: skip


def _status(node: Node) -> StatusViews:
    parts, around = node.parts, node.around
    people = PeopleTable(node.conn, node.site, parts.members)
    facts = SiteFacts(
        Config(), around.folder, parts.work, lambda: 0, lambda: "", parts.tables.still_shards
    )
    seconds = node.process.seconds
    return StatusViews(
        Identity(node.site, around.name, around.software.version, "", "", node.generation, ""),
        node.read, node.journal, node.blobs, parts.work,
        People(node.site, node.journal, people.read, people.seen),
        facts, Rate(seconds), seconds, parts.meshing.care.warnings,
    )  # fmt: skip
