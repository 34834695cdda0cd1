"""The pilot's three conversations with its node, each in a thread: poll, report, fetch blobs.

The main thread hands over what to say (`ask`, `report`, `fetch`) and takes what came of it as
events (`take`). Whatever the network does is dealt with here: back-off while the node is away,
a new session when it has forgotten ours. A report is repeated until the node has it.
"""

import collections
import logging
import queue
import random
import threading
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple

from pilot import transfer
from pilot.client import Connection, Refused, Unreachable, WrongCertificate
from pilot.config import Settings

BACK_OFF_S_MIN = 0.2
BACK_OFF_S_MAX = 5.0
POLL_MARGIN_S = 20.0  # beyond the node's own time for a long poll
REPORT_S_MAX = 60.0
FETCH_TRIES_MAX = 5

_log = logging.getLogger("pilot")
Event = Tuple[str, Any]


class Link:
    """What the main thread holds of the node."""

    def __init__(
        self, settings: Settings, hello: Dict[str, Any], holding: Callable[[], Any],
        wake: Callable[[], None],
    ) -> None:  # fmt: skip
        """hello: the constant part of an announcement; holding: called in the main thread."""
        self._settings = settings
        self._hello = hello
        self._holding = holding
        self._wake = wake
        self._events: Deque[Event] = collections.deque()
        self._closing = threading.Event()
        self._announcing = threading.Lock()
        self._session = ""
        self._poll_s = 25.0
        self.heartbeat_s = 30.0
        self._asks: queue.Queue[Optional[Dict[str, Any]]] = queue.Queue()
        self._reports: queue.Queue[Optional[Tuple[Any, Any]]] = queue.Queue()
        self._fetches: queue.Queue[Optional[Tuple[str, str]]] = queue.Queue()
        self._answers: queue.Queue[Any] = queue.Queue()
        self._poller = Connection(settings.urls, settings.fingerprint)
        self._reporter = Connection(settings.urls, settings.fingerprint)
        self._fetcher = Connection(settings.urls, settings.fingerprint)
        self._batch = 0
        self.polling: Optional[Dict[str, Any]] = None  # the poll under way
        self.reporting = False
        self._threads = [
            threading.Thread(target=body, name=name, daemon=True)
            for name, body in (
                ("poll", self._poll_forever),
                ("report", self._report_forever),
                ("fetch", self._fetch_forever),
            )
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

    def fetch(self, digest: str, path: str) -> None:
        """Bring a blob here."""
        self._fetches.put((digest, path))

    def take(self) -> List[Event]:
        """What happened: ("polled", answer), ("reported", answer), ("fetched", (digest, size)),
        ("missing", (digest, why)), ("refused", why)."""
        events = []
        while self._events:
            event = self._events.popleft()
            if event[0] == "holding":
                self._answers.put(self._holding())
                continue
            if event[0] == "polled":
                self.polling = None
            elif event[0] == "reported":
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

    def _poll_forever(self) -> None:
        while not self._closing.is_set():
            ask = self._asks.get()
            if ask is None:
                return
            try:
                answer = self._call(
                    self._poller, "/pilot/v1/poll", ask, self._poll_s + POLL_MARGIN_S
                )
            except Unreachable as fault:
                if self._closing.is_set():
                    return
                _log.debug("poll: %s", fault)
                self._closing.wait(0.05)
                answer = {}
            self._tell("polled", answer)

    def _report_forever(self) -> None:
        while not self._closing.is_set():
            item = self._reports.get()
            if item is None:
                return
            body, blobs = item
            back_off = BackOff(self._closing)
            while not self._closing.is_set():
                try:
                    self._store(blobs)
                    answer = self._call(self._reporter, "/pilot/v1/report", body, REPORT_S_MAX)
                    self._tell("reported", answer)
                    break
                except Unreachable as fault:
                    _log.debug("report: %s", fault)
                    back_off.wait()

    def _store(self, blobs: Sequence[transfer.Upload]) -> None:
        if not blobs:
            return
        self._with_session(lambda session: transfer.upload(self._reporter, session, blobs))

    def _fetch_forever(self) -> None:
        while not self._closing.is_set():
            item = self._fetches.get()
            if item is None:
                return
            self._fetch_one(*item)

    def _fetch_one(self, digest: str, path: str) -> None:
        why = ""
        back_off = BackOff(self._closing)
        for _ in range(FETCH_TRIES_MAX):
            try:
                size = self._with_session(
                    lambda session: transfer.download(self._fetcher, session, digest, path)
                )
                self._tell("fetched", (digest, size))
                return
            except transfer.Missing:
                self._tell("missing", (digest, "the site does not have it"))
                return
            except (Unreachable, OSError) as fault:
                why = str(fault)
                back_off.wait()
        self._tell("missing", (digest, why))

    def _call(self, connection: Connection, path: str, body: Any, timeout_s: float) -> Any:
        """One request in our session. Raises Unreachable for everything that may pass."""
        return self._with_session(
            lambda session: connection.json("POST", path, body, session, timeout_s) or {}
        )

    def _with_session(self, request: Callable[[str], Any]) -> Any:
        session = self._session or self._announce("")
        try:
            return request(session)
        except Refused as fault:
            if fault.status not in (401, 403):
                _log.warning("the node answers %d: %s", fault.status, fault)
                raise Unreachable(str(fault)) from fault
        return request_again(request, self._announce(session))

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
        _log.info("announced to site %s", answer.get("site", ""))
        return session

    def _heartbeat_from(self, answer: Dict[str, Any]) -> None:
        self.heartbeat_s = float(answer.get("heartbeat_s", self.heartbeat_s))
        self._poll_s = float(answer.get("poll_s", self._poll_s))


def request_again(request: Callable[[str], Any], session: str) -> Any:
    """The same request in a new session; a second refusal counts as "try later"."""
    try:
        return request(session)
    except Refused as fault:
        raise Unreachable(str(fault)) from fault


class BackOff:
    """Waits that grow, with some chance in them so that pilots do not come back in step."""

    def __init__(self, closing: threading.Event) -> None:
        self._closing = closing
        self._wait_s = BACK_OFF_S_MIN

    def wait(self) -> None:
        self._closing.wait(self._wait_s * random.uniform(0.7, 1.3))
        self._wait_s = min(BACK_OFF_S_MAX, self._wait_s * 1.7)
