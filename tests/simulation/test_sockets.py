"""Twisted's endpoints and protocols run on the virtual network."""

from __future__ import annotations

from random import Random

import pytest
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol

from federation.ids import SiteID
from tests.simulation.clock import VirtualClock
from tests.simulation.network import WINDOW_BYTES, Network
from tests.simulation.sockets import NetworkedProcess
from tests.simulation.ways import Way


class Noting(Protocol):
    def __init__(self, heard):
        self.heard = heard

    def connectionMade(self):
        self.heard.append("made")

    def dataReceived(self, data):
        self.heard.append(data)

    def connectionLost(self, reason):
        self.heard.append(type(reason.value).__name__)

    def pauseProducing(self):
        self.heard.append("pause")

    def resumeProducing(self):
        self.heard.append("resume")


class Two:
    def __init__(self):
        self.clock = VirtualClock()
        self.broken = []
        network = Network(self.clock, Random(1), Way((0.1, 0.1)))
        self.one, self.two = (
            NetworkedProcess(
                self.clock, self.broken.append, network,
                network.machine(name, SiteID(name.encode() * 16)),
            )
            for name in ("desy", "wisc")
        )  # fmt: skip
        self.network = network
        self.near, self.far = [], []

    def listen(self):
        factory = Factory.forProtocol(lambda: self._far())
        self.port = self.two.listenTCP(4100, factory)

    def _far(self):
        self.server = Noting(self.far)
        return self.server

    def dial(self):
        done = HostnameEndpoint(self.one, b"wisc", 4100, timeout=20).connect(
            Factory.forProtocol(lambda: Noting(self.near))
        )
        got = []
        done.addBoth(got.append)
        self.run()
        return got[0]

    def run(self):
        while self.clock.turn():
            pass
        assert not self.broken


@pytest.fixture
def two():
    return Two()


def test_an_endpoint_connects_and_bytes_go_both_ways(two):
    two.listen()
    client = two.dial()
    client.transport.write(b"to wisc")
    two.server.transport.write(b"to desy")
    two.run()
    assert (two.near, two.far) == (["made", b"to desy"], ["made", b"to wisc"])


def test_a_port_that_nobody_listens_on_refuses(two):
    assert two.dial().check(ConnectionRefusedError)
    two.listen()
    two.port.stopListening()
    assert two.dial().check(ConnectionRefusedError)


def test_both_ends_learn_that_one_has_hung_up(two):
    two.listen()
    client = two.dial()
    client.transport.write(b"bye")
    client.transport.loseConnection()
    client.transport.write(b"too late")
    two.run()
    assert (two.near, two.far) == (["made", "ConnectionDone"], ["made", b"bye", "ConnectionDone"])


def test_a_producer_waits_while_too_much_is_on_its_way(two):
    two.listen()
    client = two.dial()
    client.transport.registerProducer(client, True)
    client.transport.write(bytes(WINDOW_BYTES))
    assert two.near == ["made", "pause"]
    two.run()
    assert two.near == ["made", "pause", "resume"]


def test_a_dead_process_hears_nothing_of_its_connections(two):
    two.listen()
    client = two.dial()
    two.one.end()
    two.network.process_died(two.one.machine)
    two.server.transport.write(b"hello?")
    two.run()
    assert two.near == ["made"]
    assert two.far == ["made", "ConnectionDone"]
    assert client.transport is not None
