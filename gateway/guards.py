"""What stands before the shards: breakers and admission control, apart for users' functions.

A rank profile with a second phase runs a user's function, which may take as long as it likes. What
its queries say of the shards (they are late, they have waited) is true of its function, and must
neither open a breaker nor lower a limit for the queries of others. So each such profile has
breakers and a limit of its own, and all other profiles share theirs. What is known of the shards'
queues, and when they have replied to anything, is known for all.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from common.config import RankProfile, Settings
from gateway.admission import Admission
from gateway.breaker import State, Transition
from gateway.breakers import Breakers

OnTransition = Callable[[int, str, Transition], None]


class Guards(NamedTuple):
    """What lets the queries of some profiles through, or refuses them."""

    breakers: Breakers
    admission: Admission


class ProfileGuards:
    """The guards of one gateway.

    Attributes:
        shared: those of the profiles without a second phase.
        own: profile → its own, of those with one.
    """

    def __init__(self, shared: Guards, own: Mapping[str, Guards]) -> None:
        """Guard queries by these."""
        self.shared = shared
        self.own = dict(own)

    @classmethod
    def make(
        cls,
        num_shards: int,
        settings: Settings,
        rng: Callable[[], float],
        on_transition: OnTransition,
    ) -> "ProfileGuards":
        """Make those that the settings ask for; `on_transition` is told shard and profile."""

        def guards(profile: str, beside: Admission | None) -> Guards:
            admission = Admission(num_shards, settings.admission, beside)
            told = partial(_tell, on_transition, profile)
            replied_at = admission.replied_at
            return Guards(Breakers(num_shards, settings.breaker, rng, told, replied_at), admission)

        shared = guards("", None)
        names = profiles_with_functions(settings.rank_profiles)
        return cls(shared, {name: guards(name, shared.admission) for name in names})

    def of(self, profile: str) -> Guards:
        """Those of a query by this profile."""
        return self.own.get(profile, self.shared)

    def __iter__(self) -> Iterator[Guards]:
        yield self.shared
        yield from self.own.values()

    @property
    def num_in_flight(self) -> int:
        """Queries now, by whatever profile."""
        return sum([guards.admission.num_in_flight for guards in self])

    def states(self, now: float) -> list[dict[str, str]]:
        """For each shard, profile → state of its own breaker, of those that are not closed."""
        return [
            {
                profile: state.value
                for profile, guards in self.own.items()
                if (state := guards.breakers[shard].state(now)) is not State.CLOSED
            }
            for shard in self.shared.breakers.shards
        ]

    def admission_json(self, now: float) -> dict[str, Any]:
        """For the status: the shared one's, and what each profile's own lets in and refuses."""
        return {
            **self.shared.admission.snapshot(now).to_json(),
            "profiles": {
                profile: {
                    "limit": snapshot.limit,
                    "in_flight": sum(snapshot.in_flight.values()),
                    "refused": sum(sum(counts.values()) for counts in snapshot.refused.values()),
                }
                for profile, guards in self.own.items()
                for snapshot in (guards.admission.snapshot(now),)
            },
        }


def profiles_with_functions(profiles: Mapping[str, RankProfile]) -> Iterable[str]:
    """The profiles whose searches run a user's function."""
    return [name for name, profile in profiles.items() if profile.second_phase is not None]


def _tell(tell: OnTransition, profile: str, shard: int, transition: Transition) -> None:
    tell(shard, profile, transition)
