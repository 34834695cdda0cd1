"""Whole sites as processes for tests: real keys, real store, real sockets, no `ssh-keygen`."""

import base64
import hashlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from urllib.parse import quote

from keys.certificate import create_api_certificate
from keys.identity import SiteKey, show
from keys.sshsig import armor
from node.home import Home
from node.http.auth import login_message
from node.model.document import load
from node.model.person import PersonOrder, write_person
from tests.unit.node.http.people import ANA

READY_S_MAX = 60


def make_home(path, config="", admin=ANA) -> Home:
    """What `floe init` makes, signed by `admin`."""
    home = Home(path)
    home.create()
    key = SiteKey.create(home.site_key)
    create_api_certificate(home.api_certificate)
    home.config.write_text(f'name = "desy"\n{config}')
    order = PersonOrder(
        "user.add", key.site, admin.key, admin.person.name, ("physics",), ("admin",), "0" * 32
    )
    document = write_person(order)
    enrolment = {
        "document": base64.b64encode(document).decode(),
        "signature": base64.b64encode(admin.sign(document)).decode(),
    }
    home.enrol.write_text(json.dumps(enrolment))
    return home


class RunningSite:
    """A node in the background."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.process = None
        self.start()

    def start(self) -> None:
        argv = [sys.executable, "-m", "node.daemon", "--home", str(self.home.path), "--detached"]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        said = json.loads(self.process.stdout.readline() or b'{"error": "nothing"}')
        assert said.get("ready"), said
        self.process.stdout.close()
        self.address = self.home.address()

    def stop(self, number=signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(READY_S_MAX)

    def log(self) -> str:
        return (self.home.log / "node.log").read_text()


class Caller:
    """One person's view of a node's API."""

    def __init__(self, site: RunningSite, who=ANA) -> None:
        self.site = site
        self.who = who
        self.token = ""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE

    def connect(self) -> http.client.HTTPSConnection:
        host, port = self.site.address.api.removeprefix("https://").split(":")
        return http.client.HTTPSConnection(host, int(port), context=self._context, timeout=30)

    def raw(self, method, path, body=None, headers=None):
        """(status, headers, bytes)"""
        connection = self.connect()
        given = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        connection.request(method, quote(path, safe="/?=&@:%"), body, given | (headers or {}))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, response.headers, content

    def ask(self, method, path, body=None):
        """(status, JSON)"""
        data = None if body is None else json.dumps(body).encode()
        status, _, content = self.raw(method, path, data)
        return status, json.loads(content)

    def get(self, path, status=200):
        got, body = self.ask("GET", path)
        assert got == status, body
        return body

    def post(self, path, body, status=200):
        got, reply = self.ask("POST", path, body)
        assert got == status, reply
        return reply

    def log_in(self) -> "Caller":
        challenge = self.post("/v1/login", {"key": self.who.key.line()})["challenge"]
        signed = self.who.sign(login_message(self.site.address.site, challenge))
        answer = {"challenge": challenge, "signature": armor(signed)}
        self.token = self.post("/v1/login/answer", answer)["token"]
        return self

    def signed(self, document: bytes, who=None) -> dict[str, str]:
        signature = (who or self.who).sign(document)
        return {
            "document": base64.b64encode(document).decode(),
            "signature": base64.b64encode(signature).decode(),
        }

    def put_blob(self, content: bytes, status=201):
        digest = hashlib.blake2b(content, digest_size=32).hexdigest()
        got, _, reply = self.raw("PUT", f"/v1/blobs/{digest}", content)
        assert got == status, reply
        return digest

    def submit(self, description, status=200, who=None):
        """Submit a description (a table); gives the reply."""
        made = load(description).build(None)
        for content in made.blobs.values():
            self.put_blob(content if isinstance(content, bytes) else content.read_bytes())
        return self.post("/v1/datasets", self.signed(made.document, who), status)

    def wait(self, name, timeout_s=60):
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            reply = self.get(f"/v1/datasets/{name}/wait?timeout=10")
            if reply["done"]:
                return reply["counts"]
        raise AssertionError(f"{name} is not done: {reply['counts']}")

    def enrol(self, who, roles=()) -> None:
        site = SiteKey.load(self.site.home.site_key).site
        order = PersonOrder(
            "user.add", site, who.key, who.person.name, ("physics",), roles, os.urandom(16).hex()
        )
        self.post("/v1/people", self.signed(write_person(order)))


def task(name="main", run=("true",), **more):
    return {"name": name, "module": [{"run": list(run)}], **more}


def description(name="nugen", jobs=3, tasks=None, **more):
    return {"floe": 1, "name": name, "jobs": jobs, "task": tasks or [task()], **more}


__all__ = ["Caller", "RunningSite", "description", "make_home", "show", "task"]
