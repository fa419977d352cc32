"""Metrics of real clusters, counted by their callers as well."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hedgerow.common.metrics.exposition import TextFormat
from hedgerow.common.metrics.process_metrics import PROCESS_METRICS
from hedgerow.common.metrics.worker_metrics import WORKER_METRICS
from tests.support.clusters import gateway_to, running_cluster
from tests.support.metrics import Scrape, scrape
from tests.support.servers import temporary_server
from tests.support.up import Up, running_up
from tests.support.waiting import until

pytestmark = pytest.mark.integration

FILMS = "/v1/collections/films"
DOCUMENTS = b"".join(
    json.dumps({"id": f"d{number}", "title": f"hedge number {number}"}).encode() + b"\n"
    for number in range(40)
)
ONE_AT_A_TIME = {
    "HEDGEROW_ADMISSION__MIN_LIMIT": "1",
    "HEDGEROW_ADMISSION__INITIAL_LIMIT": "1",
    "HEDGEROW_ADMISSION__MAX_LIMIT": "1",
}


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Up]:
    """A cluster with four shards on two workers, whose setting for a port names one in use."""
    arguments = ("--shards", "4", "--workers", "2")
    settings: dict[str, Any] = {
        "HEDGEROW_WORKER__METRICS_PORT": "1",
        "HEDGEROW_GATEWAY__DEFAULT_DEADLINE_MS": "20000",  # a busy machine can meet it
    }
    async with running_up(tmp_path / "data", *arguments, **settings) as one:
        yield one


@pytest.fixture
async def client(up: Up) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that cluster, which has one collection."""
    async with httpx.AsyncClient(base_url=up.url, timeout=30) as one:
        (await one.put(FILMS, content=b"{}")).raise_for_status()
        yield one


async def load(client: httpx.AsyncClient, lines: bytes) -> None:
    """Load documents until they can be found."""
    response = await client.post(f"{FILMS}/documents?wait=applied", content=lines)
    assert response.status_code == 200, response.text


async def search(client: httpx.AsyncClient, **members: object) -> httpx.Response:
    """Search."""
    return await client.post(f"{FILMS}/search", content=json.dumps(members).encode())


async def test_what_callers_count_is_what_is_shown(client: httpx.AsyncClient) -> None:
    """Searches by how they ended, documents and rejected lines, and parts by shard, to the number.

    One target shows the gateway and both workers of `gateway up`, whatever port is set for them.
    """
    await load(client, DOCUMENTS + b'{"no": "id"}\nnot json\n')
    for _ in range(7):
        assert (await search(client, query="hedge")).status_code == 200
    for odd in ({"query": "hedge", "k": -1}, {"query": "x", "rank_profile": "none"}):
        assert (await search(client, **odd)).status_code == 400
    missing = await client.post("/v1/collections/none/search", content=b'{"query": "x"}')
    assert missing.status_code == 404
    chunked = await client.post(
        f"{FILMS}/search", content=_in_chunks(b'{"query": "hedge", "k": 0}')
    )
    assert chunked.status_code == 400
    found = await scrape(client)
    results = {
        result: found.sum("hedgerow_searches_total", result=result)
        for result in found.label("hedgerow_searches_total", "result")
    }
    assert {result: num for result, num in results.items() if num} == {
        "full": 7,
        "bad_request": 3,
        "not_found": 1,
    }
    assert found.sum("hedgerow_search_duration_seconds_count", collection="films") == 7
    assert found.sum("hedgerow_search_coverage_ratio_sum") == 7
    for shard in "0123":
        assert found.sum("hedgerow_shard_outcomes_total", shard=shard) == 7
        assert found.sum("hedgerow_shard_outcomes_total", shard=shard, outcome="ok") == 7
    assert found.sum("hedgerow_documents_accepted_total", collection="films") == 40
    assert found.sum("hedgerow_documents_rejected_total", collection="films") == 2
    assert found.sum("hedgerow_workers") == 2
    assert found.label("hedgerow_lane_busy", "worker") == {"worker-0", "worker-1"}
    assert found.sum("hedgerow_replica_log_lag_seconds") == 0
    assert found.sum("hedgerow_redis_up") == 1

    async def is_counted() -> bool:
        now = await scrape(client)
        return now.sum("hedgerow_collection_documents", collection="films") == 40

    await until(is_counted, what="the gateway has heard of the documents")


async def _in_chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def test_a_killed_worker_shows(up: Up, client: httpx.AsyncClient) -> None:
    """Its shards' parts are missing by outcome, answers are partial, and its start is another."""
    await load(client, DOCUMENTS)
    before = await scrape(client)
    os.kill(up.pids["worker-1"], signal.SIGKILL)
    partial = 0

    async def has_gone() -> bool:
        nonlocal partial
        answer = await search(client, query="hedge", deadline_ms=100)
        coverage = answer.json()["coverage"]
        # On a busy machine no shard may answer in time, which is no partial answer.
        partial += answer.status_code == 200 and not coverage["is_full"]
        return partial >= 3 and coverage["degraded"].get("unavailable") == 2

    await until(has_gone, what="three partial answers, and the news")
    found = await scrape(client)
    assert found.sum("hedgerow_searches_total", result="partial") == partial
    lost = {
        shard
        for shard in "0123"
        if found.sum("hedgerow_shard_outcomes_total", shard=shard, outcome="unavailable")
    }
    assert len(lost) == 2
    assert (
        0
        < found.sum("hedgerow_search_coverage_ratio_sum")
        / (found.sum("hedgerow_search_coverage_ratio_count"))
        < 1
    )

    async def is_back() -> bool:
        now = await scrape(client)
        name = "hedgerow_worker_start_time_seconds"
        return now.sum(name, worker="worker-1") > before.sum(name, worker="worker-1") > 0

    await until(is_back, what="the worker is back")


async def test_breakers_and_their_changes_show(client: httpx.AsyncClient) -> None:
    """A breaker is in exactly one state, and a change to it is counted."""
    await client.post("/v1/shards/2/breaker", content=b'{"state": "forced_open"}')
    found = await scrape(client)
    for shard in "0123":
        state = "forced_open" if shard == "2" else "closed"
        assert found.sum("hedgerow_breaker_state", shard=shard) == 1
        assert found.sum("hedgerow_breaker_state", shard=shard, state=state) == 1
    assert found.sum("hedgerow_breaker_transitions_total") == 1
    assert found.sum("hedgerow_breaker_transitions_total", shard="2", state="forced_open") == 1


async def test_refusals_show_by_cause(tmp_path: Path) -> None:
    """Of many searches at once, each is full or refused, as many as the callers saw."""
    async with (
        running_up(
            tmp_path / "data", "--shards", "1", "--workers", "1", folder=None, **ONE_AT_A_TIME
        ) as up,
        httpx.AsyncClient(base_url=up.url, timeout=30) as client,
    ):
        (await client.put(FILMS, content=b"{}")).raise_for_status()
        await load(client, DOCUMENTS)
        answers = await asyncio.gather(*(search(client, query="hedge") for _ in range(30)))
        statuses = [answer.status_code for answer in answers]
        causes = [answer.json()["cause"] for answer in answers if answer.status_code == 429]
        found = await scrape(client)
    assert statuses.count(200) + len(causes) == 30
    assert found.sum("hedgerow_searches_total", result="full") == statuses.count(200)
    assert len(causes) > 0
    for cause in set(causes):
        refused = found.sum("hedgerow_searches_total", result="refused", cause=cause)
        assert refused == causes.count(cause)
    assert found.sum("hedgerow_admission_limit") == 1


async def test_no_secret_and_no_query_shows(up: Up, client: httpx.AsyncClient) -> None:
    """Neither the text of a query, nor an id, nor a key's secret is in the metrics."""
    await load(client, b'{"id": "very-secret-id", "title": "hedge"}\n')
    await search(client, query="unmistakable", filter="title:hedge")
    text = (await scrape(client)).text
    assert "unmistakable" not in text
    assert "very-secret-id" not in text


async def test_metrics_without_redis(up: Up, client: httpx.AsyncClient) -> None:
    """While Redis hangs, a scrape still answers, says so, and lacks only what Redis knows."""
    os.kill(up.pids["redis"], signal.SIGSTOP)
    try:
        found = await scrape(client)
    finally:
        os.kill(up.pids["redis"], signal.SIGCONT)
    assert found.sum("hedgerow_redis_up") == 0
    assert "hedgerow_queue_length" not in found.names
    assert "hedgerow_quarantined_queries" not in found.names
    assert "hedgerow_searches_total" in found.names

    async def is_up() -> bool:
        return (await scrape(client)).sum("hedgerow_redis_up") == 1

    await until(is_up, what="Redis answers again")


async def test_a_worker_serves_its_own_metrics(tmp_path: Path) -> None:
    """With worker.metrics_port, a worker shows its metrics, and gateways then leave them out."""
    log = tmp_path / "workers.log"
    with (
        temporary_server() as server,
        running_cluster(
            server, tmp_path, log=log, environment={"HEDGEROW_WORKER__METRICS_PORT": "0"}
        ) as cluster,
    ):
        async with gateway_to(cluster) as gateway, httpx.AsyncClient(timeout=10) as client:
            ports = re.findall(r"\bmetrics\b.*\bport=(\d+)", log.read_text(encoding="utf-8"))
            assert len(ports) == 2
            own = [await scrape(client, f"http://127.0.0.1:{port}/metrics") for port in ports]
            shared = Scrape((await gateway.metrics_text(TextFormat.OPENMETRICS, [])).decode())
            refused = await client.get(
                f"http://127.0.0.1:{ports[0]}/metrics", headers={"Host": "rebound.example"}
            )
            absent = await client.get(f"http://127.0.0.1:{ports[0]}/")
    assert {name for one in own for name in one.label("hedgerow_worker_info", "worker")} == {
        "w0",
        "w1",
    }
    expected = {one.name for one in (*WORKER_METRICS, *PROCESS_METRICS)}
    for one in own:
        names = {re.sub(r"_(bucket|count|sum)$", "", name) for name in one.names}
        # These have samples only where a profile, a counter or a function has been of use.
        assert names <= expected
        assert expected - names <= {
            "hedgerow_lane_profile_held",
            "hedgerow_lane_profile_refused_total",
            "hedgerow_worker_events_total",
            "hedgerow_worker_embedding_texts_total",
            "hedgerow_worker_embedding_calls_total",
            "hedgerow_worker_embedding_seconds_total",
        }
        assert one.sum("hedgerow_worker_cpu_seconds_total", process="scorers") > 0
        assert one.sum("hedgerow_worker_memory_bytes", process="indexer") > 1e6
    assert shared.sum("hedgerow_workers") == 2
    assert not [name for name in shared.names if name.startswith("hedgerow_lane")]
    assert (refused.status_code, absent.status_code) == (403, 404)
