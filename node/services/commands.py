"""A user's signed order about a dataset: checked at the door, then a record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from federation import limits
from federation.ids import ShardID, UserKey
from federation.records import Command
from keys.signing import Purpose, digest
from node.model.commands import Command as Order
from node.model.problems import Invalid
from node.ports import Control
from node.services.people import Person
from node.services.recovery import COMMAND as RECOVER
from node.services.recovery import NOBODY_LEADS
from node.services.refusal import Refusal
from node.services.signed import signer_of
from node.services.writing import write


@dataclass(frozen=True, slots=True)
class Target:
    """The dataset of an order: whose it is, in which shard, and whether this site leads that.

    still: nobody leads it any more, until an admin helps. leader: the name of the site that leads.
    """

    no: int
    name: str
    person: bytes
    shard: ShardID
    led: bool = True
    still: bool = False
    leader: str = ""


class Ports(Protocol):
    """What orders need of the rest of the node."""

    def read(self, document: bytes) -> Order:
        """Raises Invalid."""

    def target(self, dataset: bytes) -> Target | None: ...
    def seen(self, order: bytes) -> bool:
        """Whether the log has this order (its digest) already."""

    def check(self, target: Target, order: Order) -> None:
        """Raises Refusal for an order that names what the dataset does not have."""

    def refusal(self, target: Target, order: bytes) -> str:
        """Why the log refused an order, by its digest; "" if it did not, or not yet."""

    def is_admin(self, target: Target, key: bytes) -> bool:
        """Whether somebody is an admin of the site that leads the dataset."""

    def counts(self, dataset: int) -> dict[str, int]: ...


Change = Callable[[int, float], Awaitable[None]]
"""Returns at the next change of a dataset (local number), or after so many seconds."""

APPLIED_S: Final = 10.0  # so long an order waits for the leader of another site to take it


class Commands:
    """Takes orders in. name_of: for refusals that name both people."""

    def __init__(
        self,
        journal: Control,
        name_of: Callable[[bytes], str],
        ports: Ports,
        change: Change,
        now_s: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._name_of = name_of
        self._ports = ports
        self._change = change
        self._now_s = now_s

    async def order(self, document: bytes, signature: bytes, asking: Person) -> dict[str, Any]:
        """Write an order and see it applied; answers with the counts after it.

        "applied" is false where another site leads the dataset and has not taken the order yet: it
        is durable here, and will be taken once that site hears of it.
        Raises Refusal.
        """
        signer = signer_of(document, signature, asking)
        try:
            order = self._ports.read(document)
        except Invalid as invalid:
            problems = [problem.json() for problem in invalid.errors]
            raise Refusal("invalid", str(invalid), problems=problems) from None
        target = self._ports.target(order.dataset)
        if target is None:
            raise Refusal("not-found", f"no dataset {order.dataset.hex()[:12]} at this site")
        self._check_person(target, order, signer, asking)
        if target.still:
            raise Refusal(
                "conflict",
                f"{target.name} stands still: {NOBODY_LEADS}",
                f"an admin: {RECOVER}",
            )
        if len(document) > limits.COMMAND_DOC_BYTES_MAX:
            raise Refusal(
                "too-large",
                f"the order has {len(document):,} bytes; at most {limits.COMMAND_DOC_BYTES_MAX:,}",
                "give the same order for fewer ranges of jobs at a time",
            )
        self._ports.check(target, order)
        id_ = digest(Purpose.COMMAND, document)
        if self._ports.seen(id_):
            raise Refusal(
                "replayed",
                f"this very order ({order.verb} {target.name}) was taken before",
                "sign a new one: each serves once",
            )
        await write(self._journal, Command(target.shard, document, signature, UserKey(signer)))
        if not target.led:
            await self._answered(target, id_)
        if why := self._ports.refusal(target, id_):
            raise Refusal("conflict", f"the log of {target.name} refused the order: {why}")
        if target.led and not self._ports.seen(id_):
            raise Refusal("conflict", "the order was written but could not be taken", "floe doctor")
        return {
            "dataset": {"id": order.dataset.hex(), "name": target.name},
            "verb": order.verb,
            "applied": self._ports.seen(id_),
            "counts": self._ports.counts(target.no),
        }

    def _check_person(self, target: Target, order: Order, signer: bytes, asking: Person) -> None:
        """Raise Refusal unless the signer may give this order: as the leader's log will judge."""
        if signer == target.person:
            return
        owner = self._name_of(target.person)
        if not asking.admin:
            raise Refusal(
                "denied",
                f"{target.name} belongs to {owner}; {asking.name} may not {order.verb} it",
                f"ask {owner} or an admin",
            )
        if not self._ports.is_admin(target, signer):
            raise Refusal(
                "denied",
                f"{target.name} belongs to {owner} and is led by {target.leader}; an admin of"
                f" another site may not {order.verb} it",
                f"ask {owner} or an admin of {target.leader}",
            )

    async def _answered(self, target: Target, order: bytes) -> None:
        """Wait a while for the leader of another site."""
        until_s = self._now_s() + APPLIED_S
        while (left_s := until_s - self._now_s()) > 0:
            if self._ports.seen(order) or self._ports.refusal(target, order):
                return
            # A short wait: the change may have come between the question and here.
            await self._change(target.no, min(left_s, 1.0))
