"""What the policy knows of the workers, from what was read."""

from dataclasses import replace

from hedgerow.common.placement.document import Placement, ShardPlacement
from hedgerow.common.placement.members import Cluster, Observation, cluster_of
from hedgerow.common.wire.heartbeat import Heartbeat
from tests.unit.support.heartbeats import beat

NOW_MS = 100_000
PRESENT = Placement(1, 3, 1, 0, (ShardPlacement(("a",)), ShardPlacement(("b",)), ShardPlacement()))


def joined(worker: str, shards: list[int], at_ms: int = NOW_MS) -> Heartbeat:
    """A heartbeat of a worker that joined."""
    return replace(beat(worker, shards, at_ms), joins=True, zone="z", capacity=2.0, stored=[0, 7])


def cluster(*beats: Heartbeat, draining: tuple[str, ...] = (), **departed: int) -> Cluster:
    """The cluster with these heartbeats."""
    seen = Observation(3, {one.id: one for one in beats}, frozenset(draining), departed, NOW_MS)
    return cluster_of(seen, PRESENT, expiry_s=2, pinned_for_s=60)


def test_a_live_worker_offers_what_its_heartbeat_says() -> None:
    """Place, weight, data on disk and shards served come from the heartbeat."""
    a, b = cluster(joined("a", [0]), joined("b", []), draining=("b",)).members
    assert (a.id, a.host, a.zone, a.capacity) == ("a", "here", "z", 2.0)
    assert (a.ready, a.stored) == (frozenset({0}), frozenset({0, 7}))
    assert a.lost_since_ms is None
    assert not a.is_draining
    assert b.is_draining


def test_a_silent_worker_is_lost_since_its_last_heartbeat() -> None:
    """What it served is not ready any more; one that the placement does not name is no member."""
    a, _ = cluster(joined("a", [0], NOW_MS - 2_000), joined("c", [], 0)).members
    assert (a.id, a.lost_since_ms, a.ready) == ("a", NOW_MS - 2_000, frozenset())


def test_a_worker_that_signed_off_is_lost_since_that_was_noticed() -> None:
    """Until it is recorded, it counts as having left just now; a rebalance sets it to long ago."""
    a, b = cluster(a=7).members
    assert (a.lost_since_ms, b.lost_since_ms) == (7, NOW_MS)
    (a, _) = cluster(joined("a", [0], 50_000), a=0).members
    assert a.lost_since_ms == 0


def test_departures_are_recorded_once_and_forgotten_when_the_worker_is_back() -> None:
    """Only workers without a heartbeat need a record."""
    seen = Observation(3, {"a": joined("a", [])}, frozenset(), {"a": 7, "x": 8}, NOW_MS)
    assert seen.departures({"a", "b"}) == ({"b": NOW_MS}, ["a", "x"])
    stale = Observation(3, {"a": joined("a", [], 5)}, frozenset(), {"a": 7, "b": 8}, NOW_MS)
    assert stale.departures({"a", "b"}) == ({}, [])


def test_a_departure_of_the_future_is_dated_again() -> None:
    """The clock was set back: nothing would replace the worker until it has caught up."""
    seen = Observation(3, {}, frozenset(), {"a": NOW_MS + 3_600_000, "b": NOW_MS}, NOW_MS)
    assert seen.departures({"a", "b"}) == ({"a": NOW_MS}, [])


def test_pinned_workers_are_no_members() -> None:
    """Their shards are pinned while they live, and, without owners, for a while after."""
    assert cluster(beat("p", [0, 2], NOW_MS)).pinned == {0, 2}
    assert cluster(beat("p", [0, 2], NOW_MS - 59_000)).pinned == {2}
    assert cluster(beat("p", [0, 2], NOW_MS - 61_000)).pinned == frozenset()
    assert {member.id for member in cluster(beat("p", [0], NOW_MS)).members} == {"a", "b"}


def test_a_shard_is_empty_if_all_reports_say_so() -> None:
    """A shard that no worker reports may hold anything."""
    a = replace(joined("a", [0, 1]), documents={0: {"u": 0}, 1: {}})
    b = replace(joined("b", [1]), documents={1: {"u": 3}})
    assert cluster(a, b).empty == {0}
