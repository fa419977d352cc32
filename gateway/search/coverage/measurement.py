"""How much of the collection an answer reflects, and why not the rest."""

import math
from collections.abc import Sequence
from functools import lru_cache

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.shapes.answer import Coverage

_OK = Outcome.OK
_SKIPPED = Outcome.SKIPPED
_ENOUGH = "enough"  # in `degraded`, for parts that were cancelled because enough was covered
_NONE = dict.fromkeys(Outcome, 0)
# Documents are spread over the shards by a hash of their ids, so a shard's number of them has a
# variance of at most the mean. Of a report that is this many standard deviations lower, chance is
# not the reason: it is from before documents were written that the other shards have applied.
_DEVIATIONS = 6.0


def count_outcomes(outcomes: Sequence[Outcome]) -> dict[Outcome, int]:
    """Return outcome → number of shards, for every outcome; the sum is the fan-out."""
    num_ok = outcomes.count(_OK)
    counts = _counts_of_ok(num_ok).copy()
    if num_ok < len(outcomes):
        for outcome in outcomes:
            if outcome is not _OK:
                counts[outcome] += 1
    return counts


@lru_cache(maxsize=256)
def _counts_of_ok(num_ok: int) -> dict[Outcome, int]:
    return {**_NONE, _OK: num_ok}


def coverage_of(
    documents: int, documents_total: int, degraded: dict[str, int] | None = None
) -> Coverage:
    """Return the coverage; that of an empty collection is full if nothing is degraded, else 0.

    Args:
        documents: documents searched.
        documents_total: documents in the collection.
        degraded: outcome → number of shards with it, for the shards that are not ok; shards that
            were cancelled because enough was covered count as `enough`.
    """
    is_full = not degraded
    fraction = documents / documents_total if documents_total else float(is_full)
    return Coverage(fraction, documents, documents_total, is_full, degraded or {})


def fewest_documents(documents: int, num_shards: int) -> float:
    """The fewest documents that another shard has, if `num_shards` of them have `documents`."""
    mean = documents / num_shards if num_shards else 0.0
    return mean - _DEVIATIONS * math.sqrt(mean)


def measure_coverage(
    outcomes: Sequence[Outcome],
    documents: int,
    last_known: Sequence[int | None],
) -> Coverage:
    """Compute the share of the documents that was searched.

    A shard that has never reported, or not since many documents were written, is assumed to be as
    large as the others are on average, since documents are spread by hash; otherwise, the answer
    would look complete without it.

    Args:
        outcomes: the outcome of each shard.
        documents: the documents of the shards that are ok, according to their replies. Those of
            skipped shards are added.
        last_known: for each shard, the documents that it last reported; None if it never did.

    Returns:
        Coverage in documents; `degraded` counts the shards that were not searched, by outcome.
    """
    if outcomes.count(_OK) == len(outcomes):
        return coverage_of(documents, documents)
    documents += sum(
        last_known[shard] or 0 for shard, outcome in enumerate(outcomes) if outcome is _SKIPPED
    )
    least = fewest_documents(documents, outcomes.count(_OK) + outcomes.count(_SKIPPED))
    documents_total = num_unknown = 0
    degraded: dict[str, int] = {}
    for shard, outcome in enumerate(outcomes):
        if outcome is _OK or outcome is _SKIPPED:
            continue
        name = _ENOUGH if outcome is Outcome.CANCELLED else outcome.value
        degraded[name] = degraded.get(name, 0) + 1
        known = last_known[shard]
        if known is None or known < least:
            num_unknown += 1
        else:
            documents_total += known
    documents_total += documents
    num_known = len(outcomes) - num_unknown
    if num_unknown and num_known:
        documents_total += round(documents_total / num_known * num_unknown)
    return coverage_of(documents, documents_total, degraded)
