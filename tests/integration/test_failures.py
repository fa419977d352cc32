"""What the caller sees when parts of a real cluster are killed, stopped, crashed or hung."""

import asyncio
import inspect
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.errors import BadRequestError, InsufficientCoverageError
from hedgerow.common.outcome import Outcome
from hedgerow.common.partition import shard_of
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.worker import WorkerSettings
from hedgerow.gateway.access.control import AccessControl
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.result import SearchResult
from hedgerow.gateway.shapes.status import StatusAnswer
from tests.integration.support import hooks
from tests.support.clusters import Cluster, all_live, ask, cluster_of_its_own, gateway_to, load
from tests.support.servers import DURABLE
from tests.support.shapes import check_shape
from tests.support.waiting import until

pytestmark = pytest.mark.integration

DOCUMENTS: list[dict[str, Any]] = [
    {"id": f"d{number}", "title": f"hedge number {number}", "number": number}
    for number in range(60)
]
NUM_SHARDS = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One cluster for the module; each test leaves it whole."""
    with cluster_of_its_own(
        *DURABLE,
        log=Path("workers.log"),
        # A worker of a busy machine may be silent for a while, and serve all the same.
        environment={"HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S": "3.0"},
    ) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def logged(cluster: Cluster) -> Iterator[Callable[[], str]]:
    """What the workers have logged since the test began; it is shown when the test fails."""
    assert cluster.log is not None
    log, start = cluster.log, cluster.log.stat().st_size

    def read() -> str:
        return log.read_bytes()[start:].decode(errors="replace")

    yield read
    sys.stderr.write(read())


async def prepared(gateway: Gateway) -> None:
    """The documents are there."""
    await load(gateway, "hedges", DOCUMENTS)


def share(shards: list[int]) -> float:
    """The share of the documents that these shards own, by the documents' ids alone."""
    owners = [shard_of(document["id"], NUM_SHARDS) for document in DOCUMENTS]
    return sum(owner in shards for owner in owners) / len(owners)


def line_of(function: Callable[..., object], text: str) -> int:
    """The number of the first line of a function that contains `text`."""
    lines, first = inspect.getsourcelines(function)
    return first + next(at for at, line in enumerate(lines) if text in line)


def outcomes_of(result: SearchResult) -> dict[int, Outcome]:
    """Shard → outcome."""
    return {detail.shard: detail.outcome for detail in result.detail}


async def test_a_whole_cluster_finds_everything(cluster: Cluster) -> None:
    """Every document that has the word is found once, with its fields, at full coverage."""
    async with gateway_to(cluster) as gateway:
        await prepared(gateway)
        result = await ask(gateway, "hedges", "hedge", k=100)
        assert result.coverage.is_full
        assert result.coverage.fraction == 1.0
        assert result.total_hits.value == len(DOCUMENTS)
        assert sorted(hit.id for hit in result.hits) == sorted(d["id"] for d in DOCUMENTS)
        assert all(
            hit.fields == DOCUMENTS[int(hit.id[1:])] and hit.shard == shard_of(hit.id, NUM_SHARDS)
            for hit in result.hits
        )
        assert (await gateway.get_document("hedges", "d7", 2000)) == DOCUMENTS[7]


@pytest.mark.parametrize("deadline_ms", [0.0, -1.0, float("inf"), float("nan"), 1e12])
async def test_a_document_is_read_by_a_deadline_that_can_be(
    cluster: Cluster, deadline_ms: float
) -> None:
    """Reading one document takes the deadlines that a search takes, and no others."""
    async with gateway_to(cluster) as gateway:
        await prepared(gateway)
        with pytest.raises(BadRequestError, match="deadline_ms"):
            await gateway.get_document("hedges", "d7", deadline_ms)


async def test_the_second_phase_decides_the_order(cluster: Cluster) -> None:
    """A configured function ranks each shard's candidates, and the merge keeps its order."""
    async with gateway_to(cluster) as gateway:
        await prepared(gateway)
        result = await ask(gateway, "hedges", "hedge number", k=5, rank_profile="numbers")
        assert [hit.id for hit in result.hits] == ["d59", "d58", "d57", "d56", "d55"]


async def test_a_stopped_worker_opens_its_breakers_and_its_return_closes_them(
    cluster: Cluster,
) -> None:
    """SIGSTOP: five answers wait for the deadline, the next does not; SIGCONT heals."""
    # However long five answers take, it does not count as dead before.
    patient = cluster.settings.model_copy(
        update={"worker": WorkerSettings(heartbeat_expiry_s=300.0)}
    )
    async with Gateway.connect(patient, num_shards=NUM_SHARDS) as gateway:
        await all_live(gateway)
        await prepared(gateway)
        took_ms = [
            (await ask(gateway, "hedges", "hedge", deadline_ms=30_000.0)).took_ms for _ in range(5)
        ]
        # A shard that had less than four times what it mostly takes is excused.
        deadline_ms = max(120.0, 5 * max(took_ms))
        for shard in cluster.shards_of(1):  # none has failed yet
            gateway.set_breaker(shard, "closed")
        cluster.signal(1, signal.SIGSTOP)
        try:
            seen: list[dict[str, int]] = []

            async def is_spared() -> bool:
                try:
                    result = await ask(gateway, "hedges", "hedge", deadline_ms=deadline_ms)
                except InsufficientCoverageError as error:  # on a busy machine none is in time
                    result = error.result
                seen.append(result.coverage.degraded)
                outcomes = outcomes_of(result)
                return Outcome.BREAKER_OPEN in map(outcomes.get, cluster.shards_of(1))

            await until(is_spared)
            assert sum("timed_out" in degraded for degraded in seen) >= 5
        finally:
            cluster.signal(1, signal.SIGCONT)

        async def is_whole() -> bool:
            result = await ask(gateway, "hedges", "hedge", deadline_ms=2000.0)
            return result.coverage.is_full

        await until(is_whole)


async def test_a_query_that_kills_scorers_is_quarantined(cluster: Cluster) -> None:
    """A crashing query fails, is then refused by name, and harms no other query."""
    async with gateway_to(cluster) as gateway:
        await prepared(gateway)
        with pytest.raises(InsufficientCoverageError) as failed:
            await ask(gateway, "hedges", "hedge crash", rank_profile="numbers", deadline_ms=10_000)
        assert set(outcomes_of(failed.value.result).values()) == {Outcome.FAILED}

        with pytest.raises(InsufficientCoverageError) as refused:
            await ask(gateway, "hedges", "hedge crash", rank_profile="numbers", deadline_ms=10_000)
        reasons = {detail.reason for detail in refused.value.result.detail}
        assert all("refused" in reason for reason in reasons), reasons

        async def is_listed() -> bool:
            return any("crash" in e["query"] for e in (await gateway.status())["quarantine"])

        await until(is_listed)
        status = await gateway.status()
        status["gateway"]["access"] = AccessControl(GatewaySettings()).to_json(gateway.callers())
        check_shape(status, StatusAnswer)

        async def is_whole() -> bool:
            result = await ask(gateway, "hedges", "hedge", rank_profile="numbers")
            return result.coverage.is_full

        await until(is_whole)


async def test_a_users_exception_is_told_in_its_last_line(cluster: Cluster) -> None:
    """A second phase that raises ends as `failed`, with the exception's last line as the reason."""
    async with gateway_to(cluster) as gateway:
        await prepared(gateway)
        with pytest.raises(InsufficientCoverageError) as failed:
            await ask(gateway, "hedges", "hedge raise", rank_profile="numbers")
        for detail in failed.value.result.detail:
            assert detail.outcome is Outcome.FAILED
            assert "ValueError: no score for this" in detail.reason


async def test_a_users_exception_is_logged_with_its_traceback(
    cluster: Cluster, logged: Callable[[], str]
) -> None:
    """The worker's log has each frame down to the user's line, and not the documents."""
    async with gateway_to(cluster) as gateway:
        await prepared(gateway)
        with pytest.raises(InsufficientCoverageError):
            await ask(gateway, "hedges", "hedge raise", rank_profile="numbers")
    for line in (
        "Traceback (most recent call last)",
        f'hooks.py", line {line_of(hooks.by_number, "raise ValueError")}, in by_number',
        "ValueError: no score for this",
    ):
        assert line in logged()
    assert "hedge number" not in logged()


async def test_enrich_adds_to_the_winners(cluster: Cluster) -> None:
    """The blocking hook sees the winners only, and what it adds is in the answer."""
    async with gateway_to(cluster) as gateway:
        await prepared(gateway)
        result = await ask(gateway, "hedges", "hedge", k=3, rank_profile="greeting")
        assert [hit.fields["greeting"] for hit in result.hits if hit.fields] == [
            f"hello {hit.id}" for hit in result.hits
        ]


async def test_a_failing_enrich_leaves_the_stored_fields(cluster: Cluster) -> None:
    """The hit keeps what the store has, and the answer says why there is no more."""
    async with gateway_to(cluster) as gateway:
        await load(gateway, "failing", [{"id": "f", "title": "failing", "number": 1}])
        result = await ask(gateway, "failing", "failing", rank_profile="greeting")
        assert result.hits[0].fields == {"id": "f", "title": "failing", "number": 1}
        assert result.fetch is not None
        assert "the old system is down" in result.fetch.problems[0].reason


async def test_a_hanging_enrich_holds_its_share_of_the_threads_alone(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Late: stored fields. Its threads lost: refused at once. Others: unharmed. And it heals."""
    async with gateway_to(cluster) as gateway:
        await prepared(gateway)
        returns = tmp_path / "returns"
        document = {"id": "h", "title": "hanging", "until": str(returns)}
        await load(gateway, "hanging", [document])

        async def ask_hanging(**changes: Any) -> SearchResult:
            return await ask(gateway, "hanging", "hanging", rank_profile="greeting", **changes)

        late = await ask_hanging(deadline_ms=2000.0)
        assert late.hits[0].fields == document
        assert late.fetch is not None
        assert "in time" in late.fetch.problems[0].reason

        async def thread_lanes() -> list[dict[str, Any]]:
            return [worker["lanes"]["thread"] for worker in (await gateway.status())["workers"]]

        async def num_lost() -> int:
            return int(max([lane["lost"] for lane in await thread_lanes()]))

        async def is_lost() -> bool:
            return await num_lost() == 1

        await until(is_lost)
        refused = await ask_hanging(deadline_ms=30_000.0)
        assert refused.hits[0].fields == document
        assert refused.fetch is not None
        assert "1 threads that greeting may hold are lost" in refused.fetch.problems[0].reason
        assert refused.took_ms < 15_000
        for profile in ("bm25", "also_greeting"):
            other = await ask(
                gateway, "hedges", "hedge", k=20, rank_profile=profile, deadline_ms=30_000.0
            )
            assert other.fetch is not None
            assert (other.fetch.fetched, other.fetch.problems) == (20, [])
        assert other.hits[0].fields is not None
        assert other.hits[0].fields["greeting"] == f"hello {other.hits[0].id}"
        assert await num_lost() == 1  # all the while
        returns.touch()

        async def none_lost() -> bool:
            return await num_lost() == 0

        await until(none_lost)
        healed = await ask(gateway, "hanging", "hanging", rank_profile="bm25")
        assert healed.hits[0].fields == document
        profiles = [lane["profiles"].get("greeting") for lane in await thread_lanes()]
        assert sum(profile["refused"] for profile in profiles if profile is not None) == 1


async def test_rubbish_in_a_queue_is_counted_and_dropped(cluster: Cluster) -> None:
    """Malformed bytes and an unknown version do no harm, and can be seen in the counters."""
    link = RedisConnection(Endpoint.of(cluster.settings.redis), name="test", silence_s=5)
    await link.start(5)
    try:
        async with gateway_to(cluster) as gateway:
            await prepared(gateway)
            await link.call("RPUSH", "hedgerow:search:0", b"\xc1rubbish", b"\x97\x63\1\2\3\4\5\6")
            await link.call("RPUSH", "hedgerow:fetch:0", b"")

            async def is_counted() -> bool:
                workers = (await gateway.status())["workers"]
                counts = [w["counters"].get("requests_malformed", 0) for w in workers]
                return bool(sum(counts) == 3)

            await until(is_counted)
            assert (await ask(gateway, "hedges", "hedge")).coverage.is_full
    finally:
        await link.close()


async def test_a_draining_worker_answers_what_it_has_pulled(cluster: Cluster) -> None:
    """SIGTERM under load: the process ends by itself, with status 0, and comes back whole."""
    async with gateway_to(cluster) as gateway:
        await prepared(gateway)
        asking = [ask(gateway, "hedges", "hedge", deadline_ms=2000.0) for _ in range(20)]
        queries = [asyncio.create_task(one) for one in asking]
        await asyncio.sleep(0)
        cluster.signal(1, signal.SIGTERM)
        for result in await asyncio.gather(*queries):
            assert set(result.coverage.degraded) <= {"unavailable", "timed_out", "breaker_open"}
        await until(lambda: cluster.workers[1].poll() is not None)
        assert cluster.workers[1].returncode == 0
        cluster.start(1)
        await all_live(gateway)
