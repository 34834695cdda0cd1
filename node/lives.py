"""The node's process: the site that runs in it, started again by itself if need be.

A store that turns out to be an old copy writes nothing more under its generation (`node/store/
outliving.py`), or has to go over to another branch of a feed (`node/store/branches.py`). Then
everything is let go and begun anew on the same home, as by `floe down` and `floe up`; pilots and
people come back to the same address. A site that runs twice would drive itself on for ever that
way, so that it goes on by itself a few times and then waits for a person.
"""

from __future__ import annotations

import gc
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.failure import Failure

from keys.identity import KeyFileError
from node.config import ConfigError, load
from node.home import Home, HomeError, NodeAddress
from node.opening import make_undumpable
from node.site import Site
from node.store.database import StoreError

log = Logger()

AGAIN_MAX: Final = 6  # how often a process goes on by itself
# A thread that computes gives way after so long. SQLite lets go of the interpreter in every
# statement; at Python's 5 ms, a long listing would hold the writer up at each of them.
SWITCH_S: Final = 0.0005
GC_YOUNG: Final = 20_000  # requests leave cycles; at the default of 700 every few would collect
Expected = KeyFileError | ConfigError | HomeError | StoreError | CannotListenError


Again = Callable[[str], None]


class OneSite(Protocol):
    """A life: `node.site.Site`."""

    async def start(self) -> NodeAddress: ...
    async def stop(self) -> None: ...


class Lives:
    """One site after another on one home. All methods run in the reactor's thread."""

    def __init__(self, make: Callable[[Again, int], OneSite], end: Callable[[str], None]) -> None:
        """make: the next site, which says when it has to be started again, and why; its number.

        end: ends the process, with the reason why it cannot go on.
        """
        self._make = make
        self._end = end
        self._lock = DeferredLock()  # one starts or stops at a time
        self._site: OneSite | None = None
        self._again = 0
        self._asked = False  # the one that runs did, already
        self._over = False

    async def start(self) -> NodeAddress:
        """Begin the first. Raises as `Site.start` does."""
        async with _held(self._lock):
            return await self._begin()

    async def stop(self) -> None:
        """End the one that runs; none follows."""
        self._over = True
        async with _held(self._lock):
            await self._stop()

    def again(self, why: str) -> None:
        """The one that runs has to be started again: its store is an old copy."""
        if self._asked or self._over:
            return
        self._asked = True
        if self._again >= AGAIN_MAX:
            log.error("this site runs twice, it seems: it waits for a person to stop one of both")
            return
        self._again += 1
        Deferred.fromCoroutine(self._go_on()).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        why = _words(failure.value)
        log.error("the node does not go on: {why}", why=why)
        self._end(why)

    async def _go_on(self) -> None:
        async with _held(self._lock):
            if self._over:
                return
            await self._stop()
            address = await self._begin()
            log.info("{name} is up again: {api}", name=address.name, api=address.api)

    async def _begin(self) -> NodeAddress:
        self._asked = False
        site = self._site = self._make(self.again, self._again)
        return await site.start()

    async def _stop(self) -> None:
        site, self._site = self._site, None
        if site is not None:
            await site.stop()


class _held:
    """A lock for the length of an `async with`."""

    def __init__(self, lock: DeferredLock) -> None:
        self._lock = lock

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, *error: object) -> None:
        self._lock.release()


def _words(error: BaseException | None) -> str:
    """Why a node did not start, for people."""
    if isinstance(error, Expected):
        return str(error)
    log.failure("the node could not start")
    return f"the node could not start: {type(error).__name__}: {error}"


def run(home: Home, ready: Callable[[], None], *, network_home: bool = False) -> str:
    """Run a node on `home` until it is told to stop; what kept it from going on, or "".

    ready: called once the API answers.
    """
    from twisted.internet import reactor

    steady: Any = reactor
    # Twisted's timers follow the wall clock, which may jump by a year: pilots would be given up,
    # or no timer would fire for as long.
    steady.seconds = time.monotonic
    ended: list[str] = []

    def end(why: str) -> None:
        ended.append(why)
        reactor.callLater(0, reactor.stop)

    async def begin() -> None:
        try:
            config = load(home.config)
            if network_home:
                config = config.on_network_home()
            make_undumpable()
            # One process takes no links from another that was started later.
            boot = time.time_ns() // 1_000_000
            lives = Lives(lambda again, life: Site(reactor, home, config, again, boot, life), end)
            address = await lives.start()
        except BaseException as error:
            end(_words(error))
            return
        reactor.addSystemEventTrigger(
            "before", "shutdown", lambda: Deferred.fromCoroutine(lives.stop())
        )
        _settle_memory()
        log.info("{name} is up: {api}", name=address.name, api=address.api)
        ready()

    def start() -> None:
        hang_up: Any = reactor
        signal.signal(signal.SIGHUP, lambda *_: hang_up.callFromThread(reactor.stop))
        Deferred.fromCoroutine(begin())

    sys.setswitchinterval(SWITCH_S)
    reactor.callWhenRunning(start)
    reactor.run()
    log.info("the node has stopped")
    return ended[0] if ended else ""


def _settle_memory() -> None:
    """What is loaded now stays: no later collection needs to look at it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG, 10, 20)
