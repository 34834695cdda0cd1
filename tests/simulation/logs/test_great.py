"""A dataset shared out among many sites that keep logs, to its end."""

from tests.simulation.logs.great import Great


def test_every_unit_is_granted_run_and_settled_once_though_sites_are_lost_halfway():
    great = Great(1, sites=12, jobs=4000, slots=20, lost=1)
    great.run()
    assert great.leader.twice < 4000 // 12
