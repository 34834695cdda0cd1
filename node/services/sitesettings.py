"""Settings of a running node: limits of pilots until the next start, and config.toml read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from node.config import Config, ConfigError, LocalConfig, as_tables
from node.provisioning.changes import CannotChange
from node.provisioning.settings import COUNT_MAX, SystemConfig
from node.services.facts import SiteFacts
from node.services.people import Person
from node.services.questions import Value
from node.services.refusal import Refusal

log = Logger()

LOCAL: Final = "local"
LOCAL_MAX: Final = 1000  # pilots on the node's own machine
UNTIL: Final = "the next start of the node, or floe config reload; config.toml holds them for good"
# Read at a start only. A home on a network file system may also be allowed on the command line.
AT_START: Final = ("name", "api", "store", "mesh")
Body = Mapping[str, Any]


class Pilots(Protocol):
    """Pilots on the node's own machine."""

    settings: LocalConfig

    def wanted(self) -> None: ...


class Systems(Protocol):
    """The batch systems of this node."""

    def shown(self) -> list[dict[str, Any]]: ...

    def limit(self, name: str, running_max: int | None, queued_max: int | None) -> bool:
        """False if there is no such batch system. Raises CannotChange."""

    async def change(self, systems: Sequence[SystemConfig], *, anyway: bool) -> list[str]:
        """What changed, in words. Raises CannotChange, but anyway."""


class SiteSettings:
    """Changes that need no restart."""

    def __init__(
        self, load: Callable[[], Config], facts: SiteFacts, local: Pilots, systems: Systems
    ) -> None:
        """load: reads config.toml. Raises ConfigError."""
        self._load = load
        self._facts = facts
        self._local = local
        self._systems = systems
        self._started = facts.config  # what cannot be changed is as it was then
        self._turn = DeferredLock()

    async def limits(self, body: Body, asking: Person) -> Value:
        """Show them, or set {"pilots_max", "queued_max"} of the batch system {"system"}."""
        name = body.get("system") or LOCAL
        most, queued = _count(body, "pilots_max"), _count(body, "queued_max")
        if (most, queued) != (None, None):
            if name == LOCAL:
                self._limit_local(most, queued)
            else:
                self._limit(str(name), most, queued)
            log.info(
                "{name}: at most {most} pilots, {queued} in the queue, by {who}",
                name=name, most=most, queued=queued, who=asking.name,
            )  # fmt: skip
        local = self._local.settings
        return {
            "limits": {
                "pilots_max": local.pilots_max,
                "pilots_min": local.pilots_min,
                "slots": local.slots,
                "until": UNTIL,
            },
            "batch": self._systems.shown(),
        }

    def _limit(self, name: str, most: int | None, queued: int | None) -> None:
        try:
            found = self._systems.limit(name, most, queued)
        except CannotChange as error:
            raise Refusal("conflict", str(error)) from None
        if not found:
            known = ", ".join([LOCAL, *(each["name"] for each in self._systems.shown())])
            raise Refusal("not-found", f"no batch system {name!r}", f"it has {known}")

    def _limit_local(self, most: int | None, queued: int | None) -> None:
        if queued is not None:
            raise Refusal("bad-request", "local pilots wait in no queue", "name a batch system")
        assert most is not None
        if most > LOCAL_MAX:
            raise Refusal("bad-request", f"at most {LOCAL_MAX} pilots can run on this machine")
        least = min(self._local.settings.pilots_min, most)
        self._local.settings = replace(self._local.settings, pilots_max=most, pilots_min=least)
        self._local.wanted()

    async def reload(self, body: Body, asking: Person) -> Value:
        """Read config.toml again, and go on with what it says now.

        {"anyway": true} gives up pilots that could not be followed after that.
        """
        await self._turn.acquire()
        try:
            return await self._reload(asking, anyway=body.get("anyway") is True)
        finally:
            self._turn.release()

    async def _reload(self, asking: Person, *, anyway: bool) -> Value:
        try:
            config = self._load()
            changed = await self._systems.change(config.systems, anyway=anyway)
        except ConfigError as error:
            raise Refusal("invalid", f"nothing was changed: {error}", "floe config check") from None
        except CannotChange as error:
            raise Refusal("conflict", f"nothing was changed: {error}") from None
        if config.local != self._local.settings:
            changed.insert(0, "site.local: " + ", ".join(_fields(config, self._local.settings)))
            self._local.settings = config.local
            self._local.wanted()
        later = list(_later(self._started, config))
        self._facts.config = replace(self._facts.config, local=config.local, systems=config.systems)
        log.info("config.toml read again, by {who}: {words}", who=asking.name, words=changed)
        return {"changed": changed, "later": later}


def _fields(config: Config, local: LocalConfig) -> Iterator[str]:
    new, old = as_tables(config)["site.local"], as_tables(replace(config, local=local))
    return (name for name in new if new[name] != old["site.local"][name])


def _later(old: Config, new: Config) -> Iterator[str]:
    """Settings that count from the next start."""
    before, after = as_tables(old), as_tables(new)
    for section in AT_START:
        if not isinstance(after[section], dict):
            if before[section] != after[section]:
                yield section
            continue
        for name, value in after[section].items():
            if before[section][name] != value and name != "network_home":
                yield f"{section}.{name}"


def _count(body: Body, name: str) -> int | None:
    value = body.get(name)
    if value is not None and (type(value) is not int or not 0 <= value <= COUNT_MAX):
        raise Refusal("bad-request", f'"{name}" is no number from 0 to {COUNT_MAX:,}')
    return value
