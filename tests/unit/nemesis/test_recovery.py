"""The checkers of recovery and resources, over histories that are made up."""

from typing import Any

import msgspec
import pytest

from nemesis.checkers.recovery import check_recovery, num_unjudged, recoveries
from nemesis.checkers.resources import check_resources
from nemesis.history import Calm, Leftover, Resources, RoundBegan, RoundOver
from nemesis.layout import NUM_SHARDS
from nemesis.load.clients import count_whole
from tests.unit.nemesis.made_up import search, state


def both(at: float, **members: Any) -> list[Any]:
    """What both gateways show."""
    return [state(at, "gateway-0", **members), state(at, "gateway-1", **members)]


def round_of(*states: Any, until: float = 60.0) -> list[Any]:
    """A round whose faults end at 10."""
    return [RoundBegan(at=0, round=1), Calm(at=10, round=1), *states, RoundOver(at=until, round=1)]


def test_a_cluster_that_recovers_in_time_is_no_violation() -> None:
    """The time is that of the gateway that recovers last."""
    events = round_of(
        *both(11, workers=()),
        state(20, "gateway-0"),
        state(25, "gateway-1"),
        *both(30, num_full=19),  # a tenth may be partial
    )
    assert check_recovery(events) == []
    assert recoveries(events)[0][2] == 15.0


@pytest.mark.parametrize(
    ("states", "text"),
    [
        ([*both(11, replicas=(2, 1, 2, 2)), *both(41)], "recovered after 31.0 s; before that"),
        (both(59, workers=("worker-0", "worker-1", "worker-2")), "worker-3 not live"),
        (both(59, replicas=(2, 1, 2, 2)), "shard 1: 1 replicas"),
        (both(59, breakers=("closed", "open", "closed", "closed")), "shard 1: breaker open"),
        (both(59, lacking=("worker-0 behind 1",)), "worker-0 behind 1"),
        (both(59, split="copying"), "the shards are split (copying)"),
        (both(59, quarantined=1), "1 queries in quarantine"),
        (both(59, shortages=("disk",)), "disk"),
        (both(59, num_full=10), "10 of 20 answers whole"),
        (both(59, is_reachable=False), "does not reach Redis"),
        ([state(11, "gateway-0")], "no state was seen"),
        # It was whole, and is no longer.
        ([*both(11), *both(59, breakers=("open",) * 4)], "not recovered"),
    ],
)
def test_what_does_not_recover_is_a_violation(states: list[Any], text: str) -> None:
    """Each lack is found, and says what lacks."""
    (violation,) = check_recovery(round_of(*states))
    assert text in violation.text


def used(phase: Any, at: float, **members: Any) -> Resources:
    """What a worker uses."""
    given = {"name": "worker-0", "pid": 1, "descriptors": 50, "memory_mb": 200.0, "processes": 5}
    return Resources(at=at, phase=phase, **{**given, **members})


def test_what_returns_to_where_it_was_is_no_violation() -> None:
    """Some growth is normal, and a process may be another one."""
    after = used("after", 9, pid=2, descriptors=60, memory_mb=310.0)
    assert check_resources([used("before", 1), after]) == []


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (used("after", 9, descriptors=67), "50 descriptors before, 67 after"),
        (used("after", 9, memory_mb=321.0), "200 MB before, 321 MB after"),
        (
            used("after", 9, memory_mb=321.0, parts={"python": 91.0, "scorer": 230.0}),
            "200 MB before, 321 MB (python 91, scorer 230) after",
        ),
        (used("after", 9, processes=6), "5 processes before, 6 after"),
        (Leftover(at=9, pid=7, parent="worker-1", command="python"), "worker-1 outlived it"),
    ],
)
def test_what_stays_behind_is_a_violation(event: Any, text: str) -> None:
    """Descriptors, memory, processes of the cluster, and processes whose parent is gone."""
    (violation,) = check_resources([used("before", 1), event])
    assert text in violation.text


def test_after_a_split_a_process_may_have_more_for_each_shard() -> None:
    """As many times the descriptors as shards, and no more."""
    split = state(5, replicas=(2,) * 2 * NUM_SHARDS)
    before, after = used("before", 1), used("after", 9, descriptors=116, memory_mb=440.0)
    assert check_resources([before, split, after]) == []
    assert len(check_resources([before, after])) == 2
    assert check_resources([before, split, used("after", 9, descriptors=117)])


def test_after_a_split_a_worker_may_have_one_process_more() -> None:
    """The forkserver that forks later ones; neither two more, nor one in another program."""
    split = state(5, replicas=(2,) * 2 * NUM_SHARDS)
    assert check_resources([used("before", 1), split, used("after", 9, processes=6)]) == []
    assert check_resources([used("before", 1), split, used("after", 9, processes=7)])
    gateway = [used(phase, at, name="gateway-0") for phase, at in (("before", 1), ("after", 9))]
    grown = msgspec.structs.replace(gateway[1], processes=6)
    assert check_resources([gateway[0], split, grown])


def test_a_partial_answer_of_a_gateway_without_a_core_says_nothing_about_recovery() -> None:
    """A whole one does, and a partial one of a machine that had time does."""
    starved = search(1, gateway_waited_ms=140.0, is_full=False)
    refused = search(1, client_waited_ms=26.0, status=503)
    assert count_whole([search(1), search(1, is_full=False), starved, refused]) == (2, 1)
    assert count_whole([search(1, gateway_waited_ms=140.0)]) == (1, 1)
    assert count_whole([search(1, gateway_waited_ms=20.0, is_full=False)]) == (1, 0)


@pytest.mark.parametrize(("waited_ms", "num_found"), [(140.0, 0), (20.0, 1)])
def test_recovery_on_a_machine_without_time_is_not_judged(waited_ms: float, num_found: int) -> None:
    """Nothing is known if most searches of the 30 s waited for a core; a free machine is judged."""
    busy = [search(10 + number, gateway_waited_ms=waited_ms) for number in range(3)]
    free = [search(14 + number) for number in range(2)]
    events: list[Any] = [Calm(at=10, round=1), *busy, *free, state(20, is_reachable=False)]
    assert len(check_recovery([*events, RoundOver(at=70, round=1)])) == num_found
    assert num_unjudged([*events, RoundOver(at=70, round=1)]) == 1 - num_found


def test_servers_of_redis_may_have_changed_their_roles() -> None:
    """The one that is the primary now may use what the other one did; a worker may not."""
    events = [
        used("before", 1, name="redis", descriptors=140),
        used("before", 1, name="redis-1", descriptors=17),
        used("before", 1, name="worker-0", descriptors=17),
        used("after", 9, name="redis", descriptors=20),
        used("after", 9, name="redis-1", descriptors=145),
    ]
    assert check_resources(events) == []
    assert check_resources([*events, used("after", 9, name="worker-0", descriptors=145)])
    assert check_resources([*events, used("after", 9, name="redis-1", descriptors=200)])
