"""What an admin is told of a submit host that is not as it should be."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from bench.site import Site, make_site, take_down
from tests.clusters import sshd
from tests.clusters.faces import attempt, toml
from tests.clusters.ground import RUNS_S, SYSTEM
from tests.clusters.life import gated_camp
from tests.clusters.openpbs.ground import PbsGround
from tests.clusters.place import wait_until
from tests.clusters.rig import need


def test_a_key_that_is_refused_is_told_and_not_knocked_with_again(tmp_path: Path) -> None:
    need("ssh", sshd.missing())
    with sshd.sshd(tmp_path) as host:
        sshd.make_key(tmp_path / "expired")
        site = make_site(tmp_path, "far", slots=0, config=_far(host, key=tmp_path / "expired"))
        try:
            up = attempt(site, "up", "--detach")
            assert up.returncode == 1
            assert "it refuses our key" in up.stderr
            site.run("up", "--detach", "--anyway")
            wait_until("a complaint", lambda: "it refuses our key" in site.run("site", "show"))
            knocks = _knocks(tmp_path)
            site.run("submit", "--name", "waiting", "--", "true")
            wait_until("it in floe why", lambda: "next try in" in site.run("why", "waiting"))
            assert _knocks(tmp_path) == knocks
            # Whoever asks for it gets one more try.
            tested = attempt(site, "site", "test", "far")
            assert tested.returncode == 1
            assert "it refuses our key" in tested.stdout
            assert _knocks(tmp_path) == knocks + 1
            # The key is let in again: nobody waits for the next try, which is five minutes away.
            with (tmp_path / "authorized_keys").open("a") as keys:
                keys.write((tmp_path / "expired.pub").read_text())
            site.run("config", "reload", "--anyway")
            wait_until("an answer", lambda: "it refuses our key" not in site.run("site", "show"))
        finally:
            take_down(site)


def test_a_host_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    need("ssh", sshd.missing())
    with sshd.sshd(tmp_path) as host:
        (tmp_path / "empty").touch()
        site = make_site(tmp_path, "far", slots=0, config=_far(host, known=tmp_path / "empty"))
        checked = attempt(site, "config", "check")
    assert checked.returncode == 1
    assert "its host key is not known" in checked.stdout
    closed = attempt(site, "config", "check")  # nothing listens any more
    assert closed.returncode == 0
    assert "not now" in closed.stdout


EXPIRED = """command="echo 'WARNING: Your password has expired.' >&2; \
echo 'Password change required but no TTY available.' >&2; exit 1" """


def test_a_login_that_ends_while_the_node_runs_is_told_and_tried_again_after_minutes(
    tmp_path: Path,
) -> None:
    need("ssh", sshd.missing())
    with sshd.sshd(tmp_path) as host:
        site = make_site(tmp_path, "far", slots=0, config=_far(host))
        keys, known = tmp_path / "authorized_keys", host.known_hosts
        sshd.make_key(tmp_path / "other")
        other = (tmp_path / "other.pub").read_text()
        harms = [
            (keys, "", "it refuses our key"),
            (keys, EXPIRED + keys.read_text(), "the account's password has expired"),
            (
                known,
                f"[127.0.0.1]:{host.port} {other}",
                "its host key is not the one that is known",
            ),
        ]
        try:
            site.run("up", "--detach", "--anyway")
            for file, harm, words in harms:
                wait_until("a connection", lambda: host.sessions() and not _away(site))
                before, knocks = file.read_text(), _knocks(tmp_path)
                file.write_text(harm)
                host.signal_sessions(signal.SIGKILL)
                wait_until("the reason", lambda words=words: words in _away(site).get("why", ""))
                assert _away(site)["again_s"] > 200
                assert _knocks(tmp_path) == knocks + 1
                file.write_text(before)
                site.run("config", "reload", "--anyway")
        finally:
            take_down(site)


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_connection_that_breaks_in_a_submission_makes_no_second_one_and_loses_none(
    place: str, tmp_path: Path
) -> None:
    need("ssh", sshd.missing())
    ground = PbsGround()
    try:
        with sshd.sshd(tmp_path) as host, gated_camp(ground, place, _reached(host)) as (camp, gate):
            camp.submit("cut", "only", "true")
            gate.wait()
            host.signal_sessions(signal.SIGKILL)
            camp.wait_said("a submission is in doubt: 127.0.0.1: the connection broke while ")
            shown = camp.site.json("site", "show", SYSTEM)["system"]
            assert shown["states"] == {"in doubt": 1}
            assert not shown["breakers"]
            gate.open()
            camp.site.wait("cut", RUNS_S)
            assert len(camp.submissions("only")) == len(gate.calls) == 1
            assert [each["outcome"] for each in camp.attempts("cut")] == ["success"]
    finally:
        ground.close()


def _far(host: sshd.Sshd, key: Path | None = None, known: Path | None = None) -> str:
    settings = {"kind": "slurm", "look": "1s", **_reached(host, key, known)}
    lines = [f"{name} = {toml(value)}" for name, value in settings.items()]
    return "\n".join(["", "[site.far]", *lines, ""])


def _reached(
    host: sshd.Sshd, key: Path | None = None, known: Path | None = None
) -> dict[str, object]:
    return {
        "host": "127.0.0.1", "port": host.port, "key": str(key or host.key),
        "known_hosts": str(known or host.known_hosts), "ssh_config": "/dev/null",
    }  # fmt: skip


def _away(site: Site) -> dict[str, Any]:
    """Why the host cannot be reached, and when that is tried again; {} if it can be."""
    return site.json("site", "show", "far")["system"]["away"] or {}


def _knocks(folder: Path) -> int:
    return (folder / "log").read_text().count("Connection from")
