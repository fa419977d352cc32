"""The gateway's transport, against a real server that is watched, stopped and killed."""

import asyncio
import math
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sized
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgpack
import pytest
import structlog
from msgspec.structs import astuple, replace

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.outcome import Outcome
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.tail import HedgingSettings
from hedgerow.common.wire.messages import (
    Kind,
    Lane,
    Reply,
    Request,
    Status,
    pack_replies,
    pack_request,
    unpack_request,
)
from hedgerow.common.wire.packing import VERSION
from hedgerow.gateway.policies.hedging import HedgePolicy
from hedgerow.gateway.search.documents.answer_memory import AnswerMemory
from hedgerow.gateway.search.documents.fetch import Fetcher
from hedgerow.gateway.search.hedger import Hedger
from hedgerow.gateway.transport.messenger import Messenger
from hedgerow.gateway.transport.redis import RedisTransport
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration

SHARDS = range(8)
MAX_BYTES = 64 * 1024


@dataclass
class Sink:
    """Notes what the transport says of one scatter."""

    replies: list[tuple[int, str]] = field(default_factory=list)
    queued: Mapping[int, int] = field(default_factory=dict)
    unsent: list[int] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def on_reply(self, reply: Reply, worker: str, now: float) -> None:
        """Note shard and worker."""
        self.replies.append((reply.shard, worker))

    def on_unsent(self, shard: int, reason: str) -> None:
        """Note the shard."""
        self.unsent.append(shard)

    def on_lost(self, reason: str) -> None:
        """Note the reason."""
        self.lost.append(reason)


class NoReplicas:
    """One worker a shard."""

    num_live = (1,) * len(SHARDS)
    has_replicas = False
    died_at = (-math.inf,) * len(SHARDS)

    def workers_of(self, shard: int) -> list[str]:
        """No other observers."""
        return []


@dataclass
class Scattering:
    """A transport, and a connection of the test's own to look at the server."""

    transport: RedisTransport
    link: RedisConnection
    keys: Keys

    def scatter(
        self, *query_ids: int, kind: Kind = Kind.SEARCH, goes_ahead: bool = False
    ) -> list[Sink]:
        """Scatter each of these queries to all shards, in this turn of the loop."""
        sinks = []
        for query_id in query_ids:
            request = Request(kind, query_id, 2**42, 0, self.transport.reply_to, b"")
            sink = Sink()
            message = pack_request(request)
            sink.queued = self.transport.scatter(
                kind, query_id, tuple(SHARDS), message, sink, goes_ahead
            )
            sinks.append(sink)
        return sinks

    async def queue(self, shard: int) -> list[int]:
        """The ids of the queries that wait in a shard's search queue."""
        messages = await self.link.call("LRANGE", self.keys.search_queue(shard), 0, -1)
        return [unpack_request(message).query_id for message in messages]

    async def ttl_s(self, shard: int) -> int:
        """How long a search queue will live on; -1 for ever, -2 when there is none."""
        return int(await self.link.call("TTL", self.keys.search_queue(shard)))

    async def publish(self, message: bytes) -> None:
        """Send a message of replies to the gateway, as a worker would."""
        assert await self.link.call("PUBLISH", self.transport.reply_to, message) == 1

    def sizes(self) -> dict[str, int]:
        """How much each container within the transport and its connections holds."""
        found = {}
        links = {
            name: one
            for name, one in vars(self.transport).items()
            if isinstance(one, RedisConnection)
        }
        connections = {f"{name}.connection": one._connection for name, one in links.items()}
        for owner, one in {"": self.transport, **links, **connections}.items():
            for name, value in vars(one).items():
                if isinstance(value, Sized):
                    found[f"{owner}.{name}"] = len(value)
        return found


@asynccontextmanager
async def scattering(
    server: RedisServer, prefix: str = "p", **settings: Any
) -> AsyncIterator[Scattering]:
    """A connected transport for the block."""
    redis = RedisSettings(url=server.url, reconnect_max_s=0.2, **settings)
    keys = Keys(prefix)
    transport = RedisTransport(redis, LimitSettings(max_message_bytes=MAX_BYTES), keys, "g1")
    link = RedisConnection(Endpoint.of(redis), name="test", silence_s=5)
    await asyncio.gather(transport.start(5), link.start(5))
    try:
        yield Scattering(transport, link, keys)
    finally:
        await transport.close()
        await link.close()


@asynccontextmanager
async def monitored(server: RedisServer, prefix: str) -> AsyncIterator[list[list[bytes]]]:
    """The commands on keys of `prefix` that the server gets, each as its words, for the block."""
    heard: list[list[bytes]] = []

    def hear(line: Any) -> None:
        words = line.split(b"] ", 1)[-1].split(b" ")
        if len(words) > 1 and words[1].startswith(f'"{prefix}:'.encode()):
            heard.append(words)

    endpoint = Endpoint.of(RedisSettings(url=server.url))
    link = RedisConnection(endpoint, name="monitor", silence_s=30, on_message=hear)
    await link.start(5)
    try:
        await link.call("MONITOR")
        yield heard
    finally:
        await link.close()


def counted_writes(link: RedisConnection, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the connection's writes to its socket, from now on."""
    connection = link._connection
    assert connection is not None
    sizes: list[int] = []
    write: Callable[[bytes], None] = connection.write

    def count(data: bytes) -> None:
        sizes.append(len(data))
        write(data)

    monkeypatch.setattr(connection, "write", count)
    return sizes


def a_reply(query_id: int, shard: int = 3) -> Reply:
    """A reply without a body."""
    return Reply(query_id, shard, Status.OK, Lane.LOOP, 1, 2, 3, b"")


@pytest.mark.parametrize("num_queries", [1, 5])
async def test_queries_of_a_turn_leave_in_one_write_and_one_push_a_queue(
    redis_server: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch, num_queries: int
) -> None:
    """All shards' requests of all queries of a turn: one write, one RPUSH a queue, in order."""
    query_ids = list(range(num_queries))
    async with (
        scattering(redis_server, key_prefix) as scattered,
        monitored(redis_server, key_prefix) as heard,
    ):
        writes = counted_writes(scattered.transport._push, monkeypatch)
        sinks = scattered.scatter(*query_ids)
        await until(lambda: all(len(sink.queued) == len(SHARDS) for sink in sinks))
        assert len(writes) == 1
        for shard in SHARDS:
            assert await scattered.queue(shard) == query_ids
        await until(lambda: sum(words[0] == b'"LRANGE"' for words in heard) == len(SHARDS))
        pushes = Counter(words[1] for words in heard if words[0] == b'"RPUSH"')
        assert pushes == {f'"{scattered.keys.search_queue(shard)}"'.encode(): 1 for shard in SHARDS}


async def test_many_queries_of_a_turn_are_all_sent_once(
    redis_server: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred queries of a turn need far fewer writes, and no request is lost or doubled."""
    async with scattering(redis_server, key_prefix) as scattered:
        writes = counted_writes(scattered.transport._push, monkeypatch)
        sinks = scattered.scatter(*range(100))
        await until(lambda: all(len(sink.queued) == len(SHARDS) for sink in sinks))
        assert len(writes) <= 10
        for shard in SHARDS:
            assert await scattered.queue(shard) == list(range(100))


async def test_what_goes_ahead_lies_before_all_else(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """It keeps its own order, and counts as behind itself alone, whatever waits there."""
    async with scattering(redis_server, key_prefix) as scattered:
        first = scattered.scatter(1, 2)
        await until(lambda: all(len(sink.queued) == len(SHARDS) for sink in first))
        ahead = scattered.scatter(3, 4, goes_ahead=True)
        behind = scattered.scatter(5)
        await until(lambda: all(len(sink.queued) == len(SHARDS) for sink in ahead + behind))
        for shard in SHARDS:
            assert await scattered.queue(shard) == [3, 4, 1, 2, 5]
        assert {count for sink in ahead for count in sink.queued.values()} == {2}
        assert set(behind[0].queued.values()) == {5}


async def test_searches_and_fetches_go_to_their_own_queues(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """A search and a fetch of the same turn wait in different queues of a shard."""
    async with scattering(redis_server, key_prefix) as scattered:
        sinks = [*scattered.scatter(1), *scattered.scatter(2, kind=Kind.FETCH)]
        await until(lambda: all(len(sink.queued) == len(SHARDS) for sink in sinks))
        for shard in SHARDS:
            assert await scattered.queue(shard) == [1]
            fetches = await scattered.link.call("LLEN", scattered.keys.fetch_queue(shard))
            assert fetches == 1


async def test_what_is_for_one_worker_goes_to_its_own_queue(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """It lies where no other worker looks, not for ever, and its reply comes to who sent it."""
    async with scattering(redis_server, key_prefix) as scattered:
        sink, transport = Sink(), scattered.transport
        message = pack_request(Request(Kind.SEARCH, 9, 2**42, 0, transport.reply_to, b""))
        transport.send_to(Kind.SEARCH, "w1", 3, 9, message, sink)
        queue = scattered.keys.worker_search_queue("w1")

        async def is_there() -> bool:
            return bool(await scattered.link.call("LRANGE", queue, 0, -1) == [message])

        await until(is_there)
        assert int(await scattered.link.call("TTL", queue)) > 0
        reply = Reply(9, 3, Status.OK, Lane.PROCESS, 0, 0, 0, b"")
        await scattered.publish(pack_replies("w1", [reply]))
        await until(lambda: sink.replies == [(3, "w1")])
        transport.release(9)
        assert transport.num_in_flight == 0


async def test_what_redis_does_not_take_for_one_worker_is_told(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """A refused push, and a connection that is away, both end at the sink."""
    async with scattering(redis_server, key_prefix) as scattered:
        refused, lost = Sink(), Sink()
        await scattered.link.call("SET", scattered.keys.worker_search_queue("w1"), "no list")
        scattered.transport.send_to(Kind.SEARCH, "w1", 0, 1, b"message", refused)
        await until(lambda: len(refused.lost) == 1)
        await scattered.transport.close()
        scattered.transport.send_to(Kind.SEARCH, "w2", 0, 2, b"message", lost)
        assert len(lost.lost) == 1


async def test_each_push_renews_the_queues_expiry(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """A queue about to expire lives on after a push, and so does one that was emptied before."""
    async with scattering(redis_server, key_prefix, queue_expiry_s=50) as scattered:
        (first,) = scattered.scatter(1)
        await until(lambda: len(first.queued) == len(SHARDS))
        await scattered.link.call("EXPIRE", scattered.keys.search_queue(0), 5)
        await scattered.link.call("DEL", scattered.keys.search_queue(1))
        (second,) = scattered.scatter(2)
        await until(lambda: len(second.queued) == len(SHARDS))
        for shard in SHARDS:
            assert 5 < await scattered.ttl_s(shard) <= 50
        assert await scattered.queue(0) == [1, 2]
        assert await scattered.queue(1) == [2]


async def test_replies_go_to_their_own_queries(redis_server: RedisServer, key_prefix: str) -> None:
    """Replies of one message reach the sinks of their queries, with the worker's name."""
    async with scattering(redis_server, key_prefix) as scattered:
        one, other = scattered.scatter(1, 2)
        await scattered.publish(pack_replies("w", [a_reply(2, 5), a_reply(1, 3), a_reply(1, 4)]))
        await until(lambda: len(one.replies) == 2)
        assert one.replies == [(3, "w"), (4, "w")]
        assert other.replies == [(5, "w")]
        assert scattered.transport.counters.as_dict() == {}


async def test_a_reply_after_release_is_counted_and_dropped(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """What arrives for a released or unknown query is counted as late and not passed on."""
    async with scattering(redis_server, key_prefix) as scattered:
        released, waiting = scattered.scatter(1, 2)
        scattered.transport.release(1)
        await scattered.publish(pack_replies("w", [a_reply(1), a_reply(77), a_reply(2)]))
        await until(lambda: len(waiting.replies) == 1)
        assert released.replies == []
        assert scattered.transport.counters["replies_late"] == 2
        assert scattered.transport.num_in_flight == 1


async def test_malformed_replies_are_counted_and_harm_nobody(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """Rubbish, an unknown version, wrong types and too many bytes: counted; good ones get by."""
    good = pack_replies("w", [a_reply(1)])
    bad = [
        b"",
        b"\xc1",
        good[:-1],
        msgpack.packb("text"),
        msgpack.packb([VERSION + 1, "w", [astuple(a_reply(1))]]),
        msgpack.packb([VERSION, "w", [["1", *astuple(a_reply(1))[1:]]]]),
        pack_replies("w", [replace(a_reply(1), body=b"x" * MAX_BYTES)]),
    ]
    async with scattering(redis_server, key_prefix) as scattered:
        (sink,) = scattered.scatter(1)
        for message in bad:
            await scattered.publish(message)
        await scattered.publish(good)
        await until(lambda: len(sink.replies) == 1)
        assert scattered.transport.counters.as_dict() == {"replies_malformed": len(bad)}
        assert scattered.transport.is_connected
        assert sink.lost == []


async def test_queries_that_are_never_answered_leave_nothing_behind(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """A thousand reads by their deadline: nothing in the gateway, and the queues expire."""
    async with scattering(redis_server, key_prefix, queue_expiry_s=1) as scattered:
        transport, loop = scattered.transport, asyncio.get_running_loop()
        ids = iter(range(10_000))
        policy = HedgePolicy(HedgingSettings(), len(SHARDS))
        hedger = Hedger(Kind.FETCH, transport, policy, NoReplicas())
        fetcher = Fetcher(
            Messenger(transport, transport.clock, transport.reply_to, ids.__next__),
            hedger,
            memory=AnswerMemory(0),
            max_answer_bytes=1000,
        )
        wanted = {shard: ["a"] for shard in SHARDS}

        async def read_all(count: int) -> Counter[Outcome]:
            deadline = loop.time() + 1.0
            lease = fetcher.memory.lease("")
            reads = (fetcher.read("u", wanted, None, "", deadline, lease) for _ in range(count))
            settled = await asyncio.gather(*reads)
            return Counter(part.outcome for one in settled for part in one.values())

        def is_quiet() -> bool:  # no ping is on its way, or about to be sent
            sizes = scattered.sizes()
            return not any(sizes[name] for name in sizes if name.endswith((".pending", "._outbox")))

        await read_all(1)
        await until(is_quiet)
        before = scattered.sizes()
        assert await read_all(1000) == {Outcome.TIMED_OUT: 1000 * len(SHARDS)}
        assert transport.num_in_flight == 0
        await until(is_quiet)
        assert scattered.sizes() == before

        async def are_gone() -> bool:
            queues = [scattered.keys.fetch_queue(shard) for shard in SHARDS]
            return bool(await scattered.link.call("EXISTS", *queues) == 0)

        await until(are_gone)


async def test_a_killed_server_is_told_to_all_who_wait(own_server: RedisServer) -> None:
    """Each waiting query hears of it at once, a released one does not, a new one cannot go."""
    async with scattering(own_server, command_timeout_s=30) as scattered:
        *waiting, released = scattered.scatter(*range(20))
        await until(lambda: all(len(sink.queued) == len(SHARDS) for sink in waiting))
        scattered.transport.release(19)
        own_server.stop(kill=True)
        await until(lambda: all(sink.lost for sink in waiting))
        assert released.lost == []
        (late,) = scattered.scatter(100)
        assert late.unsent == list(SHARDS)
        own_server.start()
        await until(lambda: scattered.transport.is_connected)
        (new,) = scattered.scatter(101)
        await until(lambda: len(new.queued) == len(SHARDS))


async def test_nothing_is_pushed_twice(own_server: RedisServer) -> None:
    """A push that a hung server took but never confirmed is not made again on the next link."""
    async with scattering(own_server, command_timeout_s=1.5) as scattered:
        own_server.signal(signal.SIGSTOP)
        try:
            sinks = scattered.scatter(*range(5))
            await until(lambda: all(sink.lost or sink.unsent for sink in sinks))
        finally:
            own_server.signal(signal.SIGCONT)
        await until(lambda: scattered.transport.is_connected and scattered.link.is_connected)
        (after,) = scattered.scatter(5)
        await until(lambda: len(after.queued) == len(SHARDS))
        for shard in SHARDS:
            assert await scattered.queue(shard) == [0, 1, 2, 3, 4, 5]


async def test_a_server_that_hangs_is_noticed_while_queries_wait(own_server: RedisServer) -> None:
    """Although it has taken the requests: the transport asks for a sign of life. Idle, it does not.

    A server that answers, and a worker that does not, is no silence.
    """
    async with scattering(own_server) as scattered:
        transport = scattered.transport
        (sink,) = scattered.scatter(1)
        await until(lambda: len(sink.queued) == len(SHARDS))

        async def are_signs() -> bool:
            return await _num_pings(scattered.link) >= 2

        await until(are_signs)
        assert not transport.is_silent()
        own_server.signal(signal.SIGSTOP)
        try:
            await until(transport.is_silent)
        finally:
            own_server.signal(signal.SIGCONT)
        await until(lambda: not transport.is_silent())
        transport.release(1)
        await until(lambda: not transport._life.is_watching)


async def test_a_channel_that_may_not_be_heard_is_told_of(own_server: RedisServer) -> None:
    """A user without the right to the reply channel reads so in the log, as an error."""
    admin = RedisConnection(
        Endpoint.of(RedisSettings(url=own_server.url)), name="admin", silence_s=5
    )
    await admin.start(5)
    await admin.call("ACL", "SETUSER", "deaf", "on", ">row", "~*", "resetchannels", "+@all")
    await admin.close()
    redis = RedisSettings(url=own_server.url, username="deaf", password="row")
    with structlog.testing.capture_logs() as logs:
        transport = RedisTransport(redis, LimitSettings(), Keys("p"), "g")
        with pytest.raises(RedisUnavailableError):
            await transport.start(0.5)
        await transport.close()
    (told,) = [line for line in logs if line["log_level"] == "error"]
    assert told["event"] == "replies_refused"
    assert "NOPERM" in told["error"]


async def _num_pings(link: RedisConnection) -> int:
    stats: bytes = await link.call("INFO", "commandstats")
    found = re.search(rb"cmdstat_ping:calls=(\d+)", stats)
    return int(found[1]) if found else 0
