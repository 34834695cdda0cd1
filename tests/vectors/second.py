"""A second implementation of entries, signatures, votes, opens and what is settled.

Written from docs/protocol.md alone, with msgpack, PyNaCl and hashlib: nothing of ours is imported.
It reads one shard whose seats have one generation each; forces, adopts and imports are left out.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import nacl.exceptions
import nacl.signing

FOUND, OPEN, SEAT_CLOSE, ACK, VOTE, FORCE, FOUND_COUNCIL = 10, 11, 20, 21, 22, 24, 25
OF_LOGS = {FOUND, OPEN, 12, 13, 14, 15, 16, 17, 18, 19, SEAT_CLOSE, FORCE, FOUND_COUNCIL}
Feed = tuple[bytes, int]  # site and generation of a control feed
Ref = tuple[bytes, int, int, bytes]
Place = tuple[int, int]  # seq, index in the entry


class Wrong(Exception):
    """Not what the page says."""


def expect(good: bool, what: str) -> None:
    if not good:
        raise Wrong(what)


# Digests and signatures


def digest(purpose: str, data: bytes) -> bytes:
    prefix = f"icefloe {purpose} 1\0".encode()
    return hashlib.blake2b(prefix + data, digest_size=32).digest()


def verify(key: bytes, purpose: str, data: bytes, signature: bytes) -> None:
    verify_raw(key, f"icefloe {purpose} 1\0".encode() + data, signature)


def verify_raw(key: bytes, data: bytes, signature: bytes) -> None:
    try:
        nacl.signing.VerifyKey(key).verify(data, signature)
    except (nacl.exceptions.BadSignatureError, ValueError, TypeError):
        raise Wrong("signature") from None


def verify_ssh(blob: bytes, message: bytes) -> bytes:
    """The key that signed; see "SSH signatures"."""
    expect(len(blob) <= 1024 and blob[:10] == b"SSHSIG\0\0\0\1", "no SSH signature")
    strings, rest = [], blob[10:]
    for _ in range(5):
        taken, rest = _string(rest)
        strings.append(taken)
    public, namespace, reserved, hashed_with, signed = strings
    expect((namespace, reserved, rest) == (b"icefloe", b"", b""), "namespace, or something more")
    expect(hashed_with in (b"sha256", b"sha512"), "hash")
    hashed = hashlib.new(hashed_with.decode(), message).digest()
    covered = b"SSHSIG" + b"".join(map(_packed, (namespace, b"", hashed_with, hashed)))
    key, signature = _ed25519(public), _ed25519(signed)
    verify_raw(key, covered, signature)
    return key


def _string(data: bytes) -> tuple[bytes, bytes]:
    expect(len(data) >= 4, "ends too early")
    (size,) = struct.unpack(">I", data[:4])
    expect(len(data) >= 4 + size, "ends too early")
    return data[4 : 4 + size], data[4 + size :]


def _packed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _ed25519(data: bytes) -> bytes:
    kind, rest = _string(data)
    value, rest = _string(rest)
    expect((kind, rest) == (b"ssh-ed25519", b""), "key type")
    return value


# Entries


@dataclass(frozen=True)
class Entry:
    site: bytes
    generation: int
    lane: int
    seq: int
    prev: bytes
    id: bytes
    records: Sequence[Any]

    @property
    def feed(self) -> Feed:
        return self.site, self.generation


def read_entry(header: bytes, signature: bytes, body: bytes) -> Entry:
    fields = msgpack.unpackb(header)
    expect(type(fields) is list and len(fields) == 10 and len(header) <= 192, "ten fields")
    version, site, generation, lane, seq, prev, hlc, count, body_hash, body_len = fields
    numbers = [version, generation, lane, seq, hlc, count, body_len]
    highest = [1, 2**32 - 1, 1, 2**53 - 1, 2**63 - 1, 4096, 65_536]
    for value, low, high in zip(numbers, [1, 1, 0, 1, 0, 1, 1], highest, strict=True):
        expect(type(value) is int and low <= value <= high, "a number out of its bounds")
    for data, size in ((site, 32), (prev, 0 if seq == 1 else 32), (body_hash, 32)):
        expect(type(data) is bytes and len(data) == size, "bytes of another length")
    expect(msgpack.packb(fields) == header, "not canonical")
    expect((len(body), digest("body", body)) == (body_len, body_hash), "another body")
    verify(site, "entry", header, signature)
    records = msgpack.unpackb(body)
    expect(type(records) is list and len(records) == count, "another number of records")
    return Entry(site, generation, lane, seq, prev, digest("entry", header), records)


def check_fork(first: bytes, signature: bytes, second: bytes, second_signature: bytes) -> None:
    """Two headers for one place, the one with the smaller id first."""
    for header, signed in ((first, signature), (second, second_signature)):
        verify(msgpack.unpackb(header)[1], "entry", header, signed)
    places = [msgpack.unpackb(header)[1:5] for header in (first, second)]
    expect(places[0] == places[1], "two places")
    expect(digest("entry", first) < digest("entry", second), "the smaller id comes first")


# A shard


@dataclass(frozen=True)
class Term:
    number: int
    leader: Feed
    began: Place
    base: Term | None = None
    cut: int = 0  # seq in the feed of the base's leader


@dataclass
class Shard:
    """What the entries given so far say of one shard, read anew after each."""

    id: bytes
    feeds: dict[Feed, list[Entry]] = field(default_factory=dict)
    seats: Sequence[Feed] = ()
    terms: list[Term] = field(default_factory=list)

    def take(self, entry: Entry, *, read: bool = True) -> None:
        """An entry that follows those of its feed. read: now; else `read` is called later."""
        if entry.lane == 0:
            feed = self.feeds.setdefault(entry.feed, [])
            expect(entry.seq == len(feed) + 1, "does not follow")
            expect(entry.prev == (feed[-1].id if feed else b""), "a fork")
            feed.append(entry)
            if read:
                self.read()

    @property
    def newest(self) -> Term:
        return max(self.terms, key=lambda term: term.number)

    @property
    def majority(self) -> int:
        return len(self.seats) // 2 + 1

    def read(self) -> None:
        """Work out which terms began."""
        self.terms, before = [], -1
        self._read_founding()
        while self.terms and len(self.terms) > before:  # a base may stand in a later feed
            before = len(self.terms)
            for feed in self.seats:
                for place, record in self._records(feed):
                    if record[0] == OPEN and not self._term_begun(feed, place):
                        self._read_open(feed, place, record)

    def _term_begun(self, feed: Feed, place: Place) -> bool:
        return any((term.leader, term.began) == (feed, place) for term in self.terms)

    def _read_founding(self) -> None:
        for feed in self.feeds:
            for place, record in self._records(feed):
                if record[0] == FOUND_COUNCIL and not self.terms:
                    _, shard, nonce, council, generations = record
                    seats = list(zip(council, generations, strict=True))
                    valid = shard == digest("shard", feed[0] + nonce) and feed in seats
                    if valid and len(set(council)) == len(council) and len(council) % 2:
                        self.seats = seats
                        self.terms = [Term(0, feed, place)]

    def _records(self, feed: Feed) -> Iterator[tuple[Place, list[Any]]]:
        """The shard's records in a feed, with their places."""
        for entry in self.feeds.get(feed, []):
            for index, record in enumerate(entry.records):
                if len(record) > 1 and record[1] == self.id:
                    yield (entry.seq, index), record

    def _entry(self, ref: Sequence[Any]) -> Entry | None:
        site, generation, seq, id_ = ref
        held = self.feeds.get((site, generation), [])
        return held[seq - 1] if seq <= len(held) and held[seq - 1].id == id_ else None

    # Votes and opens

    def votes(self, feed: Feed) -> Iterator[tuple[Place, list[Any]]]:
        """Those that count: each in a term above all before it in its feed."""
        highest = 0
        for place, record in self._records(feed):
            if record[0] == VOTE and record[2] > highest:
                highest = record[2]
                yield place, record

    def _read_open(self, feed: Feed, place: Place, record: list[Any]) -> None:
        _, _, number, refs, base_number, seq, id_ = record
        base = next((term for term in self.terms if term.number == base_number), None)
        if base is None or number <= base_number or self._entry([*base.leader, seq, id_]) is None:
            return
        cast = {}
        for site, generation, at, entry_id in refs:
            voter = (site, generation)
            entry = self._entry([site, generation, at, entry_id])
            if entry is None or voter in cast or voter not in self.seats:
                return
            for (in_seq, _), vote in self.votes(voter):
                if in_seq == at and vote[2] == number and vote[3] == feed[0]:
                    cast[voter] = (at, vote)
        if len(cast) != len(refs) or len(cast) < self.majority:
            return
        newest = max(vote[4] for _, vote in cast.values())
        heads = {(vote[5], vote[6]) for _, vote in cast.values() if vote[4] == newest}
        greatest = [head for head in heads if head[0] == max(heads)[0]]
        if newest != base_number or greatest != [(seq, id_)] or seq < base.began[0]:
            return
        term = Term(number, feed, place, base, seq)
        for closed, through, _, _ in self._closes(term):
            if (feed == closed and place[0] > through) or cast.get(closed, (0,))[0] > through:
                return
        if not any(other.number == number and other.leader == feed for other in self.terms):
            self.terms.append(term)

    # The log, acks, and what is settled

    def lineage(self, term: Term | None) -> Iterator[tuple[Term, int | None]]:
        """The term and its bases, each with the seq through which it counts; None: to its end."""
        through = None
        while term is not None:
            yield term, through
            term, through = term.base, term.cut

    def log(self, term: Term) -> list[tuple[Term, Place]]:
        """The records of a term's log, the oldest first."""
        found: list[tuple[Term, Place]] = []
        for each, through in reversed(list(self.lineage(term))):
            for place, record in self._records(each.leader):
                within = place >= each.began and (through is None or place[0] <= through)
                if record[0] in (FOUND, FOUND_COUNCIL, OPEN, FORCE) and place > each.began:
                    break  # its author no longer wrote for this term
                if within and record[0] in OF_LOGS:
                    found.append((each, place))
        return found

    def _closes(self, term: Term) -> Iterator[tuple[Feed, int, Term, int]]:
        """(seat, through, term of the close, seq of its entry) in a term's log."""
        for each, (seq, index) in self.log(term):
            record = self.feeds[each.leader][seq - 1].records[index]
            if record[0] == SEAT_CLOSE and (record[2], record[3]) in self.seats:
                yield (record[2], record[3]), record[4], each, seq

    def acks(self, voter: Feed, term: Term) -> Iterator[tuple[int, int]]:
        """(seq of the entry that holds it, seq that it acks) of those that count for a term."""
        own = {place for each, place in self.log(term) if each == term}
        acts = [(place, record) for place, record in self._records(voter) if record[0] == ACK]
        later = [place for place, vote in self.votes(voter) if vote[2] > term.number]
        bound = min(later, default=(2**53, 0))
        last = max((seq for seq, _ in own), default=0)
        for place, (_, _, number, site, generation, seq, id_) in acts:
            named = (number, (site, generation)) == (term.number, term.leader)
            if named and place < bound and self._entry([site, generation, seq, id_]) is not None:
                yield place[0], min(seq, last)
        if voter == term.leader:  # the leader acks by writing, unless a vote is in the entry
            yield from ((seq, seq) for seq, _ in sorted(own) if seq < bound[0])

    def acked(self, term: Term, only: Iterable[Ref] | None = None) -> dict[Feed, int]:
        """How far each voter's acks count. only: those in these entries."""
        wanted = None if only is None else {ref[:3] for ref in only}
        found = {}
        for voter in self.seats:
            seqs = [
                seq
                for at, seq in self.acks(voter, term)
                if wanted is None or (*voter, at) in wanted
            ]
            for closed, _, where, at in self._closes(term):
                if closed == voter:
                    seqs = [min(seq, at - 1) if where == term else 0 for seq in seqs]
            found[voter] = max(seqs, default=0)
        return {voter: seq for voter, seq in found.items() if seq >= term.began[0]}

    def settled(self) -> tuple[int, int] | None:
        """(term, seq) of the last settled entry in the log of the newest term."""
        for term, through in self.lineage(self.newest):
            seqs = sorted(self.acked(term).values(), reverse=True)
            if len(seqs) >= self.majority:
                seq = seqs[self.majority - 1]
                return term.number, seq if through is None else min(seq, through)
        return None

    def proves(self, place: Ref, refs: Sequence[Ref]) -> bool:
        """Whether the acks in these entries settle the last record of the log in an entry."""
        for ref in (place, *refs):
            expect(self._entry(ref) is not None, "an entry that is not here")
        if len({ref[:2] for ref in refs}) < len(refs):
            return False
        for term in self.terms:
            inherited = [each for each, (seq, _) in self.log(term)
                         if (*each.leader, seq) == place[:3]]  # fmt: skip
            if inherited:
                least = place[2] if inherited[-1] == term else term.began[0]
                serving = [seq for seq in self.acked(term, refs).values() if seq >= least]
                if len(serving) >= self.majority:
                    return True
        return False
