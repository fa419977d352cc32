"""A typical search's result and a curve of coverage, for tests of what shows them."""

from typing import Any

import msgspec

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.client import SearchAnswer
from hedgerow.gateway.search.coverage.curve import CoverageCurve
from hedgerow.gateway.search.coverage.measurement import coverage_of
from hedgerow.gateway.search.result import Hit, SearchResult
from hedgerow.gateway.shapes.answer import Fetch, ShardDetail, TotalHits


def make_result(**changes: Any) -> SearchResult:
    """A typical search's result: 8 shards, one of them late."""
    values: dict[str, Any] = {
        "hits": [
            Hit("184", 12.31, 3, {"title": "scale models for thermo-aeroelastic research"}),
            Hit("29", 11.5, 1, {"title": "a simple model study of transient temperature"}),
        ],
        "total_hits": TotalHits(812, "gte"),
        "coverage": coverage_of(19_600, 22_400, {"timed_out": 1}),
        "outcomes": {Outcome.OK: 7, Outcome.TIMED_OUT: 1},
        "detail": [
            ShardDetail(5, Outcome.TIMED_OUT, "no reply", took_us=300_120, breaker="closed")
        ],
        "took_ms": 300.4,
        "deadline_ms": 300,
        "fetch": Fetch(2, 0),
    }
    return SearchResult(**{**values, **changes})


def make_curve() -> CoverageCurve:
    """The curve of eight shards, of which one always needs 310 ms and the others 10 to 70."""
    curve = CoverageCurve()
    for needed_ms in (10, 20, 30, 40, 50, 60, 70, 310):
        curve.add(needed_ms / 1000, 1 / 8, 0.0)
    return curve


def as_answer(result: SearchResult) -> SearchAnswer:
    """A result as a client has it."""
    return msgspec.json.decode(msgspec.json.encode(result.to_json()), type=SearchAnswer)
