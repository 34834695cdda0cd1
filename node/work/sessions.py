"""Pilots that announced themselves, and what is out at each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred

from node.dispatch import Offer, Room
from node.model.dataset import Needs
from node.store.pilots import WHOLE
from node.unitstate import TaskState

ORDER_AGAIN_S = 10.0  # an order whose effect does not show is sent again
TAILS_MAX = 16  # parts of running logs that are asked of one pilot at once
ZERO = Room(0, 0, 0, 0, None)


def secret_hash(token: str) -> bytes:
    """What the site keeps of a token: enough to know it again, useless to a thief."""
    return blake2b(
        token.encode("utf-8", "replace"), digest_size=32, person=b"icefloe pilot"
    ).digest()


@dataclass(slots=True, eq=False)
class Lease:
    """Units of one task that are out at one pilot; `left` are those not reported yet."""

    no: int
    pilot: int
    task: TaskState
    left: set[int]
    needs: Needs
    cost_s: float  # charged for each unit
    # Inputs that the pilot may fetch for it; None: not known since a restart.
    blobs: frozenset[bytes] | None = frozenset()


@dataclass(slots=True)
class Stop:
    """An order that stands until its jobs are reported."""

    lease: int
    jobs: set[int]
    why: str
    strange: bool = False  # units that are not leased to this pilot: said once
    sent_s: float = float("-inf")


class Tail(NamedTuple):
    """What somebody wants to read of the log of a unit that runs."""

    lease: int
    job: int
    offset: int


@dataclass(slots=True, eq=False)
class Parked:
    """A poll that waits for work or orders."""

    offer: Offer
    answer: Deferred[None] = field(default_factory=Deferred)


@dataclass(slots=True, eq=False)
class Session:
    """One pilot, as long as it may come back."""

    pilot: int
    tag: str
    secret: bytes  # hash
    seen_s: float  # monotonic
    host: str = ""
    pid: int = 0
    isolation: str = ""
    job: str = ""  # that the pilot says it is, by the batch system's name
    resources: Mapping[str, Any] = field(default_factory=dict)
    whole: Room = ZERO
    batch: int = 0
    part: int = WHOLE
    stale: bool = False  # must announce itself again before anything else
    lost: bool = False  # silent for too long: its units went to others
    draining: bool = False
    leaving: bool = False
    order_sent_s: float = float("-inf")  # drain or exit
    lost_in_a_row: int = 0  # units, through the worker's fault
    rests: int = 0  # in a row
    rests_until_s: float = float("-inf")  # gets nothing before
    idle_slots: int = 0
    idle_since_s: float | None = None
    reported: bool = False  # has ever returned a result
    leases: dict[int, Lease] = field(default_factory=dict)
    expired: dict[int, Lease] = field(default_factory=dict)  # of a pilot that was given up
    unseen: list[int] = field(default_factory=list)  # leases of an answer it may not have read
    unread: bool = False  # that answer is known not to have arrived
    stops: list[Stop] = field(default_factory=list)
    specs: set[str] = field(default_factory=set)  # task descriptions that it has
    files: set[bytes] = field(default_factory=set)  # blobs that those name
    running: dict[tuple[int, int], int] = field(default_factory=dict)  # (lease, job): started_ms
    flight: dict[int, list[Deferred[None]]] = field(default_factory=dict)  # batches being stored
    parked: Parked | None = None
    tails: dict[Tail, list[Deferred[bytes | None]]] = field(default_factory=dict)
    tails_due: list[Tail] = field(default_factory=list)  # not asked for yet

    @property
    def in_batch_system(self) -> bool:
        """Whether a submission to a batch system made it: those have tags of their own kind."""
        return self.tag.startswith("floe-")

    @property
    def state(self) -> str:
        """One word for people."""
        if self.lost:
            return "lost"
        if self.stale:
            return "expected"
        if self.draining or self.leaving:
            return "draining"
        if self.leases:
            return "running"
        return "resting" if self.rests else "idle"

    def started(self) -> Iterator[tuple[Lease, int]]:
        """How many units of each lease run by now: a pilot begins them in order, as they fit.

        The rest is there ahead of time and waits for a slot.
        """
        if self.lost:
            return
        free = replace(self.whole, time_left_s=None)  # what runs was found to fit
        for lease in self.leases.values():
            count = min(len(lease.left), free.units(lease.needs))
            if count:
                yield lease, count
                free = free.less(lease.needs, count)

    def idle_now(self) -> int:
        """CPUs on which nothing runs, by what was leased and reported.

        `idle_slots` is what the pilot said as its poll began, which may wait for half a minute.
        """
        if self.lost:
            return 0
        busy = sum(lease.needs.cpu * count for lease, count in self.started())
        return max(0, self.whole.cpu - busy)

    def may_read(self, digest: bytes) -> bool:
        """Whether this pilot has a use for that blob."""
        if digest in self.files:
            return True
        return any(digest in each.blobs for each in self.leases.values() if each.blobs)

    def due_orders(self, now_s: float) -> list[dict[str, Any]]:
        """Orders to send now; those whose effect shows are dropped, the others come again."""
        orders: list[dict[str, Any]] = []
        standing = []
        for stop in self.stops:
            lease = self.leases.get(stop.lease)
            if not stop.strange:
                stop.jobs &= lease.left if lease is not None else set()
            if not stop.jobs:
                continue
            if not stop.strange:
                standing.append(stop)
            if now_s - stop.sent_s >= ORDER_AGAIN_S:
                stop.sent_s = now_s
                jobs = sorted(stop.jobs)
                orders.append({"order": "stop", "lease": stop.lease, "jobs": jobs, "why": stop.why})
        self.stops = standing
        orders += [{"order": "tail", **tail._asdict()} for tail in self.tails_due]
        self.tails_due.clear()
        if (self.draining or self.leaving) and now_s - self.order_sent_s >= ORDER_AGAIN_S:
            self.order_sent_s = now_s
            orders.append({"order": "exit" if self.leaving else "drain"})
        return orders


class Sessions:
    """All sessions, by the hash of their token and by the number of their pilot."""

    def __init__(self) -> None:
        self._by_secret: dict[bytes, Session] = {}
        self.by_pilot: dict[int, Session] = {}
        self._by_host: dict[str, list[Session]] = {}

    def __len__(self) -> int:
        return len(self.by_pilot)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self.by_pilot.values()))

    def add(self, session: Session) -> None:
        self._by_secret[session.secret] = session
        self.by_pilot[session.pilot] = session
        self._by_host.setdefault(session.host, []).append(session)

    def place(self, session: Session, host: str) -> None:
        """Where a pilot says that it is."""
        if host != session.host:
            self._leave(session)
            session.host = host
            self._by_host.setdefault(host, []).append(session)

    def at(self, host: str) -> Sequence[Session]:
        """All pilots on one worker."""
        return self._by_host.get(host, ())

    def other_hosts(self, host: str) -> bool:
        """Whether there are pilots on another worker, as far as is known."""
        return any(
            name != host and any(not each.lost for each in there)
            for name, there in self._by_host.items()
        )

    def _leave(self, session: Session) -> None:
        there = self._by_host.get(session.host, [])
        if session in there:
            there.remove(session)
        if not there:
            self._by_host.pop(session.host, None)

    def remove(self, session: Session) -> None:
        self._by_secret.pop(session.secret, None)
        self.by_pilot.pop(session.pilot, None)
        self._leave(session)

    def find(self, token: str) -> Session | None:
        """The session of a bearer token."""
        return self._by_secret.get(secret_hash(token)) if token else None

    def leases_of(self, task: TaskState) -> Iterable[tuple[Session, Lease]]:
        """Who has units of a task."""
        for session in self.by_pilot.values():
            for lease in session.leases.values():
                if lease.task is task:
                    yield session, lease
