"""What strangers may do to the API's port, over real sockets."""

import http.client
import json
import socket
import ssl
import subprocess
import sys
import time

import pytest

from tests.unit.node.http.edge_server import PATIENCE_S

STOPPED = (TimeoutError, ConnectionError, ssl.SSLError)
AUTH = b"Authorization: Bearer known\r\n"


class Edge:
    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return self.context.wrap_socket(plain)

    def client(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=10)

    def ask(self, method, path, body=None, headers=None):
        """(status, headers, JSON) of one request on a connection of its own."""
        client = self.client()
        client.request(method, path, body, headers or {})
        response = client.getresponse()
        content = response.read()
        client.close()
        return response.status, response.headers, json.loads(content)

    def rss_kib(self) -> int:
        with open(f"/proc/{self.pid}/status") as file:
            return int(next(line for line in file if line.startswith("VmRSS")).split()[1])

    def is_well(self) -> bool:
        return self.ask("POST", "/v1/echo", b'{"a":1}')[2] == {"schema": 1, "got": {"a": 1}}


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edge")
    argv = [sys.executable, "-m", "tests.unit.node.http.edge_server", str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        said = json.loads(process.stdout.readline())
        yield Edge(said["port"], process.pid)
        process.kill()


def read_reply(connection) -> tuple[int, dict, bool]:
    """(status, JSON, whether the server closed after it)."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read()), response.will_close


def error(status: int, reply) -> dict:
    assert reply[0] == status, reply
    return reply[-1]["error"]


def test_answers_json_with_its_schema(edge):
    status, headers, body = edge.ask("POST", "/v1/echo", b'{"a": [1, 2]}')
    assert (status, headers["content-type"]) == (200, "application/json")
    assert body == {"schema": 1, "got": {"a": [1, 2]}}


def test_keeps_connections_and_answers_pipelined_requests_in_order(edge):
    with edge.connect() as connection:
        for i in range(20):
            connection.sendall(b"GET /v1/names/n%d HTTP/1.1\r\n\r\n" % i)
        connection.sendall(b"GET /v1/names/last HTTP/1.1\r\nConnection: close\r\n\r\n")
        got = b""
        while chunk := connection.recv(65536):
            got += chunk
    names = [json.loads(line)["ref"] for line in got.splitlines() if line.startswith(b"{")]
    assert names == [*(f"n{i}" for i in range(20)), "last"]


def test_unknown_addresses_and_methods_are_said_so(edge):
    assert error(404, edge.ask("GET", "/"))["code"] == "not-found"
    assert error(404, edge.ask("GET", "/v1/nothing"))["code"] == "no-such-path"
    status, headers, body = edge.ask("DELETE", "/v1/echo")
    assert (status, headers["allow"]) == (405, "POST")
    assert body["error"]["code"] == "method"


def test_path_parts_are_unquoted_once(edge):
    _, _, body = edge.ask("GET", "/v1/names/ana@desy:x%2520y/output/a/b%20c.txt")
    assert (body["ref"], body["rest"]) == ("ana@desy:x%20y", "a/b c.txt")


def test_handlers_that_fail_tell_nothing_of_the_inside(edge):
    status, _, body = edge.ask("GET", "/v1/broken")
    assert status == 500
    assert "secret" not in json.dumps(body)


def test_refusals_keep_their_words(edge):
    found = error(409, edge.ask("GET", "/v1/refuse"))
    assert found == {"code": "conflict", "message": "no", "right": "yes"}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[1]", "must be a JSON object"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": Infinity}', "Infinity"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}", "levels deep"),
        (b'{"a": ' + b"[" * 40_000 + b"]" * 40_000 + b"}", "levels deep"),
        (b'{"a": ' + b'{"b":' * 15_000 + b"1" + b"}" * 15_000 + b"}", "levels deep"),
    ],
    ids=["empty", "half", "list", "nan", "inf", "utf8", "digits", "deep", "deeper", "objects"],
)
def test_bodies_that_are_no_proper_json_get_400(edge, body, word):
    known = {"Authorization": "Bearer known"}
    assert word in error(400, edge.ask("POST", "/v1/echo", body, known))["message"]
    assert edge.is_well()


def test_many_brackets_that_are_not_deep_are_fine(edge):
    body = json.dumps({"a": [[1], {"b": [2]}] * 200}).encode()
    assert edge.ask("POST", "/v1/echo", body)[0] == 200


def test_a_body_said_to_be_too_large_is_refused_before_it_comes(edge):
    with edge.connect() as connection:
        connection.sendall(b"POST /v1/echo HTTP/1.1\r\nContent-Length: 100001\r\n" + AUTH + b"\r\n")
        status, body, closes = read_reply(connection)
    assert (status, body["error"]["code"], closes) == (413, "too-large", True)


def test_the_reply_to_a_large_body_is_not_lost_to_a_reset(edge):
    with edge.connect() as connection:
        connection.sendall(
            b"POST /v1/echo HTTP/1.1\r\nContent-Length: 1000000\r\n" + AUTH + b"\r\n"
        )
        connection.sendall(b"x" * 1_000_000)
        time.sleep(0.1)
        assert read_reply(connection)[0] == 413
    assert edge.is_well()


def test_expecting_clients_are_refused_without_being_asked_to_go_on(edge):
    with edge.connect() as connection:
        connection.sendall(
            b"POST /v1/echo HTTP/1.1\r\nContent-Length: 1000000\r\n"
            + AUTH
            + b"Expect: 100-continue\r\n\r\n"
        )
        got = b""
        while chunk := connection.recv(4096):
            got += chunk
    assert got.startswith(b"HTTP/1.1 413")
    assert b"100 Continue" not in got


def test_a_chunked_body_is_cut_where_it_becomes_too_large(edge):
    with edge.connect() as connection:
        connection.sendall(
            b"POST /v1/echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + AUTH + b"\r\n"
        )
        for _ in range(8):
            connection.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        assert read_reply(connection)[0] == 413


def test_strangers_may_not_send_what_the_known_may(edge):
    body = b"x" * 3_000_000
    assert edge.ask("PUT", "/v1/large", body, {"Authorization": "Bearer known"})[2]["size"] == len(
        body
    )
    with edge.connect() as connection:
        connection.sendall(b"PUT /v1/large HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n")
        assert read_reply(connection)[0] == 401  # so that the command logs in again


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"no colon here\r\nA: b\r\n",
        b"Bad Name: x\r\nA: b\r\n",
    ],
)
def test_ambiguous_heads_get_400(edge, head):
    with edge.connect() as connection:
        connection.sendall(b"POST /v1/echo HTTP/1.1\r\n" + head + b"\r\n")
        assert read_reply(connection)[0] == 400
    assert edge.is_well()


@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"y" * 20_000 + b"\r\n",
        b"X: y\r\n" * 100,
        b"".join(b"X%d: %s\r\n" % (i, b"z" * 400) for i in range(50)),
    ],
)
def test_large_heads_get_431(edge, head):
    with edge.connect() as connection:
        connection.sendall(b"GET /v1/names/a HTTP/1.1\r\n" + head + b"\r\n")
        assert read_reply(connection)[0] == 431
    assert edge.is_well()


@pytest.mark.parametrize("line", [b"\x16\x03\x01\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n"])
def test_what_is_not_http_is_closed(edge, line):
    with edge.connect() as connection:
        connection.sendall(line)
        connection.settimeout(5)
        while connection.recv(4096):
            pass
    assert edge.is_well()


def test_plain_text_on_the_tls_port_is_closed(edge):
    with socket.create_connection(("127.0.0.1", edge.port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while connection.recv(4096):
            pass
    assert edge.is_well()


def test_half_a_request_and_gone_harms_nobody(edge):
    for part in (b"PO", b"POST /v1/echo HTTP/1.1\r\nContent-Le", b"POST /v1/echo HTTP/1.1\r\n"):
        edge.connect().sendall(part)
    with edge.connect() as connection:
        connection.sendall(b"POST /v1/echo HTTP/1.1\r\nContent-Length: 50\r\n\r\n{")
    assert edge.is_well()


def test_a_head_that_drips_gets_408(edge):
    with edge.connect() as connection:
        began_s = time.monotonic()
        for byte in b"GET /v1/names/a HTTP/1.1\r\nX: y\r\n":
            connection.sendall(bytes([byte]))
        status, body, closes = drip_until_reply(connection)
        assert (status, body["error"]["code"], closes) == (408, "timeout", True)
        assert time.monotonic() - began_s < 5 * PATIENCE_S


def drip_until_reply(connection):
    connection.settimeout(PATIENCE_S / 10)
    for _ in range(100):
        try:
            connection.sendall(b"z")
            if connection.recv(1, 0):
                break
        except TimeoutError:
            continue
    connection.settimeout(5)
    rest = b""
    while chunk := connection.recv(4096):
        rest += chunk
    head, _, body = rest.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body), b"connection: close" in head


def test_a_second_request_that_drips_gets_408_too(edge):
    with edge.connect() as connection:
        connection.sendall(b"GET /v1/names/a HTTP/1.1\r\n\r\n")
        assert b" 200 " in connection.recv(4096)
        connection.sendall(b"GET /v1/names/b HTTP/1.1\r\nX: y")
        assert drip_until_reply(connection)[0] == 408


def test_a_body_that_drips_gets_408(edge):
    with edge.connect() as connection:
        connection.sendall(b"POST /v1/echo HTTP/1.1\r\nContent-Length: 500\r\n\r\n{")
        status, _, _ = drip_until_reply(connection)
        assert status == 408
    assert edge.is_well()


def test_connections_that_say_nothing_are_closed(edge):
    quiet = socket.create_connection(("127.0.0.1", edge.port), timeout=10)
    shaken = edge.connect()
    used = edge.connect()
    used.sendall(b"GET /v1/names/a HTTP/1.1\r\n\r\n")
    used.settimeout(10)
    assert used.recv(15) == b"HTTP/1.1 200 OK"
    for connection in (quiet, shaken, used):
        assert ends(connection)


def ends(connection) -> bool:
    try:
        while connection.recv(4096):
            pass
    except (ConnectionResetError, ssl.SSLEOFError):
        pass
    except TimeoutError:
        return False
    connection.close()
    return True


def test_a_slow_handler_is_not_a_slow_client(edge):
    assert edge.ask("GET", "/v1/slow")[0] == 200


def test_too_many_connections_make_room_by_age(edge):
    first = edge.client()
    first.request("GET", "/v1/slow", headers={"Authorization": "Bearer known"})
    time.sleep(0.1)  # proven: it completed a request with a good token
    idle = [edge.connect() for _ in range(40)]
    assert edge.is_well()
    assert first.getresponse().status == 200
    for connection in idle:
        connection.close()


def test_strangers_that_ask_and_stay_lock_nobody_out(edge):
    strangers = [edge.client() for _ in range(30)]  # as many as one address may have
    for stranger in strangers:
        stranger.request("GET", "/v1/names/a")
        assert stranger.getresponse().read()
    assert edge.is_well()
    for stranger in strangers:
        stranger.close()


def test_files_come_whole_or_in_ranges(edge):
    content = bytes(range(256)) * 4096

    def get(want: str):
        client = edge.client()
        client.request("GET", "/v1/file", headers={"Range": want} if want else {})
        response = client.getresponse()
        return response.status, response.headers.get("content-range"), response.read()

    assert get("") == (200, None, content)
    assert get("bytes=10-19") == (206, f"bytes 10-19/{len(content)}", content[10:20])
    assert get("bytes=1048570-") == (206, f"bytes 1048570-1048575/{len(content)}", content[-6:])
    assert get("bytes=-4")[2] == content[-4:]
    assert get("bytes=0-0")[2] == content[:1]
    assert get("nonsense") == (200, None, content)
    assert get("bytes=99999999-")[0] == 416


def test_a_reader_that_leaves_harms_nobody(edge):
    for _ in range(5):
        connection = edge.connect()
        connection.sendall(b"GET /v1/file HTTP/1.1\r\n\r\n")
        connection.recv(100)
        connection.close()
    assert edge.is_well()


def test_whoever_asks_and_never_reads_is_stopped_and_then_cut(edge):
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.connect(("127.0.0.1", edge.port))
    plain.settimeout(20)
    before_kib = edge.rss_kib()
    with edge.context.wrap_socket(plain) as connection, pytest.raises(STOPPED):
        ask_and_never_read(connection)
    assert edge.rss_kib() - before_kib < 30_000
    assert edge.is_well()


def ask_and_never_read(connection):
    """Ends with an error once the server takes no more, or has cut the connection."""
    for _ in range(100_000):
        connection.sendall(b"GET /v1/names/a HTTP/1.1\r\n\r\n" * 50)


def test_a_reader_that_is_only_slow_gets_everything(edge):
    with edge.connect() as connection:
        connection.sendall(b"GET /v1/file HTTP/1.1\r\n\r\n" * 5 + b"GET /v1/names/end HTTP/1.1\r\n")
        connection.sendall(b"Connection: close\r\n\r\n")
        got = 0
        last = b""
        while chunk := connection.recv(20_000):
            got += len(chunk)
            last = (last + chunk)[-200:]
            time.sleep(0.0005)
    assert got > 5 * 256 * 4096
    assert b'"ref":"end"' in last


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer wrong", "Bearer " + "x" * 5000]
)
def test_without_a_good_token_nothing_private_is_told(edge, header):
    headers = {"Authorization": header} if header else {}
    status, got, body = edge.ask("GET", "/v1/private", headers=headers)
    assert (status, got["www-authenticate"]) == (401, "Bearer")
    assert body["error"]["right"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_takes_tls_1_2_and_1_3(edge, version):
    edge.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    edge.context.check_hostname = False
    edge.context.verify_mode = ssl.CERT_NONE
    edge.context.minimum_version = edge.context.maximum_version = version
    with edge.connect() as connection:
        assert connection.version() == version.name.replace("_", ".")
    assert edge.is_well()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /v1/names/a\r\n\r\n",
        b"GET /v1/names/a\r\nHost: x\r\n\r\nGET /v1/names/b HTTP/1.1\r\n\r\n",
        b"nonsense\r\nGET /v1/names/b HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1/echo HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nx",
        b"GET /v1/names/a HTTP/1.1\r\nbad header\r\n\r\nGET /v1/names/b HTTP/1.1\r\n\r\n",
    ],
    ids=["no version", "more behind", "a request behind", "http 2", "digits", "header"],
)
def test_bad_requests_get_one_400_and_nothing_behind_them_is_answered(edge, sent):
    with edge.connect() as connection:
        connection.sendall(sent)
        connection.settimeout(5)
        got = b""
        while chunk := connection.recv(4096):
            got += chunk
    assert got.startswith(b"HTTP/1.1 400 ")
    assert got.count(b"content-length: ") == 1
    assert json.loads(got.split(b"\r\n\r\n", 1)[1])["error"]["code"] == "bad-request"
