"""Snapshots in S3: real workers with s3fs, against a server that speaks S3.

The server (moto) is another implementation than the client's, and keeps what it is given in memory.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.support.snapshots import (
    NUM_SHARDS,
    PREFIX,
    boarding,
    documents,
    ids,
    is_found,
    lose_disks,
    make_snapshots,
    restart,
)
from tests.support.clusters import Cluster, ask, gateway_to, load, running_cluster
from tests.support.needs import missing
from tests.support.servers import temporary_server
from tests.support.waiting import until

pytestmark = pytest.mark.integration

BUCKET = "snapshots"
KEYS = {"AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "a-secret"}


@dataclass(frozen=True)
class S3:
    """A server with one bucket."""

    url: str

    def objects(self) -> dict[str, int]:
        """Key → bytes, of all that is in the bucket, as another client sees it."""
        import boto3  # noqa: PLC0415 - it comes with moto

        client = boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", **_named())
        listed = client.list_objects_v2(Bucket=BUCKET)
        client.close()
        assert not listed["IsTruncated"]
        return {one["Key"]: one["Size"] for one in listed.get("Contents", [])}

    def forget(self) -> None:
        """Forget the bucket and all that is in it: what is asked of it fails from now on."""
        httpx.post(f"{self.url}/moto-api/reset", trust_env=False).raise_for_status()

    def environment(self, **settings: str) -> dict[str, str]:
        """What a worker needs to keep its snapshots there: keys and address as AWS's tools read."""
        return {
            **KEYS,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
            "HEDGEROW_SNAPSHOTS__URL": f"s3://{BUCKET}/here",
            "HEDGEROW_SNAPSHOTS__INTERVAL_S": "0",
            **settings,
        }


def _named() -> dict[str, str]:
    return {name.lower(): value for name, value in KEYS.items()}


@pytest.fixture
def s3() -> Iterator[S3]:
    """A server of this test's own, with an empty bucket."""
    try:
        import s3fs  # noqa: F401, PLC0415 - absent at a desk without the extra
        from moto.server import ThreadedMotoServer  # noqa: PLC0415
    except ImportError as error:
        missing(f"the extra s3, and moto's server ({error.name})")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        started = S3(f"http://{host}:{port}")
        started.forget()  # what servers before it in this process were given
        httpx.put(f"{started.url}/{BUCKET}", trust_env=False).raise_for_status()
        yield started
    finally:
        server.stop()


@pytest.fixture
def cluster(s3: S3, tmp_path: Path) -> Iterator[Cluster]:
    """Two workers with a shard each, which keep the newest snapshot alone."""
    with (
        temporary_server() as server,
        running_cluster(
            server,
            tmp_path,
            num_shards=NUM_SHARDS,
            environment=s3.environment(HEDGEROW_SNAPSHOTS__KEEP="1"),
        ) as running,
    ):
        yield running


async def test_a_cluster_comes_back_from_s3_on_empty_disks(cluster: Cluster, s3: S3) -> None:
    """With the disks and Redis lost, definitions and documents are those of the newest snapshot."""
    async with gateway_to(cluster) as gateway:
        await load(gateway, "books", documents(0, 100))
        first = await make_snapshots(cluster.server, NUM_SHARDS)
        await load(gateway, "books", documents(50, 200))
        await gateway.documents.delete("books", "d3")
        newest = await make_snapshots(cluster.server, NUM_SHARDS)
    assert sum(one.documents for one in newest.values()) == 199
    await until(lambda: _places(s3) == {_place(shard, newest[shard].id) for shard in newest})
    assert not {_place(shard, one.id) for shard, one in first.items()} & _places(s3)
    for shard, facts in newest.items():
        sizes = [
            size
            for key, size in s3.objects().items()
            if key.startswith(_place(shard, facts.id)) and not key.endswith("/manifest.json")
        ]
        assert sum(sizes) == facts.num_bytes
    lose_disks(cluster)
    cluster.server.stop(kill=True)
    cluster.server.start()
    restart(cluster)
    async with gateway_to(cluster) as gateway:
        await until(lambda: bool(gateway.collections.names()))
        expected = ids(0, 200) - {"d3"}
        await until(lambda: is_found(gateway, expected))
        await load(gateway, "books", documents(300, 330))
        await until(lambda: is_found(gateway, expected | ids(300, 330)))


def _place(shard: int, snapshot: str) -> str:
    return f"here/{PREFIX}/shard-{shard}/{snapshot}"


def _places(s3: S3) -> set[str]:
    """The folders of snapshots that have anything in them."""
    return {"/".join(key.split("/")[:4]) for key in s3.objects()}


async def test_what_s3_refuses_is_told(cluster: Cluster, s3: S3) -> None:
    """Without its bucket a snapshot fails, the status says why, and documents are still found."""
    async with gateway_to(cluster) as gateway, boarding(cluster.server) as (board, _):
        await load(gateway, "books", documents(0, 10))
        s3.forget()
        await board.want(range(NUM_SHARDS))

        async def is_told() -> bool:
            standing: list[Mapping[str, Any]] = (await gateway.status())["snapshots"]
            return all(one["error"] and one["id"] is None for one in standing)

        await until(is_told)
        assert (await ask(gateway, "books", "common", k=20)).coverage.is_full


async def test_an_empty_worker_does_not_start_while_s3_is_away(cluster: Cluster, s3: S3) -> None:
    """Started with nothing, it would pass for a replica that has everything."""
    async with gateway_to(cluster) as gateway:
        await load(gateway, "books", documents(0, 10))
        await make_snapshots(cluster.server, NUM_SHARDS)
    lose_disks(cluster)
    away = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    cluster.environment = {**cluster.environment, **away}
    cluster.start(0)
    assert cluster.workers[0].wait(60) == 1
    cluster.environment = s3.environment()
    restart(cluster)
    async with gateway_to(cluster) as gateway:
        await until(lambda: is_found(gateway, ids(0, 10)))
