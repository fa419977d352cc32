"""Deletes by query: what they count, delete and say, over scripted searches."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from hedgerow.common.collection import Collection, define
from hedgerow.common.errors import (
    BadRequestError,
    HedgerowError,
    InsufficientCoverageError,
    LoadInterruptedError,
    OverloadedError,
)
from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.search.result import Hit, SearchQuery, SearchResult
from hedgerow.gateway.shapes.answer import ShardDetail, TotalHits
from hedgerow.gateway.shapes.delete_by_query import (
    DeleteByQueryAnswer,
    DeleteByQueryBody,
    MissingShard,
)
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.delete_by_query import DeleteByQuery
from hedgerow.gateway.writes.documents import Documents
from hedgerow.gateway.writes.load import LoadReport
from tests.support.sample_results import make_result
from tests.support.virtual_time import run_virtually

FILMS = define("films", {"fields": {"title": "text"}}, "u")
LATE = ShardDetail(1, Outcome.TIMED_OUT, "no reply")


class Shards:
    """Documents in two shards, which can be searched and deleted from.

    Attributes:
        documents: id → shard, of those that the query finds.
        late: whether shard 1 does not answer.
        errors: raised by the next searches, instead of an answer.
        errors_after: number of searches before → raised by the one after them.
        writers: called after each deletion, with the ids.
    """

    def __init__(self, count: int) -> None:
        self.documents = {f"d{number:03}": number % 2 for number in range(count)}
        self.is_late = False
        self.errors: list[HedgerowError] = []
        self.errors_after: dict[int, HedgerowError] = {}
        self.apply_errors: list[HedgerowError] = []
        self.warnings: tuple[str, ...] = ()
        self.queries: list[SearchQuery] = []
        self.is_written_again = False
        self.search_s = 0.0

    async def search(self, query: SearchQuery, _collection: Collection) -> SearchResult:
        """Find the first k."""
        self.queries.append(query)
        await asyncio.sleep(self.search_s)
        if self.errors:
            raise self.errors.pop(0)
        if (error := self.errors_after.get(len(self.queries) - 1)) is not None:
            raise error
        found = [
            (one, shard) for one, shard in self.documents.items() if not (self.is_late and shard)
        ]
        return make_result(
            hits=[Hit(one, 1.0, shard) for one, shard in found[: query.k]],
            total_hits=TotalHits(len(found), "gte" if self.is_late else "eq"),
            detail=[LATE] if self.is_late else [],
            warnings=self.warnings,
        )

    async def delete_many(
        self, _definition: Collection, ids: Mapping[int, Sequence[str]], _traceparent: str
    ) -> dict[int, str]:
        """Remove documents."""
        for shard, some in ids.items():
            for one in some:
                assert self.documents[one] == shard
                if not self.is_written_again:
                    del self.documents[one]
        return dict.fromkeys(ids, "1-0")

    async def wait_applied(self, _last_ids: Mapping[int, str]) -> None:
        """Be applied, or not."""
        if self.apply_errors:
            raise self.apply_errors.pop(0)

    async def current(self, _name: str) -> Collection:
        """The only collection."""
        return FILMS


def run(shards: Shards, max_k: int = 10, **body: Any) -> DeleteByQueryAnswer:
    """Delete in virtual time, ten documents in a turn."""

    async def deleting() -> DeleteByQueryAnswer:
        deletion = DeleteByQuery(
            cast("Documents", shards),
            cast("Collections", shards),
            shards.search,
            GatewaySettings(max_k=max_k),
        )
        return await deletion.run("films", DeleteByQueryBody("wing", **body))

    return run_virtually(deleting())


def test_all_are_deleted_turn_by_turn() -> None:
    """Until a search of every shard finds none that is left."""
    shards = Shards(34)
    answer = run(shards)
    assert answer == DeleteByQueryAnswer(TotalHits(34, "eq"), 34, True, None, [], False, [])
    assert shards.documents == {}
    assert [query.k for query in shards.queries] == [10] * 5
    query = shards.queries[0]
    assert (query.syntax, query.rank_profile, query.fields) == ("strict", "bm25", False)
    assert query.priority == "batch"


def test_a_limit_leaves_the_rest() -> None:
    """No more are deleted than it says, and the answer says that it was reached."""
    shards = Shards(34)
    answer = run(shards, limit=12)
    assert (answer.deleted, answer.complete) == (12, False)
    assert answer.reason == "the limit is reached"
    assert len(shards.documents) == 22
    assert run(shards, limit=50).complete


def test_a_dry_run_counts_and_deletes_nothing() -> None:
    """The number is exact if every shard has answered, and a lower bound if not."""
    shards = Shards(34)
    answer = run(shards, dry_run=True)
    assert (answer.found, answer.deleted, answer.complete) == (TotalHits(34, "eq"), 0, False)
    assert (answer.dry_run, answer.reason) == (True, None)
    shards.is_late = True
    answer = run(shards, dry_run=True)
    assert answer.found == TotalHits(17, "gte")
    assert answer.missing_shards == [MissingShard(1, Outcome.TIMED_OUT, "no reply")]
    assert len(shards.documents) == 34


def test_missing_shards_are_named_and_their_documents_stay() -> None:
    """The others' are deleted; it is not complete."""
    shards = Shards(34)
    shards.is_late = True
    answer = run(shards)
    assert (answer.deleted, answer.complete) == (17, False)
    assert answer.reason == "shards were not searched"
    assert [one.shard for one in answer.missing_shards] == [1]
    assert set(shards.documents.values()) == {1}


def test_a_query_with_warnings_deletes_nothing() -> None:
    """It may say something else than its author thinks; a dry run shows the warnings."""
    shards = Shards(3)
    shards.warnings = ("there is no field titel",)
    with pytest.raises(BadRequestError, match="there is no field titel"):
        run(shards)
    assert run(shards, dry_run=True).warnings == ["there is no field titel"]
    assert len(shards.documents) == 3


def test_time_that_is_up_is_said() -> None:
    """What was deleted by then is counted."""
    shards = Shards(50)
    shards.search_s = 1.0
    answer = run(shards, timeout_ms=2500)
    assert (answer.deleted, answer.complete, answer.reason) == (30, False, "the time is up")


@pytest.mark.parametrize("num_before", [0, 1])
def test_a_search_that_the_end_cuts_short_is_no_failure_of_shards(num_before: int) -> None:
    """If no shard answers in the little time that is left, the time is up, as at any other end."""
    shards = Shards(20)
    shards.search_s = 1.0
    coverage = InsufficientCoverageError("no shard has answered", make_result())
    shards.errors_after = {num_before: coverage}
    answer = run(shards, timeout_ms=1000 * num_before + 999)
    assert (answer.deleted, answer.complete) == (10 * num_before, False)
    assert answer.reason == "the time is up"


def test_refusals_for_overload_are_waited_for() -> None:
    """Its searches come after others', and it goes on when there is room; at the latest it ends."""
    shards = Shards(20)
    shards.errors = [OverloadedError("busy", "limit", 0.5), OverloadedError("busy", "limit", 0.5)]
    assert run(shards).complete
    shards = Shards(20)
    shards.errors = [OverloadedError("busy", "limit", 0.5) for _ in range(100)]
    with pytest.raises(OverloadedError):
        run(shards, timeout_ms=3000)
    assert len(shards.queries) < 10


def test_errors_after_the_first_turn_are_a_part_of_the_answer() -> None:
    """Nothing that was deleted is hidden behind an error; the first error of all is raised."""
    coverage = InsufficientCoverageError("no shard has answered", make_result())
    shards = Shards(20)
    shards.errors = [coverage]
    with pytest.raises(InsufficientCoverageError):
        run(shards)
    behind = LoadInterruptedError("replicas are behind", LoadReport())
    shards = Shards(20)
    shards.apply_errors = [behind]
    answer = run(shards)
    assert (answer.deleted, answer.complete, answer.reason) == (10, False, "replicas are behind")


def test_documents_that_come_again_end_it() -> None:
    """It does not delete the same ids again and again while others write them."""
    shards = Shards(5)
    shards.is_written_again = True
    answer = run(shards)
    assert (answer.deleted, answer.complete) == (5, False)
    assert answer.reason == "documents that were deleted are written again"


def test_long_queries_are_refused() -> None:
    """They have the limit of searches."""
    with pytest.raises(BadRequestError, match="4096 characters"):
        run(Shards(1), filter="a" * 5000)
