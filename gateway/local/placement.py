"""Decides how many workers and replicas there are, and which worker serves which shards. Pure."""

from hedgerow.common.errors import ConfigurationError


def choose_numbers(
    num_shards: int, workers: int | None, replicas: int | None, *, had: int, fitting: int
) -> tuple[int, int]:
    """Choose the numbers of workers and replicas.

    Args:
        num_shards: shards of the cluster.
        workers: how many were asked for; None for as many as fit the machine, more if the
            replicas need them, fewer if there are not enough replicas to serve.
        replicas: replicas of each shard that were asked for; None for as many as there were.
        had: replicas of each shard when the cluster last ran; 1 for a new one.
        fitting: how many workers fit the machine.

    Returns:
        The number of workers, and of replicas of each shard.

    Raises:
        ConfigurationError: the numbers contradict each other; names the option.
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
            f"--replicas {num_replicas}: {_there_are(num_workers, 'worker')}, and the replicas of "
            "a shard need one each; ask for more with --workers"
        )
    if num_workers > num_copies:
        of_each = f" with {num_replicas} replicas" if num_replicas > 1 else ""
        raise ConfigurationError(
            f"--workers {num_workers}: {_there_are(num_shards, 'shard')}{of_each}, and a worker "
            "needs one"
        )
    return num_workers, num_replicas


def place(num_shards: int, num_workers: int, num_replicas: int = 1) -> list[list[int]]:
    """Distribute the replicas of all shards over the workers.

    The shards are cut into runs of (nearly) the same length, one per worker; each run's further
    replicas are on the workers that follow, in a ring. So a shard's replicas are on different
    workers, the workers' numbers of shards differ by at most one, and when a worker dies its load
    falls to the workers on both sides of it (Hsiao and DeWitt, "Chained Declustering", 1990).

    Args:
        num_shards: shards of the cluster.
        num_workers: at most `num_shards * num_replicas`, so that each serves a shard.
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


def _there_are(count: int, what: str) -> str:
    return f"there is 1 {what}" if count == 1 else f"there are {count} {what}s"
