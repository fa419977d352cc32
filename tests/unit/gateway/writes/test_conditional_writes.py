"""Writes on a condition: what a gateway does when things are not as they should be.

Whether a condition holds is judged by workers; tests/integration/test_conditional_writes.py has
some.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, cast

import pytest

from hedgerow.common.collection import Collection, define
from hedgerow.common.errors import (
    LoadInterruptedError,
    NotFoundError,
    UnavailableError,
    VersionMismatchError,
)
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.document_version import version_of
from hedgerow.common.shard_log.judgement import Judgement
from hedgerow.common.state.judgements import JudgementStore
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.search.documents.answer_memory import AnswerMemory
from hedgerow.gateway.search.documents.fetch import StoredDocument
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.condition import Condition
from hedgerow.gateway.writes.conditional_writes import ConditionalWrites
from hedgerow.gateway.writes.document_reader import DocumentReader
from hedgerow.gateway.writes.documents import Documents
from hedgerow.gateway.writes.load import LoadReport
from tests.support.virtual_time import run_virtually
from tests.unit.support.heartbeats import beat

FILMS = define("films", {"fields": {"n": "integer"}}, "u")
ONE = b'{"id":"a","n":1}'
TWO = b'{"id":"a","n":2}'
SOME = "A" * 16


class Cluster:
    """One document, writes that are judged at once, and replicas that may be behind.

    Attributes:
        body: the document; None for none.
        seen: what the next reads see instead; they are then behind.
        others: called before each judgement, as other writers.
        level: what the workers know.
    """

    def __init__(self, body: bytes | None = ONE) -> None:
        self.body = body
        self.seen: list[bytes | None] = []
        self.others: Callable[[], None] = lambda: None
        self.level = 1
        self.judges = True
        self.has_failed_over = False
        self.num_puts = 0
        self.num_caught_up = 0
        self.judged: dict[str, Judgement] = {}
        self.writes = ConditionalWrites(
            cast("Documents", self),
            cast("DocumentReader", self),
            cast("Collections", self),
            cast("JudgementStore", self),
            Settings(),
            1,
            self.workers,
        )

    def workers(self) -> dict[str, Heartbeat]:
        """One worker of that level, or none."""
        known = replace(beat("w1", [0], 0), writes=self.level)
        return {"w1": known} if self.level >= 0 else {}

    async def current(self, _name: str) -> Collection:
        """The only collection."""
        return FILMS

    async def stored(
        self, _collection: str, _id: str, _deadline_ms: float, *, party: str
    ) -> StoredDocument:
        """The document, as a replica has it."""
        body = self.seen.pop(0) if self.seen else self.body
        if body is None:
            raise NotFoundError("there is no document 'a'")
        return StoredDocument(body, AnswerMemory(0).lease(party))

    async def put(
        self,
        _collection: str,
        _id: str,
        body: AsyncIterator[bytes],
        _wait: str,
        *,
        condition: Condition,
        **_: Any,
    ) -> LoadReport:
        """Take a write, and judge it."""
        self.num_puts += 1
        await asyncio.sleep(0.1)
        self.others()
        content = b"".join([chunk async for chunk in body])
        is_done = version_of(self.body) == condition.expected
        if is_done:
            self.body = content
        self.judged[condition.token] = Judgement(condition.token, is_done, version_of(self.body))
        return LoadReport(1, is_applied=True)

    async def delete(
        self, _collection: str, _id: str, _wait: str, _trace: str, *, condition: Condition
    ) -> LoadReport:
        """Take a removal, and judge it."""
        is_done = version_of(self.body) == condition.expected
        self.body = None if is_done else self.body
        self.judged[condition.token] = Judgement(condition.token, is_done, version_of(self.body))
        return LoadReport()

    async def read(self, _shard: int, token: str) -> Judgement | None:
        """A judgement, if it is reported."""
        return self.judged.get(token) if self.judges else None

    async def until_found(
        self, find: Callable[[], Awaitable[Judgement | None]], _shard: int
    ) -> Judgement | None:
        """What is found in time."""
        return await find()

    async def catch_up(self, _shard: int) -> None:
        """Replicas are no longer behind."""
        self.num_caught_up += 1
        self.seen.clear()

    def check_failover(self, report: LoadReport) -> None:
        """As if Redis had failed over."""
        if self.has_failed_over:
            raise LoadInterruptedError("Redis has failed over", report)

    def patch(self, body: bytes, **options: Any) -> Coroutine[Any, Any, LoadReport]:
        """Merge into the document."""
        return self.writes.patch("films", "a", body, **options)

    def put_if(self, if_version: str) -> Coroutine[Any, Any, LoadReport]:
        """Put the document on a condition."""
        return self.writes.put("films", "a", stream(TWO), if_version)


async def stream(body: bytes) -> AsyncIterator[bytes]:
    """A body."""
    yield body


@pytest.mark.parametrize(("level", "reason"), [(0, "worker w1 has version"), (-1, "no worker")])
async def test_workers_that_could_not_judge_get_no_such_write(level: int, reason: str) -> None:
    """A worker of an older version would stop at it in its log; without any, nothing is judged."""
    cluster = Cluster()
    cluster.level = level
    for write in (
        cluster.put_if(version_of(ONE)),
        cluster.patch(b"{}"),
        cluster.writes.delete("films", "a", version_of(ONE)),
    ):
        with pytest.raises(UnavailableError, match=reason):
            await write
    assert (cluster.body, cluster.num_puts) == (ONE, 0)


def test_an_outcome_that_nobody_reports_is_unknown() -> None:
    """It is neither a success nor a refusal, and the error says what to do."""

    async def story() -> None:
        cluster = Cluster()
        cluster.judges = False
        for write in (
            cluster.put_if(version_of(ONE)),
            cluster.patch(b"{}"),
            cluster.writes.delete("films", "a", version_of(TWO)),
        ):
            with pytest.raises(UnavailableError, match="request_id"):
                await write

    run_virtually(story())


def test_a_failover_meanwhile_acknowledges_nothing() -> None:
    """The old server may have taken the write with it."""

    async def story() -> None:
        cluster = Cluster()
        cluster.has_failed_over = True
        with pytest.raises(LoadInterruptedError):
            await cluster.put_if(version_of(ONE))

    run_virtually(story())


def test_a_replica_that_is_behind_refuses_nothing() -> None:
    """A version that is not the expected one, or none, is read again once replicas are abreast."""

    async def story() -> None:
        cluster = Cluster(TWO)
        cluster.seen = [ONE]
        await cluster.patch(b'{"n":3}', if_version=version_of(TWO))
        assert (cluster.num_caught_up, cluster.body) == (1, b'{"id":"a","n":3}')
        cluster.seen = [None]
        await cluster.patch(b'{"n":4}')
        assert (cluster.num_caught_up, cluster.body) == (2, b'{"id":"a","n":4}')
        with pytest.raises(VersionMismatchError):
            await cluster.patch(b'{"n":5}', if_version=SOME)
        cluster.body = None
        with pytest.raises(NotFoundError):
            await cluster.patch(b'{"n":5}')

    run_virtually(story())


def test_a_merge_begins_again_if_another_write_comes_first() -> None:
    """With the content that the other one has left; with a condition of its own it does not."""

    async def story() -> None:
        cluster = Cluster()
        left = [b'{"id":"a","n":1,"other":1}', b'{"id":"a","n":1,"other":2}']

        def others() -> None:
            if left:
                cluster.body = left.pop(0)

        cluster.others = others
        report = await cluster.patch(b'{"n":9}')
        assert cluster.body == b'{"id":"a","n":9,"other":2}'
        assert (report.version, cluster.num_puts) == (version_of(cluster.body), 3)
        left.append(ONE)
        with pytest.raises(VersionMismatchError) as refused:
            await cluster.patch(b'{"n":10}', if_version=version_of(cluster.body))
        assert refused.value.version == version_of(ONE)

    run_virtually(story())


def test_a_merge_gives_up_in_the_end() -> None:
    """If others keep changing the document, it says so, and has written nothing."""

    async def story() -> None:
        cluster = Cluster()
        counts = iter(range(1_000_000))

        def others() -> None:
            cluster.body = b'{"id":"a","n":%d}' % next(counts)

        cluster.others = others
        began = asyncio.get_running_loop().time()
        with pytest.raises(UnavailableError, match="keep changing"):
            await cluster.patch(b'{"title":"x"}')
        assert 60 <= asyncio.get_running_loop().time() - began < 62
        assert cluster.body is not None
        assert b"title" not in cluster.body

    run_virtually(story())


def test_merges_of_one_document_take_turns() -> None:
    """Those of one gateway do not refuse each other."""

    async def story() -> None:
        cluster = Cluster()
        await asyncio.gather(*(cluster.patch(b'{"m%d":1}' % number) for number in range(20)))
        assert cluster.num_puts == 20
        assert cluster.body is not None
        assert cluster.body.count(b'"m') == 20
        assert cluster.writes._turns._turns == {}

    run_virtually(story())
