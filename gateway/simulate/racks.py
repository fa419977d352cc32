"""Which rack each replica of a shard is in, by the cluster's own placement policy."""

from hedgerow.common.placement.document import NOT_PLACED
from hedgerow.common.placement.members import Cluster, Member
from hedgerow.common.placement.target import target_of
from hedgerow.gateway.simulate.scenario import Racks, Shards


def place(racks: Racks, shards: Shards) -> list[list[int]]:
    """Place the replicas on the workers as a new cluster would.

    Args:
        racks: the racks and their workers.
        shards: the shards.

    Returns:
        For each shard, the rack of each replica.
    """
    # Workers are numbered rack by rack, as machines often are.
    rack_of = {
        f"worker-{number:05}": number * racks.count // racks.workers
        for number in range(racks.workers)
    }
    members = tuple(
        Member(name, host=name, zone=f"rack-{rack}" if racks.are_known else "")
        for name, rack in rack_of.items()
    )
    cluster = Cluster(shards.count, members)
    target = target_of(cluster, [NOT_PLACED] * shards.count, shards.replicas, replace_before_ms=0)
    return [[rack_of[worker] for worker in sorted(workers)] for workers in target]
