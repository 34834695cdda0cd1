"""What is known of one batch system at the moment: for the plan, and for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Final

from twisted.logger import Logger

from node.model.dataset import Needs
from node.provisioning.avoiding import Avoided
from node.provisioning.breaker import Breaker
from node.provisioning.jobs import Submission
from node.provisioning.leaving import dump
from node.provisioning.patience import promising
from node.provisioning.plan import Coming, SystemFacts
from node.provisioning.ports import House, Tools
from node.provisioning.reasons import Reasons
from node.provisioning.rows import dump_breakers, load_breakers, read_book
from node.provisioning.settings import SystemConfig
from node.provisioning.shapes import Shape
from node.provisioning.shelf import counted
from node.store import submissions as store
from schedulers.base import JobState, Queue

_log = Logger()

QUEUES_SHOWN: Final = 200
LONG_S: Final = 120.0  # from here on minutes are told
STALE_LOOKS: Final = 4  # so many looks without an answer, and nothing is submitted any more


class Account:
    """The book, the breakers, and what the batch system last said."""

    def __init__(self, house: House, settings: SystemConfig, tools: Tools) -> None:
        self._house = house
        self.settings = settings
        self._tools = tools
        now_s = house.reactor.seconds()
        self.book = read_book(house.conn, settings.name, settings.announce_s, now_s)
        self.breakers: dict[Shape, Breaker] = load_breakers(
            store.memory(house.conn, settings.name) or [], now_s
        )
        self._remembered = (dump_breakers(self.breakers), store.settings(house.conn, settings.name))
        self.version = ""
        self.trouble = ""  # the last error, in words
        self.trouble_s = float("-inf")  # when it was seen
        self.looked_s: float | None = None  # when the last good listing was asked for
        self.queues: Sequence[Queue] = ()
        self.reasons = Reasons()  # what the batch system says of pilots in its queue
        self.avoided = Avoided(settings.name, house.work.leases.hosts)
        self.leaving = ""  # why there are no more submissions, as config.toml left it out
        self._surplus_s: dict[Shape, float] = {}  # since when they have had no work
        self.refusals = 0  # submissions in a row that were not taken, of kinds that never were
        self.proven: dict[Shape, None] = {}  # kinds that were taken, and not refused since
        self._next_submit_s = now_s
        self._next_new_s = now_s  # of kinds that are not proven

    def facts(self) -> SystemFacts:
        """For the plan. What an admin tests is beyond all limits, and nobody's to cancel."""
        now_s = self._house.reactor.seconds()
        tested = set(self._house.work.leases.reserved.values())
        ours = [each for each in self.book if each.tag not in tested]
        coming = _coming(ours, now_s)
        coming += [
            replace(each, job=None)
            for each in _coming((each for each in self.book if each.tag in tested), now_s)
        ]
        mine = {
            factory.name: counted(each for each in ours if each.shape.factory == factory.name)
            for factory in self.settings.factories
        }
        outstanding = self.book.coming()
        allowed, words, limits = {}, dict(self.reasons.waits), {}
        for shape, breaker in self.breakers.items():
            most = breaker.allows(now_s, outstanding[shape])
            if most is not None:
                allowed[shape] = most
            if breaker.opened:
                words[shape] = breaker.words(now_s)
            if breaker.limit:
                limits[shape] = breaker.limit_words(now_s)
        since = self._surplus_s
        return SystemFacts(
            self.settings, *counted(ours), coming, self.queues, mine,
            allowed, words, self._barred(now_s), {each: now_s - since[each] for each in since},
            len(self._silent(now_s)),
            frozenset() if self._shut(now_s) else frozenset(self.proven), limits,
        )  # fmt: skip

    def _silent(self, now_s: float) -> list[float]:
        """For how long pilots have been lost whose jobs are said to run: a worker that is gone."""
        sessions = self._house.work.sessions.by_pilot
        return [
            now_s - session.seen_s
            for each in self.book
            for job in each.living
            if job.state is JobState.RUNNING
            and (session := sessions.get(job.pilot or 0)) is not None
            and session.lost
        ]

    def _barred(self, now_s: float) -> str:
        """Why no submission is made now, but of kinds that are proven."""
        if (words := self._shut(now_s)) or now_s >= self._next_new_s:
            return words
        return f"the next submission is due in {self._next_new_s - now_s:.0f} s. {self.trouble}"

    def _shut(self, now_s: float) -> str:
        """Why none is made at all."""
        if self.leaving:
            return self.leaving
        if self.away is not None:
            return self.away[0]
        if self.looked_s is None:
            return self.trouble or "it has not answered yet"
        if now_s - self.looked_s > STALE_LOOKS * self.settings.look_s:
            return f"it has not told of its jobs for {now_s - self.looked_s:.0f} s: {self.trouble}"
        if now_s < self._next_submit_s:
            after = f"the next submission is due in {self._next_submit_s - now_s:.0f} s"
            return f"{after}. {self.trouble}" if self.refusals else after
        return ""

    @property
    def away(self) -> tuple[str, str] | None:
        """Why its host cannot be reached: with the time of the next try, and without."""
        away = self._tools.runner.away()
        if away is None:
            return None
        long = away.again_s >= LONG_S
        after = f"{away.again_s / 60:.0f} min" if long else f"{away.again_s:.0f} s"
        return f"{away.words}; next try in {after}", away.words

    def limit_of(self, needs: Needs) -> str:
        """What a limit means for pilots that could run such units; "" if none was met."""
        now_s = self._house.reactor.seconds()
        words = (
            breaker.limit_words(now_s)
            for shape, breaker in self.breakers.items()
            if shape.room().units(needs)
        )
        return next(filter(None, words), "")

    async def _remember(self) -> None:
        """Breakers survive a restart, as long as they say anything; so does how it is spoken to."""
        coming, now_s = self.book.coming(), self._house.reactor.seconds()
        past = [each for each in self.breakers.items() if each[1].past(now_s)]
        for shape in [shape for shape, _ in past if not coming[shape]]:
            del self.breakers[shape]
        found = dump_breakers(self.breakers), dump(self.settings)
        if found != self._remembered:
            name, (memory, way) = self.settings.name, found
            await self._house.work.write(
                partial(store.remember, system=name, memory=memory, settings=way)
            )
            self._remembered = found

    def _complain(self, words: str) -> None:
        if words != self.trouble:
            _log.warn("site.{name}: {words}", name=self.settings.name, words=words)
        self.trouble, self.trouble_s = words, self._house.reactor.seconds()

    @property
    def urls(self) -> list[str]:
        """Where workers look for this node."""
        return [self._tools.url] if self._tools.url else list(self._house.urls)

    def shown(self) -> dict[str, Any]:
        """What is to be known of this batch system."""
        now_s = self._house.reactor.seconds()
        away = self._tools.runner.away()
        silent = self._silent(now_s)
        return {
            "name": self.settings.name,
            "kind": self.settings.kind,
            "host": self.settings.host,
            "urls": self.urls,
            "state": self.state(),
            "leaving": self.leaving,
            "version": self.version,
            "queued": self.book.queued(),
            "running": self.book.running(),
            "queued_max": self.settings.queued_max,
            "running_max": self.settings.running_max,
            "states": dict(self.book.counts()),
            "silent": len(silent),
            "silent_s": round(max(silent), 1) if silent else None,
            "foreign": self.book.foreign,
            "looked_s_ago": None if self.looked_s is None else round(now_s - self.looked_s, 1),
            "trouble": self.trouble,
            "trouble_s_ago": round(now_s - self.trouble_s, 1) if self.trouble else None,
            "away": None if away is None else {"why": away.words, "again_s": round(away.again_s)},
            "barred": self._barred(now_s),
            "breakers": [
                {"shape": self.kind(shape), "why": words, "reason": each.why}
                for shape, each in self.breakers.items()
                if (words := each.words(now_s))
            ],
            "limits": [
                {"shape": self.kind(shape), "why": words, "reason": each.limit}
                for shape, each in self.breakers.items()
                if (words := each.limit_words(now_s))
            ],
            "waits": [f"{self.kind(each)}: {said}" for each, said in self.reasons.waits.items()],
            "pilots_min": self.settings.pilots_min,
            "submit_max": self.settings.submit_max,
            "submit_s": self.settings.submit_s,
            "look_s": self.settings.look_s,
            "factories": [asdict(each) for each in self.settings.factories],
            "queues": [asdict(each) for each in self.queues[:QUEUES_SHOWN]],
        }

    def kind(self, shape: Shape) -> str:
        """Of pilots, for people: with its name, where there are several."""
        named = len(self.settings.factories) > 1
        return f"{shape.factory} ({shape.words()})" if named else shape.words()

    def state(self) -> str:
        """One word for people."""
        now_s = self._house.reactor.seconds()
        if self.leaving:
            return "leaving"
        if self.looked_s is None:
            return "no answer" if self.trouble else "starting"
        if self.away is not None:
            return "no answer"
        if now_s - self.looked_s > STALE_LOOKS * self.settings.look_s:
            return "no answer"
        return "stopped" if any(each.opened for each in self.breakers.values()) else "ok"

    def jobs_shown(self) -> Iterator[dict[str, Any]]:
        """Every job that has not ended; what may exist without our knowing is one row more."""
        now_s = self._house.reactor.seconds()
        for each in self.book:
            common = {"system": self.settings.name, "tag": each.tag, "shape": self.kind(each.shape)}
            for job in each.living:
                yield {
                    **common, "job": job.name, "state": job.state.value, "host": job.host,
                    "words": self.reasons.words(each.shape, job), "pilot": job.pilot,
                    "since_s": round(now_s - job.since_s, 1),
                }  # fmt: skip
            if each.unseen:
                words = each.words or "the batch system has not named its jobs yet"
                yield {
                    **common, "job": "", "state": "in doubt", "words": words, "host": "",
                    "since_s": round(now_s - each.made_s, 1), "pilot": None, "count": each.unseen,
                }  # fmt: skip


def _coming(ours: Iterable[Submission], now_s: float) -> list[Coming]:
    found: list[Coming] = []
    for each in ours:
        age_s = now_s - each.made_s
        jobs = [job for job in each.living if job.coming]
        for job in jobs[len(each.nameless) :]:
            if not promising(job, now_s):
                continue
            vain_s = age_s if job.queued else now_s - job.since_s
            held = job.state is JobState.HELD
            found.append(Coming(each.shape, vain_s, job.name, job.queued, held))
        found += [Coming(each.shape, age_s)] * max(0, each.unseen)
    return found
