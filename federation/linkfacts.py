"""What people see of links: `floe mesh links`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from federation.exchange import Exchange
from federation.ids import Lane, SiteID
from federation.link import Link
from federation.peering import Peering
from federation.roads import Roads
from federation.session import Session

if TYPE_CHECKING:
    from federation.sync import Peer


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """One link, or the attempts to make one. Bytes are before TLS.

    path: `host:port` of the other end; for a relayed one, the relay's key in hex.
    kind: "records", "bulk" or "relayed". credits: bytes that may go out now; these, and entries and
    their bytes, are by lane. resends: entries that came though they were here, or too early.
    """

    peer: SiteID
    direction: str  # "out" if this site dialled, "in"; "" while there is none
    path: str
    up: bool
    kind: str = "records"
    handshake_s: float | None = None  # since the link is there
    silent_s: float | None = None  # since something came
    rtt_s: float | None = None
    sent_bytes: int = 0
    received_bytes: int = 0
    sent_entries: Sequence[int] = ()
    sent_entry_bytes: Sequence[int] = ()
    received_entry_bytes: Sequence[int] = ()
    received_entries: int = 0
    credits: Sequence[int] = ()
    resends: int = 0
    version: str = ""  # of the other end's software
    error: str = ""  # why the last attempt failed
    tried_s: float | None = None  # since then


def link_facts(
    exchange: Exchange,
    roads: Roads,
    links: Iterable[Link],
    peering: Peering,
    now_s: float,
) -> list[LinkFacts]:
    """Facts of all links, those for records first, and of the members that are not reached."""
    paths = {link.session: link.path for link in links if link.session is not None}
    peers = {peer.session: peer for peer in exchange.sync.peers()}
    facts = [
        _of_session(session, paths.get(session, ""), "records", now_s, peers.get(session))
        for session in exchange.hub.sessions.values()
    ]
    facts += [
        _of_session(session, paths.get(session, ""), "bulk", now_s, None)
        for session in roads.bulk.hub.sessions.values()
    ]
    for far in (roads.far, roads.bulk_far):
        by_relay = far.paths()
        facts += [
            _of_session(session, by_relay[session].hex(), "relayed", now_s, None)
            for session in far.hub.sessions.values()
            if session in by_relay
        ]
    for site, attempts in peering.attempts.items():
        if site not in exchange.hub.sessions:
            tried_s = None if attempts.tried_s is None else now_s - attempts.tried_s
            path = attempts.dialling or ", ".join(attempts.addresses)
            facts.append(LinkFacts(site, "", path, False, error=attempts.error, tried_s=tried_s))
    return facts


def _of_session(
    session: Session, path: str, kind: str, now_s: float, peer: Peer | None
) -> LinkFacts:
    hello = session.their_hello
    return LinkFacts(
        peer=session.peer,
        direction="out" if session.dialled else "in",
        path=path,
        up=True,
        kind=kind,
        handshake_s=now_s - session.opened_s,
        silent_s=now_s - session.heard_s,
        rtt_s=session.rtt_s,
        sent_bytes=session.bytes_out,
        received_bytes=session.bytes_in,
        sent_entries=() if peer is None else tuple(peer.serving.sent),
        sent_entry_bytes=() if peer is None else tuple(peer.serving.sent_bytes),
        received_entry_bytes=() if peer is None else tuple(peer.got_bytes),
        received_entries=0 if peer is None else peer.taken,
        credits=() if peer is None else tuple(peer.serving.left(lane) for lane in Lane),
        resends=0 if peer is None else peer.repeated + peer.early,
        version="" if hello is None else hello.version,
    )
