"""The rank profiles that a worker serves, with the scorers that run each; they can be exchanged.

A reload brings scorers of its own, which have loaded the new functions. From the exchange on,
searches go to these; those that the scorers before have taken end there.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from hedgerow.common.errors import LaneUnavailableError
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.shard_worker.executors.process_pool.scorer_pool import ScorerPool
from hedgerow.shard_worker.scoring.ranking import Enrich


class ServedProfile(NamedTuple):
    """A rank profile, and what searches by it."""

    profile: RankProfile
    scorers: ScorerPool


class ElsewhereObserver(Protocol):
    """Observes searches that are answered without a scorer."""

    def observe_elsewhere(self, num_tasks: int) -> None:
        """See `ScorerPool.observe_elsewhere`."""


class ProfileSet(NamedTuple):
    """The profiles of one reading of the settings.

    Attributes:
        profiles: by name.
        scorers: have loaded their second phases.
        enrich: their hooks, by profile.
    """

    profiles: Mapping[str, RankProfile]
    scorers: ScorerPool
    enrich: Mapping[str, Enrich]

    def served(self) -> dict[str, ServedProfile]:
        """Each profile with the scorers."""
        return {
            name: ServedProfile(profile, self.scorers) for name, profile in self.profiles.items()
        }


class ServedProfiles:
    """What is served now. For pulling, it is the lane of the scorers that take new searches.

    Attributes:
        by_name: the profiles; changed in place.
        enrich: the profiles' hooks; changed in place.
    """

    def __init__(self, first: ProfileSet) -> None:
        """Serve `first`, whose scorers `start` starts."""
        self.by_name = first.served()
        self.enrich = dict(first.enrich)
        self._current = first
        self._after_ends: Callable[[], None] | None = None

    async def start(self) -> None:
        """See `ScorerPool.start`."""
        await self._current.scorers.start()

    async def close(self, drain_s: float) -> None:
        """See `ScorerPool.close`."""
        await self._current.scorers.close(drain_s)

    def exchange(self, new: ProfileSet) -> ProfileSet:
        """Serve `new`, whose scorers run, from now on.

        Returns:
            What was served before. Its profiles that `new` lacks are served on until `forget`,
            since gateways ask for them until they have followed.
        """
        old, self._current = self._current, new
        if self._after_ends is not None:
            new.scorers.call_after_ends(self._after_ends)
        self.by_name.update(new.served())
        for name in new.profiles:
            self.enrich.pop(name, None)
        self.enrich.update(new.enrich)
        old.scorers.wake()
        return old

    def forget(self, old: ProfileSet) -> None:
        """Serve none of its profiles any more."""
        for name in old.profiles:
            if self.by_name[name].scorers is old.scorers:
                del self.by_name[name]
                self.enrich.pop(name, None)

    def call_after_ends(self, then: Callable[[], None]) -> None:
        """See `ScorerPool.call_after_ends`; also of scorers to come."""
        self._after_ends = then
        self._current.scorers.call_after_ends(then)

    # ---- the lane

    def room(self) -> int:
        """See `ScorerPool.room`."""
        return self._current.scorers.room()

    async def wait_for_room(self) -> int:
        """See `ScorerPool.wait_for_room`."""
        while (room := self._current.scorers.room()) == 0:
            scorers = self._current.scorers
            if not scorers.is_open:
                raise LaneUnavailableError("scorer: not running")
            await scorers.wait_for_change()
        return room

    def ends_soon(self) -> bool:
        """See `ScorerPool.ends_soon`."""
        return self._current.scorers.ends_soon()

    def cork(self) -> None:
        """See `ScorerPool.cork`."""
        self._current.scorers.cork()

    def uncork(self) -> None:
        """See `ScorerPool.uncork`."""
        self._current.scorers.uncork()

    def observe_elsewhere(self, num_tasks: int) -> None:
        """See `ScorerPool.observe_elsewhere`."""
        self._current.scorers.observe_elsewhere(num_tasks)

    def load(self) -> dict[str, Any]:
        """See `ScorerPool.load`."""
        return self._current.scorers.load()
