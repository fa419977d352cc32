"""A split of the shards of a running cluster, with real workers: nothing is lost, all is whole."""

import asyncio
import random
import re
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.errors import ConflictError, NotFoundError
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.gateway.gateway import Gateway
from tests.integration.support.placed import asking
from tests.integration.support.splits import (
    Changer,
    Writer,
    busy,
    document,
    everything,
    lines,
    until_split,
    until_state,
)
from tests.support.clusters import (
    AS_ANY_OTHER,
    Cluster,
    all_live,
    ask,
    gateway_to,
    load_into,
    running_cluster,
)
from tests.support.redis_kinds import KINDS, NODES, ONE, redis_of
from tests.support.servers import RedisServer
from tests.support.waiting import rested, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

NUM_SHARDS = 2
FIELDS = {"fields": {"title": "text", "version": "integer"}}
WORDS = ("oak", "ash", "elm", "yew", "fir", "box", "bay", "fig")


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """Two workers that join, with two replicas of each of two shards; on one kind of Redis."""
    with (
        redis_of(getattr(request, "param", ONE)) as servers,
        running_cluster(
            servers.server,
            tmp_path,
            redis=servers.redis,
            num_shards=NUM_SHARDS,
            num_workers=2,
            joins=True,
            environment={
                **AS_ANY_OTHER,
                "HEDGEROW_PLACEMENT__REPLICAS": "2",
                # Two workers have the scorers of four: on a busy machine, they are late.
                "HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S": "5.0",
            },
        ) as running,
    ):
        yield running


def on(*kinds: str) -> pytest.MarkDecorator:
    """Runs a test on several kinds of Redis."""
    return pytest.mark.parametrize("cluster", kinds, indirect=True)


def expected_of(writers: list[Writer], num_documents: int) -> dict[str, int]:
    """Id → version of what must be found after these writers."""
    expected = {f"d{number}": 0 for number in range(num_documents)}
    for writer in writers:
        for key, version in writer.acknowledged.items():
            expected.pop(key, None)
            if version is not None:
                expected[key] = version
    return expected


async def scores(gateway: Gateway, query: str) -> dict[str, float]:
    """Id → score of all hits."""
    result = await ask(gateway, "books", query, k=1000, deadline_ms=5000.0)
    assert result.coverage.fraction == 1.0
    assert len({hit.id for hit in result.hits}) == len(result.hits)
    return {hit.id: hit.score for hit in result.hits}


async def are_back(gateway: Gateway, cluster: Cluster) -> bool:
    """Whether a gateway sees the worker processes that run now, each with all shards."""
    seen = {one["pid"]: len(one["shards"]) for one in (await gateway.status())["workers"]}
    return seen == {one.pid: gateway.num_shards for one in cluster.workers.values()}


def nearly(expected: dict[str, float]) -> Any:
    """Equal to within the last of the five digits that scores have (docs/ranking.md)."""
    return pytest.approx(expected, rel=1e-4)


def new_shards_of(pid: int) -> set[int]:
    """The shards of the first split of which a process has files mapped."""
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    return {int(shard) for shard in re.findall(r"/layout-1/shards/(\d+)/", maps)}


@on(*KINDS)
async def test_a_split_under_writes_loses_nothing(cluster: Cluster) -> None:
    """Inserts, updates, deletes and searches by two gateways go on: all is whole, and found once.

    Collections that are created, widened and dropped meanwhile are the same in all shards.
    """
    async with gateway_to(cluster) as one, Gateway.connect(cluster.settings) as two:
        await all_live(two)
        await one.collections.put("books", FIELDS)
        await load_into(one, "books", [document(number, 0) for number in range(600)])
        writers = [
            Writer(one, range(100), random.Random(1)),
            Writer(two, range(100, 200), random.Random(2)),
        ]
        changer = Changer(two, random.Random(3))
        async with (
            busy(writers, [one, two], changer),
            asking(one, "books", "number500", num_askers=1) as questions,
        ):
            await one.splits.begin()
            found = await until_split(one, 2 * NUM_SHARDS)
            await until_split(two, 2 * NUM_SHARDS)
            assert min(writer.num_writes for writer in writers) > 4
            # A split may be over soon; the writes go on in the new shards.
            await until(lambda: min(writer.num_writes for writer in writers) > 10)
            await until(lambda: len(changer.fields) > 3, what="four collections were created")
        questions.check({"d500"}, 20)
        assert found["last_split"]["error"] is None
        for gateway in (one, two):
            assert await everything(gateway) == expected_of(writers, 600)
        stores = [
            one for n in range(2) for one in cluster.data(n).glob("layout-1/*/*/store.sqlite")
        ]
        assert len(stores) == 2 * 2 * NUM_SHARDS
        await until(partial(changer.is_in, stores), what="the same collections in all shards")
        assert {one.name for one in two.collections.definitions()} == {"books"} | {
            name for name, fields in changer.fields.items() if fields is not None
        }


@on(NODES)
async def test_shards_are_split_again_and_found_again(cluster: Cluster) -> None:
    """After two splits, everything is started again as it was first: no document is missing."""
    async with gateway_to(cluster) as gateway:
        await gateway.collections.put("books", FIELDS)
        await load_into(gateway, "books", [document(number, 0) for number in range(300)])
        for num_shards in (2 * NUM_SHARDS, 4 * NUM_SHARDS):
            await gateway.splits.begin()
            await until_split(gateway, num_shards)
        status = await gateway.status()
        assert sorted({shard["shard"] for shard in status["shards"]}) == list(range(8))
    for worker in range(2):
        assert not (cluster.data(worker) / "shards").exists()
        cluster.kill(worker)
        cluster.start(worker)  # which names the number of shards that the cluster was made with
    async with gateway_to(cluster) as again:
        assert again.num_shards == 4 * NUM_SHARDS
        await until(partial(are_back, again, cluster), what="the workers that were killed")
        assert await everything(again) == expected_of([], 300)


async def test_hits_and_scores_are_those_of_before(cluster: Cluster) -> None:
    """Each answer during and after the split has the same hits and scores as before."""
    rng = random.Random(3)
    async with gateway_to(cluster) as gateway:
        await gateway.collections.put("books", FIELDS)
        documents = [
            {"id": f"d{n}", "title": " ".join(rng.choices(WORDS, range(1, 9), k=rng.randint(2, 9)))}
            for n in range(400)
        ]
        await load_into(gateway, "books", documents)
        queries = [*WORDS, "oak ash", "yew fir box", "fig +bay"]
        before = {query: await scores(gateway, query) for query in queries}
        await gateway.splits.begin()
        num_asked = 0
        while (found := await gateway.splits.describe())["split"] or gateway.num_shards == 2:
            query = rng.choice(queries)
            async with rested(times=1.0):
                assert await scores(gateway, query) == nearly(before[query]), found
            num_asked += 1
        for query, expected in before.items():
            assert await scores(gateway, query) == nearly(expected), query
        assert num_asked > 20


@pytest.mark.skipif(sys.platform != "linux", reason="reads which files a process has mapped")
async def test_the_first_search_finds_the_new_shards_open(cluster: Cluster) -> None:
    """Every scorer has opened the index of each, though nothing was searched in them yet."""
    async with gateway_to(cluster) as gateway:
        await gateway.collections.put("books", FIELDS)
        await load_into(gateway, "books", [document(number, 0) for number in range(100)])
        await gateway.splits.begin()
        await until_split(gateway, 2 * NUM_SHARDS)
        workers = (await gateway.status())["workers"]
        scorers = [pid for worker in workers for pid in worker["lanes"]["process"]["pids"]]
        assert len(scorers) >= 2
        new = set(range(2 * NUM_SHARDS))
        assert [new_shards_of(pid) for pid in scorers] == [new for _ in scorers]


@on(ONE, NODES)
async def test_a_worker_that_is_killed_while_it_copies_costs_nothing(cluster: Cluster) -> None:
    """One of two workers is killed in each early state, and comes back: the split is done."""
    async with gateway_to(cluster) as gateway:
        await gateway.collections.put("books", FIELDS)
        await load_into(gateway, "books", [document(number, 0) for number in range(900)])
        writers = [Writer(gateway, range(100), random.Random(4))]
        async with busy(writers, [gateway]):
            await gateway.splits.begin()
            await asyncio.sleep(0.2)
            cluster.kill(0)
            await asyncio.sleep(1.0)
            cluster.start(0)
            await until_state(gateway, "sealed", "switched", "retiring", None)
            cluster.kill(1)
            cluster.start(1)
            await until_split(gateway, 2 * NUM_SHARDS)
        assert await everything(gateway) == expected_of(writers, 900)


async def test_a_load_that_is_in_progress_goes_on(cluster: Cluster) -> None:
    """A bulk load begins before the split and ends after it; each document is found once."""
    async with gateway_to(cluster) as gateway:
        await gateway.collections.put("books", FIELDS)
        is_split = asyncio.Event()

        async def stream() -> AsyncIterator[bytes]:
            number = 0
            while not is_split.is_set():
                async for line in lines([document(number, 1)]):
                    yield line
                number += 1
                await asyncio.sleep(0.25)

        loading = asyncio.create_task(gateway.documents.load("books", stream(), "applied"))
        await asyncio.sleep(0.5)
        await gateway.splits.begin()
        await until_split(gateway, 2 * NUM_SHARDS)
        is_split.set()
        report = await loading
        assert report.rejected == []
        found = await everything(gateway)
        assert len(found) == report.accepted


@on(ONE, NODES)
async def test_a_split_is_cancelled_and_begun_again(cluster: Cluster) -> None:
    """A second split is refused, a cancelled one leaves nothing, and another can be begun."""
    async with gateway_to(cluster) as gateway:
        await gateway.collections.put("books", FIELDS)
        await load_into(gateway, "books", [document(number, 0) for number in range(100)])
        with pytest.raises(NotFoundError, match="no split"):
            await gateway.splits.cancel()
        await gateway.splits.begin()
        with pytest.raises(ConflictError, match="a split to 4 shards is in progress"):
            await gateway.splits.begin()
        with pytest.raises(ConflictError, match="being split"):
            await gateway.placement.drain("w0")
        await gateway.splits.cancel()
        found = await until_split(gateway, NUM_SHARDS)
        assert found["last_split"]["error"] == "it was cancelled"
        control = await connect(cluster.settings.redis)
        try:
            for shard in range(2 * NUM_SHARDS):
                log = Keys.of(cluster.settings.redis).of_layout(1).log(shard)
                assert not await control.data(shard).execute("EXISTS", log)
        finally:
            await control.close()
        await until(lambda: not any((cluster.data(n) / "layout-1").exists() for n in range(2)))
        assert len(await everything(gateway)) == 100
        await gateway.splits.begin()
        await until_split(gateway, 2 * NUM_SHARDS)
        assert len(await everything(gateway)) == 100


async def test_pinned_shards_are_not_split(own_server: RedisServer, tmp_path: Path) -> None:
    """A cluster whose workers name their shards refuses, and says what to do."""
    with running_cluster(own_server, tmp_path, num_shards=2, num_workers=1) as cluster:
        async with gateway_to(cluster) as gateway:
            with pytest.raises(ConflictError, match="start the workers with --join first"):
                await gateway.splits.begin()
