"""Which rank profile may hold how many places of a lane: a pure policy.

A place is a thread or a scorer. It runs the code of one profile, which may block or compute for any
time, and the place is not free before the call returns. A profile may therefore hold only a share
of the places: however long its calls take, the rest is for other profiles. Work of the profile "",
which runs no user's code, is not limited.

    may_take      whether a call of the profile may start
    take          the call starts
    give_back     the call has returned, and its place is free

(The pattern is named after the partitions of a ship's hull: M. Nygard, "Release It!", 2007.)
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

OURS = ""  # the profile of what is no user's code


class Bulkhead:
    """The places of one lane, and the profiles that hold them."""

    def __init__(self, capacity: int, share: float, shares: Mapping[str, float]) -> None:
        """Nothing is held.

        Args:
            capacity: places of the lane.
            share: most of them that one profile may hold, as a share.
            shares: the share of those profiles that have one of their own.
        """
        self._capacity = capacity
        self._share = share
        self._shares = shares
        self._held: Counter[str] = Counter()
        self._num_refused: Counter[str] = Counter()

    def most(self, profile: str) -> int:
        """How many places a profile may hold: at least 1, and not all where there are several."""
        capacity = self._capacity
        if profile == OURS or capacity == 1:
            return capacity
        # A share such as 0.7 of 10 must not become 6 for want of a digit.
        wanted = math.floor(capacity * self._shares.get(profile, self._share) + 1e-9)
        return max(1, min(wanted, capacity - 1))

    def use_shares(self, shares: Mapping[str, float]) -> None:
        """From now on, these profiles have a share of their own; what is held stays held."""
        self._shares = shares

    def held(self, profile: str) -> int:
        """How many places a profile holds."""
        return self._held[profile]

    def may_take(self, profile: str) -> bool:
        """Whether a profile may hold one more."""
        return profile == OURS or self._held[profile] < self.most(profile)

    def take(self, profile: str) -> None:
        """A call of the profile starts."""
        self._held[profile] += 1

    def give_back(self, profile: str) -> None:
        """A call of the profile has left its place."""
        self._held[profile] -= 1

    def refuse(self, profile: str) -> None:
        """A call of the profile was refused."""
        self._num_refused[profile] += 1

    def load(self) -> dict[str, Any]:
        """Profile → places that it may hold, that it holds, and calls refused since the start.

        Of those profiles that have ever held a place.
        """
        return {
            profile: {
                "most": self.most(profile),
                "held": held,
                "refused": self._num_refused[profile],
            }
            for profile, held in sorted(self._held.items())
            if profile != OURS
        }
