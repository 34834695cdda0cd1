"""Questions about the sites of the mesh, answered from the folded tables; and our names for them.

Every function takes a connection and is short.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from federation.admins import Enrolment
from federation.ids import SiteID, UserKey
from federation.membership import Admission, AnyAct, PolicyAct, Revocation
from federation.records import MemberAdd, MemberRemove
from node.fold.shape import select

_ADMIN = "EXISTS (SELECT 1 FROM json_each({}.roles) WHERE value = 'admin')"


@dataclass(frozen=True, slots=True)
class Word:
    """What a site last said of itself. addresses None: nothing."""

    name: str = ""
    version: str = ""
    addresses: tuple[str, ...] | None = None


def acts(conn: apsw.Connection) -> list[AnyAct]:
    """Every record about members, whether it counts or not."""
    sql = (
        "SELECT s.key, m.generation, m.seq, m.idx, m.id, m.signer, m.kind, m.subject, m.name,"
        " m.admissions, m.listed FROM member_act m JOIN site s ON s.no = m.site"
    )
    return [_act(row) for row in select(conn, sql)]


def _act(row: Sequence[Any]) -> AnyAct:
    author, generation, seq, idx, id_, signer, kind, subject, name, admissions, text = row
    head = (SiteID(author), (generation, seq, idx), id_, UserKey(signer))
    listed = json.loads(text)
    if kind == MemberAdd.kind:
        return Admission(*head, SiteID(subject), name, tuple(listed))
    if kind == MemberRemove.kind:
        return Revocation(*head, SiteID(subject), tuple((g, n) for g, n in listed))
    members = frozenset(SiteID(bytes.fromhex(site)) for site in listed)
    return PolicyAct(*head, admissions, members, name)


def enrolments(conn: apsw.Connection) -> dict[SiteID, list[Enrolment]]:
    """Documents that count, about people who ever were admins of their site, by site.

    A mesh has many people and few admins: who signs for others is one of them, and so is the first.
    """
    sql = (
        "SELECT s.key, e.generation, e.seq, e.idx, e.id, e.key, e.signer, e.adds,"
        f" {_ADMIN.format('e')} FROM enrolment e JOIN site s ON s.no = e.site WHERE e.why = ''"
        " AND (e.site, e.key) IN"
        f" (SELECT a.site, a.key FROM enrolment a WHERE {_ADMIN.format('a')})"
    )
    found: dict[SiteID, list[Enrolment]] = {}
    for site, generation, seq, idx, id_, key, signer, adds, admin in select(conn, sql):
        at = (generation, seq, idx)
        enrolment = Enrolment(at, id_, UserKey(key), UserKey(signer), bool(adds), bool(admin))
        found.setdefault(SiteID(site), []).append(enrolment)
    return found


def words(conn: apsw.Connection) -> dict[SiteID, Word]:
    """What every site of which anything is held says of itself."""
    rows = select(conn, "SELECT key, name, version, addresses FROM site")
    return {
        SiteID(key): Word(name, version, None if text is None else tuple(json.loads(text)))
        for key, name, version, text in rows
    }


def control_heads(conn: apsw.Connection, site: SiteID, limit: int) -> list[tuple[int, int]]:
    """(generation, seq) of the newest entry held of a site's newest control feeds, ascending."""
    sql = (
        "SELECT generation, seq FROM feed WHERE site = ? AND lane = 0"
        " ORDER BY generation DESC LIMIT ?"
    )
    return [(generation, seq) for generation, seq in select(conn, sql, (site, limit))][::-1]


def petnames(conn: apsw.Connection) -> Mapping[SiteID, str]:
    """What this site's admins call others."""
    return {SiteID(key): name for key, name in select(conn, "SELECT site, name FROM petname")}


def call(conn: apsw.Connection, site: SiteID, name: str) -> None:
    """Call a site so from now on; "" for as it calls itself."""
    if name:
        conn.execute("INSERT OR REPLACE INTO petname VALUES (?, ?)", (site, name))
    else:
        conn.execute("DELETE FROM petname WHERE site = ?", (site,))
