"""Events for histories that are made up: a second is a round number, and everything is well."""

from typing import Any

from hedgerow.common.partition import shard_of
from nemesis.history import Hit, Search, State, Write
from nemesis.layout import (
    GROUP_SIZE,
    NUM_GROUPS,
    NUM_REPLICAS,
    NUM_SHARDS,
    REGISTERS,
    STEADY,
    WORKERS,
    group_members,
)

ALL_STEADY = [one for group in range(NUM_GROUPS) for one in group_members(group)]


def search(at: float, took_ms: float = 20.0, **members: Any) -> Search:
    """A search for a register, by a deadline of 300 ms, which was answered over all shards."""
    given: dict[str, Any] = {
        "gateway": "gateway-0",
        "pid": 1,
        "collection": REGISTERS,
        "subject": "r0x0",
        "deadline_ms": 300.0,
        "status": 200,
        "took_ms": took_ms,
        "outcomes": tuple((shard, "ok") for shard in range(NUM_SHARDS)),
        "counts": {"ok": NUM_SHARDS, "total": NUM_SHARDS},
        "fraction": 1.0,
        "is_full": True,
    }
    return Search(at=at, until=at + took_ms / 1e3, **{**given, **members})


def group_search(
    at: float,
    group: int = 7,
    down: int | None = None,
    num_shards: int = NUM_SHARDS,
    **members: Any,
) -> Search:
    """A search for a group of the steady documents; the shard `down` has timed out."""
    outcomes = tuple((shard, "timed_out" if shard == down else "ok") for shard in range(num_shards))
    covered = sum(shard_of(one, num_shards) != down for one in ALL_STEADY)
    counts = {"ok": num_shards, "total": num_shards}
    if down is not None:
        counts = {"ok": num_shards - 1, "timed_out": 1, "total": num_shards}
    given: dict[str, Any] = {
        "collection": STEADY,
        "subject": f"group{group}",
        "outcomes": outcomes,
        "counts": counts,
        "covered": covered,
        "known": NUM_GROUPS * GROUP_SIZE,
        "fraction": covered / (NUM_GROUPS * GROUP_SIZE),
        "is_full": down is None,
        "hits": tuple(
            Hit(one, 1) for one in sorted(group_members(group)) if shard_of(one, num_shards) != down
        ),
    }
    return search(at, **{**given, **members})


def write(at: float, version: int, until: float | None = None, **members: Any) -> Write:
    """A write of a register that was acknowledged as applied within 0.1 s."""
    given: dict[str, Any] = {
        "gateway": "gateway-0",
        "id": "r0x0",
        "wait": "applied",
        "end": "acknowledged",
    }
    end = at + 0.1 if until is None else until
    return Write(at=at, until=end, version=version, **{**given, **members})


def state(at: float, gateway: str = "gateway-0", **members: Any) -> State:
    """A state in which all is well."""
    given: dict[str, Any] = {
        "is_reachable": True,
        "replicas": (NUM_REPLICAS,) * NUM_SHARDS,
        "breakers": ("closed",) * NUM_SHARDS,
        "workers": WORKERS,
        "num_searches": 20,
        "num_full": 20,
    }
    return State(at=at, gateway=gateway, **{**given, **members})
