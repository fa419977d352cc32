"""How many workers serve how many replicas, and which worker serves which shards. Pure."""

from hedgerow.common.errors import ConfigurationError


def choose_numbers(
    num_shards: int, workers: int | None, replicas: int | None, *, had: int, fitting: int
) -> tuple[int, int]:
    """Make numbers out of what was asked for.

    Args:
        num_shards: shards of the cluster.
        workers: how many were asked for; None for as many as fit the machine, or as the replicas
            need, or fewer where that is all there is to do.
        replicas: how many of each shard were asked for; None for as many as there were.
        had: how many of each shard there were when the cluster last ran; 1 for a new one.
        fitting: how many workers fit the machine.

    Returns:
        The number of workers, and that of replicas of each shard.

    Raises:
        ConfigurationError: they do not fit each other; names the option.
    """
    num_replicas = had if replicas is None else replicas
    num_copies = num_shards * num_replicas
    num_workers = workers
    if num_workers is None:
        num_workers = min(max(fitting, num_replicas), num_copies)
    if num_replicas > num_workers and replicas is None:
        raise ConfigurationError(
            f"--workers {num_workers}: there are {num_replicas} replicas of each shard, which need "
            f"a worker each; --replicas {num_workers} keeps fewer"
        )
    if num_replicas > num_workers:
        raise ConfigurationError(
            f"--replicas {num_replicas}: there are {num_workers} workers, and the replicas of a "
            "shard need one each; ask for more with --workers"
        )
    if num_workers > num_copies:
        of_each = f" with {num_replicas} replicas" if num_replicas > 1 else ""
        raise ConfigurationError(
            f"--workers {num_workers}: there are {num_shards} shards{of_each}, and a worker needs "
            "one"
        )
    return num_workers, num_replicas


def place(num_shards: int, num_workers: int, num_replicas: int = 1) -> list[list[int]]:
    """Deal the replicas of all shards out to the workers.

    The shards are cut into runs of (nearly) the same length, one a worker; each run's further
    replicas are on the workers that follow, in a ring. So a shard's replicas are on different
    workers, no worker has more than one shard more than another, and the load of one that dies
    falls to the workers on both sides of it (Hsiao and DeWitt, "Chained Declustering", 1990).

    Args:
        num_shards: shards of the cluster.
        num_workers: at most `num_shards * num_replicas`, so that each has something to do.
        num_replicas: replicas of each shard; at most `num_workers`.

    Returns:
        For each worker the shards that it serves, ascending.
    """
    bounds = [number * num_shards // num_workers for number in range(num_workers + 1)]
    runs = [range(bounds[number], bounds[number + 1]) for number in range(num_workers)]
    return [
        sorted(
            shard
            for before in range(num_replicas)
            for shard in runs[(number - before) % num_workers]
        )
        for number in range(num_workers)
    ]
