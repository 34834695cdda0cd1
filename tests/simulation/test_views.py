"""What the views of the mesh show in each failure, at a site that people ask: see VIEWS.md.

Each life stops in the middle of its trouble; that all comes right in the end is shown elsewhere.
"""

from __future__ import annotations

from random import Random

import pytest

from federation.address import PORT
from federation.codec import pack
from federation.ids import DatasetID
from federation.records import Command, MemberRemove, Unknown
from node.model import member
from node.model.commands import command_document
from tests.simulation.eyes import Eyes
from tests.simulation.persons import ANA
from tests.simulation.scenes import (
    JOBS,
    TAKE_OVER_S,
    YEAR_MS,
    fold_raises,
    fork_shown_to_two_halves,
    some_settled,
    submit,
)
from tests.simulation.software import Software
from tests.simulation.test_damage import DAMAGED, SET_ASIDE, UNFORESEEN
from tests.simulation.test_mixed import LATER_KIND
from tests.simulation.ways import Way
from tests.unit.federation.builders import results

SILENT_S = 200.0  # then a site counts as unreachable, and voters have lost patience


def under_way(world, jobs=60):
    """The first site leads a dataset of which another has done something; eyes at the others."""
    submit(world, world.hosts[0], jobs=jobs)
    some_settled(world, world.hosts[1])
    world.farm.closed.update(world.hosts)  # what is left to do costs no time
    return [Eyes(world, host) for host in world.hosts]


def step_to(world, there):
    """Let time pass in steps that are shorter than any answer of a site."""
    world.pass_s(100)
    while not there():
        world.pass_s(0.005)


def has(host, sql, *values):
    return bool(host.node.conn.execute(sql, values).fetchall())


def opened(world):
    """The sites that lead in a later term, as they see it."""
    sql = "SELECT 1 FROM shard WHERE term > 0 AND leader = ?"
    return [host for host in world.hosts if host.up and has(host, sql, host.site)]


def the_shard(eyes):
    """The one shard that has datasets, as a site shows it."""
    (shard,) = (each for each in eyes.shards().json["shards"] if each["datasets"])
    return shard


def grow(world, host):
    """A site writes more than goes through a thin line in a minute or two."""
    for _ in range(10):
        host.node.journal.control(Unknown(LATER_KIND, pack([LATER_KIND, b"." * 15_000])))
        world.pass_s(1)


def of_peer(eyes, peer):
    """The records link with a site, as `mesh links` has it."""
    links = eyes.links().json["links"]
    (link,) = (each for each in links if each["peer"] == peer and each["kind"] == "records")
    return link


def of_site(eyes, name):
    (site,) = (each for each in eyes.mesh().json["sites"] if each["name"] == name)
    return site


def figure(eyes, name, *labels):
    """The only figure of a name with these values among its labels."""
    found = [
        value
        for (each, *values), value in eyes.metrics().items()
        if each == name and set(labels) <= set(values)
    ]
    (value,) = found
    return value


def all_equal(eyes, names):
    found = eyes.verify()
    assert found.json["equal"]
    assert {each["site"] for each in found.json["compared"]} == set(names)
    return found


def test_a_mesh_that_works_shows_no_trouble(three):
    _, wisc, _ = under_way(three)
    shown = wisc.mesh()
    assert "MESH wisc · 3 sites · 3 alive" in shown.text
    assert "\n!" not in shown.text
    assert {each["up"] for each in wisc.links().json["links"]} == {True}
    shard = the_shard(wisc)
    assert (shard["leader"], shard["term"], shard["closed"], shard["still_brief"]) == (
        "desy", 0, [], "",
    )  # fmt: skip
    assert "it leads shard desy/" in wisc.why("desy").line("  ok     it leads")
    assert "(2 comparisons)" in all_equal(wisc, ["desy", "msu"]).text
    assert figure(wisc, "floe_alarms") == 0


def test_a_leader_that_is_lost_shows_its_silence_then_the_votes_then_the_take_over(three):
    """Votes are looked at between the first one and the open."""
    _, wisc, msu = under_way(three)
    gone = three.hosts[0]
    gone.lose()
    step_to(three, lambda: has(three.hosts[1], "SELECT 1 FROM author WHERE voted > 0"))
    voting = the_shard(wisc)
    assert (voting["vote_term"], voting["term"]) == (1, 0)
    assert "vote for term 1 by" in wisc.shards().text
    assert "a vote for term 1 is under way" in wisc.mesh().text
    three.pass_s(SILENT_S)
    shown = wisc.mesh()
    assert "2 alive, 1 unreachable" in shown.text
    leader = the_shard(wisc)["leader"]
    assert f"Its shard is led by {leader}, term 1." in shown.line("! desy: not heard for")
    link = of_peer(wisc, "desy")
    assert (link["up"], link["path"]) == (False, "desy:7421")
    assert "desy:7421" in wisc.why("desy").line("  block  dialled")
    assert f"{leader} leads it since term 1" in wisc.why("desy").text
    assert the_shard(msu)["term"] == 1
    found = all_equal(wisc, ["msu"])
    assert "! desy was not compared: no link leads there" in found.text
    assert figure(wisc, "floe_mesh_sites", "unreachable") == 1
    assert figure(wisc, "floe_link_up", "desy") == 0
    assert figure(wisc, "floe_shard_leader", leader) == 1
    assert figure(wisc, "floe_alarms") >= 1


def test_two_and_two_and_one_all_show_that_the_shard_stands_still_and_what_they_reach(five):
    desy, _, msu, _, tokyo = under_way(five)
    five.network.ways.split(["desy", "wisc"], ["msu", "kit"], ["tokyo"])
    five.pass_s(TAKE_OVER_S)
    for eyes, reached in ((desy, 2), (msu, 2), (tokyo, 1)):
        shown = eyes.mesh()
        assert f"{reached} alive, {5 - reached} unreachable" in shown.text
        alarm = shown.line("! shard desy/")
        assert "no majority of the 5 voters of its log is reached" in alarm
        shard = the_shard(eyes)
        assert (shard["leader"], shard["term"]) == ("desy", 0)
        assert shard["still_brief"] == f"stands still: {reached} of 5 voters reached"
        assert shard["still_brief"] in eyes.shards().text
        assert sum(each["up"] for each in eyes.links().json["links"]) == reached - 1
        assert figure(eyes, "floe_shard_stands_still") == 1
    assert "everything settled up to" in desy.mesh().text
    assert "; nothing comes from desy" in msu.mesh().text
    assert the_shard(desy)["unsettled_s"] > SILENT_S
    assert "stands still" in msu.why("desy").line("  block  shard desy/")
    assert "connection timed out" in msu.why("desy").line("  block  dialled desy:7421")
    assert "stands still" in tokyo.why("tokyo").text
    all_equal(desy, ["wisc"])
    alone = tokyo.verify()
    assert "nothing was compared" in alone.text
    assert set(alone.json["silent"]) == {"desy", "wisc", "msu", "kit"}
    five.network.ways.mend_all()
    five.pass_s(TAKE_OVER_S)
    assert "5 sites · 5 alive" in msu.mesh().text
    assert the_shard(msu)["still_brief"] == ""
    all_equal(msu, ["desy", "wisc", "kit", "tokyo"])


def test_a_leader_that_is_cut_off_and_the_majority_show_different_leaders(three):
    desy, wisc, _ = under_way(three)
    three.network.ways.split(["desy"], ["wisc", "msu"])
    three.pass_s(TAKE_OVER_S)
    old, new = the_shard(desy), the_shard(wisc)
    assert (old["leader"], old["term"]) == ("desy", 0)
    assert old["settled"] < old["position"]
    assert old["still_brief"] == "stands still: 1 of 3 voters reached"
    assert (new["leader"] != "desy", new["term"]) == (True, 1)
    assert new["still_brief"] == ""
    assert "its shard" in wisc.mesh().line("! desy: not heard").lower()
    assert "stands still" in desy.why("desy").text
    assert not any(each["up"] for each in desy.links().json["links"])
    assert of_peer(wisc, "msu")["up"]
    assert set(desy.verify().json["silent"]) == {"wisc", "msu"}
    all_equal(wisc, ["msu"])
    assert figure(desy, "floe_shard_term") == 0
    assert figure(wisc, "floe_shard_term") == 1


def test_a_term_of_which_nobody_learns_is_shown_where_it_was_opened_as_standing_still(five):
    under_way(five)
    five.hosts[0].lose()
    step_to(five, lambda: opened(five))
    (alone,) = opened(five)
    others = [host for host in five.hosts[1:] if host is not alone]
    five.network.reset(alone.machine)
    five.network.ways.split([alone.name], [host.name for host in others])
    five.pass_s(TAKE_OVER_S)
    shown = the_shard(Eyes(five, alone))
    assert shown["leader"] == alone.name
    assert shown["still_brief"] == "stands still: 1 of 5 voters reached"
    later = the_shard(Eyes(five, others[0]))
    assert later["leader"] != alone.name
    assert later["term"] > shown["term"]
    eyes = Eyes(five, alone)
    assert "no majority of the 5 voters" in eyes.mesh().line("! shard desy/")
    assert "stands still" in eyes.why(alone.name).line("  block  shard desy/")
    assert not any(each["up"] for each in eyes.links().json["links"])
    assert "nothing was compared" in eyes.verify().text
    assert figure(eyes, "floe_shard_stands_still") == 1


def test_a_paused_leader_is_shown_as_silent_and_as_one_that_leads_no_more(three):
    _, wisc, _ = under_way(three)
    three.hosts[0].pause()
    three.pass_s(SILENT_S)
    assert of_site(wisc, "desy")["state"] == "unreachable"
    assert not of_peer(wisc, "desy")["up"]
    assert the_shard(wisc)["leader"] != "desy"
    assert "leads it since term 1" in wisc.why("desy").text
    assert wisc.verify().json["silent"].keys() == {"desy"}
    assert figure(wisc, "floe_site_seen_seconds", "desy") > 100


def test_a_leader_whose_disk_was_put_back_shows_a_closed_seat_and_another_leader(three):
    desy, wisc, _ = under_way(three)
    three.hosts[0].take_copy("old")
    three.pass_s(60)
    submit(three, three.hosts[0], "behind", 4)
    three.pass_s(60)
    three.hosts[0].put_back("database")
    three.pass_s(SILENT_S)
    shard = the_shard(wisc)
    assert (shard["leader"] != "desy", shard["closed"]) == (True, ["desy"])
    assert "(desy)" in wisc.shards().text
    why = wisc.why("desy")
    assert why.json["why"]["state"] == "alive"
    assert f"{shard['leader']} leads it since term {shard['term']}" in why.text
    assert "its seat is closed" in why.text
    assert of_peer(wisc, "desy")["up"]
    assert "3 alive" in wisc.mesh().text
    assert figure(wisc, "floe_shard_closed_seats") == 1
    all_equal(desy, ["wisc", "msu"])


def test_a_clone_beside_its_original_is_shouted_about_at_every_site(three):
    under_way(three)
    original = three.hosts[2]
    twin = three.clone(original, whole=True)
    three.pass_s(100)
    _, wisc, _, *_ = (Eyes(three, host) for host in three.hosts)
    assert "two nodes with its key ran" in wisc.mesh().line("! msu: two nodes")
    why = wisc.why("msu")
    assert "the one started later has the links" in why.text
    assert "stop one of its two nodes" in why.text
    assert figure(wisc, "floe_alarms") >= 1
    assert of_peer(wisc, "msu")["up"]
    for host in (original, twin):
        if host.up:
            assert "another node with this site's key" in Eyes(three, host).mesh().text
    assert wisc.verify().json["equal"]
    assert the_shard(wisc)["leader"] == "desy"


def test_a_fork_that_was_proved_is_shouted_about_with_its_generation(five):
    original = five.hosts[4]
    five.farm.closed.add(original)
    under_way(five)
    fork_shown_to_two_halves(five, original)
    five.pass_s(SILENT_S)
    desy = Eyes(five, five.hosts[0])
    alarm = desy.mesh().line("! tokyo: two copies of it wrote")
    assert "generation 1 of its feeds" in alarm
    assert "two copies of its home wrote generation 1" in desy.why("tokyo").text
    assert {tuple(each["closed"]) for each in desy.shards().json["shards"] if each["datasets"]} == {
        ("tokyo",)
    }
    assert figure(desy, "floe_alarms") >= 1
    assert desy.verify().json["equal"]
    assert of_peer(desy, "tokyo")["up"]


@pytest.mark.parametrize("jump_ms", [YEAR_MS, -YEAR_MS])
def test_a_clock_that_is_a_year_wrong_is_told_and_changes_no_age(three, jump_ms):
    three.hosts[0].wall_jump_ms += jump_ms
    _, wisc, _ = under_way(three)
    three.pass_s(60)
    how = "ahead" if jump_ms > 0 else "behind"
    shown = wisc.mesh()
    assert f"its clock is 365 d {how}" in shown.line("! desy: its clock")
    assert "+365 d" in shown.text or "-365 d" in shown.text
    assert f"365 d {how}; only shown times suffer" in wisc.why("desy").text
    assert abs(figure(wisc, "floe_site_clock_seconds", "desy") - jump_ms / 1000) < 60
    shard = the_shard(wisc)
    assert shard["leader"] == "desy"
    assert (shard["unsettled_s"] or 0) < 60
    assert of_peer(wisc, "desy")["handshake_s"] < 1000
    all_equal(wisc, ["desy", "msu"])


def test_a_site_whose_own_clock_is_a_year_behind_says_so_once_and_no_age(three):
    desy, *_ = under_way(three)
    three.network.ways.split(["desy"], ["wisc", "msu"])
    three.pass_s(100)
    three.hosts[0].wall_jump_ms -= YEAR_MS
    shown = desy.mesh()
    words = "the clock here is 365 d behind, say all 2 other sites"
    assert words in shown.line("! desy: the clock here")
    assert "its clock is" not in shown.text
    assert words in desy.why("desy").text
    assert "log records are not settled yet" in shown.text
    assert the_shard(desy)["unsettled_s"] is None


def test_a_leader_with_a_full_disk_says_so_and_the_others_that_it_shows_no_commit(three):
    desy, wisc, _ = under_way(three)
    three.hosts[0].disk.full = True
    three.pass_s(100)
    assert "nothing can be written" in desy.mesh().line("! desy: nothing")
    assert "nothing can be written" in desy.why("desy").text
    assert figure(desy, "floe_warnings") >= 1
    assert "is there, but shows no commit" in wisc.mesh().line("! shard desy/")
    assert "no commit of its leader for" in wisc.shards().text
    why = wisc.why("desy")
    assert why.json["why"]["state"] == "alive"
    assert "the others may vote for another leader in" in why.text
    assert "see whether its disk takes what is written" in why.text
    assert figure(wisc, "floe_shard_leader_silent_seconds") > 60
    assert of_peer(wisc, "desy")["up"]
    all_equal(wisc, ["desy", "msu"])


def test_entries_that_a_disk_changed_are_told_where_that_was(three):
    author, damaged, away = three.hosts
    three.alarms[DAMAGED] = 0
    away.die("power", 1, 2000.0)
    submit(three, author)
    some_settled(three, author, 2 * JOBS)
    three.pass_s(60)
    damaged.die("kill", 1, 60.0)
    damaged.flip_bit(author.site, Random(1))
    three.network.ways.split([author.name], [away.name])
    three.pass_s(2200)
    wisc = Eyes(three, damaged)
    line = wisc.mesh().line("! wisc: the disk changed 1 stored entry")
    assert "1 fetched again from other sites" in line
    assert "the disk changed 1 stored entry" in wisc.why("wisc").text
    assert figure(wisc, "floe_alarms") >= 1
    assert figure(wisc, "floe_warnings") >= 1
    assert "the disk changed" not in Eyes(three, author).mesh().text
    all_equal(wisc, ["desy", "msu"])
    assert the_shard(wisc)["waits"] == 0


def test_datasets_that_could_not_be_folded_are_told_and_all_sites_stay_equal(three, monkeypatch):
    three.alarms |= dict.fromkeys([SET_ASIDE, UNFORESEEN], 0)
    bad = submit(three, three.hosts[0], "bad")
    with fold_raises(monkeypatch, bad.id):
        three.pass_s(300)
    wisc = Eyes(three, three.hosts[1])
    words = "1 dataset could not be folded here, and set aside: floe doctor"
    assert words in wisc.mesh().line("! wisc: 1 dataset")
    assert words in wisc.why("wisc").line("  block  1 dataset")
    assert figure(wisc, "floe_alarms") == 1
    all_equal(wisc, ["desy", "msu"])
    assert the_shard(wisc)["leader_state"] == "alive"


def test_a_revoked_site_has_no_seat_no_link_and_no_word(three):
    _, wisc, _ = under_way(three)
    gone, by = three.hosts[0], three.hosts[1]
    through = ((gone.node.generation, gone.node.journal.heads.control.seq),)
    document = member.write(member.Remove(by.site, gone.site, through, b"n" * 16))
    by.node.journal.control(MemberRemove(gone.site, document, ANA.sign(document), ANA.key))
    three.pass_s(SILENT_S)
    shown = wisc.mesh()
    assert "2 sites" in shown.text
    assert "1 revoked" in shown.text
    shard = the_shard(wisc)
    assert (shard["leader"] != "desy", shard["closed"]) == (True, ["desy"])
    assert "desy" not in {each["peer"] for each in wisc.links().json["links"]}
    assert "an admin revoked it, for ever" in wisc.why("desy").text
    assert figure(wisc, "floe_mesh_sites", "revoked") == 1
    assert figure(wisc, "floe_shard_closed_seats") == 1
    all_equal(wisc, ["msu"])


def test_of_two_sites_the_one_that_is_left_says_that_nobody_can_take_over(two):
    _, wisc = under_way(two, JOBS)
    two.hosts[0].die("power", 1, 3000.0)
    two.pass_s(SILENT_S)
    assert "Nobody has taken over its shard yet" in wisc.mesh().line("! desy: not heard")
    assert "desy (unreachable)" in wisc.shards().text
    why = wisc.why("desy").text
    assert "alone in the council, so that nobody can take over" in why
    assert "have its node started again" in why
    assert not of_peer(wisc, "desy")["up"]
    assert "nothing was compared" in wisc.verify().text
    assert figure(wisc, "floe_mesh_sites", "unreachable") == 1


def test_a_one_way_cut_shows_no_direct_link_but_a_site_that_is_alive(three):
    _, wisc, _ = under_way(three)
    three.network.ways.cut("desy", "wisc")
    three.pass_s(TAKE_OVER_S)
    assert of_site(wisc, "desy")["state"] == "alive"
    link = of_peer(wisc, "desy")
    assert not link["up"]
    assert link["error"]
    assert link["error"] in wisc.why("desy").line("  block  dialled")
    all_equal(wisc, ["desy", "msu"])
    assert the_shard(wisc)["leader"] == "desy"
    assert figure(wisc, "floe_link_up", "desy", "records") == 0
    assert figure(wisc, "floe_mesh_sites", "alive") == 3


def test_sites_at_other_addresses_are_shown_where_they_are_now(three):
    _, wisc, _ = under_way(three)
    for number, host in enumerate(three.hosts):
        host.die("power", number, 30.0)
        host.port = PORT + (number > 0)
    three.pass_s(TAKE_OVER_S)
    desy = Eyes(three, three.hosts[0])
    for name in ("wisc", "msu"):
        link = of_peer(desy, name)
        assert link["up"]
        if link["direction"] == "out":
            assert link["path"] == f"{name}:{PORT + 1}"
        assert link["path"] in desy.why(name).line("  ok     a link to")
    assert "3 alive" in wisc.mesh().text
    all_equal(desy, ["wisc", "msu"])
    assert the_shard(desy)["leader_state"] == "alive"
    assert figure(desy, "floe_link_up", "wisc") == 1


def test_a_site_that_was_away_for_long_shows_how_much_of_others_it_lacks(three):
    under_way(three)
    away = three.hosts[2]
    away.die("power", 1, 500.0)
    three.pass_s(250)
    wisc, msu = Eyes(three, three.hosts[1]), Eyes(three, away)
    assert "msu is unreachable from here (last heard 4 m ago)" in wisc.why("msu").text
    assert "floe mesh why msu" in wisc.mesh().line("! msu: not heard for 4 m.")
    assert not of_peer(wisc, "msu")["up"]
    grow(three, three.hosts[0])
    for other in ("desy", "wisc"):
        three.network.ways.set(other, "msu", Way(bytes_per_s=1024))
    three.pass_s(280)
    assert away.up
    lag = of_site(msu, "desy")["lag_entries"]
    assert lag > 0
    assert f"{lag} entries of it are not here yet" in msu.why("desy").text
    assert figure(msu, "floe_site_lag_entries", "desy") == lag
    three.network.ways.mend_all()
    three.network.reset(away.machine)
    three.pass_s(150)
    assert of_site(msu, "desy")["lag_entries"] == 0
    all_equal(msu, ["desy", "wisc"])
    assert the_shard(msu)["leader"] == "desy"


def test_a_peer_that_takes_1_kib_a_second_shows_spent_credit_and_one_that_is_deaf_a_lost_link(
    three,
):
    under_way(three)
    slow = three.hosts[2]
    three.network.ways.set("desy", "msu", Way(bytes_per_s=1024))
    three.network.reset(slow.machine, three.hosts[0].machine)
    three.network.ways.cut_both("wisc", "msu")
    three.pass_s(150)
    desy, *_ = (Eyes(three, host) for host in three.hosts)
    full = of_peer(desy, "wisc")["credits"]
    grow(three, three.hosts[0])
    three.pass_s(60)
    link = of_peer(desy, "msu")
    assert link["up"]
    assert link["credits"][0] < full[0] - 4096
    assert figure(desy, "floe_link_credit_bytes", "control", "msu") < full[0] - 4096
    assert link["rtt_ms"] is None or link["rtt_ms"] > 0
    slow.pause()
    three.pass_s(SILENT_S)
    link = of_peer(desy, "msu")
    assert not link["up"]
    assert link["error"]
    assert of_site(desy, "msu")["state"] == "unreachable"
    assert link["error"] in desy.why("msu").text
    assert the_shard(desy)["leader"] == "desy"
    assert "msu" in desy.verify().json["silent"]


def test_records_that_nobody_heeds_are_told_of_their_author(three):
    """Results for units that were never granted, and an order that no user signed."""
    _, wisc, _ = under_way(three)
    leader, _, owner = three.hosts
    made = next(iter(three.witness.datasets.values()))
    document = command_document(made.id, "cancel", {}, (), b"n" * 16)
    row = leader.node.parts.commands._ports.target(made.id)
    leader.node.journal.control(Command(row.shard, document, ANA.sign(b"another"), ANA.key))
    dataset = DatasetID(made.id)
    owner.node.journal.results(results(60, dataset=dataset, task=0, jobs=list(range(60))))
    three.pass_s(20)
    for liar, why in (
        ("desy", "false signature"),
        ("msu", "units that its site was never granted"),
    ):
        assert f"1 record is skipped by all sites: {why}" in wisc.why(liar).text
        assert of_site(wisc, liar)["skipped_records"] == 1
    all_equal(wisc, ["desy", "msu"])
    assert the_shard(wisc)["waits"] == 0
    assert of_peer(wisc, "msu")["up"]
    assert figure(wisc, "floe_alarms") == 0


def test_versions_that_are_mixed_are_all_shown(three):
    under_way(three)
    three.hosts[1].software = Software("1")
    three.hosts[1].die("kill", 1, 5.0)
    three.pass_s(100)
    desy = Eyes(three, three.hosts[0])
    assert of_site(desy, "wisc")["version"] == "1"
    assert of_site(desy, "msu")["version"] == "0"
    all_equal(desy, ["wisc", "msu"])
