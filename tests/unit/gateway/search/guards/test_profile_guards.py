"""Breakers and limits apart for the profiles that run users' functions."""

from typing import Any

import pytest

from hedgerow.common.errors import OverloadedError
from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.breaker import BreakerSettings
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.settings import Settings
from hedgerow.common.settings.tail import AdmissionSettings
from hedgerow.gateway.policies.breaker import CallOutcome
from hedgerow.gateway.policies.shard_result import ShardResult
from hedgerow.gateway.search.guards.profile_guards import Guards, ProfileGuards

SETTINGS = Settings(
    breaker=BreakerSettings(consecutive_failures=1),
    admission=AdmissionSettings(initial_limit=2, min_limit=2),
    rank_profiles={
        "slow": RankProfile(second_phase="module:function"),
        "plain": RankProfile(enrich="module:function"),
    },
)
NUM_SHARDS = 2


def make(told: list[Any], num_shards: int = NUM_SHARDS) -> ProfileGuards:
    """Guards whose breakers open at the first failure, and whose limits are 2."""
    return ProfileGuards.make(
        num_shards, SETTINGS, lambda: 0.5, lambda *each: told.append(each), now=0.0
    )


def admit(guards: Guards) -> Any:
    """Let a query in."""
    return guards.admission.admit("interactive", 1.0, 0.0, [True] * 2, [1, 1], 0.0)


def test_a_profile_with_a_function_opens_its_own_breaker() -> None:
    """Its failures refuse its own queries and no others; each profile is named."""
    told: list[Any] = []
    guards = make(told)
    permit = guards.of("slow").breakers[0].allow(0.0)
    assert permit is not None
    permit.done(CallOutcome.FAILURE, 0.0, 0.1)
    assert guards.of("slow").breakers[0].allow(0.0) is None
    assert [guards.of(name).breakers[0].passes for name in ("bm25", "plain")] == [True, True]
    assert guards.states(0.0) == [{"slow": "open"}, {}]
    assert [(shard, profile) for shard, profile, _ in told] == [(0, "slow")]


def test_profiles_without_one_share_theirs() -> None:
    """An `enrich` runs in the fetch, which no breaker guards."""
    guards = make([])
    assert guards.of("plain") is guards.of("bm25") is guards.shared
    assert list(guards) == [guards.shared, guards.of("slow")]


def test_a_profile_with_a_function_fills_its_own_limit() -> None:
    """Beyond it its queries are refused; the others have theirs, and status shows both."""
    guards = make([])
    permits = [admit(guards.of("slow")) for _ in range(2)]
    with pytest.raises(OverloadedError):
        admit(guards.of("slow"))
    permits.append(admit(guards.of("bm25")))
    assert guards.num_in_flight == 3
    status = guards.admission_json(0.0)
    assert status["in_flight"] == {"interactive": 1, "batch": 0}
    assert status["profiles"] == {"slow": {"limit": 2, "in_flight": 2, "refused": 1}}
    for permit in permits:
        permit.done(0.0)
    assert guards.num_in_flight == 0


def test_what_is_known_of_the_shards_is_known_to_all() -> None:
    """Their queues, and when they replied, whichever query it was that told."""
    guards = make([])
    own, shared = guards.of("slow").admission, guards.shared.admission
    assert own.forecast is shared.forecast
    assert own.replied_at is shared.replied_at
    assert own.pressure is shared.pressure
    admit(guards.of("slow"))
    assert shared.expires_at == 1.0  # until then its requests may lie in the queues


def test_after_a_reload_profiles_with_functions_have_new_guards() -> None:
    """What an old function did wrong closes nothing to the new one; the shared guards stay."""
    guards = make([])
    shared, before = guards.shared, guards.of("slow")
    opened = before.breakers[0].allow(0.0)
    assert opened is not None
    opened.done(CallOutcome.FAILURE, 0.0, 0.1)
    in_flight = admit(before)
    guards.use_profiles(
        {
            "slow": RankProfile(second_phase="module:mended"),
            "new": RankProfile(second_phase="module:function"),
        }
    )
    assert guards.of("slow").breakers[0].passes
    assert guards.of("new") not in (shared, guards.of("slow"))
    assert guards.of("plain") is guards.shared is shared
    in_flight.done(0.5)
    assert before.admission.num_in_flight == guards.num_in_flight == 0
    guards.use_profiles({})
    assert list(guards) == [shared]


def test_guards_of_other_shards_go_on_with_the_limits_that_were_learnt() -> None:
    """Those of each profile; when the limit last refused a query is known, too."""
    former, new = make([]), make([], 2 * NUM_SHARDS)
    former.shared.admission.limit.value, former.of("slow").admission.limit.value = 17, 5
    former.shared.admission.pressure.refused_at = 8.0
    new.take_over(former)
    assert [new.of(name).admission.limit.value for name in ("plain", "slow")] == [17, 5]
    assert new.shared.admission.pressure.refused_at == 8.0


@pytest.mark.parametrize(("silent_s", "state"), [(0.4, "closed"), (0.6, "open")])
def test_a_stall_when_shards_are_changed_opens_no_breakers(silent_s: float, state: str) -> None:
    """All new shards are silent; the old ones of the same workers have replied just before."""
    former, new = make([]), make([], 2 * NUM_SHARDS)
    former.shared.admission.replied_at[:] = [10.0, 10.0]
    new.take_over(former)
    shards, breakers = range(2 * NUM_SHARDS), new.shared.breakers
    permits = [breakers[shard].allow(10.0) for shard in shards]
    late = {one: ShardResult(Outcome.TIMED_OUT, "", "", None, None, "", 0.2) for one in shards}
    breakers.finish(shards, [one for one in permits if one], late, 10.0 + silent_s)
    assert {breakers[shard].state(10.0 + silent_s).value for shard in shards} == {state}
