"""Twisted's TCP on the virtual network, for one life of a node."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import (
    ConnectError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
)
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IHostnameResolver,
    IHostResolution,
    IListeningPort,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IResolutionReceiver,
    ITCPTransport,
)
from twisted.internet.protocol import ClientFactory, Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.simulation.clock import VirtualClock
from tests.simulation.network import Network, Wire
from tests.simulation.process import AtWork, Process
from tests.simulation.ways import Machine


@implementer(IReactorTCP, IReactorPluggableNameResolver)
class NetworkedProcess(Process):
    """A process that has sockets. Names of machines resolve to themselves."""

    def __init__(
        self,
        clock: VirtualClock,
        failed: Any,
        network: Network,
        machine: Machine,
        at_work: AtWork = nullcontext,
    ):
        super().__init__(clock, failed, at_work)
        self.network = network
        self.machine = machine
        self.nameResolver = _Names()

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        raise NotImplementedError

    def listenTCP(
        self, port: int, factory: Factory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """interface is not looked at: a machine has one name, and listens there."""
        listening = _Port(self, factory, port)
        factory.doStart()
        listening.startListening()
        return listening

    def connectTCP(
        self, host: str, port: int, factory: ClientFactory, timeout: float = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:  # fmt: skip
        connector = _Connector(self, factory, host, port)
        factory.doStart()
        factory.startedConnecting(connector)
        self.callLater(timeout, connector.late)
        connector.connect()
        return connector


@implementer(IHostnameResolver)
class _Names:
    def resolveHostName(
        self, resolutionReceiver: IResolutionReceiver, hostName: str, portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None, transportSemantics: str = "TCP",
    ) -> IHostResolution:  # fmt: skip
        resolution: Any = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        resolutionReceiver.addressResolved(IPv4Address("TCP", hostName, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """It is complete already."""


@implementer(IListeningPort)
class _Port:
    def __init__(self, process: NetworkedProcess, factory: Factory, port: int) -> None:
        self._process = process
        self._factory = factory
        self._where = IPv4Address("TCP", process.machine.name, port)

    def startListening(self) -> None:
        address = f"{self._where.host}:{self._where.port}"
        self._process.network.listen(self._process.machine, address, self._accepted)

    def stopListening(self) -> Deferred[None]:
        self._process.network.listen(self._process.machine, "", None)
        return succeed(None)

    def getHost(self) -> IPv4Address:
        return self._where

    def _accepted(self, wire: Wire) -> None:
        self._process.call(self._attach, wire)

    def _attach(self, wire: Wire) -> None:
        protocol = self._factory.buildProtocol(IPv4Address("TCP", wire.there.name, 40_000))
        if protocol is None:
            wire.close()
        else:
            _Transport(self._process, wire).carry(protocol)


@implementer(IConnector)
class _Connector:
    def __init__(
        self, process: NetworkedProcess, factory: ClientFactory, host: str, port: int
    ) -> None:
        self._process = process
        self._factory = factory
        self._where = IPv4Address("TCP", host, port)
        self._transport: _Transport | None = None
        self._ended = False

    def connect(self) -> None:
        process, address = self._process, f"{self._where.host}:{self._where.port}"
        process.network.dial(process.machine, address, self._dialled, round_trips=1)

    def disconnect(self) -> None:
        if self._transport is not None:
            self._transport.loseConnection()
        else:
            self._fail(ConnectError(string="given up"))

    stopConnecting = disconnect

    def getDestination(self) -> IPv4Address:
        return self._where

    def late(self) -> None:
        if self._transport is None:
            self._fail(TimeoutError())

    def _dialled(self, wire: Wire | None, why: str) -> None:
        self._process.call(self._attach, wire, why)

    def _attach(self, wire: Wire | None, why: str) -> None:
        if wire is None:
            self._fail(ConnectionRefusedError() if why == "refused" else TimeoutError())
        elif self._ended:
            wire.close()
        else:
            self._transport = _Transport(self._process, wire)
            self._transport.carry(self._factory.buildProtocol(self._where))

    def _fail(self, error: ConnectError) -> None:
        if not self._ended:
            self._ended = True
            self._factory.clientConnectionFailed(self, Failure(error))
            self._factory.doStop()


@implementer(ITCPTransport)
class _Transport:
    """One end of a connection, as protocols see it."""

    disconnecting = False

    def __init__(self, process: NetworkedProcess, wire: Wire) -> None:
        self._process = process
        self._wire = wire
        self._protocol: Any = None
        self._producer: Any = None
        self._paused = False

    def carry(self, protocol: Any) -> None:
        wire, call = self._wire, self._process.call
        self._protocol = protocol
        wire.received = partial(call, self._received)
        wire.lost = partial(call, self._lost)
        wire.has_room = partial(call, self._has_room)
        protocol.makeConnection(self)

    def _received(self, data: bytes) -> None:
        if self._protocol is not None:
            self._protocol.dataReceived(data)

    def _lost(self, why: str) -> None:
        self._over(ConnectionDone() if why == "closed" else ConnectionLost(why))

    def _has_room(self) -> None:
        if self._producer is not None and self._paused:
            self._paused = False
            self._producer.resumeProducing()

    def _over(self, error: Exception) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(error))

    # ITransport

    def write(self, data: bytes) -> None:
        if self.disconnecting:
            return
        self._wire.write(data)
        if self._producer is not None and not self._paused and self._wire.room <= 0:
            self._paused = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Sequence[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self._end(ConnectionDone())

    def abortConnection(self) -> None:
        self._end(ConnectionAborted())

    def _end(self, error: Exception) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            self._wire.close()
            self._process.callLater(0, self._over, error)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming, "only push producers are carried here"
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", self._wire.there.name, 40_000)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", self._wire.here.name, 40_000)

    # ITCPTransport: of no consequence here

    def setTcpNoDelay(self, enabled: bool) -> None: ...
    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None: ...
    def getTcpKeepAlive(self) -> bool:
        return True

    def loseWriteConnection(self) -> None:
        raise NotImplementedError
