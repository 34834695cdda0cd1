"""How long links wait for what. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from federation import limits
from federation.pulse import UNREACHABLE_S


@dataclass(frozen=True, slots=True)
class Timing:
    """Waits in seconds; the defaults are the protocol's. Tests and small meshes may shorten them.

    A longer `compare_s` or `ping_s` saves idle traffic, and notices later what got lost.
    """

    hello_s: float = limits.HELLO_S_MAX
    ping_s: float = limits.PING_S
    silence_s: float = limits.SILENCE_S_MAX
    stall_s: float = limits.STALL_S_MAX
    compare_s: float = limits.COMPARE_S
    offer_s: float = limits.OFFER_S
    patience_s: float = limits.PATIENCE_S
    fetch_stall_s: float = limits.FETCH_STALL_S
    ingest_retry_s: float = limits.INGEST_RETRY_S
    neighbours_s: float = limits.NEIGHBOURS_S
    flood_s: float = limits.FLOOD_S
    introduce_s: float = limits.INTRODUCE_S
    request_s: float = limits.REQUEST_S_MAX
    young_s: float = limits.YOUNG_S


def impatient(unreachable_s: float) -> Timing:
    """Waits of a site to which others are unreachable after so many seconds without a beacon.

    Links are pinged, and given up, in the same proportion to that as in the protocol.
    """
    part = unreachable_s / UNREACHABLE_S
    return Timing(
        ping_s=part * limits.PING_S,
        silence_s=part * limits.SILENCE_S_MAX,
        stall_s=part * limits.STALL_S_MAX,
    )
