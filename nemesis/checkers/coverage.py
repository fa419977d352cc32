"""Coverage never claims more than was searched, and each shard ends in exactly one outcome.

The steady documents never change, so what a search for one of their groups must find follows from
the outcomes alone: every member in a shard that is `ok` or `skipped`, and none in another. While
shards are split, an answer is over all of the old shards or over all of the new ones.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache

from hedgerow.common.outcome import SEARCHED
from hedgerow.common.partition import shard_of
from nemesis.checkers.shard_numbers import ShardNumbers, shards_of
from nemesis.checkers.violation import Violation
from nemesis.history import Any, Search
from nemesis.layout import GROUP_SIZE, NUM_GROUPS, STEADY, group_members

COVERAGE, OUTCOMES = "coverage", "outcomes"
_ROUNDING = 1e-3


def check_coverage(events: Sequence[Any]) -> list[Violation]:
    """Answers that claim more than they show."""
    found = []
    for event in events:
        if isinstance(event, Search) and event.outcomes is not None:
            found += _claims(event)
            if event.collection == STEADY:
                found += _steady(event)
    return found


def check_outcomes(events: Sequence[Any]) -> list[Violation]:
    """Answers in which a shard has no outcome, or several."""
    found = []
    numbers = ShardNumbers(events)
    for event in events:
        if isinstance(event, Search) and event.outcomes is not None:
            shards = sorted(shard for shard, _ in event.outcomes)
            may_be = numbers.until(event.until)
            if shards != list(range(len(shards))) or len(shards) not in may_be:
                known = " or ".join(map(str, sorted(may_be)))
                text = f"outcomes of shards {shards} in an answer of {known} shards"
                found.append(Violation(OUTCOMES, event.at, text))
            counted = Counter(outcome for _, outcome in event.outcomes)
            if {**counted, "total": len(event.outcomes)} != event.counts:
                text = f"the counts are {event.counts}, the outcomes {dict(counted)}"
                found.append(Violation(OUTCOMES, event.at, text))
    return found


def _claims(search: Search) -> list[Violation]:
    assert search.outcomes is not None
    num_ok = sum(outcome in SEARCHED for _, outcome in search.outcomes)
    is_whole = num_ok == shards_of(search)
    if search.is_full == is_whole:
        return []
    text = f"is_full is {search.is_full} with {num_ok} of {shards_of(search)} shards ok"
    return [Violation(COVERAGE, search.at, text)]


def _steady(search: Search) -> list[Violation]:
    assert search.outcomes is not None
    searched = {shard for shard, outcome in search.outcomes if outcome in SEARCHED}
    group, num_shards = int(search.subject.removeprefix("group")), shards_of(search)
    expected = {one for one in group_members(group) if shard_of(one, num_shards) in searched}
    sizes = _sizes(num_shards)
    hits = {hit.id for hit in search.hits}
    found = []
    if missing := expected - hits:
        text = f"{search.subject}: {sorted(missing)} missing although their shards are ok"
        found.append(Violation(COVERAGE, search.at, f"{text} ({search.gateway})"))
    if foreign := hits - expected:
        text = f"{search.subject}: {sorted(foreign)} found, of shards that are not ok or never"
        found.append(Violation(COVERAGE, search.at, f"{text} ({search.gateway})"))
    truth = sum(sizes[shard] for shard in searched)
    if (search.covered or 0) > truth:
        text = f"{search.covered} documents covered, of {truth} in the shards that are ok"
        found.append(Violation(COVERAGE, search.at, text))
    if (search.fraction or 0.0) > truth / sum(sizes) + _ROUNDING:
        text = f"coverage {search.fraction}, although {truth} of {sum(sizes)} were searched"
        found.append(Violation(COVERAGE, search.at, text))
    return found


@cache
def _sizes(num_shards: int) -> tuple[int, ...]:
    """The number of steady documents in each shard, for a number of shards."""
    counts = Counter(
        shard_of(one, num_shards) for group in range(NUM_GROUPS) for one in group_members(group)
    )
    assert counts.total() == NUM_GROUPS * GROUP_SIZE
    return tuple(counts[shard] for shard in range(num_shards))
