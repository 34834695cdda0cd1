"""Two people who submit small datasets and order things about them, again until it is done."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from federation.ids import Lane
from federation.records import MemberRemove
from keys.signing import Purpose, digest
from node.model import member
from node.model.commands import command_document
from node.model.document import load
from node.model.rules import Foreign
from node.services.refusal import Refusal
from node.store.database import DiskFull
from node.store.feeds import Feeds
from node.store.writer import JournalClosed, JournalFull
from tests.simulation.host import Host
from tests.simulation.node import Node
from tests.simulation.persons import ANA, BEN, Signer
from tests.simulation.process import Unreachable

if TYPE_CHECKING:
    from tests.simulation.world import World

SHAPES: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((),),  # flat
    ((), (0,)),  # chain
    ((), (0,), (1,), (2,)),  # long chain
    ((), (0,), (0,), (1, 2)),  # diamond
    ((), (), (0, 1)),  # two roots
)
JOBS_MAX = 24
FOREIGN_CHANCE = 0.35
# Refusals that pass by themselves. A conflict: what stands still until an admin forces it on.
AGAIN = ("disk-full", "busy", "unavailable", "conflict")
Request = Callable[[Node], Coroutine[Deferred[Any], Any, None]]


@dataclass(frozen=True, slots=True)
class Submitted:
    """A dataset that the node said it holds."""

    id: bytes
    name: str
    person: Signer
    jobs: int
    tasks: tuple[str, ...]
    home: Host  # where it was submitted


def describe(name: str, after: Sequence[Sequence[str]], jobs: int) -> dict[str, Any]:
    """A dataset whose tasks t0, t1, ... wait for what `after` names."""
    return {
        "floe": 1, "name": name, "jobs": jobs,
        "task": [
            {
                "name": f"t{index}", "after": list(waits), "module": [{"run": ["true"]}],
                "needs": {"cpu": 1, "memory": "1GB", "time": "10m"},
            }
            for index, waits in enumerate(after)
        ],
    }  # fmt: skip


def read_files(description: dict[str, Any]) -> None:
    """Each task puts out a file `x`, and reads that of those for which it waits."""
    for task in description["task"]:
        task["outputs"] = ["x"]
        task["inputs"] = {
            f"in-{at}/" if parent.endswith(":*") else f"in-{at}": f"{parent}/x"
            for at, parent in enumerate(task["after"])
        }


class Refused(Exception):
    """The node says that this cannot be; there is no use in asking again."""


class People:
    """Everybody who uses the site. What the node acknowledged is told to the witness."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.waiting = 0  # answers that somebody waits for
        self._sets = 0
        self._random = Random(f"people {world.seed}")

    def submit(self, random: Random) -> None:
        """Somebody submits a dataset, drawn at random."""
        host = random.choice(self._world.present)
        description, foreign = self._description(host, random, f"set-{self._sets + 1}")
        self.submit_to(host, description, random, random.choice([ANA, BEN]), foreign)

    def submit_to(
        self,
        host: Host,
        description: dict[str, Any],
        random: Random,
        person: Signer = ANA,
        foreign: Mapping[str, Foreign] | None = None,
    ) -> None:
        """Submit until it is acknowledged. foreign: datasets that it waits for, by name."""
        self._sets += 1
        known = foreign or {}
        built = load(description).build(lambda name: known[name], random.randbytes(16))
        tasks = tuple(task["name"] for task in description["task"])
        made = Submitted(
            digest(Purpose.DATASET, built.document), description["name"], person,
            built.spec.jobs, tasks, host,
        )  # fmt: skip
        self._until_done(
            host,
            lambda node: self._submit_once(node, made, built.document),
            f"submission of {made.name}",
        )

    def _description(
        self, host: Host, random: Random, name: str
    ) -> tuple[dict[str, Any], dict[str, Foreign]]:
        shape = random.choice(SHAPES)
        jobs = random.choice([1, 2, random.randint(3, JOBS_MAX)])
        foreign: dict[str, Foreign] = {}
        after = [[f"t{parent}" for parent in parents] for parents in shape]
        near = self._world.hosts if self._world.entangled else [host]
        known = [made for made in self._known() if made.home in near]
        if known and random.random() < FOREIGN_CHANCE:
            other = random.choice(known)
            foreign[other.name] = Foreign(other.id, other.jobs, other.tasks)
            task = random.choice(other.tasks)
            if random.random() < 0.5:
                jobs = other.jobs  # job by job
                after[0].append(f"{other.name}/{task}")
            else:
                after[-1].append(f"{other.name}/{task}:*")
        description = describe(name, after, jobs)
        if self._world.farm.fates.put_out:
            read_files(description)
        description["retry"] = {"max": random.randint(0, 2)}
        description["priority"] = random.choice([10, 50, 90])
        return description, foreign

    async def _submit_once(self, node: Node, made: Submitted, document: bytes) -> None:
        """As the API does it; what it answers is a promise."""
        who = made.person
        try:
            answer = await node.parts.submissions.submit(document, who.sign(document), who.person)
        except Refusal as refusal:
            raise _meant(refusal) from None
        self._world.witness.submitted(made, answer["stored_on"])

    def order(self, random: Random) -> None:
        """Somebody orders something about one of the newer datasets."""
        known = self._known()
        if not known:
            return
        made = random.choice(known[-6:])
        verb, args = self._verb(random, made)
        person = random.choice([made.person, ANA])  # ana is an admin
        self.send(made, verb, args, person, random)

    def _known(self) -> list[Submitted]:
        """Every acknowledged dataset, in an order that a seed repeats."""
        return sorted(self._world.witness.datasets.values(), key=lambda each: each.name)

    def _verb(self, random: Random, made: Submitted) -> tuple[str, dict[str, Any]]:
        some: dict[str, Any] = {}
        if random.random() < 0.7:
            lo = random.randrange(made.jobs)
            some["jobs"] = [lo, min(made.jobs, lo + random.randint(1, 6))]
        if random.random() < 0.5:
            some["tasks"] = [random.choice(made.tasks)]
        chosen = {"select": some} if some else {}
        task = random.choice(made.tasks)
        orders: list[tuple[str, dict[str, Any]]] = [
            ("pause", {}),
            ("resume", {}),
            ("resume", {}),
            ("cancel", chosen or {"select": {"jobs": [0, 1]}}),
            ("retry", chosen),
            ("retry", {}),
            ("edit", {"priority": random.randint(0, 100)}),
            ("edit", {"needs": {task: {"memory": random.choice(["2GB", "3GB"])}}}),
            ("extend", {"jobs": random.randint(1, 3)}),
        ]
        return random.choice(orders)

    def send(
        self,
        made: Submitted,
        verb: str,
        args: dict[str, Any],
        person: Signer,
        random: Random,
        host: Host | None = None,
    ) -> Deferred[None]:
        """Send an order until it is acknowledged. host: to which site; by default, its own."""
        document = command_document(made.id, verb, args, (), random.randbytes(16))
        home = self._world.present[0] if made.home.lost else made.home
        return self._until_done(
            home if host is None else host,
            lambda node: self._order_once(node, made, document, person),
            f"{verb} of {made.name}",
        )

    async def _order_once(self, node: Node, made: Submitted, document: bytes, who: Signer) -> None:
        """As the API does it: acknowledged means that it will be taken."""
        if made.id not in self._world.witness.datasets:
            raise Refused("the dataset was lost with a database")
        try:
            await node.parts.commands.order(document, who.sign(document), who.person)
        except Refusal as refusal:
            if refusal.code != "replayed":  # else it was taken, and the answer lost
                raise _meant(refusal) from None
        name = node.around.name
        self._world.witness.ordered(digest(Purpose.COMMAND, document), name)

    def resume_all(self) -> None:
        """Nothing stays paused."""
        present = self._world.present
        for made in list(self._world.witness.datasets.values()):
            host = made.home if made.home in present else present[0]
            self.send(made, "resume", {}, made.person, Random(self._random.random()), host)

    def revoke(self, by: Host, gone: Host, nonce: bytes) -> None:
        """An admin throws a site out, as `floe mesh revoke` does it: its acts up to now count."""
        assert by.node is not None
        assert by.node.journal is not None
        through = tuple(
            (tip.feed.generation, tip.seq)
            for tip in Feeds(by.node.conn).tips()
            if tip.feed.site == gone.site and tip.feed.lane is Lane.CONTROL
        )
        document = member.write(member.Remove(by.site, gone.site, through, nonce))
        self._world.note(f"{by.name}: {gone.name} is thrown out")
        by.node.journal.control(MemberRemove(gone.site, document, ANA.sign(document), ANA.key))

    def recover(self, host: Host) -> None:
        """An admin ends what stands still; if nothing does, nothing happens."""
        nonce = self._random.randbytes(16)

        async def recover(node: Node) -> None:
            try:
                over = await node.recover(nonce)
            except Refusal as refusal:
                raise _meant(refusal) from None
            if not over:
                raise Unreachable("the node starts again")

        self._until_done(host, recover, "recovery")

    def _until_done(self, host: Host, once: Request, what: str) -> Deferred[None]:
        return self._world.spawn(self._try(host, once, what), what)

    async def _try(self, host: Host, once: Request, what: str) -> None:
        self.waiting += 1
        try:
            while True:
                await self._world.sleep(self._random.uniform(0.05, 0.2))
                try:
                    await host.of_node(once)
                except (Unreachable, DiskFull, JournalFull, JournalClosed):
                    if host.lost:
                        return
                    await self._world.sleep(self._random.uniform(1, 8))
                    continue
                except Refused as refused:
                    self._world.note(f"{what}: {refused}")
                return
        finally:
            self.waiting -= 1


def _meant(refusal: Refusal) -> Exception:
    """Whether there is use in asking again."""
    if refusal.code in AGAIN:
        return Unreachable(refusal.message)
    return Refused(refusal.message)
