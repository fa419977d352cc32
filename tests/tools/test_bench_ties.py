"""The benchmark of ties compares queries that match the same documents."""

from collections import Counter
from pathlib import Path

from bench.ties import Bench, build, comparisons


def test_what_is_compared_matches_alike_and_ties_or_does_not(tmp_path: Path) -> None:
    """All matches of a query with ties score alike; of the other one, only a few at a time."""
    build(tmp_path, 40_000, 3)
    bench = Bench(tmp_path)
    pairs = [one for one in comparisons() if one.against is not None]
    assert pairs
    for one in pairs:
        assert one.against is not None
        tied, untied = bench.answer(one.question), bench.answer(one.against)
        assert tied.total == untied.total
        assert len(set(tied.scores)) == 1
        assert max(Counter(untied.scores[:300]).values()) <= 20
    bench.close()


def test_every_curve_finds_something(tmp_path: Path) -> None:
    """No row is about a query without matches."""
    build(tmp_path, 1000, 1)
    bench = Bench(tmp_path)
    for one in comparisons():
        assert bench.answer(one.question).ids, one.name
    bench.close()
