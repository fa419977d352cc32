"""The transport over several servers: what each of them gets, and what the loss of one means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from unittest.mock import Mock

import pytest

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.common.wire.messages import Kind, Reply
from hedgerow.gateway.transport.protocol import ReplySink
from hedgerow.gateway.transport.redis import RedisTransport
from hedgerow.gateway.transport.split import SplitTransport

NUM_SLOTS = 3


@dataclass
class Server:
    """One server's transport: notes what it is given."""

    is_moving: bool = False
    is_connected: bool = True
    scattered: list[tuple[int, tuple[int, ...], bytes]] = field(default_factory=list)
    sinks: dict[int, ReplySink] = field(default_factory=dict)

    def scatter(
        self,
        kind: Kind,
        query_id: int,
        shards: tuple[int, ...],
        message: bytes,
        sink: ReplySink,
        goes_ahead: bool = False,
    ) -> Mapping[int, int]:
        """Note it; each queue has nothing else."""
        assert (kind, goes_ahead) == (Kind.SEARCH, False)
        self.scattered.append((query_id, shards, message))
        self.sinks[query_id] = sink
        return dict.fromkeys(shards, 1)

    def release(self, query_id: int) -> None:
        """Forget the query."""
        del self.sinks[query_id]


@dataclass
class Sink:
    """What a query receives."""

    replies: list[int] = field(default_factory=list)
    unsent: list[int] = field(default_factory=list)

    def on_reply(self, reply: Reply, worker: str, now: float) -> None:
        """Note the shard."""
        assert worker == "w"
        self.replies.append(reply.shard)

    def on_unsent(self, shard: int, reason: str) -> None:
        """Note the shard."""
        assert reason
        self.unsent.append(shard)

    def on_lost(self, reason: str) -> None:
        """Not all is lost as long as one server is there."""
        pytest.fail(reason)


@dataclass
class Split:
    """A transport over three scripted servers."""

    transport: SplitTransport
    servers: list[Server]

    def ask(self, query_id: int, *shards: int) -> Sink:
        """Scatter a query."""
        sink = Sink()
        self.transport.scatter(Kind.SEARCH, query_id, shards, b"m", sink)
        return sink


def reply(query_id: int, shard: int) -> Reply:
    """A shard's reply."""
    return Reply(query_id, shard, 0, 3, 0, 0, 0, b"")


@pytest.fixture
async def split() -> Split:
    """Three servers, each with one slot."""
    client = Mock(spec=RedisClient, primary=Endpoint.of(RedisSettings()))
    control = Mock(spec=RedisClient, primary=client.primary, data_clients=(client,) * NUM_SLOTS)
    transport = SplitTransport(Settings(), control, Keys("p", NUM_SLOTS), "g")
    servers = [Server() for _ in range(NUM_SLOTS)]
    transport._by_slot = cast("tuple[RedisTransport, ...]", cast("Any", tuple(servers)))
    return Split(transport, servers)


async def test_each_server_is_asked_for_its_own_shards(split: Split) -> None:
    """A server that has none of the shards is not asked, and lengths of queues come together."""
    sink = Sink()
    backlogs = split.transport.scatter(Kind.SEARCH, 1, (0, 2, 3, 6), b"m", sink)
    assert [server.scattered for server in split.servers] == [
        [(1, (0, 3, 6), b"m")],
        [],
        [(1, (2,), b"m")],
    ]
    assert dict(backlogs) == {0: 1, 2: 1, 3: 1, 6: 1}
    assert split.transport.num_in_flight == 1
    split.transport.release(1)
    assert split.transport.num_in_flight == 0
    assert not any(server.sinks for server in split.servers)


async def test_a_server_that_is_lost_takes_only_its_open_shards_along(split: Split) -> None:
    """What it had answered counts, and the other servers' shards are still waited for."""
    sink = split.ask(1, 0, 1, 2, 3, 4)
    split.servers[0].sinks[1].on_reply(reply(1, 3), "w", 0.0)
    split.servers[0].sinks[1].on_lost("gone")
    assert (sink.replies, sink.unsent) == ([3], [0])
    split.servers[1].sinks[1].on_reply(reply(1, 4), "w", 0.0)
    assert sink.replies == [3, 4]


async def test_what_is_open_is_sent_again_to_where_a_slot_is_now(split: Split) -> None:
    """Answered shards are not asked again, and neither are those of other slots."""
    split.ask(1, 0, 1, 3)
    split.ask(2, 1, 4)
    server = split.servers[0]
    server.sinks[1].on_reply(reply(1, 0), "w", 0.0)
    server.is_moving = True
    split.ask(3, 0, 1)  # it waits: where the slot was, it would be lost
    assert [one[0] for one in server.scattered] == [1]
    server.is_moving = False
    split.transport._send_again(0)
    assert server.scattered[1:] == [(1, (3,), b"m"), (3, (0,), b"m")]
    assert split.transport.counters["requests_sent_again"] == 2
    assert [one[0] for one in split.servers[1].scattered] == [1, 2, 3]


async def test_it_is_there_as_long_as_one_server_is(split: Split) -> None:
    """A query can then be answered in part."""
    for server in split.servers[:2]:
        server.is_connected = False
    assert split.transport.is_connected
    split.servers[2].is_connected = False
    assert not split.transport.is_connected
