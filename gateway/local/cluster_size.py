"""The size of the cluster that this machine runs: its own, and what is fixed already."""

from collections.abc import Sequence
from contextlib import suppress

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.settings.cores import num_cores, num_scorers, num_spare_scorers
from hedgerow.common.settings.settings import Settings
from hedgerow.common.state.registry import Registry
from hedgerow.gateway.local import replica_folders as copies
from hedgerow.gateway.local.placement import choose_numbers
from hedgerow.gateway.local.sizing import Asked, Sizing, Source, plan_for


async def size_cluster(
    asked: Asked, settings: Settings, found: Sequence[copies.Copy], registry: Registry
) -> Sizing:
    """Decide on the numbers of shards, workers and replicas; a new cluster is made with them.

    Args:
        asked: what was asked for.
        settings: those of the workers among them.
        found: every copy of a shard in the data folder.
        registry: knows the cluster, if there is one.

    Raises:
        ConfigurationError: what was asked for does not fit what is there, or itself.
        RedisUnavailableError: there is no answer.
    """
    cores = num_cores()
    plan = plan_for(cores)
    num_shards, source = await settle_shards(
        registry, asked.num_shards, copies.num_shards_of(found), plan.num_shards
    )
    num_workers, num_replicas = choose_numbers(
        num_shards,
        asked.num_workers,
        asked.num_replicas,
        had=copies.num_replicas_of(found),
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
    """The number of shards of a cluster, which is made with this number if there is none yet.

    Args:
        registry: knows the number of a cluster that was made before.
        asked: what was asked for; None to take what the cluster has, or what fits.
        stored: how many shards the data folder holds; 0 for a new one. It counts where Redis has
            lost the number.
        fitting: how many shards fit the machine.

    Returns:
        The number, and who decided on it.

    Raises:
        ConfigurationError: another number was asked for than the cluster has; or the cluster cannot
            be used.
        RedisUnavailableError: there is no answer.
    """
    if asked is not None:
        return await registry.cluster(asked), Source.OPTION
    with suppress(ConfigurationError):  # no cluster yet; or it cannot be used, as is said below
        return await registry.cluster(), Source.CLUSTER
    # Hosts that share a server may make the cluster in the same instant, each with the number that
    # fits itself: the first one's counts.
    with suppress(ConfigurationError):
        source = Source.CLUSTER if stored else Source.CORES
        return await registry.cluster(stored or fitting), source
    return await registry.cluster(), Source.CLUSTER
