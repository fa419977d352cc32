"""`python -m bench.decisions.redis_ways`: ways to scatter and gather over Redis.

A request to each of eight shards, a reply from each, and nothing else: no deadline, no breaker, no
merge. Two worker processes serve four shards each and echo ten ids and scores, as
bench/harness/floor_worker.py does. Each row differs in one thing from the first, which is how the
gateway and the workers do it.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import hiredis
import msgpack
import redis
import redis.asyncio

from bench.harness.floor import NUM_SHARDS, Floor, run_workers
from bench.harness.floor_worker import CHANNEL, IDS, MAX_BATCH, SCORES, next_list, queue_of
from bench.harness.options import make_parser
from bench.harness.processes import CpuMeter
from bench.harness.report import median, show
from bench.harness.rounds import turns
from bench.harness.server import Server, run_server
from bench.harness.subject import Subject
from hedgerow.common.lifecycle import calm_collector
from hedgerow.common.redis.commands import pack
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.settings.redis import RedisSettings

NUM_WORKERS = 2
_GROUP, _REPLY_LIST = b"workers", b"ways:replies"
_PARTS = ("gateway", "Redis", "workers")


@dataclass(frozen=True, slots=True)
class Way:
    """A way to ask all shards.

    Attributes:
        title: shown in the table.
        client: of the gateway, `link` (common/redis/connection.py) or `redis-py`.
        is_coalesced: whether the requests of all queries of a turn of the loop leave together.
        requests: where they wait, in a `list` or a `stream`.
        replies: how they come, by a `channel` or a `list`.
        max_batch: the most requests that a worker takes in one pull.
    """

    title: str
    client: str = "link"
    is_coalesced: bool = True
    requests: str = "list"
    replies: str = "channel"
    max_batch: int = MAX_BATCH


WAYS = (
    Way("as Hedgerow: own connection, lists, Pub/Sub"),
    Way("own connection, one write a query", is_coalesced=False),
    Way("redis-py, one pipeline for a turn's queries", client="redis-py"),
    Way("redis-py, one pipeline a query", client="redis-py", is_coalesced=False),
    Way("requests by streams and consumer groups", requests="stream"),
    Way("replies by a list", replies="list"),
    Way("one request a pull", max_batch=1),
)


def _commands(way: Way, requests: list[bytes]) -> Iterable[tuple[Any, ...]]:
    for shard in range(NUM_SHARDS):
        if way.requests == "list":
            yield (b"RPUSH", queue_of(shard), *requests)
        else:
            for request in requests:
                yield (b"XADD", queue_of(shard), b"*", b"q", request)


@contextlib.asynccontextmanager
async def _asker(way: Way, server: Server) -> AsyncIterator[Floor]:
    make = _link_asker if way.client == "link" else _redis_py_asker
    async with make(way, server) as asker:
        yield asker


@contextlib.asynccontextmanager
async def _link_asker(way: Way, server: Server) -> AsyncIterator[Floor]:
    endpoint = Endpoint.of(RedisSettings(url=server.url))
    is_subscribed = asyncio.Event()

    def on_message(message: Any) -> None:
        if isinstance(message, list) and message[0] == b"message":
            asker.on_replies(message[2])
        else:
            is_subscribed.set()

    async def subscribe(handshake: Any) -> None:
        handshake.subscribe(CHANNEL.decode())

    def send(requests: list[bytes]) -> None:
        commands = [pack(*command) for command in _commands(way, requests)]
        push.send_now(commands, [_ignore] * len(commands))

    push = RedisConnection(endpoint, name="push", silence_s=10)
    asker = Floor(send, is_coalesced=way.is_coalesced)
    await push.start(5)
    pulling: asyncio.Task[None] | None = None
    if way.replies == "channel":
        replies = RedisConnection(
            endpoint, name="replies", silence_s=10, on_connect=subscribe, on_message=on_message
        )
        await replies.start(5)
        await is_subscribed.wait()
    else:
        replies = RedisConnection(endpoint, name="replies", silence_s=10)
        await replies.start(5)
        pulling = asyncio.create_task(_pull_replies(replies, asker))
    try:
        yield asker
    finally:
        if pulling is not None:
            pulling.cancel()
            await asyncio.wait([pulling])
        await push.close()
        await replies.close()


async def _pull_replies(link: RedisConnection, asker: Floor) -> None:
    while True:
        popped = await link.call("BLMPOP", 1, 1, _REPLY_LIST, "LEFT", "COUNT", MAX_BATCH)
        for message in popped[1] if popped else ():
            asker.on_replies(message)


@contextlib.asynccontextmanager
async def _redis_py_asker(way: Way, server: Server) -> AsyncIterator[Floor]:
    """Use redis-py as its documentation shows, over RESP2."""
    async with contextlib.AsyncExitStack() as stack:
        pool = redis.asyncio.ConnectionPool(
            connection_class=redis.asyncio.UnixDomainSocketConnection, path=server.socket
        )
        client = await stack.enter_async_context(redis.asyncio.Redis(connection_pool=pool))
        tasks: set[asyncio.Task[Any]] = set()

        def send(requests: list[bytes]) -> None:
            pipeline = client.pipeline(transaction=False)
            for command in _commands(way, requests):
                pipeline.execute_command(*command)
            task = asyncio.ensure_future(pipeline.execute())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        asker = Floor(send, is_coalesced=way.is_coalesced)
        pubsub = await stack.enter_async_context(client.pubsub(ignore_subscribe_messages=True))
        await pubsub.subscribe(CHANNEL)

        async def listen() -> None:
            async for message in pubsub.listen():
                asker.on_replies(message["data"])

        listening = asyncio.create_task(listen())
        try:
            yield asker
        finally:
            listening.cancel()
            await asyncio.wait([listening])


def _ignore(_reply: Any) -> None:
    pass


# ---- the workers


def _work(path: str, shards: list[int], way: Way) -> None:
    """Echo until killed, in a separate process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    queues = [queue_of(shard) for shard in shards]
    reader = hiredis.Reader()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        if way.requests == "stream":
            for queue in queues:
                server.sendall(pack(b"XGROUP", b"CREATE", queue, _GROUP, b"0", b"MKSTREAM"))
        answers = b""
        while True:
            server.sendall(answers + _pull(way, queues))
            answers = _replies(way, queues, next_list(server, reader))


def _pull(way: Way, queues: list[bytes]) -> bytes:
    if way.requests == "list":
        return pack(b"BLMPOP", 0, len(queues), *queues, b"LEFT", b"COUNT", way.max_batch)
    read = (b"XREADGROUP", b"GROUP", _GROUP, b"%d" % os.getpid(), b"COUNT", way.max_batch)
    return pack(*read, b"BLOCK", 0, b"STREAMS", *queues, *(b">" for _ in queues))


def _replies(way: Way, queues: list[bytes], pulled: list[Any]) -> bytes:
    """The packed commands that answer what was pulled."""
    commands = []
    if way.requests == "list":
        key, requests = pulled
        queues.remove(key)
        queues.append(key)
    else:
        requests = []
        for key, entries in pulled:
            ids = [entry[0] for entry in entries]
            requests += [entry[1][1] for entry in entries]
            # A stream keeps entries that were read; without XDEL it would grow for ever.
            commands += [pack(b"XACK", key, _GROUP, *ids), pack(b"XDEL", key, *ids)]
    answers = [(msgpack.unpackb(request)[0], IDS, SCORES) for request in requests]
    reply = msgpack.packb(answers)
    if way.replies == "channel":
        commands.append(pack(b"PUBLISH", CHANNEL, reply))
    else:
        commands.append(pack(b"RPUSH", _REPLY_LIST, reply))
    return b"".join(commands)


# ---- measuring


@contextlib.asynccontextmanager
async def _subject(way: Way) -> AsyncIterator[Subject]:
    layout = [
        ",".join(map(str, range(number, NUM_SHARDS, NUM_WORKERS))) for number in range(NUM_WORKERS)
    ]
    with run_server() as server:
        command = ("-m", "bench.decisions.redis_ways", "--work", server.socket)
        commands = [(*command, shards, str(WAYS.index(way))) for shards in layout]
        with run_workers(commands) as pids:
            async with _asker(way, server) as asker:
                await asyncio.wait_for(asker.ask(), 30)
                parts = {"gateway": [os.getpid()], "Redis": [server.pid], "workers": pids}
                yield Subject(way.title, asker.ask, parts)


async def _measure(num_rounds: int, seconds: float) -> list[list[str]]:
    async with contextlib.AsyncExitStack() as stack:
        subjects = [await stack.enter_async_context(_subject(way)) for way in WAYS]
        calm_collector()
        alone_us: dict[str, list[float]] = {subject.name: [] for subject in subjects}
        for _, subject in turns(subjects, num_rounds):
            meter = CpuMeter(subject.parts)
            await _briefly(subject.measure_alone, seconds)
            used_s = sum(meter.used_s().values())
            alone_us[subject.name].append(used_s / len(subject.alone[-1].latencies_s) * 1e6)
            await _briefly(subject.measure_together, seconds)
        return _rows(subjects, alone_us)


async def _briefly(measure: Callable[[float], Awaitable[None]], seconds: float) -> None:
    async with asyncio.timeout(10 * seconds + 10):
        await measure(seconds)


_COLUMNS = (
    "",
    "p50 alone, ms",
    "CPU alone, µs",
    "queries/s at 32",
    "of the first",
    *(f"{part}, µs" for part in _PARTS),
    "sum, µs",
)


def _rows(subjects: list[Subject], alone_us: dict[str, list[float]]) -> list[list[str]]:
    rows, first = [], subjects[0]
    for subject in subjects:
        ratios = [
            one.throughput / base.throughput
            for one, base in zip(subject.together, first.together, strict=True)
        ]
        cpu = [subject.cpu_of(part) for part in _PARTS]
        rows.append(
            [
                subject.name,
                f"{subject.alone_ms:.2f}",
                f"{median(alone_us[subject.name]):,.0f}",
                f"{subject.throughput:,.0f}",
                f"{median(ratios):.0%}",
                *(f"{part:,.0f}" for part in (*cpu, sum(cpu))),
            ]
        )
    return rows


def main() -> int:
    """Measure, or be a worker; returns the exit status."""
    if sys.argv[1:2] == ["--work"]:
        path, shards, number = sys.argv[2:]
        _work(path, [int(shard) for shard in shards.split(",")], WAYS[int(number)])
        return 0
    arguments = make_parser("bench.decisions.redis_ways", __doc__, 7, 0.5).parse_args()
    rows = asyncio.run(_measure(arguments.rounds, arguments.seconds))
    show(
        f"redis-py {redis.__version__}; medians of {arguments.rounds} rounds in turns; CPU a "
        "query, the parts at 32 in flight",
        _COLUMNS,
        rows,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
