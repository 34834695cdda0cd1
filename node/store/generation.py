"""In which generation of its feeds a site may write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from twisted.logger import Logger

from federation.ids import SiteID
from node.store.database import Database, NotAStore
from node.store.feeds import Feeds
from node.store.highwater import Check, Heads, HighWater, Standing, leap_generations

_log = Logger()


def begin_generation(
    database: Database,
    site: SiteID,
    highwater: HighWater,
    *,
    newest: bool = False,
    leap: Callable[[], int] = leap_generations,
) -> Check:
    """Find the generation in which this site may author, and note that in the high-water file.

    newest: the admin's word, for when the file says nothing, that this is the newest copy. Without
    it the site goes on in a new generation, a random step away: in a mesh of one there is no other
    voter to ask, a new generation cannot fork the old one, and the step keeps two copies of one
    database from beginning the same one.
    Raises NotAStore for a database of old and new parts; nothing was then changed.
    """
    feeds = Feeds(database.writer)
    held = feeds.own_heads(site)
    if not feeds.holds(site, held):
        raise NotAStore(
            f"{database.path} names entries of this site that it does not hold: it is a mixture of "
            "an old copy and newer parts. Restore a backup into an empty home."
        )
    found = highwater.check(held, before=feeds.own_heads_before(site))
    if found.standing is Standing.UNBOUND and not newest:
        found = replace(found, generation=found.generation + 1 + leap())
    _warn(found, held)
    continued = held.generation == found.generation
    highwater.begin(held if continued else Heads(found.generation), found.lost)
    return replace(found, continued=continued)


def _warn(found: Check, held: Heads) -> None:
    if found.generation == held.generation or not held.generation:
        return
    if found.standing is Standing.RESTORED:
        _log.warn(
            "the database was put back from an older copy ({why}): the site goes on under"
            " generation {generation}, so that nothing is forked",
            why=found.why,
            generation=found.generation,
        )
    elif found.standing is Standing.UNBOUND:
        _log.warn(
            "nobody can tell whether this database is the newest copy ({why}): the site goes on"
            " under generation {generation}. If another copy of it runs anywhere, stop that one.",
            why=found.why,
            generation=found.generation,
        )
