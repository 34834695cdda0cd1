"""JSON of the API and of pilots: bodies as such, and a pilot's requests to a real work service."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from functools import cache
from typing import Any

from node.http.api import job_ranges
from node.http.json import ApiError, dump, load, load_object
from node.http.pilots import unpack_batch
from node.http.router import byte_range
from node.work.refusals import Refusal
from pilot import client, messages
from tests.fuzz.forms import JSON, TEXT
from tests.fuzz.target import Target
from tests.unit.node.work.house import RESOURCES, Described, House, Pending, columns

_TOKEN, _SESSION = b"TOKEN", b"SESSION"  # in inputs: those of the pilot that asks
_REFUSES = (ApiError, Refusal)
_BLOBS = (b"one", b"", b"three" * 20)


def pack_batch(contents: list[bytes]) -> bytes:
    """As the pilot does."""
    listed = [[hashlib.blake2b(each, digest_size=32).hexdigest(), len(each)] for each in contents]
    head = json.dumps(listed).encode()
    return struct.pack(">I", len(head)) + head + b"".join(contents)


class _Site:
    """A work service with a pilot that holds units. Made anew when it has been asked often."""

    def __init__(self) -> None:
        self.house = House(Described(1, 50, after=((), (0,))), Described(2, 50))
        self.pilot = self.house.pilot()
        self.pilot.poll(4)
        self.asked = 0

    @property
    def usable(self) -> bool:
        return self.asked < 200 and self.house.work.session(self.pilot.secret) is not None


@cache
def _sites() -> list[_Site]:
    return []


def _site() -> _Site:
    sites = _sites()
    if not sites or not sites[0].usable:
        sites[:] = [_Site()]
    sites[0].asked += 1
    return sites[0]


def _ask(request: str, data: bytes) -> Any:
    """One request of a pilot; what it answers must be JSON."""
    site = _site()
    work, pilot = site.house.work, site.pilot
    named = data.replace(_TOKEN, pilot.token.encode()).replace(_SESSION, pilot.secret.encode())
    body = load_object(named)
    try:
        if request == "announce":
            answer = site.house.ask(work.announce(body))
        else:
            ask = work.report if request == "report" else work.poll
            answer = site.house.ask(ask(pilot.session, body))
    except Pending:
        answer = {}
    json.dumps(answer, allow_nan=False)
    site.house.clock.advance(1)
    site.house.settle()


def _reports() -> Mapping[str, bytes]:
    lease, spec = 1, f"{bytes([1]).hex() * 32}/0/50"
    good = columns(lease, spec, [0, 1], 0, "")
    failed = {**columns(lease, spec, [2], 1, "exit"), "tails": [[0, "Traceback"]]}
    bodies = {
        "results": {"batch": 1, "results": [good], "running": [[1, 3, 900]], "returned": []},
        "failure": {"batch": 2, "results": [failed], "running": [], "returned": [[1, [3]]]},
        "logs": {"batch": 1, "results": [], "running": [], "logs": [[1, 3, 0, "aGk="]]},
        "leaving": {"batch": 1, "results": [], "running": [], "returned": [], "leaving": True},
    }
    return {name: json.dumps(body).encode() for name, body in bodies.items()}


def _polls() -> Mapping[str, bytes]:
    asked = {"free": RESOURCES, "idle_slots": 2, "queued": 0, "units_max": 4, "seen": 0}
    return {"poll": json.dumps(asked).encode()}


def _hellos() -> Mapping[str, bytes]:
    hello = {
        "token": _TOKEN.decode(), "session": None, "host": "h1", "pid": 7, "tag": "p",
        "resources": RESOURCES, "isolation": "full", "holding": [],
    }  # fmt: skip
    again = hello | {"session": _SESSION.decode(), "holding": [[1, [0, 1]]]}
    return {"first": json.dumps(hello).encode(), "again": json.dumps(again).encode()}


def _deframed(data: bytes) -> list[Any]:
    return messages.Deframer().feed(data)


TARGETS = (
    Target(
        "api-body",
        load,
        (ApiError,),
        lambda: {"a few": b'{"name":"x","list":[1,2.5,null,true],"deep":{"a":{"b":[]}}}'},
        JSON,
        dump,
        canonical=lambda data: False,
    ),
    Target("job-query", lambda data: job_ranges(data.decode("utf-8", "replace")), (ApiError,),
           lambda: {"some": b"0-9,12,40-41"}, TEXT),
    Target("range-header", lambda data: byte_range(data.decode("latin-1"), 1000), (ApiError,),
           lambda: {"middle": b"bytes=5-99", "end": b"bytes=-7", "rest": b"bytes=990-"}, TEXT),
    Target("blob-batch", unpack_batch, (ApiError,), lambda: {"three": pack_batch(list(_BLOBS))},
           write=pack_batch, canonical=lambda data: False),
    Target("pilot-announce", lambda data: _ask("announce", data), _REFUSES, _hellos, JSON),
    Target("pilot-poll", lambda data: _ask("poll", data), _REFUSES, _polls, JSON),
    Target("pilot-report", lambda data: _ask("report", data), _REFUSES, _reports, JSON),
    # The pilot's side: its runners, and what calls itself its node.
    Target("pilot-frames", _deframed, (ValueError,),
           lambda: {"two": messages.frame({"a": [1]}) + messages.frame([])}),
    Target("pilot-answer", lambda data: client.parse_answer(200, data), (client.Unreachable,),
           lambda: {"work": b'{"work":[],"specs":{},"orders":[]}'}, JSON),
    Target("pilot-refusal", lambda data: client.parse_answer(409, data), (client.Refused,),
           lambda: {"no": b'{"error":{"code":"conflict","message":"no"}}'}, JSON),
)  # fmt: skip
