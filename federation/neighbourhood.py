"""Who has links with whom, as the sites themselves say, and who passes on what to whom. Pure.

What a site says of its links is a hint: it saves copies, and what a wrong one keeps from somebody
is found at the next comparison.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import Final

from federation import limits
from federation.ids import SiteID

_RANK_BYTES: Final = 8


class Neighbourhood:
    """The links of one site and, as far as they are told, those of its neighbours.

    Sets of sites are bits of an integer: with hundreds of sites there are as many sets.
    """

    def __init__(self, me: SiteID, linked: Collection[SiteID]) -> None:
        """linked: the sites with which this one has links now; looked at whenever asked."""
        self._me = me
        self._linked = linked
        self._bits: dict[bytes, int] = {}
        self._of: dict[SiteID, int] = {}
        self._targets: dict[SiteID, list[SiteID]] = {}

    def changed(self) -> None:
        """A link of this site came up or ended."""
        self._targets.clear()

    def told(self, site: SiteID, prefixes: bytes) -> set[bytes]:
        """A neighbour says with whom it has links; the prefixes of those it has lost."""
        size = limits.PREFIX_BYTES
        bits = 0
        for start in range(0, len(prefixes), size):
            bits |= self._bit(prefixes[start : start + size])
        lost = self._of.get(site, 0) & ~bits
        self._of[site] = bits
        self._targets.clear()
        return (
            {prefix for prefix, place in self._bits.items() if lost >> place & 1} if lost else set()
        )

    def forget(self, site: SiteID) -> None:
        """A link ended: nothing is known of its other end's links any more."""
        self._of.pop(site, None)
        self._targets.clear()

    def own(self) -> bytes:
        """The prefixes of the sites with which this one has links."""
        sites = sorted(self._linked)[: limits.NEIGHBOURS_MAX]
        return b"".join(site[: limits.PREFIX_BYTES] for site in sites)

    def between(self, one: SiteID) -> list[SiteID]:
        """The neighbours of this site that say they have a link with another one."""
        bit = self._bit(one[: limits.PREFIX_BYTES])
        return [site for site in self._linked if self._of.get(site, 0) & bit]

    def targets(self, origin: SiteID) -> Sequence[SiteID]:
        """The neighbours to which this site passes on what `origin` sent to all its links.

        Not those with which it has a link itself. To each of the others a few pass it on of the
        sites that have links with both, the same few from everybody's view; if nobody is known
        to have, everybody does.
        """
        targets = self._targets.get(origin)
        if targets is None:
            between = self.between(origin)
            targets = self._targets[origin] = [
                peer
                for peer in self._linked
                if peer != origin and self._passes_on(origin, peer, between)
            ]
        return targets

    def _passes_on(self, origin: SiteID, peer: SiteID, between: Sequence[SiteID]) -> bool:
        theirs = self._of.get(peer, 0)
        if theirs & self._bit(origin[: limits.PREFIX_BYTES]):
            return False
        between = [site for site in between if theirs & self._bit(site[: limits.PREFIX_BYTES])]
        if origin not in self._linked:
            return not between
        ranks = sorted(_rank(origin, peer, site) for site in (*between, self._me))
        return _rank(origin, peer, self._me) in ranks[: limits.OFFERERS]

    def _bit(self, prefix: bytes) -> int:
        place = self._bits.get(prefix)
        if place is None:
            if len(self._bits) >= limits.PREFIXES_MAX:
                return 0
            place = self._bits[prefix] = len(self._bits)
        return 1 << place


def _rank(origin: SiteID, peer: SiteID, site: SiteID) -> bytes:
    prefix = site[: limits.PREFIX_BYTES]
    return blake2b(prefix + origin + peer, digest_size=_RANK_BYTES).digest()
