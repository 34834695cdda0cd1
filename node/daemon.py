"""Run a node: in the foreground, or detached; find it and stop it again.

This module is imported by the command line, so Twisted comes in only where a node really starts.
A detached child says on its standard output, in one JSON line, that it is ready or why not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from node.home import Home, NodeAddress

READY_S_MAX = 60.0
STOP_S_MAX = 60.0
_SAID_BYTES_MAX = 64 * 1024
_FILES_WANTED = 65_536
_POLL_S = 0.05


class DaemonError(Exception):
    """The node did not start or stop; the message says why."""


def running(home: Home) -> NodeAddress | None:
    """The node that runs on this home, if its process lives."""
    address = home.address()
    return address if address is not None and is_node(address.pid) else None


def is_node(pid: int) -> bool:
    """Whether a process runs, and is one of ours."""
    return alive(pid) and _looks_like_a_node(pid)


def _looks_like_a_node(pid: int) -> bool:
    """False where a killed node's number went to another program, which nobody may end for it."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return True
    return any(b"floe" in word or word in (b"node.daemon", b"node.cli") for word in words)


def alive(pid: int) -> bool:
    """Whether the process is a running one; a zombie is not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def detach(
    home: Home, *, timeout_s: float = READY_S_MAX, network_home: bool = False
) -> NodeAddress:
    """Start a node in the background; returns once its API answers.

    Raises DaemonError with the node's own words when it cannot start.
    """
    argv = [sys.executable, "-m", "node.daemon", "--home", str(home.path), "--detached"]
    if network_home:
        argv.append("--network-home")
    with open(_start_log(home), "wb", opener=_private) as errors:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            cwd="/",
            env=surroundings(),
        )
    until_s = time.monotonic() + timeout_s
    said = _first_line(child, timeout_s)
    if said.get("ready"):
        address = await_address(home, lambda: alive(child.pid) and time.monotonic() < until_s)
        child.returncode = 0  # it is the system's from here on; no ResourceWarning at exit
        if address is not None:
            return address
    if not said:
        child.kill()
        said = {"error": f"the node said nothing within {timeout_s:.0f} s"}
    raise DaemonError(str(said.get("error", "the node did not start")) + _tail(home))


def await_address(
    home: Home, hope: Callable[[], bool], pause: Callable[[float], None] = time.sleep
) -> NodeAddress | None:
    """The address of a node that said it was ready; None when hope is gone.

    One that learns at once that its store is an old copy begins anew, and has none for a moment.
    """
    while (address := home.address()) is None and hope():
        pause(_POLL_S)
    return address


def stop(home: Home, *, timeout_s: float = STOP_S_MAX) -> NodeAddress | None:
    """End the node of this home and wait until it is gone; None if none runs.

    Raises DaemonError when it is still there after `timeout_s`.
    """
    address = running(home)
    if address is None:
        return None
    try:
        os.kill(address.pid, signal.SIGTERM)
    except ProcessLookupError:
        return address
    except PermissionError:
        raise DaemonError(f"process {address.pid} belongs to another account") from None
    until_s = time.monotonic() + timeout_s
    while alive(address.pid):
        if time.monotonic() > until_s:
            raise DaemonError(
                f"the node (process {address.pid}) has not ended within {timeout_s:.0f} s; "
                f"its log says more: {home.log / 'node.log'}"
            )
        time.sleep(_POLL_S)
    return address


def run(home: Home, *, detached: bool = False, network_home: bool = False) -> int:
    """Run a node until it is told to stop; the exit status. In the foreground it logs to stderr."""
    os.umask(0o077)
    _raise_file_limit()
    from node import logs

    form = logs.as_json if os.environ.get("FLOE_LOG") == "json" else logs.as_line
    if detached:
        home.create()
        logs.begin(logs.to_file(home.log), form=form)
    else:
        logs.begin(logs.to_terminal(), form=form)
    from node import lives

    def ready() -> None:
        if detached:
            _say({"ready": True})
            _close_standard_streams()

    error = lives.run(home, ready, network_home=network_home)
    if error and detached:
        _say({"error": error})
    elif error:
        print(f"floe: {error}", file=sys.stderr)
    return 1 if error else 0


def surroundings() -> Mapping[str, str]:
    """A child's environment, with our own packages importable from where they are now."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def _start_log(home: Home) -> Path:
    home.create()
    return home.log / "start.log"


def _private(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)  # it may be from before
    return descriptor


def _first_line(child: subprocess.Popen[bytes], timeout_s: float) -> dict[str, Any]:
    """The child's one line; {} when it says nothing in time or ends without a word."""
    assert child.stdout is not None
    said = b""
    until_s = time.monotonic() + timeout_s
    with child.stdout as stream:
        while not said.endswith(b"\n") and len(said) < _SAID_BYTES_MAX:
            left_s = until_s - time.monotonic()
            if left_s <= 0 or not select.select([stream], [], [], left_s)[0]:
                return {}
            chunk = os.read(stream.fileno(), _SAID_BYTES_MAX)
            if not chunk:
                break
            said += chunk
    try:
        return dict(json.loads(said))
    except (ValueError, TypeError):
        return {"error": "the node ended while it started"}


def _tail(home: Home) -> str:
    """The last lines of what a failed start wrote to stderr, if anything."""
    try:
        text = (home.log / "start.log").read_text("utf-8", "replace").strip()
    except OSError:
        return ""
    return "\n" + "\n".join(text.splitlines()[-5:]) if text else ""


def _say(value: Mapping[str, Any]) -> None:
    print(json.dumps(value), flush=True)


def _close_standard_streams() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    os.close(null)


def _raise_file_limit() -> None:
    """A descriptor a connection: take what the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m node.daemon", description=run.__doc__)
    parser.add_argument("--home", required=True)
    parser.add_argument("--detached", action="store_true")
    parser.add_argument("--network-home", action="store_true")
    options = parser.parse_args(argv)
    return run(
        Home.locate(options.home), detached=options.detached, network_home=options.network_home
    )


if __name__ == "__main__":
    sys.exit(main())
