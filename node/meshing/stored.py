"""On which sites a dataset is stored: this one, and those of the mesh that answer in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from federation.ids import DatasetID, ShardID, SiteID
from federation.ports import Members
from federation.quorum import majority
from node.meshing.keeping import Storing

MAJORITY_S: Final = 5.0  # so long a submission waits for a majority, by default
ASKED_S: Final = 60.0  # and for a number of sites that its user named


class StoredOn:
    """Asks the council of a dataset's shard, then the other members."""

    def __init__(
        self,
        site: SiteID,
        members: Members,
        council: Callable[[ShardID], Sequence[SiteID]],
        storing: Storing,
        name_of: Callable[[SiteID], str],
    ) -> None:
        """site: this one, which stored it before anybody is asked."""
        self._site = site
        self._members = members
        self._council = council
        self._storing = storing
        self._name_of = name_of

    async def __call__(
        self, dataset: DatasetID, shard: ShardID, wanted: int | None = None
    ) -> list[str]:
        """Names of the sites, this one first.

        wanted: how many sites the user asked for; None for a majority of the council.
        """
        council = self._council(shard)
        others = [site for site in council if site != self._site]
        if wanted is None:
            needed, timeout_s = majority(len(council)) - 1, MAJORITY_S
        else:
            needed, timeout_s = wanted - 1, ASKED_S
            others += [
                site
                for site in self._members.members()
                if site != self._site and site not in others
            ]
        kept = await self._storing.keep(dataset, others, needed, timeout_s)
        return [self._name_of(site) for site in (self._site, *kept)]
