"""What a peer could write into Redis by mistake: requests, replies, heartbeats, cancellations.

Redis is trusted: a message that is well formed and lies is believed. What is malformed must be
counted and dropped.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

import msgpack
import redis.asyncio

from hedgerow.common.redis.keys import Keys
from hedgerow.common.wire import messages as wire
from tests.hostile.generators.texts import damage, text
from tests.hostile.target import Target

_KEYS = Keys()
_SECONDS, _SECONDS_FULL = 3.0, 30.0
_NUM_GHOSTS = 5
_NO_QUERY = 2**40  # no query of this gateway has such a number


async def redis_messages(target: Target) -> Sequence[str]:
    """Write what is malformed to every queue and channel for some seconds."""
    socket = target.cluster.data / "redis" / "valkey.sock"
    status = target.cluster.status()
    ends_at = time.monotonic() + (_SECONDS_FULL if target.is_full else _SECONDS)
    async with redis.asyncio.Redis(unix_socket_path=str(socket)) as server:
        command: Callable[..., Awaitable[Any]] = server.execute_command
        try:
            while time.monotonic() < ends_at:
                for _ in range(10):
                    for words in _commands(target.rng, status["gateway"]["id"]):
                        await command(*words)
                await asyncio.sleep(0.01)
        finally:
            for number in range(_NUM_GHOSTS):
                await command("HDEL", _KEYS.workers, f"ghost-{number}")
            await command("PUBLISH", _KEYS.events, b"workers")
    return _uncounted(status, target.cluster.status())


def _uncounted(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Complaints when what was malformed has not been counted."""
    counters = after["gateway"]["counters"]
    was = before["gateway"]["counters"].get("replies_malformed", 0)
    complaints = []
    if counters.get("replies_malformed", 0) <= was:
        complaints.append("malformed replies were not counted")
    if len(after["workers"]) != len(before["workers"]):
        complaints.append("a malformed heartbeat made a worker")
    return complaints


def _commands(rng: Random, gateway_id: str) -> list[tuple[str | bytes, ...]]:
    """The command that writes one message, to a random queue or channel."""
    shard = rng.randrange(2)
    match rng.randrange(6):
        case 0:
            return [("RPUSH", _KEYS.search_queue(shard), _request(rng))]
        case 1:
            return [("RPUSH", _KEYS.fetch_queue(shard), _request(rng))]
        case 2:
            return [("PUBLISH", _KEYS.reply_channel(gateway_id), _replies(rng))]
        case 3:
            return [("PUBLISH", _KEYS.cancel_channel(shard), _cancellation(rng))]
        case 4:
            ghost = f"ghost-{rng.randrange(_NUM_GHOSTS)}"
            return [
                ("HSET", _KEYS.workers, ghost, _heartbeat(rng)),
                ("PUBLISH", _KEYS.events, b"workers"),
            ]
        case _:
            event = rng.choice(("quarantine:", "applied:", "collections", "\xff", text(rng)))
            said = (event + text(rng)).encode("utf-8", "surrogatepass")
            return [("PUBLISH", _KEYS.events, said)]


def _spoilt(rng: Random, make: Callable[[Random], bytes]) -> bytes:
    """A message with mistakes, or something that is no message."""
    match rng.randrange(5):
        case 0:
            return rng.randbytes(rng.randint(0, 200))
        case 1:
            return b"\x91" * rng.choice((10, 100_000)) + b"\xc0"  # lists in lists
        case 2:
            return bytes(msgpack.packb(_odd_value(rng)))
        case 3:
            return b"\x93\x63" + make(rng)[2:]  # of a version to come
        case _:
            return damage(rng, make(rng))


def _odd_value(rng: Random, depth: int = 3) -> Any:
    match rng.randrange(7 if depth else 5):
        case 0:
            return rng.choice((None, True, 2**63, -1, 0.5, float("nan"), float("inf")))
        case 1:
            return rng.randbytes(8)
        case 2:
            return msgpack.ExtType(rng.randrange(128), b"abc")
        case 3 | 4:
            return text(rng).encode("utf-8", "replace").decode()
        case 5:
            return [_odd_value(rng, depth - 1) for _ in range(rng.randrange(5))]
        case _:
            return {rng.choice(("a", "id", 1)): _odd_value(rng, depth - 1) for _ in range(3)}


def _request(rng: Random) -> bytes:
    if rng.random() < 0.5:
        return _spoilt(rng, _request_of)
    return _request_of(rng)  # well formed, around a payload that is not


def _request_of(rng: Random) -> bytes:
    payload = bytes(msgpack.packb(_odd_value(rng)))
    expires_at_ms = int(time.time() * 1000) + rng.choice((-1_000, 300, 10**15))
    request = wire.Request(
        rng.choice((1, 2, 3, -1)),
        rng.getrandbits(40),
        expires_at_ms,
        rng.getrandbits(50),
        _KEYS.reply_channel("ghost"),
        payload,
    )
    return wire.pack_request(request)


def _replies(rng: Random) -> bytes:
    return _spoilt(rng, _replies_of)


def _replies_of(rng: Random) -> bytes:
    body = bytes(msgpack.packb(_odd_value(rng)))
    number = _NO_QUERY + rng.getrandbits(40)
    reply = wire.Reply(number, rng.randrange(3), rng.randrange(4), 3, 1, 1, 1, body)
    return wire.pack_replies("worker-0", [reply] * rng.randint(1, 3))


def _cancellation(rng: Random) -> bytes:
    return _spoilt(
        rng,
        lambda rng: wire.pack_cancellation(
            wire.Cancellation("nobody", [(rng.getrandbits(40), rng.getrandbits(40))])
        ),
    )


def _heartbeat(rng: Random) -> bytes:
    beat = {"id": "ghost", "pid": rng.choice((1, "1")), "host": "a", "shards": rng.choice((0, "a"))}
    return _spoilt(rng, lambda _: bytes(msgpack.packb(beat)))
