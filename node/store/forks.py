"""Forks of which a proof is in the log, in SQL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import apsw

from federation.entry import entry_id
from federation.feed import ForkProof
from federation.ids import SiteID
from federation.records import Forked
from node.store.feeds import Feeds


@dataclass(frozen=True, slots=True)
class Forking:
    """That a site signed two entries for one place. proved_hlc: when somebody first wrote so."""

    site: SiteID
    generation: int
    newest: int  # generation of which something is here
    proved_hlc: int


def forkings(conn: apsw.Connection) -> list[Forking]:
    """The newest forked generation of each site that has any."""
    rows: Iterable[tuple[bytes, int, int, int]] = conn.execute(
        "SELECT k.site, max(k.generation), k.entry,"
        " (SELECT max(generation) FROM feed f WHERE f.site = k.site) FROM fork k GROUP BY k.site"
    )
    return [
        Forking(SiteID(site), generation, newest or 0, Feeds(conn).by_number(entry).header.hlc)
        for site, generation, entry, newest in rows
    ]


def known_forks(conn: apsw.Connection) -> set[tuple[bytes, int]]:
    """(site, generation) of every forked feed."""
    rows = conn.execute("SELECT DISTINCT site, generation FROM fork")
    return {(site, generation) for site, generation in rows}


def proofs(conn: apsw.Connection) -> list[ForkProof]:
    """One proof of each forked feed that is known here."""
    rows: Iterable[tuple[bytes, int]] = conn.execute(
        "SELECT first, min(entry) FROM fork GROUP BY site, generation, lane"
    )
    found = [_proof(conn, entry, first) for first, entry in rows]
    return [proof for proof in found if proof is not None]


def _proof(conn: apsw.Connection, entry: int, first: bytes) -> ForkProof | None:
    """The proof in an entry whose smaller id is this one."""
    for each in Feeds(conn).by_number(entry).records():
        if isinstance(each, Forked) and entry_id(each.first) == first:
            return ForkProof(each.first, each.first_signature, each.second, each.second_signature)
    return None
