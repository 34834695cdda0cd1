"""Named lives of sites on which something is not as it was written, or as anybody foresaw."""

from __future__ import annotations

from random import Random

import pytest

from tests.simulation.scenes import JOBS, fold_raises, some_settled, submit, task_counts

DAMAGED = "the disk changed entry {seq} of a feed of site {site}: it is fetched again"
SET_ASIDE = (
    "fold: dataset {dataset} is set aside on this node: folding it failed; its records are"
    " kept. Please report this. `floe store rebuild` tries again."
)
UNFORESEEN = "fold: an exception that nobody foresaw; please report it"


@pytest.mark.parametrize("seed", range(4))
def test_a_bit_that_flipped_on_a_disk_is_mended_and_goes_to_nobody(three, seed):
    """The third site can have what it missed from the site with the bad disk alone."""
    author, damaged, away = three.hosts
    three.alarms[DAMAGED] = 0
    away.die("power", 1, 3000.0)
    submit(three, author)
    some_settled(three, author, 2 * JOBS)
    three.pass_s(60)
    damaged.die("kill", 1, 60.0)
    damaged.flip_bit(author.site, Random(seed))
    three.network.ways.split([author.name], [away.name])
    three.pass_s(3200)
    assert three.alarms[DAMAGED] == 1
    three.finish()


def test_a_record_that_makes_the_fold_raise_stops_its_dataset_and_nothing_else(three, monkeypatch):
    three.alarms |= dict.fromkeys([SET_ASIDE, UNFORESEEN], 0)
    bad = submit(three, three.hosts[0], "bad")
    good = submit(three, three.hosts[0], "good")
    with fold_raises(monkeypatch, bad.id):
        three.pass_s(600)
    assert three.alarms[SET_ASIDE] == 3
    for host in three.hosts:
        assert task_counts(host, "settled") == 2 * JOBS
        ((aside,),) = host.node.conn.execute("SELECT id FROM dataset WHERE quarantined NOTNULL")
        assert aside == bad.id != good.id
    three.hosts[1].die("kill", 1)
    submit(three, three.hosts[0], "later")
    three.pass_s(300)
    assert task_counts(three.hosts[1], "settled") == 4 * JOBS
