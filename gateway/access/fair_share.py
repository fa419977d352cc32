"""Shares the queries, or other requests, that may be in flight among callers. Pure.

Each key is a party, and so is each address of callers without a key.

While there is room, all queries are admitted: a single caller may use the whole limit. Once the
limit is reached, callers below their fair share (the limit, divided by weight among the active
callers) are still admitted, up to half of the limit beyond it. Callers above their share are
refused until the number in flight has fallen below the limit. It always does, since queries last no
longer than their deadlines. So no room is reserved for absent callers, and a new caller does not
wait until another finishes. Queries admitted over the limit are counted separately: when the limit
is cut, the others may have a multiple of it in flight for the length of a deadline, and that must
not keep out callers below their share.

While the limit is reached, the queries of callers clearly below their share also go ahead of the
requests in the shards' queues. Those belong to callers at or above their share, and a query behind
them would be late like theirs. To go ahead, a caller must be below its share both in its queries in
flight and in those recently admitted: a query that goes ahead is soon answered, so such a caller
has few in flight however much it asks. The momentary number in flight counts here too: if many
queries come at once after a pause, those beyond the share would delay the others' queries, to their
deadlines.

A caller's *mean* number in flight over about the last second is what counts. Small clusters have
limits of ten or twenty, where the momentary number exceeds a caller's share now and then: a caller
with a steady moderate rate would lose a tenth of its queries by chance.
"""

import math
from collections.abc import Collection
from enum import Enum
from typing import Final

from hedgerow.gateway.access.caller import ADDRESS, Caller

# A caller counts as active for this long after its last query.
ACTIVE_S: Final = 1.0
MEAN_S: Final = 1.0
# How far callers below their share may go beyond the limit, as a share of it. Two callers with the
# same weight fit in, if the other had filled the limit.
OVERDRAFT: Final = 0.5
# For this time after the limit was last reached, it counts as reached: each end of a query makes
# room for a moment, and the queues take this time to empty.
CROWDED_S: Final = 0.2
# A caller goes ahead if its queries in the last second were fewer than its fair share by this
# multiple of the share's square root. If callers use their full shares, each is below its share
# half of the time by chance; if those went ahead, the others' queries would wait until their
# deadlines.
AHEAD_MARGIN: Final = 1.5
_RECOUNT_S: Final = 0.05
# Keys and addresses with separate shares; further addresses have one share together.
MAX_PARTIES: Final = 1024


class Mean:
    """The mean of a value over time, with weights that fall by a factor of e in `MEAN_S`.

    Attributes:
        value: the current value.
    """

    __slots__ = ("_at", "_mean", "value")

    def __init__(self, value: float, now: float) -> None:
        """Start with `value`, as if it had always been so."""
        self.value = value
        self._mean = value
        self._at = now

    def set(self, value: float, now: float) -> None:
        """Change the value."""
        self.at(now)
        self.value = value

    def at(self, now: float) -> float:
        """Return the mean until now."""
        if now > self._at:
            kept = math.exp((self._at - now) / MEAN_S)
            self._mean = self.value + (self._mean - self.value) * kept
            self._at = now
        return self._mean


class Recent:
    """A count of events, which decays by a factor of e in `MEAN_S`."""

    __slots__ = ("_at", "_count")

    def __init__(self) -> None:
        """Start at 0."""
        self._count = 0.0
        self._at = 0.0

    def add(self, now: float) -> None:
        """Count an event."""
        self._count = self.at(now) + 1
        self._at = now

    def at(self, now: float) -> float:
        """Return the count until now."""
        return self._count * math.exp((self._at - now) / MEAN_S)


class Usage:
    """The queries of one caller.

    Attributes:
        num_in_flight: the number of its queries in flight.
        mean: the mean of that number.
        begun: the rate of its admitted queries.
        num_refused: queries refused because of its share, since the start.
        is_key: whether it has a key; otherwise it is an address, or several.
        share: largest share of the limit that it may have; also its weight among the callers.
        asked_at: the time of its last query.
    """

    __slots__ = ("asked_at", "begun", "is_key", "mean", "num_in_flight", "num_refused", "share")

    def __init__(self, caller: Caller, now: float) -> None:
        """Start with nothing in flight."""
        self.num_in_flight = 0
        self.mean = Mean(0.0, now)
        self.begun = Recent()
        self.num_refused = 0
        self.is_key = caller.is_key
        self.share = caller.share
        self.asked_at = now

    def begin(self, now: float) -> None:
        """One of its queries starts."""
        self.num_in_flight += 1
        self.begun.add(now)
        self.mean.set(self.num_in_flight, now)

    def end(self, now: float) -> None:
        """One of its queries has ended."""
        self.num_in_flight -= 1
        self.mean.set(self.num_in_flight, now)


class Decision(Enum):
    """Whether a query is admitted."""

    ADMITTED = "admitted"
    OVER_LIMIT = "over the limit"  # admitted beyond it
    OVER_SHARE = "over its share"  # its configured share, or its fair share
    FULL = "full"  # for all callers


_OVER_LIMIT: Final = Decision.OVER_LIMIT  # an enum's member is looked up slowly in Python 3.11


class FairShare:
    """Decides whose queries are admitted, by what each caller has in flight.

    Attributes:
        usages: party, as by `Caller.party` → its queries.
        begun: the rate of admitted queries of all callers.
        num_over: queries in flight that were admitted over the limit.
        num_addresses_refused: queries refused because of an address's share, since the start.
    """

    def __init__(self) -> None:
        """Start without callers."""
        self.usages: dict[str, Usage] = {}
        self.begun = Recent()
        self.num_over = 0
        self.num_addresses_refused = 0
        self._crowded_at = -math.inf  # when the limit was last reached
        self._forgotten_at = -math.inf
        self._limit: Mean | None = None
        self._weight = 0.0  # of the active callers
        self._counted_at = -math.inf

    def usage_of(self, caller: Caller, now: float, peer: str = "") -> Usage:
        """Return the queries in flight of the party of a caller that asks now.

        Args:
            caller: the caller of the query.
            now: the time, in s.
            peer: the address of the client, which distinguishes callers without a key.
        """
        party = caller.party(peer)
        usage = self.usages.get(party)
        if usage is None:
            if len(self.usages) >= MAX_PARTIES:
                party = self._room_for(party, now)
            usage = self.usages.setdefault(party, Usage(caller, now))
            self._counted_at = -math.inf
        elif now - usage.asked_at > ACTIVE_S:
            self._counted_at = -math.inf
        usage.asked_at = now
        usage.share = caller.share
        return usage

    def counts(self) -> dict[str, dict[str, int]]:
        """Name of each key that has searched → `in_flight`, and `refused` over its share."""
        return {
            party: {"in_flight": usage.num_in_flight, "refused": usage.num_refused}
            for party, usage in self.usages.items()
            if usage.is_key
        }

    def refused_addresses(self) -> dict[str, int]:
        """Address → queries refused because of its share, for the remembered addresses.

        Addresses beyond the first `MAX_PARTIES` count together, under an empty name.
        """
        return {
            party.removeprefix(ADDRESS): usage.num_refused
            for party, usage in self.usages.items()
            if usage.num_refused and not usage.is_key
        }

    def refuse(self, usage: Usage) -> None:
        """A query was refused because of its caller's share."""
        usage.num_refused += 1
        if not usage.is_key:
            self.num_addresses_refused += 1

    def keep_keys(self, names: Collection[str]) -> None:
        """Forget the keys that are not in `names`; their queries in flight end as usual."""
        for party, usage in list(self.usages.items()):
            if usage.is_key and party not in names:
                del self.usages[party]
        self._counted_at = -math.inf

    def _room_for(self, party: str, now: float) -> str:
        """Make room by forgetting inactive addresses; if there are none, use the common share."""
        if not party.startswith(ADDRESS):
            return party  # the key file limits their number
        if now - self._forgotten_at >= ACTIVE_S:
            self._forgotten_at = now
            for known, usage in list(self.usages.items()):
                is_idle = not usage.num_in_flight and now - usage.asked_at > 2 * ACTIVE_S
                if is_idle and not usage.is_key:
                    del self.usages[known]
        return party if len(self.usages) < MAX_PARTIES else ADDRESS

    def decide(
        self,
        usage: Usage,
        num_in_flight: int,
        bound: float,
        limit: int,
        now: float,
        num_coming: int = 0,
    ) -> Decision:
        """Decide on a query.

        Args:
            usage: the caller's queries.
            num_in_flight: queries in flight of all callers.
            bound: number in flight from which queries of this class are refused.
            limit: how many queries may be in flight.
            now: the time, in s.
            num_coming: how many of those in flight have not begun.
        """
        if self._limit is None:
            self._limit = Mean(limit, now)
        elif self._limit.value != limit:
            self._limit.set(limit, now)
        if usage.share < 1 and usage.num_in_flight + 1 > max(1.0, usage.share * limit):
            return Decision.OVER_SHARE
        if num_in_flight < bound:
            return Decision.ADMITTED
        self._crowded_at = now
        part = self._part(usage, now)
        if part >= 1:
            return Decision.FULL
        reference = max(bound, self._limit.at(now) * bound / limit)
        if usage.mean.at(now) >= reference * part:
            return Decision.OVER_SHARE
        num_over = self.num_over + min(num_coming, num_in_flight - bound)
        return Decision.OVER_LIMIT if num_over < reference * OVERDRAFT else Decision.FULL

    def goes_ahead(self, usage: Usage, now: float) -> bool:
        """Return whether a query admitted now goes ahead of the requests in the shards' queues."""
        if self._limit is None or now - self._crowded_at >= CROWDED_S:
            return False
        part = self._part(usage, now)
        share = self._limit.at(now) * part
        if part >= 1 or usage.num_in_flight >= share or usage.mean.at(now) >= share:
            return False
        fair = self.begun.at(now) * part
        return usage.begun.at(now) < fair - AHEAD_MARGIN * math.sqrt(fair)

    def begin(self, usage: Usage, decision: Decision, now: float) -> None:
        """A query that was admitted by this decision starts."""
        usage.begin(now)
        self.begun.add(now)
        self.num_over += decision is _OVER_LIMIT

    def end(self, usage: Usage, decision: Decision, now: float) -> None:
        """A query that was admitted by this decision has ended."""
        usage.end(now)
        self.num_over -= decision is _OVER_LIMIT

    def _part(self, usage: Usage, now: float) -> float:
        """Return the fair share of a caller among the active ones, 0 to 1."""
        total = self._active_weight(now)
        return usage.share / total if total > usage.share else 1.0

    def _active_weight(self, now: float) -> float:
        # Computed seldom, since there may be a thousand keys and ten thousand queries a second.
        if now - self._counted_at >= _RECOUNT_S:
            self._weight = sum(
                usage.share
                for usage in self.usages.values()
                if usage.num_in_flight or now - usage.asked_at <= ACTIVE_S
            )
            self._counted_at = now
        return self._weight
