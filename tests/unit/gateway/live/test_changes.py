"""What becomes an event."""

from dataclasses import replace
from typing import Any

from hedgerow.gateway.live.changes import Changes, Cluster
from hedgerow.gateway.live.journal import NUM_EVENTS, Journal
from hedgerow.gateway.policies.breaker import State, Transition
from tests.support.fake_gateway import EMPTY_STATUS
from tests.unit.support.heartbeats import beat

CALM = Cluster(
    {"w1": beat("w1", [0, 1], 0), "w2": beat("w2", [1], 0)},
    {},
    frozenset({"books"}),
    (),
    is_connected=True,
)
FULL = {"where": "w1", "resource": "disk", "state": "low", "detail": "5 MB left"}


def texts(*looks: Cluster) -> list[tuple[str, str, str]]:
    """Kind, level and text of the events of a series of looks."""
    journal = Journal(lambda: 7)
    changes = Changes(journal)
    for one in looks:
        changes.look(one)
    return [(event.kind, event.level, event.text) for event in journal.events]


def test_what_stays_is_no_event() -> None:
    """What is there at the start, or is there again, adds no event."""
    assert texts(CALM, CALM, CALM) == []


def test_workers_come_restart_move_and_go() -> None:
    """Each change of a worker is an event that names it and its shards."""
    w1, w2 = CALM.workers["w1"], CALM.workers["w2"]
    assert texts(CALM, CALM._replace(workers={"w2": w2}), CALM) == [
        ("worker", "bad", "w1 has gone (pid 1); it served shards 0, 1"),
        ("worker", "good", "w1 has joined (pid 1)"),
    ]
    again = replace(w1, pid=99)
    assert texts(CALM, CALM._replace(workers={"w1": again, "w2": w2})) == [
        ("worker", "warning", "w1 has restarted (pid 99, before 1)")
    ]
    moved = replace(w2, shards=[3, 2])
    assert texts(CALM, CALM._replace(workers={"w1": w1, "w2": moved})) == [
        ("worker", "info", "w2 now serves shards 2, 3, before shard 1")
    ]


def test_aliases_are_set_moved_and_removed() -> None:
    """Each change of an alias is an event that names it and its collection."""
    first, second = {"a": "books", "b": "books"}, {"a": "films", "b": "books"}
    looks = [CALM._replace(aliases=aliases) for aliases in ({}, first, second, {})]
    assert texts(*looks) == [
        ("collection", "info", "alias a now stands for collection books"),
        ("collection", "info", "alias b now stands for collection books"),
        ("collection", "info", "alias a now stands for collection films"),
        ("collection", "info", "alias a was removed"),
        ("collection", "info", "alias b was removed"),
    ]


def test_probation_redis_collections_and_shortages() -> None:
    """Each begins and ends with an event."""
    assert texts(CALM, CALM._replace(probation={"w1": "slow"}), CALM) == [
        ("probation", "warning", "w1 is on probation: slow"),
        ("probation", "good", "w1 is no longer on probation"),
    ]
    assert texts(CALM, CALM._replace(is_connected=False), CALM) == [
        ("redis", "bad", "Redis does not answer"),
        ("redis", "good", "Redis answers again"),
    ]
    assert texts(CALM, CALM._replace(collections=frozenset({"films"}))) == [
        ("collection", "info", "collection films was created"),
        ("collection", "info", "collection books was removed"),
    ]
    low = CALM._replace(shortages=(FULL,))
    full = CALM._replace(shortages=({**FULL, "state": "full", "detail": "0 MB left"},))
    assert texts(CALM, low, full, full, CALM) == [
        ("shortage", "warning", "disk of w1 is low: 5 MB left"),
        ("shortage", "bad", "disk of w1 is full: 0 MB left"),
        ("shortage", "good", "disk of w1 suffices again"),
    ]


def test_quarantine_and_snapshots_are_seen_in_statuses() -> None:
    """The first status is compared with nothing, and so is the first after a pause."""
    journal = Journal(lambda: 7)
    changes = Changes(journal)

    def status(**members: Any) -> dict[str, Any]:
        return {**EMPTY_STATUS, **members}

    entry = {"fingerprint": "ab" * 16, "query": "title:x~", "kills": 2}
    snapshot = {"shard": 3, "id": "s1", "failed_at_ms": None, "error": ""}
    failed = {**snapshot, "failed_at_ms": 9, "error": "no space"}
    for one in (
        status(quarantine=[], snapshots=[snapshot]),
        status(quarantine=[entry], snapshots=[{**snapshot, "id": "s2"}]),
        status(quarantine=[], snapshots=[], redis={"connected": False}),  # nothing is known
        status(quarantine=[], snapshots=[{**failed, "id": "s2"}]),
    ):
        changes.look_at_status(one)
    changes.forget_status()
    changes.look_at_status(status(quarantine=[entry], snapshots=[snapshot]))
    assert [(event.kind, event.level, event.text) for event in journal.events] == [
        ("quarantine", "bad", "a query has killed 2 scorers: title:x~"),
        ("snapshot", "good", "a snapshot of shard 3 was made"),
        ("quarantine", "info", "query abababababab has left the quarantine"),
        ("snapshot", "bad", "the snapshot of shard 3 failed: no space"),
    ]


def test_a_breaker_s_transition_says_whose_and_why() -> None:
    """Of the shared breaker, and of a profile's own."""
    journal = Journal(lambda: 7)
    opened = Transition(1.0, State.CLOSED, State.OPEN, "5 failures in a row")
    journal.add_transition(3, "", opened)
    journal.add_transition(3, "slow", Transition(2.0, State.OPEN, State.CLOSED, "by hand"))
    assert [(event.level, event.text, event.shard) for event in journal.events] == [
        ("bad", "breaker of shard 3: open (5 failures in a row)", 3),
        ("good", "breaker of shard 3 for profile slow: closed (by hand)", 3),
    ]


def test_the_journal_keeps_the_newest_events() -> None:
    """A storm of events takes no more memory than a day's."""
    journal = Journal(lambda: 7)
    for number in range(NUM_EVENTS + 5):
        journal.write("redis", "info", str(number))
    assert [journal.events[0].id, len(journal.events)] == [6, NUM_EVENTS]
