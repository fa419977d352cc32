"""How callers share the queries, or the requests of another kind, that may be in flight. Pure.

Each key is a party, and so is each address from which callers ask without a key.

While there is room, all queries are admitted: a single caller may use the whole limit. Once the
limit is reached, callers below their fair share (the limit, divided by weight among the active
callers) are still admitted, up to half of the limit beyond it. Callers above their share are
refused until the number in flight has fallen below the limit. It always does, since queries last no
longer than their deadlines. So no room is reserved for callers that may not come, and a new caller
does not wait until another finishes. The queries that are admitted over the limit are counted by
themselves: when the limit is cut, the others may have a multiple of it in flight for the length of
a deadline, and that must not keep out callers below their share.

While the limit is reached, the queries of callers clearly below their share also go ahead of those
in the shards' queues, which belong to callers at or above their share. Behind them, a
query would be late like theirs. A caller must be below its share both in its number in
flight and in its recent admissions: a query that goes ahead is soon answered, so a
caller that goes ahead has few in flight however much it asks. Here the current number in flight
counts too, not only the mean: if many queries come at once after a pause, those beyond the share
would push the others' queries back by as many, to their deadlines.

A caller's *mean* number in flight over about the last second is what counts. Small clusters have
limits of ten or twenty, where the momentary number exceeds a caller's share now and then: a modest
caller would lose a tenth of its queries by chance.
"""

import math
from collections.abc import Collection
from enum import Enum
from math import exp
from typing import Final

from hedgerow.gateway.access.caller import ADDRESS, Caller

# A caller counts as active for this long after its last query.
ACTIVE_S: Final = 1.0
MEAN_S: Final = 1.0
# How far callers below their share may go beyond the limit, as a share of it. Two callers with the
# same weight fit in, if the other had filled the limit.
OVERDRAFT: Final = 0.5
# The limit counts as reached for this long after it last was: each end of a query makes room for
# a moment, and by then the queues have been worked off.
CROWDED_S: Final = 0.2
# A caller goes ahead if fewer of its queries than its fair share were admitted in the last second,
# by this multiple of the share's square root. Callers that all ask as much as they may are below
# their shares half of the time by chance; if their queries went ahead, those of the others would
# wait until their deadlines.
AHEAD_MARGIN: Final = 1.5
_RECOUNT_S: Final = 0.05
# Keys and addresses with a share of their own; further addresses have one share together.
MAX_PARTIES: Final = 1024


class Mean:
    """The mean of a value over time, with weights that fall by a factor of e in `MEAN_S`.

    Attributes:
        value: the present value.
    """

    __slots__ = ("_at", "_mean", "value")

    def __init__(self, value: float, now: float) -> None:
        """Start with `value`, as if it had never been different."""
        self.value = value
        self._mean = value
        self._at = now

    def set(self, value: float, now: float) -> None:
        """The value changes."""
        if now > self._at:  # as `at`, twice for each query
            kept = exp((self._at - now) / MEAN_S)
            self._mean = self.value + (self._mean - self.value) * kept
            self._at = now
        self.value = value

    def at(self, now: float) -> float:
        """The mean until now."""
        if now > self._at:
            kept = exp((self._at - now) / MEAN_S)
            self._mean = self.value + (self._mean - self.value) * kept
            self._at = now
        return self._mean


class Recent:
    """A count of events, whose weight falls by a factor of e in `MEAN_S`."""

    __slots__ = ("_at", "_count")

    def __init__(self) -> None:
        """Start without events."""
        self._count = 0.0
        self._at = 0.0

    def add(self, now: float) -> None:
        """Count an event."""
        self._count = self._count * exp((self._at - now) / MEAN_S) + 1
        self._at = now

    def at(self, now: float) -> float:
        """The count until now."""
        return self._count * exp((self._at - now) / MEAN_S)


class Usage:
    """What one caller has in flight.

    Attributes:
        num_in_flight: the number of its queries now.
        mean: the mean of that number.
        begun: the rate of its queries that were admitted.
        num_refused: queries refused because of its share, since the start.
        is_key: whether it has a key; otherwise it is an address, or several.
        share: largest share of the limit that it may have; also its weight among the callers.
        asked_at: when its last query came.
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
        """A query of it starts."""
        self.num_in_flight += 1
        self.begun.add(now)
        self.mean.set(self.num_in_flight, now)

    def end(self, now: float) -> None:
        """A query of it has ended."""
        self.num_in_flight -= 1
        self.mean.set(self.num_in_flight, now)


class Decision(Enum):
    """Whether a query is admitted."""

    ADMITTED = "admitted"
    OVER_LIMIT = "over the limit"  # admitted beyond it
    OVER_SHARE = "over its share"  # over the key's own share, or its fair share among others
    FULL = "full"  # for all callers


_OVER_LIMIT: Final = Decision.OVER_LIMIT  # an enum's member is looked up slowly in Python 3.11


class FairShare:
    """Decides whose queries are admitted, by the number that each caller has in flight.

    Attributes:
        usages: party, as `Caller.party` names it → its queries in flight.
        begun: the rate of queries of all callers that were admitted.
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
        self._weight = 0.0  # of active callers
        self._counted_at = -math.inf

    def usage_of(self, caller: Caller, now: float, peer: str = "") -> Usage:
        """The usage of a caller that asks now, with others of the same party.

        Args:
            caller: the caller of the query.
            now: the event loop's time, in s.
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
        """Name of each key that has searched → `in_flight`, and `refused` for its share."""
        return {
            party: {"in_flight": usage.num_in_flight, "refused": usage.num_refused}
            for party, usage in self.usages.items()
            if usage.is_key
        }

    def refused_addresses(self) -> dict[str, int]:
        """Address → queries refused because of its share, of the addresses that are remembered.

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
        """Forget the keys that are not among `names`; what they have in flight ends as usual."""
        for party, usage in list(self.usages.items()):
            if usage.is_key and party not in names:
                del self.usages[party]
        self._counted_at = -math.inf

    def _room_for(self, party: str, now: float) -> str:
        """Forget idle addresses; if there are none, a new address shares a common part."""
        if not party.startswith(ADDRESS):
            return party  # the file of keys limits their number
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
            usage: of the caller that asks.
            num_in_flight: queries of all callers.
            bound: the number of them from which no more of this kind are admitted, as a rule.
            limit: the most queries that may be in flight.
            now: the event loop's time, in s.
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
        """Whether a query admitted now goes ahead of those that wait in the shards' queues."""
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
        """The fair part of a caller among the active ones, 0 to 1."""
        total = self._active_weight(now)
        return usage.share / total if total > usage.share else 1.0

    def _active_weight(self, now: float) -> float:
        # Not each time: there may be a thousand keys, and ten thousand calls a second in overload.
        if now - self._counted_at >= _RECOUNT_S:
            self._weight = sum(
                usage.share
                for usage in self.usages.values()
                if usage.num_in_flight or now - usage.asked_at <= ACTIVE_S
            )
            self._counted_at = now
        return self._weight
