"""Who is enrolled at a site: an admin's signed word in that site's own feed."""

from __future__ import annotations

import json
from collections.abc import Callable

import apsw

from federation.records import UserAdd, UserRemove
from keys.signing import Purpose, digest
from node.fold.shape import Refusal, select
from node.fold.step import Step, site_no
from node.model.person import BadPerson, PersonOrder, read_person

CheckSignature = Callable[[bytes, bytes], bytes]
"""(document, signature) -> the key that signed; raises an exception for a false signature."""


def enrol(step: Step, idx: int, record: UserAdd | UserRemove, check: CheckSignature) -> None:
    """Fold one document about a person. Raises Refusal unless an admin of that site signed it.

    The first person of a site signs their own enrolment.
    """
    conn, site_key = step.conn, step.ref.feed.site
    site = site_no(conn, site_key)
    id_ = digest(Purpose.PERSON, record.doc)
    if select(conn, "SELECT 1 FROM person_order WHERE id = ?", (id_,)):
        raise Refusal("this document was taken before")
    order = _read(record)
    if order.site != site_key:
        raise Refusal("the document was signed for another site")
    if check(record.doc, record.signature) != record.signer:
        raise Refusal("signed by another key than it says")
    if not _may_enrol(conn, site, record):
        raise Refusal("the signer is no admin of this site")
    if isinstance(record, UserAdd):
        conn.execute(
            "INSERT OR REPLACE INTO person VALUES (?, ?, ?, ?, ?, 1)",
            (site, record.key, order.name, json.dumps(order.groups), json.dumps(order.roles)),
        )
    else:
        conn.execute("UPDATE person SET active = 0 WHERE site = ? AND key = ?", (site, record.key))
    conn.execute("INSERT INTO person_order VALUES (?, ?, ?)", (id_, step.entry, idx))


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


def _may_enrol(conn: apsw.Connection, site: int, record: UserAdd | UserRemove) -> bool:
    if is_admin(conn, site, record.signer):
        return True
    anybody = select(conn, "SELECT 1 FROM person WHERE site = ? LIMIT 1", (site,))
    return not anybody and record.signer == record.key and isinstance(record, UserAdd)
