"""The API client against a fake node over real TLS."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.client import Client, Endpoint, Refused, Signer, Unreachable, find_endpoint, path_of
from node.home import Home
from tests.fakes.api_server import FakeNode, FakeServer, Refuse


def client_of(home: Home, key: Path) -> Client:
    slept: list[float] = []
    return Client(lambda: find_endpoint(home), Signer(key), home.tokens, sleep=slept.append)


def test_first_request_logs_in_and_the_next_run_uses_the_kept_token(
    home: Home, key: Path, node: FakeNode
) -> None:
    node.replies["/v1/status"] = {"pid": 7}
    assert client_of(home, key).get("/v1/status")["pid"] == 7
    assert client_of(home, key).get("/v1/status")["pid"] == 7
    assert node.logins == 1


def test_the_kept_token_is_readable_by_its_owner_only(
    home: Home, key: Path, node: FakeNode
) -> None:
    node.replies["/v1/status"] = {}
    client_of(home, key).get("/v1/status")
    (kept,) = home.tokens.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.tokens.stat().st_mode) == 0o700


def test_a_token_that_the_node_forgot_is_replaced_once(
    home: Home, key: Path, node: FakeNode
) -> None:
    node.replies["/v1/status"] = {"pid": 7}
    client = client_of(home, key)
    client.get("/v1/status")
    node.tokens.clear()
    assert client.get("/v1/status")["pid"] == 7
    assert node.logins == 2


def test_an_expired_token_is_not_sent(home: Home, key: Path, node: FakeNode) -> None:
    node.replies["/v1/status"] = {}
    client_of(home, key).get("/v1/status")
    far = Client(lambda: find_endpoint(home), Signer(key), home.tokens, wall_s=lambda: 1e11)
    far.get("/v1/status")
    assert node.logins == 2


def test_a_refusal_after_a_fresh_login_is_final(home: Home, key: Path, node: FakeNode) -> None:
    def refuse(_request: object) -> dict[str, object]:
        raise Refuse(401, "never")

    node.replies["/v1/status"] = refuse
    with pytest.raises(Refused, match="never"):
        client_of(home, key).get("/v1/status")
    assert node.logins == 2


def test_another_certificate_than_the_pinned_one_gets_nothing(
    home: Home, key: Path, node: FakeNode
) -> None:
    url = find_endpoint(home).url
    client = Client(lambda: Endpoint(url, "00" * 32), Signer(key), home.tokens)
    with pytest.raises(Unreachable, match="another certificate"):
        client.ping()
    assert node.requests == []


def test_a_closed_port_is_told_as_a_node_that_is_down(home: Home, key: Path) -> None:
    client = Client(lambda: Endpoint("https://127.0.0.1:9", "00" * 32), Signer(key))
    with pytest.raises(Unreachable, match="nothing listens"):
        client.ping()


def test_a_busy_node_is_asked_again(home: Home, key: Path, node: FakeNode) -> None:
    node.replies["/v1/status"] = {"pid": 7}
    client = client_of(home, key)
    client.get("/v1/status")
    node.busy = 2
    assert client.get("/v1/status")["pid"] == 7


def test_a_node_that_stays_busy_is_an_error_in_the_end(
    home: Home, key: Path, node: FakeNode
) -> None:
    client = client_of(home, key)
    node.busy = 1000
    with pytest.raises(Refused) as refused:
        client.ping()
    assert refused.value.status == 429


def test_a_restarted_node_is_found_on_its_new_port(
    home: Home, key: Path, tmp_path: Path, node: FakeNode
) -> None:
    node.replies["/v1/status"] = {"pid": 7}
    at: list[Endpoint] = [find_endpoint(home)]
    client = Client(lambda: at[0], Signer(key), home.tokens)
    client.get("/v1/status")
    (tmp_path / "second").mkdir()
    with FakeServer(tmp_path / "second", node) as second:
        at[0] = Endpoint(second.url, second.fingerprint)
        client.close()
        assert client.get("/v1/status")["pid"] == 7


@pytest.fixture
def between_lives(home: Home, node: FakeNode) -> Iterator[str]:
    """A node that has a process and, for now, no address; gives what its address will be."""
    words = home.node_json.read_text()
    home.node_json.unlink()
    argv = [sys.executable, "-c", "input()", "node.daemon"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as process:
        home.lock.write_text(f"pid {process.pid} on {os.uname().nodename}\n")
        home.site_key.parent.mkdir(exist_ok=True)
        home.site_key.touch()
        yield words


def test_a_node_that_starts_itself_again_is_waited_for(home: Home, between_lives: str) -> None:
    looks: list[float] = []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            home.node_json.write_text(between_lives)

    address = json.loads(between_lives)
    assert find_endpoint(home, pause=pause).url == address["api"]
    assert len(looks) == 3


def test_a_node_that_takes_very_long_to_start_is_named(home: Home, between_lives: str) -> None:
    looks: list[float] = []
    with pytest.raises(Unreachable, match=r"process \d+, has been starting or stopping for 15 s"):
        find_endpoint(home, pause=looks.append)
    assert sum(looks) == pytest.approx(15.0)


def test_nobody_waits_for_a_node_that_has_no_process(home: Home, between_lives: str) -> None:
    home.lock.write_text(f"pid {2**22 + 1} on {os.uname().nodename}\n")
    with pytest.raises(Unreachable, match="no node runs"):
        find_endpoint(home, pause=lambda _: pytest.fail("it waited"))


def test_downloads_go_on_at_an_offset(home: Home, key: Path, node: FakeNode) -> None:
    node.files["/v1/units/a/0/t/log"] = b"0123456789"
    client = client_of(home, key)
    with client.download("/v1/units/a/0/t/log", offset=4) as chunks:
        assert b"".join(chunks) == b"456789"
    with client.download("/v1/units/a/0/t/log", offset=10) as chunks:
        assert b"".join(chunks) == b""
    with client.download("/v1/units/a/0/t/log") as chunks:
        assert b"".join(chunks) == b"0123456789"


def test_a_file_is_sent_whole(home: Home, key: Path, node: FakeNode, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(range(256)) * 4000)
    client_of(home, key).put_blob("aa", big)
    assert node.blobs["aa"] == big.read_bytes()


def test_paths_quote_what_comes_from_outside() -> None:
    assert path_of("datasets", "../x?y#z") == "/v1/datasets/..%2Fx%3Fy%23z"
    assert path_of("datasets", "ana@desy:nugen", 3) == "/v1/datasets/ana@desy:nugen/3"


def test_a_submission_whose_answer_is_lost_is_sent_again(
    home: Home, key: Path, node: FakeNode
) -> None:
    """The node takes it once: the answer to the second sending is that to the first."""
    node.replies["/v1/status"] = {}
    slept: list[float] = []
    client = Client(lambda: find_endpoint(home), Signer(key), home.tokens, sleep=slept.append)
    client.get("/v1/status")
    node.cut = 2  # so many answers are lost
    node.replies["/v1/datasets"] = {"dataset": {"name": "a"}}
    assert client.post_once("/v1/datasets", {"document": ""})["dataset"]["name"] == "a"
    posts = [request for request in node.requests if request.path == "/v1/datasets"]
    assert len(posts) == 3


def test_a_question_whose_answer_is_lost_is_asked_once_more(
    home: Home, key: Path, node: FakeNode
) -> None:
    """So that nobody reads of a node that starts itself again as of one that is gone."""
    node.replies["/v1/status"] = {"pid": 7}
    client = client_of(home, key)
    client.get("/v1/status")
    client.close()
    node.cut = 1
    assert client.get("/v1/status")["pid"] == 7
    client.close()
    node.cut = 2
    with pytest.raises(Unreachable):
        client.get("/v1/status")


def test_an_order_that_met_a_closed_port_goes_to_the_node_where_it_is_then(
    home: Home, key: Path, node: FakeNode
) -> None:
    """Its address was read, and then it let go of its port, to start itself again."""
    node.replies["/v1/status"] = {}
    node.replies["/v1/orders"] = {"taken": True}
    client_of(home, key).get("/v1/status")  # logged in
    now = find_endpoint(home)
    gone = [Endpoint("https://127.0.0.1:9", now.fingerprint) for _ in range(2)]
    client = Client(lambda: gone.pop() if gone else now, Signer(key), home.tokens)
    assert client.post("/v1/orders", {})["taken"]
    assert not gone


def test_an_order_whose_answer_is_lost_is_not_given_twice(
    home: Home, key: Path, node: FakeNode
) -> None:
    node.replies["/v1/status"] = node.replies["/v1/orders"] = {}
    client_of(home, key).get("/v1/status")
    node.cut = 1
    with pytest.raises(Unreachable) as lost:
        client_of(home, key).post("/v1/orders", {})
    assert lost.value.sent
    assert [each.path for each in node.requests].count("/v1/orders") == 1


def test_an_order_that_came_through_the_first_time_is_no_error(
    home: Home, key: Path, node: FakeNode
) -> None:
    answers: list[dict[str, object]] = []

    def order(_request: object) -> dict[str, object]:
        answers.append({})
        if len(answers) > 1:
            raise Refuse(409, "it was taken before", code="replayed")
        return {}

    node.replies["/v1/commands"] = order
    node.replies["/v1/status"] = {}
    client = client_of(home, key)
    client.get("/v1/status")
    node.cut = 1
    assert client.post_once("/v1/commands", {}) == {}
    assert len(answers) == 2
    with pytest.raises(Refused, match="taken before"):
        client_of(home, key).post_once("/v1/commands", {})


def test_a_node_that_is_down_is_not_waited_for(home: Home, key: Path) -> None:
    slept: list[float] = []
    client = Client(
        lambda: Endpoint("https://127.0.0.1:9", "00" * 32), Signer(key), sleep=slept.append
    )
    with pytest.raises(Unreachable):
        client.post_once("/v1/datasets", {})
    assert slept == []
