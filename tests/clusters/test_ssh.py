"""A submit host behind a real sshd: refusals, cut connections, hanging servers, tunnels."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol

from schedulers.base import Command, Completed, SchedulerError
from schedulers.runner import Lost, NotReached, NotRun
from schedulers.ssh import SshRunner
from schedulers.ssh_options import SshSettings, Tunnel
from tests.clusters.rig import need
from tests.clusters.sshd import Sshd, alive, free_port, make_key, missing, sshd
from tests.fakes.spawning import Spawning
from tests.vectors.words import HOSTILE

Make = Callable[..., SshRunner]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    need("a submit host", missing())
    folder = tmp_path_factory.mktemp("sshd")
    (folder / "home").mkdir()
    with sshd(folder, home=folder / "home", lines=("MaxSessions 4",)) as running:
        yield running


@pytest.fixture
def loop() -> Iterator[Spawning]:
    loop = Spawning()
    yield loop
    loop.close()


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path has room for a socket's, whatever that of the tests is."""
    with tempfile.TemporaryDirectory(prefix="floe-ssh-test-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def make(loop: Spawning, short: Path) -> Iterator[Make]:
    """Runners in folders of their own, closed in the end."""
    made: list[SshRunner] = []

    def runner(settings: SshSettings) -> SshRunner:
        folder = short / f"run{len(made)}"
        made.append(SshRunner(loop.reactor, settings, folder, rng=Random(1)))
        return made[-1]

    yield runner
    for each in made:
        loop.result(each.close())


def run(loop: Spawning, runner: SshRunner, *argv: str, **more: Any) -> Completed:
    done = loop.result(runner.run(Command(argv), **more))
    assert isinstance(done, Completed)
    return done


def refused(loop: Spawning, runner: SshRunner) -> str:
    with pytest.raises(NotRun) as error:
        run(loop, runner, "true")
    return str(error.value)


def again_s(runner: SshRunner) -> float:
    """Until the next try to connect."""
    away = runner.away()
    assert away is not None
    return away.again_s


def connections(host: Sshd) -> int:
    """That the daemon has seen so far."""
    return (host.folder / "log").read_text().count("Connection from 127.0.0.1")


# Logging in.


def test_commands_share_one_connection(host: Sshd, loop: Spawning, make: Make) -> None:
    runner, before = make(host.settings(sessions=3)), connections(host)
    begun = [loop.begin(runner.run(Command(["echo", "x"]))) for _ in range(12)]
    assert [loop.result(each).out for each in begun] == [b"x\n"] * 12
    assert (connections(host) - before, len(host.sessions())) == (1, 1)


def test_an_unknown_host_key_is_refused_until_somebody_writes_it_down(
    host: Sshd, loop: Spawning, make: Make, tmp_path: Path
) -> None:
    known = tmp_path / "known_hosts"
    known.write_text("")
    runner = make(host.settings(known_hosts=str(known)))
    words = refused(loop, runner)
    assert words.startswith("127.0.0.1: its host key is not known. Compare the fingerprint")
    assert str(known) in words
    known.write_text(host.known_hosts.read_text())
    assert refused(loop, runner) == words
    runner.retry()
    assert run(loop, runner, "true").status == 0


def test_a_changed_host_key_is_refused(
    host: Sshd, loop: Spawning, make: Make, tmp_path: Path
) -> None:
    make_key(tmp_path / "other")
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{host.port} {(tmp_path / 'other.pub').read_text()}")
    words = refused(loop, make(host.settings(known_hosts=str(known))))
    assert "its host key is not the one that is known" in words
    assert "ask its admins" in words


def test_a_pinned_host_key_decides_alone(
    host: Sshd, loop: Spawning, make: Make, tmp_path: Path
) -> None:
    assert (
        run(loop, make(host.settings(known_hosts="", host_key=host.host_key)), "true").status == 0
    )
    make_key(tmp_path / "other")
    other = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    words = refused(loop, make(host.settings(known_hosts="", host_key=other)))
    assert "not the one that is known" in words
    assert "correct host_key in the settings" in words


def test_a_refused_key_is_offered_once_however_many_ask(
    host: Sshd, loop: Spawning, make: Make, tmp_path: Path
) -> None:
    make_key(tmp_path / "other")
    runner, before = make(host.settings(key=str(tmp_path / "other"))), connections(host)
    for begun in [loop.begin(runner.run(Command(["true"]))) for _ in range(10)]:
        with pytest.raises(NotReached, match=r"it refuses our key .*authorized_keys"):
            loop.result(begun)
    assert again_s(runner) > 200
    for _ in range(10):
        refused(loop, runner)
    assert connections(host) - before == 1


@pytest.mark.parametrize(
    ("name", "command", "words"),
    [
        (
            "expired",
            "echo 'WARNING: Your password has expired.' >&2; "
            "echo 'Password change required but no TTY available.' >&2; exit 1",
            "the account's password has expired: log in by hand once and change it",
        ),
        ("nologin", "echo 'This account is currently not available.'; exit 1", "may not log in"),
        ("ending", "echo 'Quota exceeded'; exit 5", r"status 5; it printed 'Quota exceeded'"),
    ],
)
def test_a_login_that_runs_nothing_is_told_in_words(
    host: Sshd, loop: Spawning, make: Make, name: str, command: str, words: str
) -> None:
    runner = make(host.settings(key=str(host.login(name, command))))
    with pytest.raises(NotRun, match=words):
        run(loop, runner, "true")


def test_a_login_that_hangs_is_given_up(host: Sshd, loop: Spawning, make: Make) -> None:
    key = host.login("hanging", "echo wait a moment; exec cat >/dev/null")
    words = refused(loop, make(host.settings(key=str(key), connect_s=1)))
    assert "it does not answer; it printed 'wait a moment'" in words


def test_a_server_that_says_nothing_is_given_up(host: Sshd, loop: Spawning, make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        words = refused(loop, make(host.settings(port=port, connect_s=1)))
    assert "it does not answer" in words


def test_a_port_without_server_is_told(host: Sshd, loop: Spawning, make: Make) -> None:
    with socket.socket() as deaf:  # nobody else can listen there meanwhile
        deaf.bind(("127.0.0.1", 0))
        runner = make(host.settings(port=deaf.getsockname()[1]))
        assert "nothing listens there" in refused(loop, runner)
    assert 1 < again_s(runner) < 3


def test_a_missing_private_key_is_told(host: Sshd, loop: Spawning, make: Make) -> None:
    assert "no private key /no/key that we can read" in refused(
        loop, make(host.settings(key="/no/key"))
    )


# Shells.


@pytest.mark.parametrize("shell", ["tcsh", "fish"])
def test_other_login_shells_change_no_word(
    host: Sshd, loop: Spawning, make: Make, shell: str
) -> None:
    need(f"{shell} as a login shell", "" if shutil.which(shell) else "install it")
    key = host.login(shell, f'exec {shell} -c "$SSH_ORIGINAL_COMMAND"')
    runner = make(host.settings(key=str(key)))
    done = run(loop, runner, "printf", "%s\\0", *HOSTILE)
    assert done.out.split(b"\0")[:-1] == [os.fsencode(word) for word in HOSTILE]
    loop.result(runner.put("a b/c", b"content"))
    assert loop.result(runner.get("a b/c", 100)) == b"content"


def test_greetings_are_not_taken_for_output(host: Sshd, loop: Spawning, make: Make) -> None:
    greeting = 'echo Welcome; printf "no line"; echo mesg >&2; eval "$SSH_ORIGINAL_COMMAND"'
    runner = make(host.settings(key=str(host.login("greeting", greeting))))
    assert run(loop, runner, "echo", "data") == Completed(0, b"data\n", b"")


def test_a_profile_says_where_commands_are(host: Sshd, loop: Spawning, make: Make) -> None:
    home = host.folder / "home"
    (home / "bin").mkdir()
    (home / "bin/sbatch-here").write_text("#!/bin/sh\necho submitted\n")
    (home / "bin/sbatch-here").chmod(0o755)
    profile = home / ".profile"
    profile.write_text('echo noise; PATH="$HOME/bin:$PATH"\n')
    try:
        assert run(loop, make(host.settings(profile=True)), "sbatch-here").out == b"submitted\n"
        with pytest.raises(NotRun, match="no program sbatch-here in PATH"):
            run(loop, make(host.settings()), "sbatch-here")
        profile.write_text("exit 1\n")
        with pytest.raises(NotRun, match="profile = false"):
            run(loop, make(host.settings(profile=True)), "sbatch-here")
    finally:
        profile.unlink()


def test_a_host_that_allows_fewer_sessions_says_so(host: Sshd, loop: Spawning, make: Make) -> None:
    runner = make(host.settings(sessions=8))
    begun = [loop.begin(runner.run(Command(["sleep", "0.5"]))) for _ in range(8)]
    ends = []
    for each in begun:
        try:
            ends.append(loop.result(each).status)
        except NotRun as error:
            ends.append("set sessions lower" in str(error))
    assert ends.count(0) >= 3
    assert ends.count(True) == 8 - ends.count(0) > 0


# Faults on the way.


def started(loop: Spawning, host: Sshd, runner: SshRunner, script: str, **more: Any) -> Any:
    """A command that has begun on the host; `script` follows."""
    mark = host.folder / "home/begun"
    mark.unlink(missing_ok=True)
    begun = loop.begin(runner.run(Command(["sh", "-c", f"echo $$ >begun; {script}"]), **more))
    loop.until(lambda: mark.exists() and mark.read_text())
    return begun


def test_a_connection_cut_during_a_command_leaves_its_end_unknown(
    host: Sshd, loop: Spawning, make: Make
) -> None:
    runner = make(host.settings())
    begun = started(loop, host, runner, "sleep 1000", timeout_s=1)
    pid = int((host.folder / "home/begun").read_text())
    host.signal_sessions(signal.SIGKILL)
    with pytest.raises(Lost, match="the connection broke while sh ran"):
        loop.result(begun)
    loop.until(lambda: runner.fault)
    assert again_s(runner) < 3
    runner.retry()
    assert run(loop, runner, "true").status == 0
    loop.until(lambda: not alive(pid))  # its time is over there too


def test_a_command_whose_connection_has_just_gone_was_not_run(
    host: Sshd, loop: Spawning, make: Make, short: Path
) -> None:
    runner = make(host.settings())
    run(loop, runner, "true")
    (socket_file,) = (short / "run0").glob("*.ssh")
    socket_file.unlink()
    assert "true was not run: the connection broke" in refused(loop, runner)
    runner.retry()
    assert run(loop, runner, "true").status == 0


def test_a_server_that_hangs_is_noticed(host: Sshd, loop: Spawning, make: Make) -> None:
    runner = make(host.settings(alive_s=1))
    run(loop, runner, "true")
    stopped = host.sessions()
    host.signal_sessions(signal.SIGSTOP)
    try:
        with pytest.raises(Lost):
            run(loop, runner, "true")
        assert "it does not answer any more" in refused(loop, runner)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGKILL)


def test_a_file_that_came_in_part_replaces_nothing(host: Sshd, loop: Spawning, make: Make) -> None:
    runner, home = make(host.settings()), host.folder / "home/put"
    loop.result(runner.put("put/file", b"old"))
    for sent in range(2):
        begun = loop.begin(runner.put("put/file", bytes(60_000_000 + sent)))
        loop.until(lambda: list(home.glob("*.part")))
        host.signal_sessions(signal.SIGKILL)
        with pytest.raises(SchedulerError):
            loop.result(begun)
        loop.until(lambda: os.listdir(home) == ["file"])
        assert (home / "file").read_bytes() == b"old"
        loop.until(lambda: runner.fault)
        runner.retry()


def test_a_runner_that_is_closed_ends_what_waits(host: Sshd, loop: Spawning, make: Make) -> None:
    runner = make(host.settings(sessions=1))
    begun = started(loop, host, runner, "sleep 1000", timeout_s=5)
    waits = loop.begin(runner.run(Command(["true"])))
    loop.result(runner.close())
    with pytest.raises(Lost):
        loop.result(begun)
    with pytest.raises(NotRun, match="closed"):
        loop.result(waits)


# Tunnels.


class Greeting(Protocol):
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"the node")
        self.transport.loseConnection()


def test_workers_reach_the_node_through_a_tunnel(host: Sshd, loop: Spawning, make: Make) -> None:
    node = loop.reactor.listenTCP(0, Factory.forProtocol(Greeting), interface="127.0.0.1")
    tunnel = Tunnel(free_port(), node.getHost().port, address="127.0.0.1")
    runner = make(host.settings(tunnel=tunnel))
    reach = f"exec cat </dev/tcp/127.0.0.1/{tunnel.port}"
    assert run(loop, runner, "bash", "-c", reach).out == b"the node"
    other = make(host.settings(tunnel=tunnel))
    assert f"does not give us the tunnel's port {tunnel.port}" in refused(loop, other)
    loop.result(runner.close())
    other.retry()
    assert run(loop, other, "bash", "-c", reach).out == b"the node"


def test_a_tunnel_that_broke_is_made_again_though_nobody_runs_a_command(
    host: Sshd, loop: Spawning, make: Make
) -> None:
    runner = make(host.settings(tunnel=Tunnel(free_port(), 1, address="127.0.0.1")))
    run(loop, runner, "true")
    before = connections(host)
    host.signal_sessions(signal.SIGKILL)
    loop.until(lambda: runner.fault)
    loop.until(lambda: runner.fault is None)
    assert connections(host) == before + 1


def test_a_tunnel_that_workers_cannot_reach_is_no_tunnel(
    host: Sshd, loop: Spawning, make: Make
) -> None:
    words = refused(loop, make(host.settings(tunnel=Tunnel(free_port(), 1))))
    assert "can be reached from the host itself alone" in words
    assert "GatewayPorts clientspecified" in words


PROGRAM = """
import sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from schedulers.base import Command, SchedulerError
from schedulers.ssh import SshRunner
from schedulers.ssh_options import SshSettings, Tunnel

settings = eval(sys.argv[1])
runner = SshRunner(reactor, settings, Path(sys.argv[2]))

async def main():
    try:
        await runner.run(Command(["true"]))
        print("connected", flush=True)
    except SchedulerError as error:
        print(error, flush=True)

reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()))
reactor.run()
"""


def test_a_killed_node_leaves_no_connection_behind(host: Sshd, tmp_path: Path) -> None:
    before = set(host.sessions())
    settings = host.settings(tunnel=Tunnel(free_port(), 1, address="127.0.0.1"))
    argv = [sys.executable, "-c", PROGRAM, repr(settings), str(tmp_path / "run")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as node:
        assert node.stdout is not None
        said = node.stdout.readline()
        node.kill()
    assert said == b"connected\n"
    end_s = time.monotonic() + 20
    while set(host.sessions()) - before:
        assert time.monotonic() < end_s, "the connection outlived the node"
        time.sleep(0.05)


# The socket's folder.


def test_a_long_path_gets_a_short_one_for_its_socket(
    host: Sshd, loop: Spawning, tmp_path: Path
) -> None:
    runner = SshRunner(loop.reactor, host.settings(), tmp_path / ("long" * 40))
    assert run(loop, runner, "true").status == 0
    loop.result(runner.close())


def test_a_folder_that_others_may_read_is_refused(host: Sshd, loop: Spawning, short: Path) -> None:
    folder = short / "open"
    folder.mkdir(mode=0o755)
    runner = SshRunner(loop.reactor, host.settings(), folder)
    assert "has to be a folder of ours alone" in refused(loop, runner)
