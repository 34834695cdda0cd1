"""Who may speak for a site: its admins, as its own control feeds enrol and remove them. Pure.

Each document about a person stands in a feed of the site and counts if an admin of that site
signed it. The first of all is signed by the very person whom it enrols, as an admin.

Places in the control feeds of one site are ordered by generation, then by place in the feed, so
that what counts is a function of the entries alone, whatever the order in which they came. Whoever
stole the site's key may open a new generation, but enrols nobody there: the first document stands
in the first generation.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field

from federation.ids import UserKey

At = tuple[int, int, int]  # where in the control feeds of a site: (generation, seq, index)


@dataclass(frozen=True, slots=True, order=True)
class Enrolment:
    """One document about a person that is well-formed and was signed by `signer`.

    admin: whether it makes `key` an admin; False for one that removes somebody.
    """

    at: At
    document: bytes  # its id: serves once
    key: UserKey
    signer: UserKey
    adds: bool
    admin: bool


REPEATED = "this document was taken before"
NO_ADMIN = "the signer is no admin of this site"


@dataclass(slots=True)
class Admins:
    """The admins of one site over its whole history. Enrolments are given in order of place."""

    _taken: set[bytes] = field(default_factory=set)
    _people: bool = False  # whether anybody was ever enrolled
    _spans: dict[UserKey, list[tuple[At, bool]]] = field(default_factory=dict)

    def take(self, enrolment: Enrolment) -> str:
        """Judge the next document: "" if it counts, else why it does not."""
        if enrolment.document in self._taken:
            return REPEATED
        if not self._may(enrolment):
            return NO_ADMIN
        self._taken.add(enrolment.document)
        self._people = True
        self._spans.setdefault(enrolment.key, []).append((enrolment.at, enrolment.admin))
        return ""

    def spoke(self, key: UserKey, at: At) -> bool:
        """Whether `key` was an admin's at a place, by the last document about it before there."""
        span = self._spans.get(key, [])
        before = bisect_left(span, (at, False)) - 1
        return before >= 0 and span[before][1]

    def _may(self, enrolment: Enrolment) -> bool:
        if self.spoke(enrolment.signer, enrolment.at):
            return True
        return not self._people and enrolment.adds and enrolment.signer == enrolment.key


def admins_of(enrolments: Iterable[Enrolment]) -> Admins:
    """The admins by all documents of one site, in any order."""
    admins = Admins()
    for enrolment in sorted(enrolments):
        admins.take(enrolment)
    return admins
