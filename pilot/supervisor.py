"""The pilot's main thread: joins the loop (what to do), the link (the node) and the runners."""

import base64
import collections
import errno
import json
import logging
import os
import re
import selectors
import shutil
import signal
import socket
import time
from typing import Any, Deque, Dict, List, Optional, Set, Tuple

from pilot import batchsystem, messages, resources, transfer
from pilot.config import Settings
from pilot.doubt import Doubt
from pilot.eviction import Evictions
from pilot.link import Link
from pilot.loop import Held, Loop, Resources, Start
from pilot.messages import Deframer, Row, frame
from pilot.nursery import Nursery
from pilot.place import Place
from pilot.processes import Processes
from pilot.resources import Found

REPORT_EVERY_S = 0.1  # at most so many reports, while results come in
RUNNING_TOLD_S = 1.0  # a unit that began to run is in a report so soon
ROWS_MAX = 2000  # in one report: with all their texts below the node's 4 MiB
UNREPORTED_BYTES_MAX = 64 << 20  # of blobs that wait for the node; then nothing new is begun
ORDERS_ONLY_AFTER_S = 1.0  # without results or polls: listen for orders
RUNNERS_LOST_MAX = 20  # in a row, without a result between: this worker is no good
TURN_S_MAX = 5.0
EMPTY_HANDED_S = 2.0  # so long a pilot that holds nothing tries to say that it ends
NODE_LOST_S = 3600.0  # without a word from the node, and without work
TAILS_MAX = 16  # parts of running logs in one report: below the node's 4 MiB beside the rows
LAST_WORDS_SHARE = 0.4  # of the grace time is kept for the last report
_KEPT = re.compile(r"([0-9a-f]{64})(-[0-9]{1,9})?\Z")  # by its digest, and a number where taken

_log = logging.getLogger("pilot")


class _Slot:
    """A runner as the main thread sees it."""

    def __init__(self, number: int, runner: socket.socket) -> None:
        self.number = number
        self.runner = runner
        self.deframer = Deframer()
        self.specs: Set[str] = set()


class Pilot:
    """One pilot, from announcing to leaving."""

    def __init__(
        self, settings: Settings, nursery: Nursery, place: Place, found: Found, evictions: Evictions
    ) -> None:
        now_s = time.monotonic()
        self._settings = settings
        self._nursery = nursery
        self._place = place
        self._evictions = evictions
        self._batch = found.batch
        self._grace_s = batchsystem.grace_s(found.batch, settings.grace_s)
        self._doubt = Doubt(found.batch.signals_all)
        os.makedirs(self._folder("outbox"), mode=0o700, exist_ok=True)
        ends_s = resources.ends_s(found.left_s, now_s)
        units = found.units
        self._loop = Loop(units, len(units.cpus), ends_s)
        self._cache = transfer.Cache(
            self._folder("cache"), settings.cache_bytes or max(1 << 30, units.disk_bytes // 4)
        )
        self._fetching: Set[str] = set()
        self._slots: Dict[int, _Slot] = {}
        self._rows: Deque[Tuple[int, str, Row]] = collections.deque()
        self._blobs: Dict[str, transfer.Upload] = collections.OrderedDict()
        self._blob_bytes = 0
        self._returned: Held = []
        self._tails: List[List[Any]] = []
        self._in_report: List[Tuple[int, str, Row]] = []
        self._blobs_in_report: List[transfer.Upload] = []
        self._returned_in_report: Held = []
        self._reported_s = now_s
        self._heard_s = now_s
        self._running_told_s: Optional[float] = None
        self._busy_s = now_s
        self._leaving_at_s: Optional[float] = None
        self._leaving_why = ""
        self._drained = False
        self._last_words = False
        self._done = False
        self._lost_in_a_row = 0
        self.status = 0
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        hello = self._hello(units, found.left_s)
        self._link = Link(settings, hello, self._holding, self._wake)

    def _folder(self, name: str) -> str:
        return os.path.join(self._place.folder, name)

    def _hello(self, units: Resources, left_s: Optional[float]) -> Dict[str, Any]:
        return {
            "token": self._settings.token,
            "tag": self._settings.tag,
            "host": self._batch.host or socket.gethostname(),
            "pid": os.getpid(),
            "version": messages.VERSION,
            "resources": units.shown(left_s),
            "isolation": self._nursery.isolation,
            "system": self._batch.system,
            "job": self._batch.job,
        }

    def run(self) -> int:
        """Until there is nothing more to do here; the exit status."""
        signal.set_wakeup_fd(self._wake_write.fileno())
        self._link.start()
        try:
            while not self._done:
                self._turn()
        finally:
            self._link.close()
            self._nursery.close()
            Processes(alone=False).end()  # what a nursery that was killed left to us
            for name in ("slots", "cache", "outbox", "probe"):
                shutil.rmtree(self._folder(name), ignore_errors=True)
            self._place.leave()
        return self.status

    # --- one turn -----------------------------------------------------------------------------

    def _turn(self) -> None:
        self._heed_signals()
        for kind, value in self._link.take():
            getattr(self, "_on_" + kind)(value)
        now_s = time.monotonic()
        self._rows.extend(self._doubt.due(now_s))
        if self._leaving_at_s is None:
            self._start_units(now_s)
            self._ask(now_s)
        self._report(now_s)
        self._think_of_leaving(now_s)
        if self._done:
            return
        for key, _ in self._selector.select(self._wait_s()):
            if key.data is None:
                self._drain_wake()
            else:
                self._hear(key.data)

    def _wait_s(self) -> float:
        now_s = time.monotonic()
        times_s = [now_s + TURN_S_MAX]
        if not self._link.reporting:
            times_s.append(self._reported_s + self._link.heartbeat_s)
            if self._rows or self._returned or self._tails:
                times_s.append(self._reported_s + REPORT_EVERY_S)
            if self._running_told_s is not None:
                times_s.append(self._running_told_s + RUNNING_TOLD_S)
        if self._link.polling is None and self._leaving_at_s is None:
            times_s.append(self._heard_s + ORDERS_ONLY_AFTER_S)
        doubt_s = self._doubt.next_s()
        if doubt_s is not None:
            times_s.append(doubt_s)
        if self._leaving_at_s is not None:
            times_s.append(now_s + 0.1)
        return max(0.0, min(times_s) - now_s)

    def _wake(self) -> None:
        try:
            self._wake_write.send(b"w")
        except OSError:
            pass

    def _drain_wake(self) -> None:
        try:
            while len(self._wake_read.recv(4096)) == 4096:
                pass
        except BlockingIOError:
            pass

    def _heed_signals(self) -> None:
        """The batch system ends this pilot: leave; units that it took along are no failures."""
        for caught in self._evictions.take():
            self._rows = collections.deque(self._doubt.evicted(self._rows, caught.at_ms))
            self._leave(batchsystem.meaning(self._batch.system, caught.number))

    # --- units out ----------------------------------------------------------------------------

    def _start_units(self, now_s: float) -> None:
        self._returned.extend(self._loop.too_long(now_s))
        if self._blob_bytes > UNREPORTED_BYTES_MAX:
            return
        for start in self._loop.plan(now_s, self._cache.have):
            self._start(start)

    def _start(self, start: Start) -> None:
        slot = self._slots.get(start.slot)
        if slot is None:
            try:
                slot = self._new_runner(start.slot)
            except OSError as fault:
                self.status = 1
                for lost in self._loop.slot_lost(start.slot):
                    self._returned.append([lost.lease, [lost.job]])
                self._leave("no runner can be started: %s" % fault)
                return
        data = b""
        if start.spec not in slot.specs:
            slot.specs.add(start.spec)
            spec = self._loop.spec(start.spec)
            data = frame({"op": "spec", "id": start.spec, "spec": spec})
        self._say(slot, data + frame(start.message))

    def _new_runner(self, number: int) -> _Slot:
        slot = _Slot(number, self._nursery.start_runner(number))
        self._slots[number] = slot
        self._selector.register(slot.runner, selectors.EVENT_READ, slot)
        return slot

    def _say(self, slot: _Slot, data: bytes) -> None:
        try:
            slot.runner.sendall(data)
        except OSError:
            pass  # its end of stream is read next

    # --- units back ---------------------------------------------------------------------------

    def _hear(self, slot: _Slot) -> None:
        self._heed_signals()
        try:
            data = slot.runner.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self._forget_runner(slot)
            self._lose_runner(slot.number)
            return
        for message in slot.deframer.feed(data):
            if "rows" in message:
                self._take_rows(slot, message)
            elif "running" in message:
                self._loop.told_running(slot.number, *message["running"])
                self._running_told_s = self._running_told_s or time.monotonic()
            elif "returned" in message:
                self._loop.gave_up(slot.number, message["returned"])
                self._returned.extend(message["returned"])
            elif "tail" in message and len(self._tails) < TAILS_MAX:
                self._tails.append(message["tail"])

    def _take_rows(self, slot: _Slot, message: Dict[str, Any]) -> None:
        rows = message["rows"]
        for digest, size, text, file in message["blobs"]:
            try:
                self._keep_blob(slot, digest, size, text, file)
            except OSError as fault:
                rows = [_without(digest, row, fault) for row in rows]
        self._rows.extend(self._doubt.take(rows, time.monotonic()))
        self._loop.came_back(slot.number, message["rows"], message["done"])
        if message["rows"]:
            self._lost_in_a_row = 0

    def _keep_blob(
        self, slot: _Slot, digest: str, size: int, text: Optional[str], file: str
    ) -> None:
        if text is not None:
            self._blobs[digest] = transfer.Upload(digest, size, base64.b64decode(text), "")
            self._blob_bytes += size
            return
        # A runner is next to payloads: no word of its leads us out of its folder and ours.
        named = _KEPT.match(str(file))
        if named is None or named.group(1) != digest:
            raise OSError(errno.EINVAL, "a runner names a file as it may not")
        kept = os.path.join(self._folder("outbox"), digest)
        os.rename(os.path.join(self._folder("slots"), str(slot.number), "out", file), kept)
        self._blobs[digest] = transfer.Upload(digest, size, None, kept)

    def _forget_runner(self, slot: _Slot) -> None:
        self._selector.unregister(slot.runner)
        slot.runner.close()
        del self._slots[slot.number]

    def _lose_runner(self, number: int) -> None:
        now_ms = int(time.time() * 1000)
        for lost in self._loop.slot_lost(number):
            _log.warning("the runner of lease %d job %d died", lost.lease, lost.job)
            error = "evicted" if self._leaving_at_s is not None else "runner-lost"
            why = "the process that watched this unit was killed"
            row = messages.lost_row(lost.job, lost.started_ms or now_ms, now_ms, error, why)
            self._rows.extend(self._doubt.take([(lost.lease, lost.spec, row)], time.monotonic()))
        self._lost_in_a_row += 1
        if self._lost_in_a_row > RUNNERS_LOST_MAX:
            self.status = 1
            self._leave("runners keep dying here")

    # --- the node -----------------------------------------------------------------------------

    def _ask(self, now_s: float) -> None:
        wanted = self._loop.units_max(len(self._rows) + len(self._in_report))
        poll = self._link.polling
        if poll is not None:
            if wanted and not poll["units_max"]:
                self._link.break_off()
            return
        quiet = now_s - self._heard_s >= ORDERS_ONLY_AFTER_S
        if not wanted and not quiet:
            return
        self._link.ask({
            "free": self._loop.free(now_s),
            "idle_slots": self._loop.idle_slots(),
            "queued": self._loop.queued(),
            "units_max": wanted,
            "seen": self._loop.seen,
        })  # fmt: skip

    def _on_polled(self, answer: Dict[str, Any]) -> None:
        self._heard_s = time.monotonic()
        work = sorted(answer.get("work") or [], key=lambda item: int(item["lease"]))
        if work:
            if self._leaving_at_s is not None or self._loop.draining:
                self._returned.extend(
                    [item["lease"], messages.expand_ranges(item["jobs"])] for item in work
                )
            else:
                self._take_work(work, answer.get("specs") or {})
        self._obey(answer.get("orders") or [])

    def _take_work(self, work: List[Dict[str, Any]], specs: Dict[str, Any]) -> None:
        wanted, unknown = self._loop.add(work, specs)
        if unknown or self._loop.forget_specs():
            self._returned.extend(unknown)
            self._link.renew()
        for digest in wanted:
            if not self._cache.have(digest) and digest not in self._fetching:
                if not self._fetching:
                    self._cache.make_room(self._loop.blobs_needed())
                self._fetching.add(digest)
                self._link.fetch(digest, self._cache.path(digest))

    def _on_fetched(self, value: Tuple[str, int]) -> None:
        digest, size = value
        self._fetching.discard(digest)
        self._cache.took(digest, size)

    def _on_missing(self, value: Tuple[str, str]) -> None:
        digest, why = value
        self._fetching.discard(digest)
        now_ms = int(time.time() * 1000)
        for lease, spec, job in self._loop.without_blob(digest):
            text = "input blob %s: %s" % (digest[:12], why)
            row = messages.lost_row(job, now_ms, now_ms, "input-fetch", text)
            self._rows.append((lease, spec, row))

    def _on_refused(self, why: str) -> None:
        _log.error("the node does not take this pilot: %s", why)
        self.status = 1
        self._done = True

    def _obey(self, orders: List[Dict[str, Any]]) -> None:
        for order in orders:
            kind = order.get("order")
            if kind == "stop":
                self._stop(order.get("lease"), order.get("jobs"), "cancelled")
            elif kind == "tail":
                self._tail(order)
            elif kind == "drain":
                self._drain()
            elif kind == "exit":
                self._leave("the node ends this pilot")

    def _stop(self, lease: Optional[int], jobs: Optional[List[int]], error: str) -> None:
        slots, dropped = self._loop.stop(lease, jobs)
        self._returned.extend(dropped)
        message = frame({"op": "stop", "lease": lease, "jobs": jobs, "error": error})
        for number in slots:
            if number in self._slots:
                self._say(self._slots[number], message)

    def _tail(self, order: Dict[str, Any]) -> None:
        """Somebody reads the log of a unit that runs here: its runner says what there is."""
        number = self._loop.where(int(order["lease"]), int(order["job"]))
        if number in self._slots:
            asked = {name: int(order[name]) for name in ("lease", "job", "offset")}
            self._say(self._slots[number], frame({"op": "tail", **asked}))

    def _drain(self) -> None:
        if not self._loop.draining:
            _log.info("draining: no new work")
            self._loop.draining = True
            self._returned.extend(self._loop.hand_back())
            for slot in self._slots.values():
                self._say(slot, frame({"op": "recall"}))

    def _holding(self) -> Held:
        held: Dict[int, List[int]] = collections.OrderedDict()
        for lease, jobs in self._loop.holding() + self._returned + self._returned_in_report:
            held.setdefault(lease, []).extend(jobs)
        for lease, _, row in [*self._rows, *self._doubt.waiting(), *self._in_report]:
            held.setdefault(lease, []).append(row[0])
        return [[lease, jobs] for lease, jobs in held.items()]

    # --- reports ------------------------------------------------------------------------------

    def _report(self, now_s: float) -> None:
        if self._link.reporting:
            return
        waited_s = now_s - self._reported_s
        due = (self._rows or self._returned or self._tails) and waited_s >= REPORT_EVERY_S
        if self._running_told_s is not None and now_s - self._running_told_s >= RUNNING_TOLD_S:
            due = True
        last = self._leaving_at_s is not None and self._all_quiet(now_s)
        if not due and not last and waited_s < self._link.heartbeat_s:
            return
        self._send_report(now_s, last)

    def _send_report(self, now_s: float, last: bool) -> None:
        self._reported_s = now_s
        self._running_told_s = None
        count = min(ROWS_MAX, len(self._rows))
        self._in_report = [self._rows.popleft() for _ in range(count)]
        self._returned_in_report, self._returned = self._returned, []
        self._blobs_in_report = list(self._blobs.values())
        self._blobs.clear()
        self._blob_bytes = 0
        body: Dict[str, Any] = {
            "results": messages.group_by_lease(self._in_report),
            "running": self._loop.running(),
            "returned": self._returned_in_report,
        }
        if self._tails:
            body["logs"], self._tails = self._tails, []
        if last and not self._rows:
            body["leaving"] = True
            body["why"] = self._leaving_why
            self._last_words = True
        self._link.report(body, self._blobs_in_report)

    def _on_rejected(self, value: Tuple[str, str]) -> None:
        """The report under way can never be taken as it is: say less, so that the rest gets on."""
        stage, why = value
        _log.error("the node rejects %s: %s", stage, why)
        now_ms = int(time.time() * 1000)
        rows, self._in_report = self._in_report, []
        self._returned = self._returned_in_report + self._returned
        self._returned_in_report = []
        self._drop_blobs()
        for lease, spec, row in rows:
            if stage == "blobs" and any(row[10:13]):
                text = "the site does not take what it made: %s" % why
                row = messages.lost_row(row[0], row[2], now_ms, "output-store", text[:200])
            if stage == "blobs":
                self._rows.appendleft((lease, spec, row))
            else:
                self._returned.append([lease, [row[0]]])

    def _drop_blobs(self) -> None:
        """The blobs of the last report are of no more use here."""
        for blob in self._blobs_in_report:
            if blob.path and blob.digest not in self._blobs:  # not made again meanwhile
                try:
                    os.unlink(blob.path)
                except OSError:
                    pass
        self._blobs_in_report = []

    def _on_reported(self, answer: Dict[str, Any]) -> None:
        self._drop_blobs()
        self._in_report, self._returned_in_report = [], []
        if self._last_words:
            self._done = True
            return
        self._heard_s = time.monotonic()
        self._obey(answer.get("orders") or [])

    # --- leaving ------------------------------------------------------------------------------

    def _leave(self, why: str) -> None:
        if self._leaving_at_s is not None:
            return
        _log.info("leaving: %s", why)
        self._leaving_why = why
        self._leaving_at_s = time.monotonic()
        self._loop.draining = True
        self._returned.extend(self._loop.hand_back())
        self._stop(None, None, "evicted")
        self._link.break_off()

    def _all_quiet(self, now_s: float) -> bool:
        """Nothing runs any more, or there is no time left to wait for it."""
        assert self._leaving_at_s is not None
        spent_s = now_s - self._leaving_at_s
        held = self._loop.busy() or self._doubt.waiting()
        return not held or spent_s > self._grace_s * (1 - LAST_WORDS_SHARE)

    def _think_of_leaving(self, now_s: float) -> None:
        if self._loop.busy():
            self._busy_s = now_s
        if self._leaving_at_s is not None:
            spent_s = now_s - self._leaving_at_s
            if spent_s > EMPTY_HANDED_S and not self._holding():
                why = self._link.unreached or "no answer"
                _log.info("the node does not hear that this pilot ends, nothing is lost: %s", why)
                self._done = True
            elif spent_s > self._grace_s:
                _log.error("the node could not be told in time")
                self._done = True
        elif self._loop.draining and not self._loop.busy():
            self._leave("drained")
        elif self._settings.idle_s is not None and now_s - self._busy_s > self._settings.idle_s:
            self._leave("nothing to do for %gs" % self._settings.idle_s)
        elif now_s - max(self._busy_s, self._link.answered_s) > NODE_LOST_S:
            self._leave("the node is gone")


def _without(digest: str, row: Tuple[int, str, Row], fault: OSError) -> Tuple[int, str, Row]:
    """The same row, as a failure of the worker if the blob that is gone belongs to it."""
    lease, spec, cells = row
    if digest not in cells[10:13] and cells[10] == "":
        return row
    now_ms = int(time.time() * 1000)
    text = "blob %s: %s" % (digest[:12], fault.strerror)
    return lease, spec, messages.lost_row(cells[0], cells[2], now_ms, "output-store", text)


def dump(settings: Settings) -> str:
    """Settings for the log, without the token."""
    return json.dumps({"urls": settings.urls, "tag": settings.tag})
