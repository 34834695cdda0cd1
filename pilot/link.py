"""The pilot's three conversations with its node, each in a thread: poll, report, fetch blobs.

The main thread hands over what to say (`ask`, `report`, `fetch`) and takes what came of it as
events (`take`). Whatever the network does is dealt with here: back-off while the node is away,
a new session when it has forgotten ours. A report is repeated until the node has it.
"""

import collections
import logging
import queue
import random
import secrets
import threading
import time
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple

from pilot import transfer
from pilot.client import BrokenOff, Connection, Refused, Unreachable, WrongCertificate
from pilot.config import Settings

BACK_OFF_S_MIN = 0.2
BACK_OFF_S_MAX = 5.0
POLL_MARGIN_S = 20.0  # beyond the node's own time for a long poll
REPORT_S_MAX = 60.0
FETCH_TRIES_MAX = 5

_log = logging.getLogger("pilot")
Event = Tuple[str, Any]


class Unacceptable(Exception):
    """The node says that a request is wrong in itself: sending it again would not help."""


class Link:
    """What the main thread holds of the node."""

    def __init__(
        self, settings: Settings, hello: Dict[str, Any], holding: Callable[[], Any],
        wake: Callable[[], None],
    ) -> None:  # fmt: skip
        """hello: the constant part of an announcement; holding: called in the main thread."""
        self._settings = settings
        # With it a second announcement, after an answer that got lost, is known to be ours.
        self._hello = dict(hello, secret=secrets.token_urlsafe(32))
        self._holding = holding
        self._wake = wake
        self._events: Deque[Event] = collections.deque()
        self._closing = threading.Event()
        self._announcing = threading.Lock()
        self._session = ""
        self._stale = False
        self._poll_s = 25.0
        self.heartbeat_s = 30.0
        self._asks: Any = queue.Queue()
        self._reports: Any = queue.Queue()
        self._fetches: Any = queue.Queue()
        self._answers: Any = queue.Queue()
        self._poller = Connection(settings.urls, settings.fingerprint)
        self._reporter = Connection(settings.urls, settings.fingerprint)
        self._fetcher = Connection(settings.urls, settings.fingerprint)
        self._batch = 0
        self._poll_back_off = BackOff(self._closing)
        self.polling: Optional[Dict[str, Any]] = None  # the poll under way
        self.reporting = False
        self.unreached = ""  # why the node could not be reached when it was announced to last
        self.answered_s = time.monotonic()  # when the node last said anything
        works: List[Tuple[Any, Any]] = [
            (self._asks, self._poll),
            (self._reports, self._report),
            (self._fetches, self._fetch),
        ]
        self._threads = [
            threading.Thread(target=self._serve, args=work, daemon=True) for work in works
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    # --- from the main thread -----------------------------------------------------------------

    def ask(self, poll: Dict[str, Any]) -> None:
        """Poll for work; one at a time."""
        self.polling = poll
        self._asks.put(poll)

    def break_off(self) -> None:
        """End the poll under way; it shows as an answer without work."""
        self._poller.close()

    def report(self, body: Dict[str, Any], blobs: Sequence[transfer.Upload]) -> None:
        """Store the blobs, then send the report; one at a time."""
        self.reporting = True
        self._batch += 1
        body["batch"] = self._batch
        self._reports.put((body, list(blobs)))

    def renew(self) -> None:
        """Announce again before the next request: the node forgets which tasks it described."""
        self._stale = True

    def fetch(self, digest: str, path: str) -> None:
        """Bring a blob here."""
        self._fetches.put((digest, path))

    def take(self) -> List[Event]:
        """What happened: ("polled", answer), ("reported", answer), ("fetched", (digest, size)),
        ("missing", (digest, why)), ("rejected", ("blobs" | "report", why)): the report under way
        is not acceptable; ("refused", why): this pilot is not wanted."""
        events = []
        while self._events:
            event = self._events.popleft()
            if event[0] == "holding":
                self._answers.put(self._holding())
                continue
            if event[0] == "polled":
                self.polling = None
            elif event[0] in ("reported", "rejected"):
                self.reporting = False
            events.append(event)
        return events

    def close(self) -> None:
        """Stop; what is under way is broken off."""
        self._closing.set()
        for box in (self._asks, self._reports, self._fetches, self._answers):
            box.put(None)
        for connection in (self._poller, self._reporter, self._fetcher):
            connection.close()

    # --- threads ------------------------------------------------------------------------------

    def _tell(self, kind: str, value: Any) -> None:
        self._events.append((kind, value))
        self._wake()

    def _serve(self, box: Any, one: Callable[[Any], None]) -> None:
        """A thread's life: what comes through its box, one after another."""
        while not self._closing.is_set():
            item = box.get()
            if item is None:
                return
            try:
                one(item)
            except Exception as fault:
                if not self._closing.is_set():
                    _log.exception("a thread of this pilot failed")
                    self._tell("refused", "%s: %s" % (type(fault).__name__, fault))
                return

    def _poll(self, ask: Dict[str, Any]) -> None:
        answer: Dict[str, Any] = {}
        timeout_s = self._poll_s + POLL_MARGIN_S
        try:
            answer = self._call(self._poller, "/pilot/v1/poll", ask, timeout_s)
            self._poll_back_off = BackOff(self._closing)
        except BrokenOff:
            pass
        except (Unreachable, Unacceptable) as fault:
            _log.debug("poll: %s", fault)
            self._poll_back_off.wait()
        self._tell("polled", answer)

    def _report(self, item: Tuple[Dict[str, Any], Sequence[transfer.Upload]]) -> None:
        body, blobs = item
        back_off = BackOff(self._closing)
        stage = "blobs"
        while not self._closing.is_set():
            try:
                if blobs and stage == "blobs":
                    self._with_session(lambda name: transfer.upload(self._reporter, name, blobs))
                stage = "report"
                answer = self._call(self._reporter, "/pilot/v1/report", body, REPORT_S_MAX)
                self._tell("reported", answer)
                return
            except Unacceptable as fault:
                self._tell("rejected", (stage, str(fault)))
                return
            except Unreachable as fault:
                _log.debug("report: %s", fault)
                back_off.wait()

    def _fetch(self, item: Tuple[str, str]) -> None:
        digest, path = item
        back_off = BackOff(self._closing)
        tries = 0
        while not self._closing.is_set():
            try:
                size = self._with_session(
                    lambda session: transfer.download(self._fetcher, session, digest, path)
                )
                self._tell("fetched", (digest, size))
                return
            except Unreachable as fault:  # without the node there is nothing to do anyway
                _log.debug("fetch: %s", fault)
            except (transfer.Missing, Unacceptable) as fault:
                self._tell("missing", (digest, str(fault)))
                return
            except (transfer.Damaged, OSError) as fault:
                tries += 1
                if tries >= FETCH_TRIES_MAX:
                    self._tell("missing", (digest, str(fault)))
                    return
            back_off.wait()

    def _call(self, connection: Connection, path: str, body: Any, timeout_s: float) -> Any:
        return self._with_session(
            lambda session: connection.json("POST", path, body, session, timeout_s) or {}
        )

    def _with_session(self, request: Callable[[str], Any]) -> Any:
        """One request in our session, in a new one if the node does not know it.

        Raises Unreachable for everything that may pass, Unacceptable for what will not.
        """
        stale, self._stale = self._stale, False
        session = self._announce(self._session) if stale or not self._session else self._session
        try:
            try:
                return self._heard(request(session))
            except Refused as fault:
                if fault.status not in (401, 403):
                    raise
            return self._heard(request(self._announce(session)))
        except Refused as fault:
            _log.warning("the node answers %d: %s", fault.status, fault)
            if fault.status in (400, 413, 422):
                raise Unacceptable(str(fault)) from fault
            raise Unreachable(str(fault)) from fault
        except WrongCertificate as fault:
            raise Unreachable(str(fault)) from fault

    def _heard(self, answer: Any) -> Any:
        self.answered_s = time.monotonic()
        return answer

    def _announce(self, forgotten: str) -> str:
        """A session of ours; a new one if the node refused `forgotten`. Waits while it has to."""
        with self._announcing:
            if self._session and self._session != forgotten:
                return self._session  # another thread was quicker
            connection = Connection(self._settings.urls, self._settings.fingerprint)
            back_off = BackOff(self._closing)
            try:
                while not self._closing.is_set():
                    self._tell("holding", None)
                    body = dict(self._hello, session=forgotten or None)
                    body["holding"] = self._answers.get()
                    try:
                        answer = connection.json("POST", "/pilot/v1/announce", body, timeout_s=30.0)
                        return self._greeted(answer)
                    except (Unreachable, WrongCertificate) as fault:
                        _log.info("cannot reach the node: %s", fault)
                        self.unreached = str(fault)
                    except Refused as fault:
                        if fault.status in (400, 401, 403, 404, 410):
                            self._tell("refused", str(fault))
                            break
                    back_off.wait()
            finally:
                connection.close()
        raise Unreachable("no session")

    def _greeted(self, answer: Dict[str, Any]) -> str:
        session = str(answer["session"])
        self._heartbeat_from(answer)
        self._session = session
        self.unreached = ""
        _log.info("announced to site %s", answer.get("site", ""))
        return session

    def _heartbeat_from(self, answer: Dict[str, Any]) -> None:
        self.heartbeat_s = float(answer.get("heartbeat_s", self.heartbeat_s))
        self._poll_s = float(answer.get("poll_s", self._poll_s))


class BackOff:
    """Waits that grow, with some chance in them so that pilots do not come back in step."""

    def __init__(self, closing: threading.Event) -> None:
        self._closing = closing
        self._wait_s = BACK_OFF_S_MIN

    def wait(self) -> None:
        self._closing.wait(self._wait_s * random.uniform(0.7, 1.3))
        self._wait_s = min(BACK_OFF_S_MAX, self._wait_s * 1.7)
