"""Finding and ending nodes, without starting any; test_site.py starts real ones."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from node.daemon import DaemonError, alive, await_address, detach, running, stop
from node.home import Home


@pytest.fixture
def home(tmp_path):
    made = Home(tmp_path / "home")
    made.create()
    return made


def note(home, pid):
    address = {"pid": pid, "api": "https://127.0.0.1:1", "fingerprint": "", "site": "", "name": "x"}
    home.node_json.write_text(json.dumps(address))


def test_this_process_is_alive_and_one_that_ended_is_not():
    assert alive(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not alive(child.pid)


def test_a_zombie_is_not_alive():
    read, write = os.pipe()
    child = subprocess.Popen(["sh", "-c", "exit 0"], pass_fds=[write])
    os.close(write)
    os.read(read, 1)  # ends with the child
    os.close(read)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not alive(child.pid)
    child.wait()


def test_no_node_runs_on_an_empty_home_or_behind_an_old_note(home):
    assert running(home) is None
    assert stop(home) is None
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    note(home, child.pid)
    assert running(home) is None
    assert stop(home) is None


NODE = ["sh", "-c", "trap '{trap}' TERM; echo; while :; do sleep 0.05; done", "node.daemon"]


@contextmanager
def pretended(trap: str, words=NODE):
    """A process that looks like a node to others; `trap` is what it does when told to end."""
    words = [word.replace("{trap}", trap) for word in words]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        try:
            yield child
        finally:
            child.kill()


def test_stop_waits_until_the_process_is_gone(home):
    with pretended("exit 0") as child:
        note(home, child.pid)
        assert running(home).pid == child.pid
        assert stop(home, timeout_s=10).pid == child.pid
        assert not alive(child.pid)


def test_stop_says_so_when_it_does_not_end(home):
    with pretended("") as child:
        note(home, child.pid)
        with pytest.raises(DaemonError, match="has not ended"):
            stop(home, timeout_s=0.2)


def test_another_program_under_a_dead_nodes_number_is_left_alone(home):
    with pretended("exit 0", [*NODE[:3], "editor"]) as child:
        note(home, child.pid)
        assert running(home) is None
        assert stop(home) is None
        assert child.poll() is None


def test_a_node_that_cannot_start_says_why_in_one_sentence(home):
    (home.log / "start.log").touch(0o644)
    with pytest.raises(DaemonError, match="no site"):
        detach(home)
    assert (home.log / "start.log").stat().st_mode & 0o777 == 0o600


def test_a_node_that_begins_anew_at_once_is_waited_for(home):
    looks = []

    def pause(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            note(home, os.getpid())

    assert await_address(home, lambda: True, pause).pid == os.getpid()
    home.node_json.unlink()
    assert await_address(home, lambda: False, pause) is None


def test_a_damaged_note_is_no_node(home):
    for text in ("", "{", "[]", '{"pid": "x"}'):
        home.node_json.write_text(text)
        assert running(home) is None
