"""The many idle sites of a mesh in one process: python -m bench.crowd COUNT KEY ADDRESS

Real links over loopback with TLS, stores in memory. KEY and ADDRESS are those of one more site, a
real node. Writes `KEY@ADDRESS` of each of its own sites; runs until standard input ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence

from twisted.internet.task import LoopingCall

from bench.virtual import BEACON_S, beacon
from federation.beacon import KIND
from federation.ids import SiteID
from keys.identity import parse, show
from tests.fakes.loop import Loop
from tests.fakes.meshed import MeshedSite, Registry

START_S = 0.05  # between two sites, so that not all dial at once


@contextlib.contextmanager
def crowd(count: int, key: str, address: str) -> Iterator[Sequence[str]]:
    """So many sites that know a node; `KEY@ADDRESS` of each, for the node to add."""
    words = [sys.executable, "-m", "bench.crowd", str(count), key, address]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as there:
        assert there.stdout is not None
        yield there.stdout.readline().split()
        # Leaving closes its standard input, at which it ends.


def beat(loop: Loop, site: MeshedSite) -> None:
    """From now on a site says once a minute that it is there."""
    counter = 0

    def tell() -> None:
        nonlocal counter
        counter += 1
        site.mesh.flood(KIND, beacon(site.id, counter))

    telling = LoopingCall(tell)
    telling.clock = loop.reactor
    telling.start(BEACON_S)


def main(count: int, key: str, address: str) -> None:
    loop, members = Loop(), Registry()
    members.admit(SiteID(parse(key)), [address])
    sites = []
    for number in range(1, count + 1):
        sites.append(MeshedSite(loop, members, number).join())
        beat(loop, sites[-1])
        loop.turn(START_S)
    print(*(f"{show(site.id)}@{site.address}" for site in sites), flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        loop.reactor.iterate(1.0)
    os._exit(0)  # links are not worth closing one by one


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
