"""Computes when a query would reach its minimum coverage, from the shards' queues. Pure."""

from collections.abc import Sequence


def reached_by(
    starts_at: Sequence[float],
    live: Sequence[bool],
    documents: Sequence[int | None],
    minimum_coverage: float,
    start_by: float,
) -> float | None:
    """Return when enough live shards would have started a query for its minimum coverage.

    Args:
        starts_at: for each shard, when it would start a request that is sent now.
        live: for each shard, whether a worker serves it.
        documents: for each shard, how many of the collection's documents it has; None if unknown.
        minimum_coverage: smallest share of the documents that the answer must reflect, 0 to 1.
        start_by: shards that start later are of no use to the query.

    Returns:
        The instant, or `start_by` if it is not later; None if there are too few live shards, which
        is no overload and is better reported by the answer.
    """
    weights, total = _weights(documents)
    demanded = minimum_coverage * total
    reached, num_reached = 0.0, 0
    behind: list[tuple[float, float]] = []
    for shard, is_live in enumerate(live):
        if is_live and starts_at[shard] <= start_by:
            reached += weights[shard]
            num_reached += 1
        elif is_live:
            behind.append((starts_at[shard], weights[shard]))
    if num_reached and reached >= demanded:
        return start_by
    for at, weight in sorted(behind):
        reached += weight
        if reached >= demanded:
            return at
    return None


def _weights(documents: Sequence[int | None]) -> tuple[list[float], float]:
    """Return each shard's documents, and the sum; an unknown one counts as the others' average."""
    known = [count for count in documents if count is not None]
    average = sum(known) / len(known) if known else 1.0
    weights = [average if count is None else float(count) for count in documents]
    total = sum(weights)
    # In an empty collection, coverage is the share of the shards.
    return (weights, total) if total else ([1.0] * len(weights), float(len(weights)))
