"""Rank profiles are exchanged without a search that meets none."""

import asyncio
from typing import Any, cast
from unittest.mock import Mock

from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.shard_worker.executors.process_pool.scorer_pool import ScorerPool
from hedgerow.shard_worker.serving.served_profiles import ProfileSet, ServedProfiles
from tests.support.virtual_time import run_virtually

OLD, NEW = RankProfile(second_phase="a:old"), RankProfile(second_phase="a:new")


class Pool:
    """Scorers with as much room as the script says."""

    def __init__(self, room: int = 0) -> None:
        self.free = room
        self.is_open = True
        self.call_after_ends = Mock()
        self._waiters: list[Any] = []

    def room(self) -> int:
        """As scripted."""
        return self.free

    async def wait_for_change(self) -> None:
        """Wait for `wake`."""
        future = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        await future

    def wake(self) -> None:
        """End the waits."""
        for future in self._waiters:
            future.set_result(None)
        self._waiters.clear()


def profile_set(pool: Pool, enrich: dict[str, Any] | None = None, **profiles: Any) -> ProfileSet:
    """Profiles with scorers that are not real."""
    return ProfileSet(profiles, cast("ScorerPool", pool), enrich or {})


def test_from_the_exchange_on_searches_go_to_the_new_scorers() -> None:
    """A profile that is gone stays with the old ones until it is forgotten."""
    first, second = Pool(), Pool()
    hook, other = Mock(), Mock()
    served = ServedProfiles(profile_set(first, {"kept": hook, "gone": hook}, kept=OLD, gone=OLD))
    after = Mock()
    served.call_after_ends(after)
    old = served.exchange(profile_set(second, {"new": other}, kept=NEW, new=NEW))
    second.call_after_ends.assert_called_once_with(after)
    assert tuple(served.by_name["kept"]) == (NEW, second)
    assert tuple(served.by_name["new"]) == (NEW, second)
    assert tuple(served.by_name["gone"]) == (OLD, first)
    assert served.enrich == {"gone": hook, "new": other}
    served.forget(old)
    assert set(served.by_name) == {"kept", "new"}
    assert served.enrich == {"new": other}


def test_two_exchanges_in_a_row_leave_the_last() -> None:
    """What is forgotten late takes nothing from those that have followed."""
    pools = [Pool(), Pool(), Pool()]
    served = ServedProfiles(profile_set(pools[0], a=OLD))
    first = served.exchange(profile_set(pools[1], a=NEW, b=NEW))
    second = served.exchange(profile_set(pools[2], b=NEW))
    served.forget(first)
    assert served.by_name["a"].scorers is cast("ScorerPool", pools[1])
    served.forget(second)
    assert set(served.by_name) == {"b"}


def test_who_waits_for_room_of_the_old_scorers_gets_that_of_the_new() -> None:
    """A waiter gets room of the new scorers at once, without waiting for the old ones."""

    async def scenario() -> int:
        first, second = Pool(room=0), Pool(room=3)
        served = ServedProfiles(profile_set(first, a=OLD))
        waiting = asyncio.create_task(served.wait_for_room())
        await asyncio.sleep(0)
        served.exchange(profile_set(second, a=NEW))
        return await waiting

    assert run_virtually(scenario()) == 3
