"""The control plane on a server of its own (`redis.control_url`): what is where, and what fails."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import ConflictError, NotFoundError, RedisUnavailableError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.shard_log.entries import START
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.operations import Create, Drop, unpack_op
from hedgerow.common.state import split_changes
from hedgerow.common.state.registry import Registry
from hedgerow.gateway.shapes.alias import AliasChange
from tests.support.clusters import Cluster, ask, gateway_to, load, load_into, ndjson
from tests.support.servers import DURABLE, RedisServer, temporary_server
from tests.support.waiting import until

pytestmark = pytest.mark.integration

NUM_SHARDS = 3
OF_DATA = ("search", "fetch", "search@", "fetch@", "log", "applied", "trimmed", "registered")


@dataclass
class Servers:
    """The server of queries and logs, and the one for everything else."""

    data: RedisServer
    control: RedisServer

    def settings(self, prefix: str = "hedgerow") -> RedisSettings:
        """Settings of a client to both."""
        return RedisSettings(
            url=self.data.url,
            control_url=self.control.url,
            key_prefix=prefix,
            reconnect_max_s=0.2,
            command_timeout_s=2.0,
        )

    @asynccontextmanager
    async def connected(self, prefix: str) -> AsyncIterator[tuple[RedisClient, Keys]]:
        """A client to both, for the block."""
        settings = self.settings(prefix)
        control = await connect(settings)
        try:
            yield control, Keys.of(settings)
        finally:
            await control.close()


@pytest.fixture
def servers() -> Iterator[Servers]:
    """Two servers that a test may stop."""
    with temporary_server(*DURABLE) as data, temporary_server() as control:
        yield Servers(data, control)


def families(keys: list[bytes]) -> set[str]:
    """The first parts of keys, after the prefix."""
    parts = {key.decode().split(":")[1] for key in keys if key.startswith(b"hedgerow:")}
    return {part.partition("@")[0] + "@" * ("@" in part) for part in parts}


async def test_a_cluster_lives_on_two_servers(servers: Servers, tmp_path: Path) -> None:
    """Searches, writes and jobs work as on one server, and each server has only what is its own."""
    redis = servers.settings()
    cluster = Cluster(servers.data, tmp_path, num_shards=NUM_SHARDS, redis=redis)
    try:
        for worker in range(cluster.num_workers):
            cluster.start(worker)
        async with gateway_to(cluster) as gateway:
            documents = [{"id": f"d{n}", "title": f"river {n}"} for n in range(60)]
            await load(gateway, "notes", documents)
            result = await ask(gateway, "notes", "river", k=100)
            assert len(result.hits) == 60
            assert result.coverage.is_full
            await gateway.aliases.change([AliasChange("all", "notes")])
            await gateway.conditional_writes.patch("all", "d1", b'{"title": "river bank"}')
            assert [hit.id for hit in (await ask(gateway, "all", "bank")).hits] == ["d1"]

            async with servers.connected("hedgerow") as (control, keys):
                uid = gateway.collections.get("notes").uid

                async def has_statistics() -> bool:  # which arq's jobs collect and add up
                    return bool(await control.execute("EXISTS", keys.statistics(uid)))

                await until(has_statistics, what="statistics are collected")
                on_data = families(await control.data(0).execute("KEYS", "*"))
                on_control = families(await control.execute("KEYS", "*"))
                log = ShardLog(control, keys)
                assert await log.lengths(range(NUM_SHARDS)) == dict.fromkeys(range(NUM_SHARDS), 0)
            assert on_data <= set(OF_DATA)
            assert {"applied"} <= on_data
            assert {"collections", "aliases", "judgement", "workers", "cluster"} <= on_control
            assert not on_control & set(OF_DATA)
            await gateway.aliases.change([AliasChange("all", None)])
            await gateway.collections.drop("notes")
            with pytest.raises(NotFoundError):
                await ask(gateway, "notes", "river")
    finally:
        cluster.stop()


async def test_definitions_come_back_if_their_server_alone_loses_its_data(
    servers: Servers, tmp_path: Path
) -> None:
    """So do collections that were only logged when it was lost; one that was dropped stays away."""
    cluster = Cluster(servers.data, tmp_path, num_shards=NUM_SHARDS, redis=servers.settings())
    rivers = [{"id": f"d{n}", "title": f"river {n}"} for n in range(60)]
    try:
        for worker in range(cluster.num_workers):
            cluster.start(worker)
        async with gateway_to(cluster) as gateway:
            await load(gateway, "notes", rivers)
            await load(gateway, "gone", rivers)
            fields = gateway.collections.get("notes").fields
            cluster.stop()
            await gateway.collections.drop("gone")
            await gateway.collections.put("late", {"fields": {"title": "text"}})
            await gateway.documents.load("late", ndjson(rivers), "logged")
        servers.control.stop(kill=True)
        servers.control.start()
        async with servers.connected("hedgerow") as (control, keys):
            registry = Registry(control, keys)
            assert await registry.collections() == {}
            for worker in range(cluster.num_workers):
                cluster.start(worker)

            async def are_registered() -> bool:
                found = await control.data(0).pipeline(
                    [("GET", keys.registered(shard)) for shard in range(NUM_SHARDS)]
                )
                return set(found) == {await registry.identity()}

            await until(are_registered, what="all shards are registered again")
            assert set(await registry.collections()) == {"notes", "late"}
        async with gateway_to(cluster) as gateway:
            assert gateway.collections.get("notes").fields == fields
            await load_into(gateway, "notes", [{"id": "new", "title": "river"}])
            for name, number in (("notes", 61), ("late", 60)):
                found = await ask(gateway, name, "river", k=1)
                assert (found.total_hits.value, found.coverage.is_full) == (number, True)
            with pytest.raises(NotFoundError):
                await ask(gateway, "gone", "river")
    finally:
        cluster.stop()


async def ops(log: ShardLog, shard: int) -> list[object]:
    """The operations in a shard's log."""
    return [unpack_op(entry.op) for entry in await log.read(shard, START, 10_000)]


async def test_a_change_that_was_left_behind_is_completed(
    servers: Servers, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A definition whose logs could not be written is there for all, or for none, at each time."""
    async with servers.connected(key_prefix) as (control, keys):
        registry, log = Registry(control, keys), ShardLog(control, keys)
        await registry.cluster(NUM_SHARDS)
        servers.data.stop()
        wanted = define("notes", {})
        with pytest.raises(RedisUnavailableError):
            await registry.create_collection(wanted, NUM_SHARDS)
        assert await registry.collections() == {}
        servers.data.start()
        assert await registry.collections() == {}  # it may still be on its way
        monkeypatch.setattr(split_changes, "PATIENCE", 0)
        assert (await registry.collections())["notes"].uid == wanted.uid
        for shard in range(NUM_SHARDS):
            [create] = await ops(log, shard)
            assert isinstance(create, Create)
        assert await control.execute("EXISTS", keys.changes) == 0


async def test_one_of_two_changes_at_once_is_made(servers: Servers, key_prefix: str) -> None:
    """All logs have the operations of a collection in one order, whichever process changes it."""
    async with (
        servers.connected(key_prefix) as (control, keys),
        servers.connected(key_prefix) as (other, _),
    ):
        registries = [Registry(control, keys), Registry(other, keys)]
        await registries[0].cluster(NUM_SHARDS)
        created = await asyncio.gather(
            *(one.create_collection(define("notes", {}), NUM_SHARDS) for one in registries)
        )
        assert created[0].uid == created[1].uid
        ended = await asyncio.gather(
            *(one.drop_collection(created[0], NUM_SHARDS) for one in registries),
            return_exceptions=True,
        )
        assert [type(one) for one in ended if one is not None] in ([], [NotFoundError])
        log = ShardLog(control, keys)
        for shard in range(NUM_SHARDS):
            assert [type(op) for op in await ops(log, shard)] == [Create, Drop]
        assert await registries[0].collections() == {}


async def test_there_is_a_limit_of_collections(servers: Servers, key_prefix: str) -> None:
    """A collection too many is refused before any log has it."""
    async with servers.connected(key_prefix) as (control, keys):
        registry, log = Registry(control, keys), ShardLog(control, keys)
        await registry.create_collection(define("one", {}), NUM_SHARDS, 1)
        with pytest.raises(ConflictError, match="max_collections"):
            await registry.create_collection(define("two", {}), NUM_SHARDS, 1)
        assert await log.lengths([0]) == {0: 1}
