"""A running node, asked what nobody would ask: it answers, and lives, and never fails itself."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote_from_bytes

import pytest

from node.model.commands import command_document
from node.model.person import PersonOrder, write_person
from tests.fuzz.forms import JSON, TEXT
from tests.fuzz.mutation import Mutator
from tests.unit.node.sites import Caller, RunningSite, description, make_home, task

pytestmark = pytest.mark.fuzz
SECONDS = 8.0
PATIENCE_S = 0.3  # for an answer: some wait for what may come
SEED = time.time_ns()  # printed with a failure
NO_PILOTS = "[site.local]\npilots_max = 0\n"
# Left out: shutdown; backup and join, which write to this machine and dial what they are told.
QUERIES = (
    "/v1/ping", "/v1/status", "/v1/site", "/v1/mesh/members", "/v1/people", "/v1/usage",
    "/v1/datasets?limit=5&mine=1&before=9", "/v1/datasets/SET", "/v1/datasets/SET/why",
    "/v1/datasets/SET/errors", "/v1/datasets/SET/document", "/v1/datasets/SET/wait?timeout=0",
    "/v1/datasets/SET/jobs?state=failed&task=main&jobs=0-2,1&limit=9&after=x",
    "/v1/datasets/SET/outputs?jobs=0-2&after=0.0.0", "/v1/units/SET/1/main",
    "/v1/units/SET/1/main/why", "/v1/units/SET/1/main/log?attempt=1",
    "/v1/units/SET/1/main/outputs?attempt=1", "/v1/units/SET/1/main/output/a/b.npz",
    "/v1/units/SET/1/main/log/live?offset=5",
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    running = RunningSite(make_home(tmp_path_factory.mktemp("site") / "home", NO_PILOTS))
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture(scope="module")
def ana(site: RunningSite) -> Caller:
    return Caller(site).log_in()


class Asked:
    """One connection that is kept, as long as the node keeps it."""

    def __init__(self, ana: Caller) -> None:
        self._ana = ana
        self._connection = self._connect()

    def __call__(self, method: str, path: str, body: bytes | None = None) -> int:
        headers = {"Authorization": f"Bearer {self._ana.token}"}
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            response.read()
        except (ConnectionError, OSError):
            self._connection = self._connect()
            return 0
        if response.will_close:
            self._connection = self._connect()
        return response.status

    def _connect(self) -> http.client.HTTPSConnection:
        connection = self._ana.connect()
        connection.timeout = PATIENCE_S
        return connection


def bodies(ana: Caller, dataset: str) -> dict[str, list[bytes]]:
    """Valid bodies by path."""
    command = command_document(bytes.fromhex(dataset), "pause", {}, [], bytes(16))
    person = PersonOrder("user.add", bytes(32), ana.who.key, "eve", (), (), "0" * 32)
    signed = [ana.signed(command), ana.signed(write_person(person))]
    digest = "ab" * 32
    values: dict[str, list[Any]] = {
        "/v1/login": [{"key": ana.who.key.line()}],
        "/v1/login/answer": [{"challenge": "x", "signature": "y"}],
        "/v1/commands": signed,
        "/v1/people": signed,
        "/v1/datasets": [{**signed[0], "wait_stored": 1}],
        "/v1/recovery": signed,
        "/v1/mesh/members": signed,
        "/v1/mesh/open": [{}],
        "/v1/mesh/invitations": signed,
        "/v1/mesh/invitations/withdraw": [{"id": "ab" * 32}],
        "/v1/mesh/names": [{"site": "ab" * 32, "name": "desy"}],
        "/v1/mesh/addresses": [{"addresses": ["127.0.0.1:1"]}],
        "/v1/blobs/missing": [{"digests": [digest]}],
        "/v1/admin/drain": [{"drain": False, "why": "x"}],
        "/v1/admin/limits": [{"pilots_max": 0}],
        "/v1/admin/pilot-token": [{"count": 1}],
        "/pilot/v1/announce": [{"token": "x", "host": "h", "holding": [[1, [2]]]}],
        "/pilot/v1/poll": [{"free": {}, "units_max": 1}],
        "/pilot/v1/report": [{"batch": 1, "results": []}],
    }
    return {path: [json.dumps(each).encode() for each in some] for path, some in values.items()}


def test_no_request_makes_a_node_fail(site: RunningSite, ana: Caller) -> None:
    dataset = ana.submit(description("fuzzed", 3, [task("main")]))["dataset"]["id"]
    asked, random = Asked(ana), Random(SEED)
    posts = bodies(ana, dataset)
    in_bodies = Mutator(random, JSON, 20_000)
    in_paths = Mutator(random, TEXT, 1000)
    queries = [query.replace("SET", "fuzzed").encode() for query in QUERIES]
    end_s, count = time.monotonic() + SECONDS, 0
    while time.monotonic() < end_s:
        path = random.choice(list(posts))
        body = in_bodies.next(posts[path])
        status = asked("POST", path, body)
        assert status < 500 or status in (503, 507), f"seed {SEED}: POST {path} {body!r}: {status}"
        query = quote_from_bytes(in_paths.next(queries), safe="/?&=%-.,_")
        status = asked("GET", f"/{query.lstrip('/')}")
        assert status < 500 or status == 503, f"seed {SEED}: GET {query}: {status}"
        count += 2
    assert count > 100
    assert ana.get("/v1/datasets/fuzzed")["dataset"]["name"] == "fuzzed"
    assert "no reply" not in (Path(site.home.log) / "node.log").read_text()
