"""Printing a log: whole, or as it grows."""

from __future__ import annotations

import base64
import codecs
import sys
import time

from node.cli.output import harmless, note, say
from node.client import Client, Json, Refused

FOLLOW_S = 1.0
LINE_BYTES_MAX = 64 * 1024  # a line longer than this is shown in pieces
OPEN_STATES = ("running", "ready", "waiting")


class Follower:
    """One unit's log, from where it was left. attempt: its number; None for the newest."""

    def __init__(self, client: Client, unit: str, attempt: int | None, raw: bool) -> None:
        """unit: its path in the API."""
        self._client = client
        self._unit = unit
        self._attempt = attempt
        self._raw = raw
        self._began: object = None  # of the attempt whose text was printed so far
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._line = ""

    def follow(self) -> None:
        """Until the unit, or the attempt, has ended: print what it prints."""
        while True:
            reply = self._client.get(self._unit)
            numbers = [item.get("number") for item in reply.get("attempts") or []]
            if self._attempt in numbers:
                return
            if self._attempt is None and (reply.get("unit") or {}).get("state") not in OPEN_STATES:
                return
            if self._attempt in (None, len(numbers) + 1):
                self._print_live()
            time.sleep(FOLLOW_S)

    def finish(self) -> None:
        """Print the rest of the log that was left."""
        query = {"attempt": self._attempt}
        if self._began is not None:
            self._go_on_with(self._began_of_last())
        with self._client.download(f"{self._unit}/log", query, self._offset) as chunks:
            for chunk in chunks:
                self._write(chunk)
        if self._line:
            say(harmless(self._line, lines=True))

    def _began_of_last(self) -> object:
        """When the attempt began whose log `finish` gets."""
        attempts = self._client.get(self._unit).get("attempts") or []
        wanted = [
            each
            for each in attempts
            if (each.get("log") if self._attempt is None else each.get("number") == self._attempt)
        ]
        return wanted[-1].get("start_ms") if wanted else self._began

    def _print_live(self) -> None:
        """What the unit has printed since the last look, as far as it runs and can be asked."""
        while True:
            try:
                reply = self._client.get(f"{self._unit}/log/live", {"offset": self._offset})
            except Refused as error:
                if error.status != 404:
                    raise
                return
            began = reply.get("started_ms")
            if self._go_on_with(began):
                continue
            self._began = began
            part = _bytes(reply)
            if not part:
                return
            self._write(part)

    def _go_on_with(self, began: object) -> bool:
        """Whether this is another attempt than the one so far; its log is read from its start."""
        if self._began in (None, began):
            return False
        note("floe: that attempt has ended; this is another one")
        self._began, self._offset = began, 0
        return True

    def _write(self, chunk: bytes) -> None:
        self._offset += len(chunk)
        if self._raw:
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return
        text = self._line + self._decoder.decode(chunk)
        whole, newline, self._line = text.rpartition("\n")
        if len(self._line) > LINE_BYTES_MAX:
            whole, newline, self._line = text, "", ""
        sys.stdout.write(harmless(whole + newline, lines=True))
        sys.stdout.flush()


def _bytes(reply: Json) -> bytes:
    try:
        return base64.b64decode(str(reply.get("text", "")), validate=True)
    except ValueError:
        return b""
