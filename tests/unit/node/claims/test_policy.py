"""When a site claims, of whom, and how much."""

from random import Random

from federation.asking import Asking
from federation.claims import Claim
from federation.ids import SiteID
from federation.shapes import Shape, Workers
from node.claims.policy import Claiming, Demand, Stock

L, M = SiteID(b"l" * 32), SiteID(b"m" * 32)
ANA, BEN = ("g", b"a" * 32), ("g", b"b" * 32)
CPU = Shape(1, 0, 1000, 1000, 3600)
GPU = Shape(1, 1, 1000, 1000, 3600)
WORKERS = [Workers(10, 0, 10**6, 10**6, 0, 1, 0)]
NEEDY, USED = (0.0, 0.0), (0.0, 1e6)


def claiming() -> Claiming:
    return Claiming(Asking(Random(1)))


def demand(
    leader: SiteID = L, owner: tuple[str, bytes] = ANA, shape: Shape = CPU, *, free: int = 10**6,
    movable: int = 0, standing: tuple[float, float] = NEEDY,
) -> Demand:  # fmt: skip
    return Demand(leader, owner[1][:8], owner, standing, shape, free, movable)


def stock(
    held: int = 0, owner: tuple[str, bytes] = ANA, *, begun: int = 10, unit_s: float | None = 10.0
) -> Stock:
    return Stock(L, owner[1][:8], owner, CPU, held, begun, unit_s)


def test_a_site_with_nothing_asks_for_two_hours_work() -> None:
    ((leader, claim),) = claiming().look(0.0, WORKERS, [demand()], [stock(0)])
    assert leader == L
    assert claim == Claim(CPU, 7200, 10, 86_400, tuple(WORKERS), [])


def test_what_is_held_is_said() -> None:
    ((_, claim),) = claiming().look(0.0, WORKERS, [demand()], [stock(50)])
    assert [(held.dataset, held.units) for held in claim.held] == [(b"a" * 8, 50)]


def test_one_claim_is_outstanding_to_each_leader_and_shape() -> None:
    site = claiming()
    assert len(site.look(0.0, WORKERS, [demand(), demand(M)], [])) == 2
    assert site.look(1.0, WORKERS, [demand(), demand(M)], []) == []


def test_what_does_not_fit_any_worker_is_not_claimed() -> None:
    assert claiming().look(0.0, WORKERS, [demand(shape=GPU)], []) == []


def test_the_neediest_person_is_asked_for_first() -> None:
    demands = [demand(L, ANA, standing=USED), demand(M, BEN, standing=NEEDY)]
    assert [leader for leader, _ in claiming().look(0.0, WORKERS, demands, [])] == [M, L]


def test_more_is_asked_for_at_half_of_what_there_was() -> None:
    site = claiming()
    site.look(0.0, WORKERS, [demand()], [stock(0)])
    site.arrived(L, CPU)
    assert site.look(1.0, WORKERS, [demand()], [stock(4000)]) == []
    assert site.look(2.0, WORKERS, [demand()], [stock(2000)]) == []
    assert site.look(3.0, WORKERS, [demand()], [stock(1999)]) != []


def test_a_second_person_is_asked_for_at_once_and_both_share() -> None:
    site = claiming()
    demands = [demand(owner=ANA), demand(owner=BEN)]
    ((_, claim),) = site.look(0.0, WORKERS, demands, [stock(7200), stock(0, BEN)])
    assert claim.units == 3600


def test_what_others_own_is_asked_for_only_by_an_idle_site() -> None:
    moving = [demand(free=0, movable=500)]
    assert claiming().look(0.0, WORKERS, moving, [stock(100)]) == []
    assert claiming().look(0.0, WORKERS, moving, [stock(5)]) != []


def test_what_the_site_owns_itself_does_not_make_it_ask() -> None:
    moving = [demand(free=0, movable=15)]
    assert claiming().look(0.0, WORKERS, moving, [stock(5, begun=10)]) == []


def test_a_site_that_was_told_to_wait_asks_again_when_it_is_about_to_be_idle() -> None:
    site = claiming()
    ((leader, claim),) = site.look(0.0, WORKERS, [demand()], [stock(100)])
    site.refused(leader, claim, 1.0, 100.0)
    assert site.look(2.0, WORKERS, [demand()], [stock(90)]) == []
    ((leader, claim),) = site.look(3.0, WORKERS, [demand()], [stock(5)])
    site.refused(leader, claim, 4.0, 100.0)
    assert site.look(5.0, WORKERS, [demand()], [stock(0)]) == []


def test_news_of_a_leader_make_a_refused_claim_go_out_again() -> None:
    site = claiming()
    ((leader, claim),) = site.look(0.0, WORKERS, [demand()], [])
    site.refused(leader, claim, 1.0, 100.0)
    site.news(L, CPU)
    assert site.look(2.0, WORKERS, [demand()], []) != []


def test_a_leader_that_does_not_answer_holds_no_other_up() -> None:
    site = claiming()
    ((leader, claim),) = site.look(0.0, WORKERS, [demand(L)], [])
    site.failed(leader, claim, 1.0)
    assert [to for to, _ in site.look(1.5, WORKERS, [demand(L), demand(M)], [])] == [M]
