"""Fair share: whose units go next. Pure arithmetic on usage in normalised seconds.

A person's standing is what they used (decayed, from accepted results) plus what their running
units are expected to use, divided by their share. Charging at dispatch is what makes two people
alternate within one second, long before the first result says what the units really cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SHARE_DEFAULT = 1.0
GPU_WEIGHT = 10.0  # a GPU second counts as this many CPU seconds


@dataclass(slots=True, eq=False)
class Account:
    """One person within one group: what is compared when units compete."""

    person: bytes
    group: str
    used_s: float = 0.0  # decayed, accepted
    pending_s: float = 0.0  # reported since `used_s` was read
    running_s: float = 0.0  # expected cost of units that are out


@dataclass(slots=True)
class Shares:
    """All accounts of a site, their usage and their shares (weights; absent means 1)."""

    groups: Mapping[str, float] = field(default_factory=dict)
    people: Mapping[bytes, float] = field(default_factory=dict)
    accounts: dict[tuple[bytes, str], Account] = field(default_factory=dict)
    group_s: dict[str, float] = field(default_factory=dict)

    def account(self, person: bytes, group: str) -> Account:
        """The account, opened at its first use."""
        key = (person, group)
        found = self.accounts.get(key)
        if found is None:
            found = self.accounts[key] = Account(person, group)
            self.group_s.setdefault(group, 0.0)
        return found

    def standing(self, account: Account) -> tuple[float, float]:
        """Sort key: the neediest group first, within it the neediest person."""
        own_s = account.used_s + account.pending_s + account.running_s
        return (
            self.group_s[account.group] / max(self.groups.get(account.group, SHARE_DEFAULT), 1e-9),
            own_s / max(self.people.get(account.person, SHARE_DEFAULT), 1e-9),
        )

    def start(self, account: Account, cost_s: float) -> None:
        """Units of this expected cost went out."""
        account.running_s += cost_s
        self.group_s[account.group] += cost_s

    def stop(self, account: Account, expected_s: float, cost_s: float) -> None:
        """Units that were charged `expected_s` ended and used `cost_s`."""
        left_s = max(0.0, account.running_s - expected_s)
        self.group_s[account.group] += cost_s - (account.running_s - left_s)
        account.running_s = left_s
        account.pending_s += cost_s

    def refresh(self, used_s: Mapping[tuple[bytes, str], float]) -> None:
        """Replace usage by what the accepted results say now."""
        for key, account in self.accounts.items():
            account.used_s = used_s.get(key, 0.0)
            account.pending_s = 0.0
        for (person, group), seconds in used_s.items():
            if seconds > 0:
                self.account(person, group).used_s = seconds
        self.group_s = dict.fromkeys(self.group_s, 0.0)
        for account in self.accounts.values():
            self.group_s[account.group] += account.used_s + account.pending_s + account.running_s


def unit_cost_s(cpu: int, gpu: int, wall_s: float) -> float:
    """What a unit with these needs is expected to use, in normalised seconds."""
    return (cpu + gpu * GPU_WEIGHT) * wall_s
