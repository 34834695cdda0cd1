"""A member that breaks the protocol loses its link, and nobody else anything."""

from __future__ import annotations

import struct
from functools import partial

import msgpack
import pytest

from federation.events import Reason
from federation.ids import FeedID, Lane
from federation.limits import SEQ_MAX
from federation.records import Site, encode
from federation.wire import (
    Credit,
    Entries,
    Flood,
    IHave,
    Lack,
    Place,
    Push,
    Span,
    Vector,
    Want,
)
from tests.simulation.logs.intruder import Intruder
from tests.simulation.logs.measures import one_record
from tests.simulation.logs.world import LogWorld


@pytest.fixture
def world():
    with LogWorld(1, 5) as found:
        found.pass_s(20)
        yield found
        write_everywhere(found)
        found.pass_s(5)
        assert found.equal()


@pytest.fixture
def intruder(world):
    found = Intruder(world)
    found.dial(world.sites[0])
    return found


def write_everywhere(world):
    for site in world.sites:
        site.write(partial(one_record, site, world.clock.seconds()))


def frame(content):
    return struct.pack(">I", len(content)) + content


def sealed(entry, **changes):
    fields = {"header": entry.header_bytes, "signature": entry.signature, "body": entry.body}
    fields.update(changes)
    return [fields["header"], fields["signature"], fields["body"]]


def a_place(intruder, seq=7, generation=1):
    return Place(FeedID(intruder.site, generation, Lane.CONTROL), seq, b"12345678")


RAW = {
    "garbage": b"\xc1" * 4096,
    "a huge length": struct.pack(">I", 2**32 - 1) + b"x" * 64,
    "an empty frame": struct.pack(">I", 0),
    "deep nesting": frame(b"\x91" * 5000 + b"\x00"),
    "a map": frame(msgpack.packb({"a": 1})),
    "an unknown kind": frame(msgpack.packb([999, b"x"])),
    "too few fields": frame(msgpack.packb([10])),
    "a number beyond all bounds": frame(msgpack.packb([5, 0, 2**63])),
    "seq 2**63": frame(msgpack.packb([14, [[b"s" * 32, 1, 0, 2**63, b"12345678"]]])),
    "a second hello": frame(msgpack.packb([1, 1, 1, 1, "0", []])),
}


@pytest.mark.parametrize("what", RAW)
def test_bytes_that_are_no_message_end_the_link_with_a_word(world, intruder, what):
    write_everywhere(world)
    intruder.send(RAW[what])
    world.pass_s(3)
    assert intruder.lost
    assert intruder.thrown_out == Reason.PROTOCOL
    assert world.equal()


def test_an_entry_whose_signature_is_wrong_ends_the_link_and_is_stored_nowhere(world, intruder):
    entry = intruder.entry(encode(Site("evil", "0")))
    wrong = sealed(entry, signature=bytes(64))
    intruder.say(Push(Lane.CONTROL, [wrong]))
    world.pass_s(3)
    assert intruder.thrown_out == Reason.PROTOCOL
    assert all(entry.header.feed not in world.held(site) for site in world.sites)


def test_an_entry_in_the_name_of_another_site_is_taken_by_nobody(world, intruder):
    victim = world.sites[1]
    feed = FeedID(victim.site, 9, Lane.CONTROL)
    own = intruder.entry(encode(Site("evil", "0")))
    header = msgpack.unpackb(own.header_bytes)
    header[1], header[2] = victim.site, 9
    forged = sealed(own, header=msgpack.packb(header))
    intruder.say(Push(Lane.CONTROL, [forged]))
    world.pass_s(3)
    assert intruder.thrown_out == Reason.PROTOCOL
    assert all(feed not in world.held(site) for site in world.sites)


def test_offers_of_what_does_not_exist_end_the_link_in_the_end_and_delay_nobody(world, intruder):
    for number in range(80):
        intruder.say(IHave([a_place(intruder, generation=number + 1)]))
        world.pass_s(0.5)
        for want in [each for each in intruder.heard if isinstance(each, Want)]:
            for span in want.spans:
                intruder.say(Lack(span.feed, span.after))
        intruder.heard = [each for each in intruder.heard if not isinstance(each, Want)]
        if intruder.lost:
            break
    assert intruder.thrown_out == Reason.PROTOCOL
    write_everywhere(world)
    world.pass_s(2)
    assert world.equal()


def test_a_vector_of_the_greatest_numbers_does_no_harm(world, intruder):
    intruder.say(Vector([a_place(intruder, SEQ_MAX)], 0, 0))
    world.pass_s(120)
    assert world.equal()


def test_wanting_what_is_not_there_gets_nothing(world, intruder):
    feed = FeedID(world.sites[1].site, 77, Lane.CONTROL)
    intruder.say(Want([Span(feed, 0, SEQ_MAX)]))
    world.pass_s(3)
    assert not intruder.lost
    assert not [message for message in intruder.heard if isinstance(message, Entries)]


def test_a_credit_for_more_than_was_sent_ends_the_link(world, intruder):
    intruder.say(Credit(Lane.RESULTS, 1024 * 1024))
    world.pass_s(3)
    assert intruder.thrown_out == Reason.PROTOCOL


def test_a_flood_that_its_origin_did_not_sign_ends_the_link(world, intruder):
    document = msgpack.packb([world.sites[1].site, 1, 5, 5, b"beacon"])
    intruder.say(Flood(1, document, bytes(64)))
    world.pass_s(3)
    assert intruder.thrown_out == Reason.PROTOCOL


def test_records_of_unknown_kinds_are_kept_and_passed_on(world, intruder):
    """An entry of a later version: its records are opaque here."""
    entry = intruder.entry(msgpack.packb([4000, "what will this be?"]))
    intruder.say(Push(Lane.CONTROL, [sealed(entry)]))
    world.pass_s(5)
    held = [site.feeds.tip(entry.header.feed).seq for site in world.sites]
    assert held == [1] * 5
    assert not intruder.lost


def test_one_that_stops_reading_holds_up_nobody(world, intruder):
    world.network.pause(world.network.machines["intruder"])
    for _ in range(50):
        world.sites[0].write(lambda: [Site("n" * 100, "v" * 60) for _ in range(300)])
        world.pass_s(1)
        assert world.equal()
