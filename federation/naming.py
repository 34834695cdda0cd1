"""What people call sites, and where sites can be dialled. Pure.

Names are petnames: each site's admins call the others as they like. A name is never an identity:
where two sites have the same one, it is shown with the beginning of the key behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from federation import limits
from federation.ids import SiteID
from federation.membership import View
from keys.identity import short, show

NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
NAMELESS: Final = "site"  # until a site has said a name that can be typed
KEY_PREFIX_MIN: Final = 6  # so many characters of a key name its site


def names(view: View, given: Mapping[SiteID, str], said: Mapping[SiteID, str]) -> dict[SiteID, str]:
    """What to call each site of a view.

    given: names that this site's admins chose; said: what sites call themselves. In this order,
    behind the name in our own admission, and last what other members call it.
    """
    own, others = _admitted_names(view)
    found: dict[SiteID, str] = {}
    for site in _sites(view):
        wanted: tuple[str, ...] = (said.get(site, ""),)
        if site != view.own:
            wanted = (
                given.get(site, ""),
                own.get(site, ""),
                said.get(site, ""),
                others.get(site, ""),
            )
        found[site] = next((name for name in wanted if NAME.fullmatch(name)), NAMELESS)
    return _told_apart(found, view.own)


def called(text: str, known: Mapping[SiteID, str]) -> list[SiteID]:
    """The sites that `text` may mean; none, or several where it does not tell them apart.

    text: a name, `name·abcd1234`, or six or more letters of a key.
    """
    text = text.strip().lower()
    for fits in (
        lambda site, name: text in (name, short(name, site)),
        lambda site, name: text == name.partition("·")[0],
        lambda site, name: len(text) >= KEY_PREFIX_MIN and show(site).startswith(text),
    ):
        if found := [site for site, name in known.items() if fits(site, name)]:
            return found
    return []


def nameless(site: SiteID) -> str:
    """What to call a site of which nothing is known but its key."""
    return short(NAMELESS, site)


def addresses(view: View, site: SiteID, said: Mapping[SiteID, Sequence[str]]) -> list[str]:
    """Where a site can be dialled: its own newest word first, then what we admitted it with.

    said: what sites last said of themselves. Before a site said anything, what other members know
    serves; one that says it only dials out is not dialled.
    """
    word = said.get(site)
    if word is not None and not word:
        return []
    ours = [act for act in view.admissions if act.site == site and act.author == view.own]
    others = [act for act in view.admissions if act.site == site and act.author != view.own]
    acts = [*reversed(ours), *(() if word else others)]
    found = [*(word or ()), *(address for act in acts for address in act.addresses)]
    return list(dict.fromkeys(found))[: limits.ADDRESSES_MAX]


def _sites(view: View) -> Iterable[SiteID]:
    return dict.fromkeys([view.own, *view.members, *view.revoked, *view.waiting])


def _admitted_names(view: View) -> tuple[dict[SiteID, str], dict[SiteID, str]]:
    """The newest names in our own admissions, and the first in those of others.

    Who admits a site as `site` has no name for it.
    """
    own: dict[SiteID, str] = {}
    others: dict[SiteID, str] = {}
    for act in view.admissions:
        if act.author == view.own:
            own[act.site] = "" if act.name == NAMELESS else act.name
        elif act.name != NAMELESS:
            others.setdefault(act.site, act.name)
    return own, others


def _told_apart(found: Mapping[SiteID, str], own: SiteID) -> dict[SiteID, str]:
    """The same names, with keys where two sites share one; this site keeps its bare name."""
    many: dict[str, int] = {}
    for name in found.values():
        many[name] = many.get(name, 0) + 1
    return {
        site: short(name, site) if many[name] > 1 and site != own else name
        for site, name in found.items()
    }
