"""A command that stands still before or after it has done its work, until a test has it go on.

What only asks whether a submission would be taken goes through.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from tests.clusters.place import wait_until

_SCRIPT = """\
#!/bin/sh
cd {folder} || exit 1
case " $* " in *" --test-only "* | *" -dry-run "* | *" -w v "*) exec {command} "$@" ;; esac
wait_for_leave() {{
    touch waits
    until test -e leave; do sleep 0.1; done
}}
echo $$ >> calls
if test {place} = before; then wait_for_leave; fi
{command} "$@" > out.$$ 2> err.$$
status=$?
if test {place} = after; then wait_for_leave; fi
cat out.$$
cat err.$$ >&2
exit $status
"""


class Gate:
    """place: where it stands still, "before" or "after". command: its work, in words of sh."""

    def __init__(self, folder: Path, place: str, command: str) -> None:
        folder.mkdir()
        self._folder = folder
        self.path = folder / "command"
        self.path.write_text(_SCRIPT.format(folder=folder, place=place, command=command))
        self.path.chmod(0o755)

    @property
    def calls(self) -> list[int]:
        """Processes of all calls so far."""
        path = self._folder / "calls"
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def wait(self) -> None:
        """Until somebody stands in it."""
        wait_until("a command in the gate", (self._folder / "waits").exists, 60)

    def open(self) -> None:
        """Whoever stands in it goes on, and nobody stands in it again."""
        (self._folder / "leave").touch()

    def kill(self) -> None:
        """End whoever stands in it."""
        for pid in self.calls:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
