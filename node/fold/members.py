"""What control feeds say of members: kept as said, judged by `federation.membership`.

A record is kept when its document is well-formed, agrees with the record and is truly signed.
Whether an admin signed it, and what it makes of the mesh, is a question over all records.
"""

from __future__ import annotations

import json

from federation.address import is_address
from federation.naming import NAME
from federation.records import Address, MemberAdd, MemberRemove, Policy, Site
from keys.signing import BadKey, check_key
from node.changes import MembersChanged
from node.fold.people import CheckSignature
from node.fold.shape import Refusal
from node.fold.step import Step, site_no
from node.model import member
from node.model.problems import Invalid

MemberRecord = MemberAdd | MemberRemove | Policy
WHY_CHARS_MAX = 1000


def take(step: Step, idx: int, record: MemberRecord, check: CheckSignature) -> None:
    """Fold one document about members. Raises Refusal for one that is not as it should be."""
    subject, name, admissions, listed = _read(step, record)
    if check(record.doc, record.signature) != record.signer:
        raise Refusal("signed by another key than it says")
    feed = step.ref.feed
    step.conn.execute(
        "INSERT INTO member_act VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            site_no(step.conn, feed.site),
            feed.generation,
            step.ref.seq,
            idx,
            step.entry,
            member.document_id(record.doc),
            record.signer,
            record.kind,
            subject,
            name,
            admissions,
            json.dumps(listed),
        ),
    )
    step.changes.append(MembersChanged(feed.site))


def hear_site(step: Step, record: Site) -> None:
    """What a site calls itself; its newest word counts, whichever came last."""
    feed = step.ref.feed
    step.conn.execute(
        "UPDATE site SET name = ?1, version = ?2, said_generation = ?3, said_seq = ?4"
        " WHERE no = ?5 AND (said_generation, said_seq) <= (?3, ?4)",
        (
            record.name,
            record.version,
            feed.generation,
            step.ref.seq,
            site_no(step.conn, feed.site),
        ),
    )
    step.changes.append(MembersChanged(feed.site))


def hear_address(step: Step, record: Address) -> None:
    """Where a site says that it can be dialled; its newest word counts, whichever came last."""
    feed = step.ref.feed
    wrong = [address for address in record.addresses if not is_address(address)]
    if wrong:
        raise Refusal(f"{wrong[0][:60]!r} is no address")
    step.conn.execute(
        "UPDATE site SET addresses = ?1, dialled_generation = ?2, dialled_seq = ?3"
        " WHERE no = ?4 AND (dialled_generation, dialled_seq) <= (?2, ?3)",
        (
            json.dumps(list(record.addresses)),
            feed.generation,
            step.ref.seq,
            site_no(step.conn, feed.site),
        ),
    )
    step.changes.append(MembersChanged(feed.site))


Said = tuple[bytes | None, str, int, list[object]]  # subject, name, admissions, listed


def _read(step: Step, record: MemberRecord) -> Said:
    """What a record says, which must be what its document says. Raises Refusal."""
    try:
        order = member.read(record.doc)
    except Invalid as error:
        raise Refusal(f"bad document about members: {error}"[:WHY_CHARS_MAX]) from None
    if order.by != step.ref.feed.site:
        raise Refusal("the document was signed for another site")
    said = _agreed(record, order)
    if said is None:
        raise Refusal("the record says something else than its signed document")
    return said


def _agreed(record: MemberRecord, order: member.Order) -> Said | None:
    match record, order:
        case MemberAdd(), member.Add():
            told = (record.site, record.name, tuple(record.addresses), record.proof)
            if told == (order.site, order.name, order.addresses, b""):
                return record.site, record.name, 0, list(record.addresses)
        case MemberAdd(), member.Invite():
            if member.hash_secret(record.proof) == order.secret and _can_be_told(record):
                return record.site, record.name, 0, list(record.addresses)
        case MemberRemove(), member.Remove():
            if record.site == order.site:
                return record.site, "", 0, [list(place) for place in order.through]
        case Policy(), member.Policy():
            members = [site.hex() for site in order.members]
            return None, order.mesh, order.admissions, list(members)
    return None


def _can_be_told(record: MemberAdd) -> bool:
    """An invitation leaves the rest to the record, which is held to the same rules."""
    try:
        check_key(record.site)
    except BadKey:
        return False
    return bool(NAME.fullmatch(record.name)) and all(map(is_address, record.addresses))
