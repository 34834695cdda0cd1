"""Whatever is cut, delayed, stopped, restarted or refused: in the end all hold the same."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from federation.events import LinkDown, Reason
from federation.ids import Lane
from tests.fakes.mesh import FakeNet, FakeSite, all_equal

SITES = 4
site = st.integers(0, SITES - 1)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("write"), site, st.integers(1, 30)),
        st.tuples(st.just("results"), site, st.integers(1, 4)),
        st.tuples(st.just("link"), site, site),
        st.tuples(st.just("cut"), st.integers(0, 20), st.just(0)),
        st.tuples(st.just("stop"), st.integers(0, 20), st.just(0)),
        st.tuples(st.just("restart"), site, st.just(0)),
        st.tuples(st.just("refuse"), site, st.just(0)),
        st.tuples(st.just("run"), st.integers(1, 4000), st.just(0)),
    ),
    max_size=25,
)


class Troubles:
    """Sites among which everything goes wrong, until `heal`."""

    def __init__(self, seed: int, piece_bytes: int) -> None:
        self.net = FakeNet(seed, delay_s=lambda random: random.uniform(0.001, 0.2))
        self.net.piece_bytes = lambda random: random.randint(1, piece_bytes)
        self.sites = [self.net.site(number) for number in range(1, SITES + 1)]
        self.boot = 1

    def act(self, what: str, one: int, two: int) -> None:
        net = self.net
        if what == "write":
            self.sites[one].write(two)
        elif what == "results":
            self.sites[one].write(two, Lane.RESULTS, rows=900)
        elif what == "link" and one != two:
            net.link(self.sites[one], self.sites[two])
        elif what == "cut" and (alive := self.alive()):
            net.cut(alive[one % len(alive)].session)
        elif what == "stop" and (alive := self.alive()):
            alive[one % len(alive)].stopped = True
        elif what == "restart":
            self.restart(self.sites[one])
        elif what == "refuse":
            self.sites[one].refuses = not self.sites[one].refuses
        elif what == "run":
            net.run(one / 1000)

    def alive(self) -> list[object]:
        return [stream for stream in self.net.streams.values() if not stream.dead]

    def restart(self, site: FakeSite) -> None:
        """All links of a site end without a word from it."""
        for stream in list(self.net.streams.values()):
            if stream.site is site and not stream.dead:
                self.net.cut(stream.session)
        self.boot += 1
        site.start(self.boot)

    def heal(self) -> None:
        for stream in list(self.net.streams.values()):
            if stream.stopped:
                self.net.resume(stream.session)
        for site in self.sites:
            site.refuses = False
        for _ in range(3):  # sites redial
            for left, right in pairwise(self.sites):
                if right.id not in left.exchange.hub.sessions:
                    self.net.link(left, right)
            self.net.run(100)


@settings(max_examples=60)
@given(actions, st.integers(0, 1000), st.sampled_from([3, 100, 5000, 1 << 20]))
def test_in_the_end_all_stores_are_equal(
    troubles: list[tuple[str, int, int]], seed: int, piece_bytes: int
) -> None:
    world = Troubles(seed, piece_bytes)
    for what, one, two in troubles:
        world.act(what, one, two)
    world.heal()
    assert all_equal(world.sites)
    ends = [down.reason for site in world.sites for down in site.seen(LinkDown)]
    assert Reason.PROTOCOL not in ends
