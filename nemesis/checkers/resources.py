"""Memory, descriptors and processes return to where they were, and nothing is left behind."""

from collections.abc import Sequence

import msgspec

from nemesis.checkers.shard_numbers import shards_seen
from nemesis.checkers.violation import Violation
from nemesis.history import Any, Leftover, Resources
from nemesis.layout import NODES, NUM_SHARDS, SERVERS

PROMISE = "resources"
# For pools of connections, which keep as many as were ever in use at once (docs/nemesis.md says how
# many that are). A server of Redis has the connections of all others.
MORE_DESCRIPTORS = 16
MORE_DESCRIPTORS_OF_A_SERVER = 48
_NODES = "the nodes"  # of a Redis Cluster, counted together: slots, and who uses them, move
# A worker whose forkservers had to be replaced by new interpreters no longer shares their pages.
MORE_MEMORY_SHARE, MORE_MEMORY_MB = 0.30, 120.0


def check_resources(events: Sequence[Any]) -> list[Violation]:
    """What a process of the cluster, restarted or not, uses more than before the first fault."""
    before: dict[str, Resources] = {}
    found = []
    for event in events:
        if isinstance(event, Leftover):
            text = f"a process of {event.parent} outlived it: {event.pid} ({event.command})"
            found.append(Violation(PROMISE, event.at, text))
        elif isinstance(event, Resources) and event.name in NODES:
            continue
        elif isinstance(event, Resources) and event.phase == "before":
            before[event.name] = event
        elif isinstance(event, Resources) and event.name in before:
            # After a split, all that a process has for each shard is there as often again.
            times = max(1.0, shards_seen(events, event.at) / NUM_SHARDS)
            found += _growth(_most_of(before, event.name), event, times)
    return found + _of_nodes(events)


def _of_nodes(events: Sequence[Any]) -> list[Violation]:
    """The same of all nodes of a Redis Cluster together."""
    used: dict[str, list[Resources]] = {"before": [], "after": []}
    for event in events:
        if isinstance(event, Resources) and event.name in NODES:
            used[event.phase].append(event)
    if not used["before"] or not used["after"]:
        return []
    before, after = (_sum(some) for some in used.values())
    return _growth(before, after, max(1.0, shards_seen(events, after.at) / NUM_SHARDS))


def _sum(some: Sequence[Resources]) -> Resources:
    return Resources(
        at=some[-1].at,
        phase=some[-1].phase,
        name=_NODES,
        pid=some[0].pid,
        descriptors=sum(one.descriptors for one in some),
        memory_mb=sum(one.memory_mb for one in some),
        processes=sum(one.processes for one in some),
    )


def _most_of(before: dict[str, Resources], name: str) -> Resources:
    """What a process used; of a server of Redis, what either of them did.

    The primary has the connections of all others, and another server may be the primary since.
    """
    own = before[name]
    alike = [before[one] for one in SERVERS if one in before] if name in SERVERS else [own]
    return msgspec.structs.replace(
        own,
        descriptors=max(one.descriptors for one in alike),
        memory_mb=max(one.memory_mb for one in alike),
    )


def _growth(before: Resources, after: Resources, times: float) -> list[Violation]:
    same = "the same process" if before.pid == after.pid else "restarted since"
    found = []
    more = MORE_DESCRIPTORS_OF_A_SERVER if after.name in (*SERVERS, _NODES) else MORE_DESCRIPTORS
    if after.descriptors > times * before.descriptors + more:
        found.append(f"{before.descriptors} descriptors before, {after.descriptors} after")
    grown_mb = max(before.memory_mb * MORE_MEMORY_SHARE, MORE_MEMORY_MB)
    if after.memory_mb > before.memory_mb + times * grown_mb:
        before_mb, after_mb = (_memory(one) for one in (before, after))
        found.append(f"{before_mb} before, {after_mb} after")
    # After a split, the first forkserver of a worker has no lane any more, but forks later ones.
    has_spare = times > 1 and after.name.startswith("worker-")
    if after.processes - before.processes not in ({0, 1} if has_spare else {0}):
        found.append(f"{before.processes} processes before, {after.processes} after")
    return [Violation(PROMISE, after.at, f"{after.name} ({same}): {text}") for text in found]


def _memory(used: Resources) -> str:
    """Such as "337 MB (python 95, scorer 120)"."""
    parts = ", ".join(f"{name} {memory_mb:.0f}" for name, memory_mb in used.parts.items())
    return f"{used.memory_mb:.0f} MB" + (f" ({parts})" if parts else "")
