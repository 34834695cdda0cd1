"""Who is enrolled at a site: its admins' signed words in that site's own control feeds.

Documents count in the order of their places (generation, seq, index), not of their arrival: when
one arrives behind its place, all of that site are judged again.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import apsw

from federation.admins import NO_ADMIN, REPEATED, Admins, At, Enrolment
from federation.records import UserAdd, UserRemove
from keys.signing import Purpose, digest
from node.changes import MembersChanged, UserChanged
from node.fold.shape import Refusal, select
from node.fold.step import Step, site_no
from node.model.person import BadPerson, PersonOrder, read_person

CheckSignature = Callable[[bytes, bytes], bytes]
"""(document, signature) -> the key that signed; raises an exception for a false signature."""


def enrol(step: Step, idx: int, record: UserAdd | UserRemove, check: CheckSignature) -> None:
    """Fold one document about a person. Raises Refusal for one that is not as it should be.

    One that no admin signed is refused too, but kept: whether it counts may turn out otherwise.
    """
    conn, site_key = step.conn, step.ref.feed.site
    order = _read(record)
    if order.site != site_key:
        raise Refusal("the document was signed for another site")
    if check(record.doc, record.signature) != record.signer:
        raise Refusal("signed by another key than it says")
    site = site_no(conn, site_key)
    at = (step.ref.feed.generation, step.ref.seq, idx)
    enrolment = Enrolment(
        at,
        digest(Purpose.PERSON, record.doc),
        record.key,
        record.signer,
        isinstance(record, UserAdd),
        "admin" in order.roles,
    )
    _read_logs_again(step)
    last = select(conn, _LAST, (site,))
    _insert(conn, site, step.entry, enrolment, order)
    if not last or at > last[0]:
        _settle(step, site, step.entry, enrolment, _why_not(conn, site, enrolment))
    else:
        _judge_again(step, site)


_LAST = (
    "SELECT generation, seq, idx FROM enrolment WHERE site = ?"
    " ORDER BY generation DESC, seq DESC, idx DESC LIMIT 1"
)
_ALL = (
    "SELECT generation, seq, idx, id, key, signer, adds, EXISTS (SELECT 1 FROM json_each(roles)"
    " WHERE value = 'admin'), entry FROM enrolment WHERE site = ? ORDER BY generation, seq, idx"
)
_AT_PLACE = "(site, generation, seq, idx) = (?, ?, ?, ?)"


def _read(record: UserAdd | UserRemove) -> PersonOrder:
    """The document, which must say what the record says."""
    try:
        order = read_person(record.doc)
    except BadPerson as error:
        raise Refusal(f"bad document about a person: {error}") from None
    said = (order.kind, order.key.raw, order.name, order.groups, order.roles)
    if isinstance(record, UserAdd):
        told = ("user.add", record.key, record.name, tuple(record.groups), tuple(record.roles))
        agrees = said == told
    else:
        agrees = said[:2] == ("user.remove", record.key)
    if not agrees:
        raise Refusal("the record says something else than its signed document")
    return order


def is_admin(conn: apsw.Connection, site: int, key: bytes) -> bool:
    """Whether the key is that of somebody whom the site enrolled as admin and did not remove."""
    sql = "SELECT roles FROM person WHERE site = ? AND key = ? AND active = 1"
    return any("admin" in json.loads(roles) for (roles,) in select(conn, sql, (site, key)))


def was_admin(conn: apsw.Connection, site: int, key: bytes, at: At) -> bool:
    """Whether the key was an admin's of the site at a place in its control feeds."""
    sql = (
        "SELECT adds, roles FROM enrolment WHERE site = ? AND key = ? AND why = ''"
        " AND (generation, seq, idx) < (?, ?, ?) ORDER BY generation DESC, seq DESC, idx DESC"
        " LIMIT 1"
    )
    rows = select(conn, sql, (site, key, *at))
    return any(adds and "admin" in json.loads(roles) for adds, roles in rows)


def _insert(
    conn: apsw.Connection, site: int, entry: int, enrolment: Enrolment, order: PersonOrder
) -> None:
    conn.execute(
        "INSERT INTO enrolment VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '')",
        (
            site,
            *enrolment.at,
            entry,
            enrolment.document,
            enrolment.key,
            enrolment.signer,
            int(enrolment.adds),
            order.name,
            json.dumps(order.groups),
            json.dumps(order.roles),
        ),
    )


def _why_not(conn: apsw.Connection, site: int, enrolment: Enrolment) -> str:
    """Why the last document of a site does not count; as `Admins.take` says of all of them."""
    taken = "SELECT 1 FROM enrolment WHERE id = ? AND site = ? AND why = '' LIMIT 2"
    if len(select(conn, taken, (enrolment.document, site))) > 1:  # the first is itself
        return REPEATED
    if is_admin(conn, site, enrolment.signer):
        return ""
    anybody = select(conn, "SELECT 1 FROM person WHERE site = ? LIMIT 1", (site,))
    first = not anybody and enrolment.adds and enrolment.signer == enrolment.key
    return "" if first else NO_ADMIN


def _settle(step: Step, site: int, entry: int, enrolment: Enrolment, why: str) -> None:
    """Do what a judged document says."""
    conn, place = step.conn, (site, *enrolment.at)
    if why:
        conn.execute(f"UPDATE enrolment SET why = ? WHERE {_AT_PLACE}", (why, *place))
        step.refuse(entry, enrolment.at[2], why)
        return
    if enrolment.adds:
        conn.execute(
            "INSERT OR REPLACE INTO person SELECT site, key, name, groups, roles, 1"
            f" FROM enrolment WHERE {_AT_PLACE}",
            place,
        )
    else:
        sql = "UPDATE person SET active = 0 WHERE site = ? AND key = ?"
        conn.execute(sql, (site, enrolment.key))
    step.changes.append(UserChanged(enrolment.key))


def _read_logs_again(step: Step) -> None:
    """Logs that the site led under a later generation were read with other admins."""
    feed = step.ref.feed
    step.conn.execute(
        "UPDATE shard SET at_term = -1, behind = 1 WHERE no IN (SELECT g.shard FROM segment g"
        " JOIN feed f ON f.no = g.feed WHERE f.site = ? AND f.generation > ?)",
        (feed.site, feed.generation),
    )


def _judge_again(step: Step, site: int) -> None:
    """Build the people of a site anew: a document arrived behind its place."""
    conn = step.conn
    conn.execute(
        "DELETE FROM refused WHERE (entry, idx) IN"
        " (SELECT entry, idx FROM enrolment WHERE site = ? AND why != '')",
        (site,),
    )
    conn.execute("UPDATE enrolment SET why = '' WHERE site = ?", (site,))
    conn.execute("DELETE FROM person WHERE site = ?", (site,))
    admins = Admins()
    for *at, id_, key, signer, adds, admin, entry in select(conn, _ALL, (site,)):
        generation, seq, idx = at
        enrolment = Enrolment((generation, seq, idx), id_, key, signer, bool(adds), bool(admin))
        _settle(step, site, entry, enrolment, admins.take(enrolment))
    step.changes.append(MembersChanged(step.ref.feed.site))
