"""What the placement policy costs for a large cluster, in CPU time.

python -m bench.costs.placement
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hedgerow.common.placement.document import Placement
from hedgerow.common.placement.members import Cluster, Member
from hedgerow.common.placement.policy import Rules, plan

NUM_SHARDS = 10_000
NUM_WORKERS = 1_000
NUM_ZONES = 3
ROUNDS = 3
LONG_AFTER_MS = 10**9  # workers that were lost at 0 are to be replaced


def workers(first: int, last: int) -> list[Member]:
    """Workers, two on each host, in turn in each zone."""
    return [
        Member(f"w{number:04}", f"h{number // 2}", f"z{number // 2 % NUM_ZONES}")
        for number in range(first, last)
    ]


def carried_out(members: Sequence[Member], placement: Placement) -> list[Member]:
    """The workers when each serves what it owns."""
    owned: dict[str, set[int]] = {member.id: set() for member in members}
    for shard, placed in enumerate(placement.shards):
        for owner in placed.owners:
            owned[owner].add(shard)
    return [replace(member, ready=frozenset(owned[member.id])) for member in members]


def changes(members: Sequence[Member]) -> Mapping[str, list[Member]]:
    """What may happen to them."""
    tenth = len(members) // 10
    return {
        "nothing has changed": list(members),
        "a tenth is lost": [
            replace(one, lost_since_ms=0, ready=frozenset()) if number < tenth else one
            for number, one in enumerate(members)
        ],
        "a tenth is draining": [
            replace(one, is_draining=number < tenth) for number, one in enumerate(members)
        ],
        "a tenth is new": [*members, *workers(len(members), len(members) + tenth)],
        "half are new": [*members, *workers(len(members), 2 * len(members))],
    }


def cpu_s(present: Placement | None, members: Sequence[Member], replicas: int) -> float:
    """The CPU time of one decision, the worst of some, in s."""
    cluster, taken = Cluster(NUM_SHARDS, tuple(members)), []
    for _ in range(ROUNDS):
        began = time.process_time()
        plan(present, cluster, Rules(replicas), LONG_AFTER_MS)
        taken.append(time.process_time() - began)
    return max(taken)


def run() -> None:
    """Print the table of docs/placement.md."""
    table: dict[str, list[str]] = {}
    for replicas in (1, 2, 3):
        members = workers(0, NUM_WORKERS)
        first = plan(None, Cluster(NUM_SHARDS, tuple(members)), Rules(replicas), 0).next
        if first is None:
            raise RuntimeError("there is no placement")
        table.setdefault("the first placement", []).append(f"{cpu_s(None, members, replicas):.2f}")
        for what, changed in changes(carried_out(members, first)).items():
            table.setdefault(what, []).append(f"{cpu_s(first, changed, replicas):.2f}")
    lines = [
        "| what has changed | 1 replica, s | 2 replicas, s | 3 replicas, s |",
        "|---|---|---|---|",
        *(f"| {what} | {' | '.join(figures)} |" for what, figures in table.items()),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    run()
