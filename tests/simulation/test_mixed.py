"""Named lives of meshes whose sites run several versions, or are no longer where they were."""

from __future__ import annotations

from federation.address import PORT
from federation.records import Unknown
from tests.simulation.scenes import TAKE_OVER_S, submit

LATER_KIND = 4000  # of a record that this version does not know


def links(host):
    return len(host.node.parts.meshing.mesh.exchange.hub.sessions)


def kinds(entry):
    return {type(record) for record in entry.records()}


def test_versions_that_are_mixed_and_then_upgraded_one_by_one_under_load_go_on(five):
    for number, host in enumerate(five.hosts):
        submit(five, five.hosts[number - 1], f"set-{number}", 12)
        host.version = "1"
        host.die("kill", number, 5.0)
        five.pass_s(60)
        host.node.journal.control(Unknown(LATER_KIND, b"\x92\xcd\x0f\xa0\x01"))
    assert all(links(host) == 4 for host in five.hosts)
    five.pass_s(60)
    parked = [entry for entry in five.hosts[0].node.entries() if Unknown in kinds(entry)]
    assert len(parked) == 5
    five.finish()


def test_sites_that_all_start_again_at_other_addresses_find_each_other_by_one_that_stayed(five):
    submit(five, five.hosts[0])
    for number, host in enumerate(five.hosts):
        host.die("power", number, 30.0)
        host.port = PORT + (number > 0)
    five.pass_s(TAKE_OVER_S)
    assert all(links(host) == 4 for host in five.hosts)
    submit(five, five.hosts[4], "after")
    five.finish()
