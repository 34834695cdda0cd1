"""Which site keeps the second copy of what a results entry tells of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

from federation.entry import Entry
from federation.ids import DatasetID, EntryID, SiteID
from federation.records import Outcome, Results, cells, digest_cells


@dataclass(frozen=True, slots=True)
class Made:
    """Units of one task that succeeded in one entry, each with the digest of its output list."""

    dataset: DatasetID
    task: int
    jobs: tuple[int, ...]
    lists: tuple[bytes, ...]


def second_site(entry: EntryID, author: SiteID, sites: Iterable[SiteID]) -> SiteID | None:
    """Who of `sites` keeps second copies for an entry: the highest of their hashes with its id.

    Every site that sees the same sites alive comes to the same; when one goes, only its entries
    go to others. None when nobody but the author is there.
    Source: rendezvous hashing, Thaler and Ravishankar 1998.
    """
    found = keepers(entry, author, sites)
    return found[1] if len(found) > 1 else None


def keepers(entry: EntryID, author: SiteID, sites: Iterable[SiteID]) -> list[SiteID]:
    """Where what an entry tells of may be, the likeliest first: its author, then the others."""
    others = [site for site in sites if site != author]
    return [author, *sorted(others, key=lambda site: _weight(entry, site), reverse=True)]


def _weight(entry: EntryID, site: SiteID) -> bytes:
    return blake2b(entry + site, digest_size=16).digest()


def made_in(entry: Entry) -> Iterator[Made]:
    """The units with outputs that a results entry tells of, in the order of its records."""
    for record in entry.records():
        if not isinstance(record, Results) or record.outputs == b"":
            continue
        rows = len(record.jobs)
        outcomes, lists = cells(record.outcome, rows), digest_cells(record.outputs, rows)
        kept = [row for row in range(rows) if outcomes[row] == Outcome.SUCCESS and lists[row]]
        if kept:
            yield Made(
                record.dataset,
                record.task,
                tuple(record.jobs[row] for row in kept),
                tuple(lists[row] for row in kept),
            )
