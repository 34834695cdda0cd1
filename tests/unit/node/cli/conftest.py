"""A home, a person's key, a fake node, and the command line run in this process."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keys.identity import show
from keys.sshsig import PublicKey
from node.cli import main
from node.home import Home, write_private
from tests.fakes.api_server import FakeNode, FakeServer


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Floe = Callable[..., Result]


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Ed25519 key as people have them."""
    path = tmp_path_factory.mktemp("ssh") / "id_ed25519"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ana", "-f", str(path)]
    subprocess.run(argv, check=True)
    return path


@pytest.fixture
def home(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty home that knows the key; nothing of the account that runs the tests is seen."""
    for name in ("FLOE_NODE", "FLOE_FINGERPRINT", "FLOE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "account"))
    monkeypatch.setenv("FLOE_HOME", str(tmp_path / "home"))
    made = Home(tmp_path / "home")
    made.create()
    write_private(made.client, f'key = "{key}"\n'.encode())
    return made


@pytest.fixture
def node(home: Home, key: Path, tmp_path: Path) -> Iterator[FakeNode]:
    """A fake node that the home names as its own, with ana enrolled."""
    fake = FakeNode()
    fake.people[PublicKey.parse(key.with_suffix(".pub").read_text()).raw] = "ana"
    with FakeServer(tmp_path, fake) as server:
        write_private(
            home.node_json,
            json.dumps(
                {
                    "pid": 1,
                    "api": server.url,
                    "fingerprint": server.fingerprint,
                    "site": show(fake.site.site),
                    "name": fake.name,
                }
            ).encode(),
        )
        yield fake


@pytest.fixture
def floe(home: Home, capfd: pytest.CaptureFixture[str]) -> Floe:
    """Run a command as a shell would."""

    def run(*arguments: str) -> Result:
        capfd.readouterr()
        status = main(list(arguments))
        captured = capfd.readouterr()
        return Result(status, captured.out, captured.err)

    return run
