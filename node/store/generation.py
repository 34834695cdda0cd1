"""In which generation of its feeds a site may write, and whether it may write at once.

Source: docs/protocol.md, "Restored copies".
"""

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
    leap: Callable[[], int] = leap_generations,
) -> Check:
    """Find the generation in which this site may author, and note that in the high-water file.

    Where the file tells nothing the site writes nothing yet, and nothing is noted: `doubt`, to be
    ended by binding the file, or by a leap. Only a generation in which nothing was written is left
    at once, which costs nothing.
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
    found = replace(found, continued=held.generation == found.generation)
    if found.standing is Standing.UNBOUND and found.continued:
        found = replace(found, doubt=True)
    elif found.standing is Standing.UNBOUND:
        found = replace(found, generation=found.generation + 1 + leap())
    _warn(found, held)
    if not found.doubt:
        highwater.begin(held if found.continued else Heads(found.generation), found.lost)
    return found


def _warn(found: Check, held: Heads) -> None:
    if not held.generation:
        return
    if found.standing is Standing.RESTORED:
        _log.warn(
            "the database was put back from an older copy ({why}): the site goes on under"
            " generation {generation}, so that nothing is forked",
            why=found.why,
            generation=found.generation,
        )
    elif found.doubt:
        _log.warn(
            "nobody here can tell whether this database is the newest copy ({why}): nothing is"
            " written before other sites, or an admin, said so",
            why=found.why,
        )
