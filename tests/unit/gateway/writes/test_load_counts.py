"""Counts of loads, by collection within a bound."""

from hedgerow.common.metrics.bounded_names import OTHER, BoundedNames
from hedgerow.gateway.writes.load_counts import LoadCounts


def test_collections_beyond_the_bound_are_counted_together() -> None:
    """Nothing is lost, and a collection that was dropped makes room."""
    counts = LoadCounts(BoundedNames(1))
    counts.add("a", accepted=3)
    counts.add("a", rejected=1)
    for name in ("b", "c"):
        counts.add(name, accepted=2, rejected=1)
    assert counts.accepted == {"a": 3, OTHER: 4}
    assert counts.rejected == {"a": 1, OTHER: 2}
    counts.keep({"b"})
    counts.add("b", accepted=1)
    assert counts.accepted == {"b": 1, OTHER: 4}
    assert counts.rejected == {"b": 0, OTHER: 2}
