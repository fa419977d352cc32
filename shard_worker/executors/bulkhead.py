"""How many places of a lane each rank profile may have: a pure policy.

A place is a thread or a scorer. It runs the code of one profile, which may block or compute for any
time, and becomes free only when the call returns. A profile may therefore have only a share of the
places: however long its calls take, the rest is for other profiles. The profile "", which runs no
user's code, is not limited.

    may_take      whether a call of the profile may start
    take          the call starts
    give_back     the call has returned, and its place is free

(The pattern is named after the partitions of a ship's hull: M. Nygard, "Release It!", 2007.)
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

OURS = ""  # the profile of calls that run no user's code


class Bulkhead:
    """The places of one lane, and which profiles have them."""

    def __init__(self, capacity: int, share: float, shares: Mapping[str, float]) -> None:
        """Start with all places free.

        Args:
            capacity: places of the lane.
            share: largest share of them that a profile may have.
            shares: profile → its share, for profiles with a share of their own.
        """
        self._capacity = capacity
        self._share = share
        self._shares = shares
        self._held: Counter[str] = Counter()
        self._num_refused: Counter[str] = Counter()

    def most(self, profile: str) -> int:
        """How many places a profile may have: at least 1 and, if there are several, never all."""
        capacity = self._capacity
        if profile == OURS or capacity == 1:
            return capacity
        # A share such as 0.7 of 10 must not be rounded to 6.
        wanted = math.floor(capacity * self._shares.get(profile, self._share) + 1e-9)
        return max(1, min(wanted, capacity - 1))

    def use_shares(self, shares: Mapping[str, float]) -> None:
        """From now on, these profiles have a share of their own; what is held stays held."""
        self._shares = shares

    def held(self, profile: str) -> int:
        """How many places a profile has."""
        return self._held[profile]

    def may_take(self, profile: str) -> bool:
        """Whether a profile may have one more."""
        return profile == OURS or self._held[profile] < self.most(profile)

    def take(self, profile: str) -> None:
        """Count a call of the profile that starts."""
        self._held[profile] += 1

    def give_back(self, profile: str) -> None:
        """Count a call of the profile that has returned."""
        self._held[profile] -= 1

    def refuse(self, profile: str) -> None:
        """Count a call of the profile that was refused."""
        self._num_refused[profile] += 1

    def load(self) -> dict[str, Any]:
        """Profile → places that it may have and has, and calls refused since the start.

        Only for profiles that have ever had a place.
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
