"""Breakers and admission control, separate for each profile that runs a user's function.

A rank profile with a second phase runs a user's function, which may take any time. If its queries
are late or have waited, the function may be the reason, so they must neither open a breaker nor
lower a limit for other queries. Each such profile therefore has its own breakers and its own limit;
all other profiles share theirs. The state of the shards' queues, and the times of the shards' last
replies, are shared by all.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from hedgerow.common.errors import BadRequestError
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.settings import Settings
from hedgerow.gateway.access.fair_share import FairShare
from hedgerow.gateway.policies.admission import Admission
from hedgerow.gateway.policies.breaker import State, Transition
from hedgerow.gateway.search.guards.breakers import Breakers
from hedgerow.gateway.search.guards.heavy_work import HeavyWork

OnTransition = Callable[[int, str, Transition], None]


class Guards(NamedTuple):
    """Admits or refuses the queries of some profiles."""

    breakers: Breakers
    admission: Admission


class ProfileGuards:
    """The guards of one gateway.

    Attributes:
        shared: the guards of the profiles without a second phase.
        own: profile with a second phase → its own guards.
        heavy: the heavy queries; while they run, timeouts do not count, for any profile.
    """

    def __init__(
        self, shared: Guards, heavy: HeavyWork, make_own: Callable[[str], Guards] | None = None
    ) -> None:
        """Guard queries by `shared`; `make_own` makes those of the profiles of `use_profiles`."""
        self.shared = shared
        self.own: dict[str, Guards] = {}
        self.heavy = heavy
        self._make_own = make_own

    def use_profiles(self, profiles: Mapping[str, RankProfile]) -> None:
        """Make new guards for each profile with a function.

        What was learnt of a profile's function says nothing of the function that has replaced it.
        Queries in flight end with the guards that let them in.
        """
        if self._make_own is not None:
            self.own = {name: self._make_own(name) for name in profiles_with_functions(profiles)}

    @classmethod
    def make(
        cls,
        num_shards: int,
        settings: Settings,
        rng: Callable[[], float],
        on_transition: OnTransition,
        now: float,
    ) -> "ProfileGuards":
        """Make the guards for the settings; `on_transition` receives shard, profile and change."""
        shared_admission = Admission(num_shards, settings.admission)
        heavy = HeavyWork(
            replied_at=shared_admission.replied_at,
            heavy_s=settings.query.heavy_ms / 1000,
            grace_s=settings.worker.kill_grace_ms / 1000,
            now=now,
        )

        def guards(profile: str, admission: Admission) -> Guards:
            breakers = Breakers(
                num_shards=num_shards,
                settings=settings.breaker,
                rng=rng,
                on_transition=partial(_notify, on_transition, profile),
                replied_at=admission.replied_at,
                heavy=heavy,
                pressure=admission.pressure,
            )
            return Guards(breakers, admission)

        def own(profile: str) -> Guards:
            return guards(profile, Admission(num_shards, settings.admission, shared_admission))

        made = cls(guards("", shared_admission), heavy, own)
        made.use_profiles(settings.rank_profiles)
        return made

    def take_over(self, former: "ProfileGuards") -> None:
        """Go on with the limits that guards of other shards have learnt; breakers stay closed."""
        for profile, guards in self.own.items():
            guards.admission.take_over(former.of(profile).admission)
        self.shared.admission.take_over(former.shared.admission)

    def of(self, profile: str) -> Guards:
        """The guards of queries with this rank profile."""
        return self.own.get(profile, self.shared)

    def __iter__(self) -> Iterator[Guards]:
        yield self.shared
        yield from self.own.values()

    @property
    def num_in_flight(self) -> int:
        """The number of queries in flight, of all profiles."""
        return sum([guards.admission.num_in_flight for guards in self])

    @property
    def num_refused(self) -> int:
        """Queries refused since the start, by whatever profile."""
        return sum([guards.admission.num_refused for guards in self])

    def set_by_hand(self, shard: int, state: str, now: float) -> None:
        """Set a shard's breakers by hand, those of all profiles.

        Args:
            shard: the shard of the breakers.
            state: `forced_open`, `disabled`, or `closed`, after which they work by themselves
                again.
            now: the event loop's time, in s.

        Raises:
            BadRequestError: there is no such shard or state.
        """
        num_shards = len(self.shared.breakers)
        if not 0 <= shard < num_shards:
            raise BadRequestError("shard", f"is {shard}; the shards are 0 to {num_shards - 1}")
        if state not in ("forced_open", "disabled", "closed"):
            raise BadRequestError("state", "must be forced_open, disabled or closed")
        for guards in self:
            breaker = guards.breakers[shard]
            match state:
                case "forced_open":
                    breaker.force_open(now)
                case "disabled":
                    breaker.disable(now)
                case _:
                    breaker.reset(now)

    def shares(self) -> list[FairShare]:
        """How callers share the queries in flight, for each set of guards."""
        return [guards.admission.shares for guards in self]

    def states(self, now: float) -> list[dict[str, str]]:
        """For each shard, profile → state of the profile's own breaker, unless it is closed."""
        return [
            {
                profile: state.value
                for profile, guards in self.own.items()
                if (state := guards.breakers[shard].state(now)) is not State.CLOSED
            }
            for shard in self.shared.breakers.shards
        ]

    def admission_json(self, now: float) -> dict[str, Any]:
        """For the status: shared admission control in full, and figures of each profile's own."""
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


def _notify(notify: OnTransition, profile: str, shard: int, transition: Transition) -> None:
    notify(shard, profile, transition)
