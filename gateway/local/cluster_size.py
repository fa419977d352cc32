"""Decides the size of the cluster that this machine runs."""

from collections.abc import Sequence
from contextlib import suppress

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.settings.cores import num_cores, num_scorers, num_spare_scorers
from hedgerow.common.settings.settings import Settings
from hedgerow.common.state.registry import Registry
from hedgerow.gateway.local import replica_folders
from hedgerow.gateway.local.placement import choose_numbers
from hedgerow.gateway.local.sizing import Asked, Sizing, Source, plan_for


async def size_cluster(
    asked: Asked,
    settings: Settings,
    found: Sequence[replica_folders.ReplicaFolder],
    registry: Registry,
    placed: int | None,
) -> Sizing:
    """Decide on the numbers of shards, workers and replicas; creates the cluster if it is new.

    Args:
        asked: the numbers that the options ask for.
        settings: their worker settings count.
        found: every shard replica in the data folder.
        registry: knows the cluster, if there is one.
        placed: how many replicas each shard should have by the placement; None if there is none.
            Of a drained worker, or while a shard moves, the folder has fewer or more.

    Raises:
        ConfigurationError: the numbers contradict each other or the existing cluster.
        RedisUnavailableError: Redis does not answer.
    """
    cores = num_cores()
    plan = plan_for(cores)
    num_shards, source = await settle_shards(
        registry, asked.num_shards, replica_folders.num_shards_of(found), plan.num_shards
    )
    num_workers, num_replicas = choose_numbers(
        num_shards,
        asked.num_workers,
        asked.num_replicas,
        had=placed or replica_folders.num_replicas_of(found),
        fitting=plan.num_workers,
    )
    return Sizing(
        cores=cores,
        num_shards=num_shards,
        num_workers=num_workers,
        num_replicas=num_replicas,
        num_scorers=num_scorers(settings.worker, cores, num_workers),
        num_spare=num_spare_scorers(settings),
        shards_from=source,
        named=asked.names(settings.worker.scorers),
    )


async def settle_shards(
    registry: Registry, asked: int | None, stored: int, fitting: int
) -> tuple[int, Source]:
    """Return the number of shards of a cluster; creates the cluster if there is none yet.

    Args:
        registry: knows the number of an existing cluster.
        asked: the number that was asked for; None for the cluster's, or the one that fits.
        stored: how many shards the data folder holds; 0 for a new one. It counts if Redis has
            lost the number.
        fitting: how many shards fit the machine.

    Returns:
        The number, and who decided on it.

    Raises:
        ConfigurationError: another number was asked for than the cluster has, or the cluster
            cannot be used.
        RedisUnavailableError: Redis does not answer.
    """
    if asked is not None:
        return await registry.cluster(asked), Source.OPTION
    with suppress(
        ConfigurationError
    ):  # no cluster yet, or it cannot be used, which is reported below
        return await registry.cluster(), Source.CLUSTER
    # Hosts that share a server may create the cluster at the same moment, each with the number that
    # fits itself: the first one counts.
    with suppress(ConfigurationError):
        source = Source.CLUSTER if stored else Source.CORES
        return await registry.cluster(stored or fitting), source
    return await registry.cluster(), Source.CLUSTER
