"""A worker and a gateway with just the rights that docs/redis.md gives a Redis user."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from tests.containers.container_servers import Server, running_container
from tests.containers.engine import free_port
from tests.support.waiting import until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(180)]


@contextmanager
def process(*command: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of Hedgerow's programs, and drain it at the end of the block."""
    with subprocess.Popen([sys.executable, "-m", *command], env=environment) as running:
        try:
            yield running
        finally:
            running.terminate()
            assert running.wait(40) == 0, f"{command[0]} did not drain"


def is_found(http: httpx.Client, number: int) -> bool:
    """Whether the document that is `number` is found, in a whole answer."""
    found = http.post(
        "/v1/collections/c/search", json={"query": f"number{number}", "deadline_ms": 5000}
    )
    if found.status_code != 200:
        return False
    answer = found.json()
    return bool(answer["coverage"]["is_full"]) and [hit["id"] for hit in answer["hits"]] == [
        str(number)
    ]


async def test_a_cluster_needs_no_rights_beyond_the_documented(
    server_image: str, password: str, key_prefix: str, tmp_path: Path
) -> None:
    """Documents are loaded, found and read, and the jobs that arq runs produce statistics."""
    with running_container(server_image, password, key_prefix) as server, ExitStack() as stack:
        await (await connect(server.settings, wait_s=20)).close()
        port = free_port()
        environment = environment_of(server, password, tmp_path)
        for command in (
            ("hedgerow.shard_worker.main", "--shards", "0,1", "--num-shards", "2", "--id", "w"),
            ("hedgerow.gateway.cli.main", "serve", "--port", str(port), "--num-shards", "2"),
        ):
            stack.enter_context(process(*command, environment=environment))
        http = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30))
        await until(lambda: is_ready(http), timeout_s=60)

        http.put("/v1/collections/c", json={"fields": {"text": "text"}}).raise_for_status()
        lines = "".join(json.dumps({"id": str(n), "text": f"number{n}"}) + "\n" for n in range(100))
        loaded = http.post("/v1/collections/c/documents", content=lines.encode()).json()
        assert (loaded["accepted"], loaded["applied"]) == (100, True)
        await until(lambda: is_found(http, 17), timeout_s=60)
        http.delete("/v1/collections/c/documents/17").raise_for_status()
        assert http.get("/v1/collections/c/documents/17").status_code == 404
        assert http.get("/v1/collections/c/documents/18").json()["text"] == "number18"

        control = await connect(server.settings)
        try:
            await until(lambda: has_statistics(control, Keys(key_prefix)), timeout_s=60)
        finally:
            await control.close()


async def has_statistics(control: RedisClient, keys: Keys) -> bool:
    """Whether any collection has its sum over the shards."""
    pattern = keys.statistics("*")
    _, found = await control.execute("SCAN", 0, "MATCH", pattern, "COUNT", 10_000)
    return bool(found)


def is_ready(http: httpx.Client) -> bool:
    """Whether /readyz says so."""
    try:
        return http.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def environment_of(server: Server, password: str, data: Path) -> dict[str, str]:
    """The settings that lead a process to the server."""
    return {
        **os.environ,
        "HEDGEROW_REDIS__URL": server.settings.url,
        "HEDGEROW_REDIS__USERNAME": "hedgerow",
        "HEDGEROW_REDIS__PASSWORD": password,
        "HEDGEROW_REDIS__KEY_PREFIX": server.settings.key_prefix,
        "HEDGEROW_DATA": str(data),
        "HEDGEROW_WORKER__SCORERS": "1",
    }
