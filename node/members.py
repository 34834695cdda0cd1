"""The members of the mesh as this site sees them now: read from the tables, kept in memory.

Implements the Members port. All methods belong to the reactor's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import apsw
from twisted.logger import Logger

from federation import naming
from federation.ids import SiteID
from federation.membership import View, view
from node.changes import Change, MembersChanged
from node.store import members as rows

log = Logger()


class Members:
    """Who belongs to the mesh, what they are called, where they are dialled."""

    def __init__(self, conn: apsw.Connection, own: SiteID) -> None:
        """conn: a reading connection of the reactor's thread."""
        self._conn = conn
        self.own = own
        self._subscribers: list[Callable[[], None]] = []
        self._load()

    # The port

    def members(self) -> Sequence[SiteID]:
        """Every member, this site included, in the order of their keys."""
        return list(self.view.members)

    def is_member(self, site: SiteID) -> bool:
        return site in self.view.members

    def revoked(self, site: SiteID) -> bool:
        return site in self.view.revoked

    def addresses(self, site: SiteID) -> Sequence[str]:
        """`host:port`, its own word first; none for one that only dials out."""
        said = {
            key: word.addresses for key, word in self.words.items() if word.addresses is not None
        }
        return naming.addresses(self.view, site, said)

    def subscribe(self, fn: Callable[[], None]) -> None:
        self._subscribers.append(fn)

    # More that this node asks

    def name_of(self, site: SiteID) -> str:
        """For people; a shortened key for a site that was never heard of."""
        return self.names.get(site) or naming.nameless(site)

    def said_name(self, site: SiteID) -> str:
        """What a site calls itself, which rules of datasets go by; "" before it said so."""
        word = self.words.get(site)
        return "" if word is None else word.name

    def find(self, text: str) -> list[SiteID]:
        """The sites that a person may mean: none, one, or several."""
        return naming.called(text, self.names)

    # Keeping up

    def changed(self, changes: Sequence[Change]) -> None:
        """The journal's subscriber."""
        if any(isinstance(change, MembersChanged) for change in changes):
            self.reload()

    def reload(self) -> None:
        """Read the tables again; tell the subscribers if anything is different."""
        before = (self.view, self.words, self.names)
        self._load()
        if (self.view, self.words, self.names) == before:
            return
        self._note(before[0])
        for fn in self._subscribers:
            try:
                fn()
            except Exception:
                log.failure("members: a subscriber failed")

    def _load(self) -> None:
        self.view: View = view(self.own, rows.acts(self._conn), rows.enrolments(self._conn))
        self.words: Mapping[SiteID, rows.Word] = rows.words(self._conn)
        said = {site: word.name for site, word in self.words.items()}
        self.given: Mapping[SiteID, str] = rows.petnames(self._conn)
        self.names: Mapping[SiteID, str] = naming.names(self.view, self.given, said)

    def _note(self, before: View) -> None:
        """One line in the log for each site that came or went."""
        now = self.view
        for site in now.members:
            if site not in before.members:
                by = ", ".join(self.name_of(each) for each in now.members[site].by)
                log.info(
                    "{name} is a member of the mesh: admitted by {by}",
                    name=self.name_of(site),
                    by=by,
                )
        for site, authors in now.revoked.items():
            if site not in before.revoked:
                by = ", ".join(map(self.name_of, authors))
                log.warn("{name} was revoked by {by}", name=self.name_of(site), by=by)
