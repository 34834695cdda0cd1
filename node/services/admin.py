"""What an admin may tell the node: drain, pilot tokens, backup, shutdown."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from node.services.facts import SiteFacts
from node.services.people import Person
from node.services.questions import Value
from node.services.refusal import Refusal
from node.store.backup import BackupError, Copied
from node.store.database import DiskFull

log = Logger()

GOODBYE_S = 0.2  # so that the reply to a shutdown still leaves
ANNOUNCEMENTS_MAX = 10_000
WHY_CHARS_MAX = 200
Body = Mapping[str, Any]


class Work(Protocol):
    def drain(self, on: bool = True) -> None: ...
    def allow(self, host: str) -> bool: ...


class AdminOrders:
    """Orders of admins. They bind this node until its next start; config.toml binds for good."""

    def __init__(
        self,
        reactor: IReactorTime,
        facts: SiteFacts,
        work: Work,
        expect: Callable[[str, str, int], Awaitable[Any]],
        back_up: Callable[[Path, bool], Deferred[Copied]],
        stop: Callable[[], None],
    ) -> None:
        """expect: lets (tag, token, announcements) of pilots in; stop: ends this process."""
        self._reactor = reactor
        self._facts = facts
        self._work = work
        self._expect = expect
        self._back_up = back_up
        self._stop = stop

    async def drain(self, body: Body, asking: Person) -> Value:
        """{"drain": bool, "why": text}"""
        on = body.get("drain", True)
        if type(on) is not bool:
            raise Refusal("bad-request", '"drain" is neither true nor false')
        words = str(body.get("why") or "")[:WHY_CHARS_MAX]
        self._facts.draining = f"by {asking.name}" + (f": {words}" if words else "") if on else ""
        self._work.drain(on)
        log.info("drain {on} by {name}: {why}", on=on, name=asking.name, why=words)
        return {"drained": on, "why": self._facts.draining}

    async def allow(self, body: Body, asking: Person) -> Value:
        """{"host": name of a worker that gets no units}: it is mended."""
        host = body.get("host")
        if not isinstance(host, str) or not host:
            raise Refusal("bad-request", '"host" is no name of a host')
        if not self._work.allow(host):
            right = "floe site show lists those that are"
            raise Refusal("not-found", f"{host[:80]!r} is not banned here", right)
        log.info("worker {host} gets units again, by {name}", host=host, name=asking.name)
        return {"allowed": host}

    async def pilot_token(self, body: Body, asking: Person) -> Value:
        """A token for so many pilots that somebody starts by hand."""
        count = body.get("count", 1)
        if type(count) is not int or not 1 <= count <= ANNOUNCEMENTS_MAX:
            raise Refusal("bad-request", f'"count" is no number from 1 to {ANNOUNCEMENTS_MAX:,}')
        token = secrets.token_urlsafe(32)
        await self._expect(f"hand-{secrets.token_hex(4)}", token, count)
        log.info("{name} made a token for {count} pilots", name=asking.name, count=count)
        return {"token": token, "count": count}

    async def backup(self, body: Body, asking: Person) -> Value:
        """{"to": folder on this machine, "keys": bool}"""
        to, keys = body.get("to"), body.get("keys", False)
        if not isinstance(to, str) or not to.startswith("/") or "\0" in to:
            raise Refusal("bad-request", '"to" is no absolute path', "name a new folder")
        if type(keys) is not bool:
            raise Refusal("bad-request", '"keys" is neither true nor false')
        try:
            copied = await self._back_up(Path(to), keys)
        except BackupError as error:
            raise Refusal("conflict", str(error)) from None
        except DiskFull as error:
            raise Refusal("disk-full", str(error)) from None
        except OSError as error:
            raise Refusal("conflict", f"cannot write to {to}: {error.strerror}") from None
        log.info("{name} made a backup in {to}", name=asking.name, to=to)
        return {
            "to": str(copied.folder),
            "files": copied.files,
            "bytes": copied.size_bytes,
            "damaged": list(copied.damaged),
        }

    async def shutdown(self, asking: Person) -> Value:
        log.info("shutting down, by {name}", name=asking.name)
        self._reactor.callLater(GOODBYE_S, self._stop)
        return {"stopping": True}
