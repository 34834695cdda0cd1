"""Named lives of meshes whose sites run several versions, or are no longer where they were."""

from __future__ import annotations

import pytest

from federation import limits
from federation.address import PORT
from federation.records import Release, Unknown
from tests.simulation.scenes import TAKE_OVER_S, a_mesh, submit, written
from tests.simulation.software import NEWER_PROTOCOL, Software

LATER_KIND = 4000  # of a record that this version does not know


def links(host):
    return len(host.node.parts.meshing.mesh.exchange.hub.sessions)


OLDER = Software("0", frozenset({Release.kind}))
NEWER = Software("1", protocol=NEWER_PROTOCOL)


@pytest.fixture
def older(tmp_path):
    """Five sites of a version that knows no releases, nor the newer protocol."""
    yield from a_mesh(tmp_path, 5, OLDER)


def protocols(host):
    """What a site speaks on its links, by the version of the other end."""
    sessions = host.node.parts.meshing.mesh.exchange.hub.sessions.values()
    return {(each.their_hello.version, each.protocol) for each in sessions}


def parked(host, number):
    """Records of a kind that a site holds and does not know."""
    with host.software.at_work():
        entries = [entry.records() for entry in host.node.entries()]
    found = [each for records in entries for each in records if isinstance(each, Unknown)]
    return sum(each.kind_number == number for each in found)


def test_versions_that_are_mixed_and_then_upgraded_one_by_one_under_load_go_on(older):
    """What the newer sites release is parked at older ones, and counts there once they know it."""
    second, last = older.hosts[1], older.hosts[-1]
    for number, host in enumerate(older.hosts):
        submit(older, older.hosts[number - 1], f"set-{number}", 24)
        host.software = NEWER
        host.die("kill", number, 5.0)
        older.pass_s(60)
        host.node.journal.control(Unknown(LATER_KIND, b"\x92\xcd\x0f\xa0\x01"))
        host.drain()
        older.pass_s(60)
        host.no_more_drained()
        if host is second:
            assert protocols(host) == {("1", NEWER_PROTOCOL), ("0", limits.PROTOCOL_MAX)}
            assert written(older, Release)
            assert parked(last, Release.kind) == len(written(older, Release))
    assert all(protocols(host) == {("1", NEWER_PROTOCOL)} for host in older.hosts)
    assert all(links(host) == 4 for host in older.hosts)
    older.pass_s(60)
    assert [parked(host, Release.kind) for host in older.hosts] == [0] * 5
    assert [parked(host, LATER_KIND) for host in older.hosts] == [5] * 5
    older.finish()


def test_sites_that_all_start_again_at_other_addresses_find_each_other_by_one_that_stayed(five):
    submit(five, five.hosts[0])
    for number, host in enumerate(five.hosts):
        host.die("power", number, 30.0)
        host.port = PORT + (number > 0)
    five.pass_s(TAKE_OVER_S)
    assert all(links(host) == 4 for host in five.hosts)
    submit(five, five.hosts[4], "after")
    five.finish()
