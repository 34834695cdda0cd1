"""Following a page of the documentation word by word, on a cluster made for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.clusters.place import Place
from tests.test_docs import EXITS, ROOT, session

COMMAND_S = 400


def walk(page: str, place: Place, home: Path) -> Iterator[tuple[str, str]]:
    """Each command of docs/PAGE in its order, and what it printed.

    home: of an account of its own, whose commands are those of the cluster. Its node is taken down
    at the end. Raises AssertionError for a command that fails.
    """
    floe = Path(sys.executable).parent
    environment = {**os.environ, **place.environ, "HOME": str(home)}
    environment["PATH"] = f"{floe}:{environment['PATH']}"
    environment.pop("FLOE_HOME", None)
    try:
        for file, text in session(ROOT / "docs" / page):
            if file:
                (home / file).write_text(text)
                continue
            done = subprocess.run(
                text, shell=True, cwd=home, env=environment, capture_output=True, text=True,
                timeout=COMMAND_S, check=False,
            )  # fmt: skip
            due = int(found[1]) if (found := EXITS.search(text)) else 0
            assert done.returncode == due, f"$ {text}\n{done.stdout}{done.stderr}"
            yield text, done.stdout
    finally:
        down = ["floe", "down", "--pilots"]
        subprocess.run(down, env=environment, capture_output=True, check=False)
