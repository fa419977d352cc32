"""The line of a slow search: its parts, and how many lines there are."""

import asyncio
from typing import Any

from structlog.testing import capture_logs

from hedgerow.common.errors import InsufficientCoverageError
from hedgerow.common.outcome import Outcome
from hedgerow.common.wire.messages import Lane, Reply, SearchBody
from hedgerow.gateway.policies.shard_result import ShardResult
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.slow_queries import LINES_PER_S, MOST_SHARDS
from hedgerow.gateway.search.walk_parts import parts_of
from hedgerow.gateway.search.walks import Walks
from tests.support.virtual_time import run_virtually
from tests.unit.support.scripted import Script, ScriptedTransport
from tests.unit.support.searchers import COLLECTION, searcher_over

OK = Script(delays_s=(0.010,), hits=(("a", 1.0),), fetch={"a": {"id": "a"}})
SLOW = Script(delays_s=(0.120,))


async def lines_of(*scripts: Script, slow_ms: float = 100.0, times: int = 1, **query: Any) -> Any:
    """What is logged of searches at once."""
    searcher = searcher_over(
        ScriptedTransport(dict(enumerate(scripts))), [10] * len(scripts), walks=Walks(slow_ms)
    )
    asked = SearchQuery("things", "secret", **{"deadline_ms": 300.0, "fields": False, **query})
    with capture_logs() as logged:
        answers = await asyncio.gather(
            *(searcher.search(asked, COLLECTION) for _ in range(times)), return_exceptions=True
        )
    for answer in answers:
        assert not isinstance(answer, Exception) or isinstance(answer, InsufficientCoverageError)
    return [line for line in logged if line["event"] == "slow_query"]


def test_a_line_says_where_the_time_went() -> None:
    """The parts add up; the shard that took it comes first; the query's text is not said."""
    (line,) = run_virtually(lines_of(OK, SLOW, fields=True))
    assert line["took_ms"] == 130.0
    parts = [line[name] for name in ("admit_ms", "shards_ms", "merge_ms", "fetch_ms")]
    assert parts == [0.0, 120.0, 0.0, 10.0]
    assert (line["ok"], line["asked"], line["shards"], line["hedged"]) == (2, 2, 2, 0)
    assert [shard["shard"] for shard in line["slowest"]] == [1, 0]
    assert line["slowest"][0]["took_ms"] == 120.0
    assert [shard["shard"] for shard in line["slowest_fetches"]] == [0]
    assert "secret" not in str(line)
    assert "trace_id" not in line


def test_a_search_in_time_is_not_logged() -> None:
    """A search below the limit is not logged, and none is if the limit is 0."""
    assert run_virtually(lines_of(OK, OK)) == []
    assert run_virtually(lines_of(OK, SLOW, slow_ms=0)) == []


def test_one_that_fails_slowly_is_logged() -> None:
    """The shards that are missing come first, and a line names few of many shards."""
    silent = Script(delays_s=())
    (line,) = run_virtually(lines_of(*[OK] * 20, silent, minimum_coverage=1.0))
    assert len(line["slowest"]) == MOST_SHARDS
    first = line["slowest"][0]
    assert (first["shard"], first["outcome"]) == (20, "timed_out")
    assert "worker" not in first
    assert (line["ok"], line["shards"]) == (20, 21)


def test_an_overload_does_not_flood_the_log() -> None:
    """Of many at once some are logged, and a later one says how many were not."""
    lines = run_virtually(lines_of(SLOW, times=30))
    assert len(lines) == LINES_PER_S
    assert {line["others"] for line in lines} == {0}


def test_no_part_reaches_past_the_reply() -> None:
    """Whatever a worker says: a clock that is behind, or nonsense."""

    async def scenario() -> list[tuple[int, int, int, tuple[int, int] | None]]:
        gather = Gather(range(2), lambda _: None)
        for shard, times in enumerate(((900, 300, 400), (-5, 10**20, 10**20))):
            reply = Reply(1, shard, 0, Lane.PROCESS, *times, b"")
            body = SearchBody(1, 0, True, [], [], second_phase_us=(100, 10**19))
            gather._record(shard, ShardResult(Outcome.OK, "", "", body, reply, "w", 0.001))
        return [
            (part.queue_us, part.lane_us, part.work_us, part.users_us) for part in parts_of(gather)
        ]

    assert run_virtually(scenario()) == [(300, 300, 400, (100, 300)), (0, 1000, 0, (0, 0))]
