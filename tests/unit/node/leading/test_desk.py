"""What becomes of a claim: granted, or waiting while others are asked."""

from random import Random

from federation.asking import Asking
from federation.claims import Verdict
from node.leading.book import Book
from node.leading.desk import WAIT_S_MAX, Desk, recall_key
from tests.unit.node.leading.books import A, B, C, book, claim, dataset, peer, task

ALL = [peer(A), peer(B), peer(C)]
IDLE = claim(idle=10)


def desk(owned: Book) -> Desk:
    return Desk(owned, Asking(Random(1)))


def test_a_claim_is_granted_what_there_is() -> None:
    decision = desk(book(dataset(1))).claim(peer(A), IDLE, ALL, 0.0)
    assert decision.verdict is Verdict.GRANTED
    assert decision.units == 300


def test_a_claim_that_finds_nothing_is_served_when_something_comes() -> None:
    at = desk(book())
    assert at.claim(peer(A), IDLE, ALL, 0.0).verdict is Verdict.LATER
    at.book.load(dataset(1))
    served, asks = at.again(ALL, 10.0)
    assert [(site, gives[0].units) for site, gives in served] == [(A, 300)]
    assert (asks, at.waiting) == ([], 0)


def test_a_claim_waits_for_two_minutes_only() -> None:
    at = desk(book())
    at.claim(peer(A), IDLE, ALL, 0.0)
    at.book.load(dataset(1))
    assert at.again(ALL, WAIT_S_MAX + 1) == ([], [])
    assert at.waiting == 0


def test_a_site_that_is_gone_is_granted_nothing() -> None:
    at = desk(book())
    at.claim(peer(A), IDLE, ALL, 0.0)
    at.book.load(dataset(1))
    assert at.again([peer(B)], 1.0) == ([], [])


def test_a_newer_claim_takes_the_place_of_the_one_that_waits() -> None:
    at = desk(book())
    at.claim(peer(A), IDLE, ALL, 0.0)
    at.claim(peer(A), IDLE, ALL, 100.0)
    assert at.waiting == 1
    at.book.load(dataset(1))
    assert at.again(ALL, 150.0)[0]


def test_an_owner_is_asked_once_until_it_has_answered() -> None:
    at = desk(book(dataset(1, task(1, owners={B: [0, 1000]}))))
    decision = at.claim(peer(A), IDLE, ALL, 0.0)
    (ask,) = decision.asks
    assert (decision.verdict, ask.owner) == (Verdict.LATER, B)
    assert at.claim(peer(C), IDLE, ALL, 1.0).asks == []
    at.recalling.arrived(recall_key(ask))
    assert len(at.again(ALL, 2.0)[1]) == 1


def test_released_units_go_to_idle_sites_before_those_that_have_work() -> None:
    at = desk(book(dataset(1, task(1, owners={B: [0, 1000]}))))
    at.claim(peer(C), claim(held={1: 50}), ALL, 0.0)
    at.claim(peer(A), IDLE, ALL, 1.0)
    at.book.released([64], [800, 1000], B)
    served, _ = at.again(ALL, 2.0)
    assert [site for site, _ in served] == [A]


def test_a_site_that_waits_with_work_counts_as_idle_once_that_must_be_done() -> None:
    at = desk(book(dataset(1, task(1, owners={B: [0, 1000]}))))
    assert at.claim(peer(A), claim(held={1: 60}), ALL, 0.0).asks == []  # a minute's work
    assert at.again(ALL, 30.0)[1] == []
    assert [ask.owner for ask in at.again(ALL, 50.0)[1]] == [B]


def test_a_site_without_slots_does_not_wait() -> None:
    at = desk(book())
    assert at.claim(peer(A), claim(slots=0), ALL, 0.0).verdict is Verdict.NOTHING
    assert at.waiting == 0
