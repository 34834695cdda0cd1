"""Following a page of the documentation word by word, on a cluster made for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.clusters.account import Account
from tests.clusters.place import Place
from tests.test_docs import EXITS, ROOT, session

COMMAND_S = 400
WE = Account()


def walk(
    page: str,
    place: Place,
    home: Path,
    account: Account = WE,
    names: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, str]]:
    """Each command of docs/PAGE in its order, and what it printed.

    home: a folder of the account, whose commands are those in its bin and those of the cluster.
    names: what the page writes into files, and this machine calls otherwise. Its node is taken down
    at the end. Raises AssertionError for a command that fails.
    """
    environment = {**os.environ, **place.environ, **account.environ, "HOME": str(home)}
    environment["PATH"] = f"{home}/bin:{account.programs(home)}:{environment['PATH']}"
    environment.pop("FLOE_HOME", None)
    try:
        for file, text in session(ROOT / "docs" / page):
            if file:
                for name, here in (names or {}).items():
                    text = text.replace(name, here)
                (home / file).write_text(text)
                continue
            done = subprocess.run(
                [*account.words(), "sh", "-c", text], cwd=home, env=environment,
                capture_output=True, text=True, timeout=COMMAND_S, check=False,
            )  # fmt: skip
            due = int(found[1]) if (found := EXITS.search(text)) else 0
            assert done.returncode == due, f"$ {text}\n{done.stdout}{done.stderr}"
            yield text, done.stdout
    finally:
        down = [*account.words(), "floe", "down", "--pilots"]
        subprocess.run(down, env=environment, capture_output=True, check=False)
