"""A small HTTPS server with the real edge and short patience, run as a process by the tests."""

import json
import os
import sys
from io import BytesIO
from pathlib import Path

from twisted.internet import reactor, task

from keys.certificate import create_api_certificate
from node.http import limits
from node.http.auth import Logins
from node.http.json import ApiError
from node.http.router import Call, Reply, Route, Router, Stream
from node.http.server import Factory, Root
from node.http.tls import listen

PATIENCE_S = 1.5  # so that clients that mean well are in time on a busy machine, too


class Ana:
    key = b"a" * 32
    name = "ana"
    groups = ("physics",)
    roles = ("admin",)


class Gate:
    def body_bytes_max(self, method: bytes, path: bytes) -> int:
        return 10_000_000 if path.startswith(b"/v1/large") else 100_000

    def known(self, authorization, path) -> bool:
        return authorization == b"Bearer known"


async def echo(call: Call):
    return Reply({"got": call.body()})


async def large(call: Call):
    return Reply({"size": len(call.request.content.read())})


async def broken(call: Call):
    raise RuntimeError("secret detail")


async def refuse(call: Call):
    raise ApiError(409, "no", "yes")


async def file(call: Call):
    content = bytes(range(256)) * 4096
    return Stream(BytesIO(content), len(content))


async def slow(call: Call):
    await task.deferLater(reactor, 1.5 * PATIENCE_S)
    return Reply({})


async def name(call: Call):
    return Reply({"ref": call.names["ref"], "rest": call.names.get("rest", "")})


async def private(call: Call):
    return Reply({"name": call.person.name})


ROUTES = [
    Route("POST", "/v1/echo", echo, login=False),
    Route("PUT", "/v1/large", large, login=False),
    Route("GET", "/v1/broken", broken, login=False),
    Route("GET", "/v1/refuse", refuse, login=False),
    Route("GET", "/v1/file", file, login=False),
    Route("GET", "/v1/slow", slow, login=False),
    Route("GET", "/v1/names/{ref}", name, login=False),
    Route("GET", "/v1/names/{ref}/output/{rest*}", name, login=False),
    Route("GET", "/v1/private", private),
]


def main(folder: Path) -> None:
    limits.HEAD_S_MAX = limits.BODY_S_MIN = limits.IDLE_S_MAX = PATIENCE_S
    limits.CLOSE_S_MAX = PATIENCE_S
    limits.STALL_S_MAX = 2 * PATIENCE_S
    limits.SWEEP_S = PATIENCE_S / 10
    limits.CONNECTIONS_PER_ADDRESS_MAX = 30
    logins = Logins("site", lambda key: Ana(), reactor.seconds, os.urandom)
    root = Root()
    root.putChild(b"v1", Router(ROUTES, logins))
    factory = Factory(reactor, folder)
    factory.open(root, Gate())
    certificate = create_api_certificate(folder / "api.pem")
    port = listen(reactor, "127.0.0.1", 0, certificate, factory)
    said = {"port": port.getHost().port, "fingerprint": certificate.fingerprint}
    print(json.dumps(said), flush=True)
    reactor.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
