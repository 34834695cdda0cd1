"""One site's machine: its disk, its clock, and the lives that its node has there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import apsw
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from federation.address import PORT as MESH_PORT
from federation.entry import Entry
from federation.ids import Lane, SiteID
from keys.identity import SiteKey
from node.config import MeshConfig
from node.store.database import DATABASE_NAME
from tests.simulation.disk import HIGH_WATER_NAME, SimDisk, copy_files, stored_entries
from tests.simulation.node import Neighbour, Node, Surroundings
from tests.simulation.process import AtWork, Unreachable
from tests.simulation.sockets import NetworkedProcess
from tests.simulation.software import TODAY

if TYPE_CHECKING:
    from tests.simulation.world import World

EPOCH_MS = 1_800_000_000_000
START_AGAIN_S = (0.3, 5.0, 40.0)  # after an end that nobody wanted
COMMIT_S = 0.002
TWIN_STARTS = 100  # so that a clone's process counts as the later one


class Host:
    """What stays when the node dies: the disk. `node` is there from its start to its end."""

    def __init__(
        self, world: World, name: str, *, dialable: bool = True, twin_of: Host | None = None
    ) -> None:
        """twin_of: the machine whose home was cloned, with its key; see `World.clone`."""
        self.name = name
        self.dialable = dialable
        self.key = SiteKey(f"simulated site {name}".encode().ljust(32, b"-"))
        if twin_of is not None:
            self.key = twin_of.key
        self.site = SiteID(self.key.site)
        self.machine = world.network.machine(name, self.site)
        self.node: Node | None = None
        self._use(SimDisk())
        self.commit_s = COMMIT_S
        self.port = MESH_PORT  # from its next start on
        self.software = TODAY  # likewise
        self.wall_jump_ms = 0
        self.lost = False  # for good
        self.copy: Path | None = None
        self.arriving: Callable[[str], None] = lambda what: None  # hears of requests that came
        self._world = world
        self._folder = world.folder / name
        self._random = Random(f"host {world.seed} {name}")
        self._lives = 0
        self._starts = 0
        self._went_on = False
        self._home = self._folder / "life-0"
        self._home.mkdir(parents=True)
        self._stumble: tuple[int, str] | None = None
        self._death: tuple[str, int] = ("kill", 0)  # what a dark disk means
        self._graves: list[Node] = []

    def take_home(self, other: Host, *, whole: bool) -> None:
        """Begin with what another machine's disk holds now.

        whole: as an image of all of it, in which nothing tells the copy from the other.
        """
        copy_files(other._home, self._home)
        self.disk.close()
        self._use(SimDisk(other.disk.inode if whole else other.disk.inode + 1))
        self.disk.adopt(self._home)
        self._starts = other._starts + TWIN_STARTS

    def wall_ms(self) -> int:
        """What this machine takes for the time."""
        return EPOCH_MS + self.wall_jump_ms + int(self._world.now_s * 1000)

    @property
    def up(self) -> bool:
        return self.node is not None and self.node.up and not self.disk.dark

    async def of_node(self, ask: Callable[[Node], Coroutine[Deferred[Any], Any, Any]]) -> Any:
        """Ask the node itself, as its API does. Raises Unreachable."""
        node = self.node
        if node is None or not node.up:
            raise Unreachable("the node is down")
        return await node.process.answer(ask(node))

    # Lives

    def start(self) -> None:
        """A new process on what the disk holds."""
        if self.node is not None or self.lost:
            return
        self._note(f"the node starts in life {self._lives}")
        if self._stumble is not None:
            operations, mode = self._stumble
            self._stumble = None
            self.die_within(operations, mode, operations)
        self._starts += 1
        world = self._world
        world.network.power_back(self.machine)
        process = NetworkedProcess(
            world.clock, world.failed, world.network, self.machine, self._at_work()
        )  # fmt: skip
        around = Surroundings(
            process, self.key, self.name, self._home, self.disk, self._folder, self._starts,
            self._random, world.rhythm, self._config(), self.software, wall_ms=self.wall_ms,
            commit_s=self._next_commit_s,
            others=[each.as_neighbour() for each in world.hosts if each is not self],
            more=lambda: [world.farm.room(self)], shown=self._shown,
            outlived=self._outlived, went_on=self._went_on,
        )  # fmt: skip
        self._went_on = False
        node = self.node = Node(around)
        node.process.answer(node.boot()).addCallbacks(
            lambda _: self._booted(node), lambda failure: self._not_booted(node, failure)
        )

    def _at_work(self) -> AtWork:
        return nullcontext if self.software == TODAY else self.software.at_work

    def as_neighbour(self) -> Neighbour:
        return Neighbour(self.site, self.name, self._addresses())

    def _addresses(self) -> tuple[str, ...]:
        return (f"{self.name}:{self.port}",) if self.dialable else ()

    def _config(self) -> MeshConfig:
        return MeshConfig(
            f"0.0.0.0:{self.port}", addresses=self._addresses(), dial_only=not self.dialable
        )

    def _next_commit_s(self) -> float:
        return self.commit_s * self._random.uniform(0.5, 2.0)

    def _booted(self, node: Node) -> None:
        self._note(f"the node is up in generation {node.generation}")
        self._world.farm.came_up(self)
        self._world.fail_all(self._world.witness.restarted(node))
        self._world.look()

    def _not_booted(self, node: Node, failure: Failure) -> None:
        if self.node is not node or self.disk.dark:
            return  # it died meanwhile, or does so at the end of this turn
        if not self.disk.full:
            self._world.failed(f"the node does not start: {failure.getTraceback()}")
        self.die("kill", 0)

    def die_within(self, operations: int, mode: str, seed: int) -> None:
        """The node dies in the middle of what its disk does next. mode: kill or power."""
        self._death = (mode, seed)
        self.disk.die_after(operations)

    def stumble(self, operations: int, mode: str) -> None:
        """The node dies now, and on its way up once more."""
        self._stumble = (operations, mode)
        self.die("kill", 0, 1.0)

    def _use(self, disk: SimDisk) -> None:
        """A node on this disk ends with it, once what it is doing has come to its end."""
        self.disk = disk

        def end() -> None:
            if self.disk is disk and disk.dark:
                self.die(*self._death)

        disk.went_dark = lambda: self._world.after_this(end)

    def _shown(self, entries: Sequence[Entry]) -> None:
        """Entries are durable: from here on they may leave the node."""
        self._world.witness.saw(self.site, entries)

    def _outlived(self) -> None:
        """The node found out that it runs on an old copy: it goes on under a new generation."""
        self._note("the node finds that its store is an old copy")
        self._went_on = True
        self.die("kill", 0, 1.0)

    def die(self, mode: str, seed: int, again_s: float | None = None) -> None:
        """The process ends; the next one gets what is left of the disk. again_s: until then."""
        node = self.node
        if node is None:
            return
        self._note(f"{mode}: the node ends at operation {self.disk.operations} of its disk")
        if mode == "power":
            self._world.network.power_died(self.machine)
        home = self._next_home()
        full = self.disk.full
        if mode == "power":
            disk = self.disk.survived(home, seed)
        else:
            disk = self.disk.kept(self._home, home)
        self._move_to(home, disk)
        disk.full = full
        wait_s = self._random.choice(START_AGAIN_S) if again_s is None else again_s
        self._world.clock.callLater(wait_s, self.start)

    def drain(self) -> None:
        """No unit starts here any more; what is led here goes elsewhere. A restart forgets it."""
        if self.node is not None and self.node.up:
            self._note("drained")
            self.node.parts.work.drain()

    def no_more_drained(self) -> None:
        if self.node is not None and self.node.up:
            self.node.parts.work.drain(False)

    def lose_files(self) -> None:
        """The file system with the blobs is lost; the next process begins with an empty one."""
        self._note("all files are lost")
        self.die("kill", 0)
        shutil.rmtree(self._folder / "blobs", ignore_errors=True)

    def lose(self) -> None:
        """The machine is gone for good, with its disk; so are the pilots."""
        self.lost = True
        self.die("power", 0)
        self._world.farm.lose(self)

    def pause(self) -> None:
        """SIGSTOP."""
        if self.node is not None:
            self.node.process.pause()
            self._world.network.pause(self.machine)

    def resume(self) -> None:
        if self.node is not None:
            self.node.process.resume()
            self._world.network.resume(self.machine)

    def take_copy(self, name: str) -> None:
        """Somebody copies the home while the node runs, all of it at one moment."""
        folder = self._folder / f"copy-{name}"
        copy_files(self._home, folder)
        if (folder / HIGH_WATER_NAME).exists():
            self.copy = folder

    def put_back(self, variant: str) -> None:
        """Somebody puts the copy in the place of the database, with the node stopped.

        variant: database (beside today's high-water file), whole (both), without-file.
        """
        copy = self.copy
        if copy is None:
            return
        self._note(f"the copy is put back: {variant}")
        home = self._next_home()
        copy_files(copy, home, but=() if variant == "whole" else (HIGH_WATER_NAME,))
        today = self._home / HIGH_WATER_NAME
        if variant == "database" and today.exists():
            shutil.copyfile(today, home / HIGH_WATER_NAME)
        # Only a file that was put in place by copying is known by its inode to be another one.
        disk = SimDisk(self.disk.inode + (variant == "whole"))
        disk.adopt(home)
        self._move_to(home, disk)
        self._world.witness.put_back(self.site, self.nowhere())
        self._world.clock.callLater(3.0, self.start)

    def move_home(self, *, file: bool = True) -> None:
        """Somebody copies the home of the stopped node to another disk, and starts it there.

        file: with its high-water file.
        """
        self._note("the home is moved")
        home = self._next_home()
        copy_files(self._home, home, but=() if file else (HIGH_WATER_NAME,))
        disk = SimDisk(self.disk.inode + 1)
        disk.adopt(home)
        self._move_to(home, disk)
        self._world.witness.shown(self.site).was_put_back = True
        self._world.clock.callLater(3.0, self.start)

    def nowhere(self) -> list[Entry]:
        """The entries that are on no disk any more."""
        there = {
            entry.id
            for host in self._world.hosts
            if not host.lost
            for entry in stored_entries(host._home)
        }
        archive = self._world.witness.archive
        return [entry for entries in archive.values() for entry in entries if entry.id not in there]

    def flip_bit(self, author: SiteID, random: Random) -> None:
        """The disk changes a bit in the middle of the newest results entry of a site.

        The node must be down.
        """
        assert self.node is None
        conn = apsw.Connection(str(self._home / DATABASE_NAME))
        lane = int(Lane.RESULTS)
        ((no, body),) = conn.execute(
            "SELECT e.no, e.body FROM entry e JOIN feed f ON f.no = e.feed"
            " WHERE f.site = ? AND f.lane = ? ORDER BY e.seq DESC LIMIT 1 OFFSET 1",
            (author, lane),
        ).fetchall()
        changed = bytearray(body)
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        conn.execute("UPDATE entry SET body = ? WHERE no = ?", (bytes(changed), no))
        conn.close()
        self.disk.adopt(self._home)

    def no_more_faults(self) -> None:
        """The disk works, and quickly; nothing will end the node."""
        self.commit_s = COMMIT_S
        self.no_more_drained()
        self._stumble = None
        self.disk.full = False
        self.disk.lose_after = None

    def stop(self) -> list[str]:
        """Ask the node to stop, and wait for it; problems with that. There is no next life."""
        node = self.node
        if node is None:
            return ["the node is not there"]
        stopped: list[Any] = []
        node.process.answer(node.close()).addBoth(stopped.append)
        self._world.until(lambda: bool(stopped))
        self._graves.append(node)
        self._world.network.process_died(self.machine)
        self.node = None
        return [f"stopping: {each}" for each in stopped if each is not None]

    def close(self) -> None:
        """Nothing of this machine is left."""
        self._bury()
        self.disk.close()
        self._graves.clear()

    def _bury(self) -> None:
        node, self.node = self.node, None
        if node is not None:
            self._world.network.process_died(self.machine)
            node.die()
            self._graves.append(node)  # collecting it now would run its coroutines' last clauses

    def _next_home(self) -> Path:
        self._lives += 1
        return self._folder / f"life-{self._lives}"

    def _move_to(self, home: Path, disk: SimDisk) -> None:
        self._bury()
        self.disk.close()
        shutil.rmtree(self._home)
        self._home = home
        self._use(disk)

    def _note(self, text: str) -> None:
        self._world.note(f"{self.name}: {text}")
