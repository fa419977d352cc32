"""Replies that are ready together: one message where they fit, several where they do not."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import hiredis
import pytest
from msgspec.structs import replace

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.wire.messages import Reply, Status, unpack_failure, unpack_replies
from hedgerow.shard_worker.serving.replier import Replier, SlotRepliers
from hedgerow.shard_worker.serving.turn import Turn

MAX_BYTES = 1_000_000
WORKER = "worker-ü"
# Numbers as long as they get: the larger the rest of a message, the less room for bodies.
LONGEST = Reply(2**64 - 1, 2**63 - 1, Status.OK.value, 3, 2**63 - 1, 2**63 - 1, 2**63 - 1, b"")
# Kept for what the format adds to a body that is alone in its message.
ENVELOPE_BYTES = 64 + 16 + len(WORKER.encode())


@dataclass
class Wire:
    """Stands for the connection: takes what is sent, as a server would read it."""

    is_connected: bool = True
    writes: int = 0
    messages: list[tuple[str, bytes]] = field(default_factory=list)

    def send_now(self, commands: list[bytes], takers: list[object]) -> None:
        """Take some commands; their replies are not awaited."""
        assert takers == []
        self.writes += 1
        reader = hiredis.Reader()
        reader.feed(b"".join(commands))
        while (command := reader.gets()) is not False:
            if command[0] in (b"PUBLISH", b"SPUBLISH"):
                self.messages.append((command[1].decode(), command[2]))

    def replies(self, reply_to: str = "g1") -> list[list[Reply]]:
        """The replies to a gateway that holds to the limit, message by message."""
        read = [unpack_replies(data, MAX_BYTES) for to, data in self.messages if to == reply_to]
        assert {worker for worker, _ in read} <= {WORKER}
        return [replies for _, replies in read]


@dataclass
class Replying:
    """A replier, the turn that has it send, and where its messages go."""

    wire: Wire
    counters: Counters
    replier: Replier
    turn: Turn

    async def send(self, *sizes: int, reply_to: str = "g1") -> list[Reply]:
        """Reply with bodies of these sizes, in one turn of the loop."""
        sent = [replace(LONGEST, shard=at, body=b"x" * size) for at, size in enumerate(sizes)]
        for reply in sent:
            self.turn.reply(reply_to, reply)
        await asyncio.sleep(0)
        return sent


@pytest.fixture
async def replying() -> Replying:
    """A replier of a worker under a limit of 1 MB."""
    wire, counters = Wire(), Counters()
    replier = Replier(cast("RedisConnection", cast("Any", wire)), WORKER, counters, MAX_BYTES)
    return Replying(wire, counters, replier, Turn(replier, lambda: True))


async def test_replies_of_one_turn_leave_as_one_message_a_gateway(replying: Replying) -> None:
    """In one write, in their order."""
    for_one = await replying.send(10, 20, 30)
    assert replying.wire.replies() == [for_one]
    replying.replier.add("g1", LONGEST)
    replying.replier.add("g2", LONGEST)
    replying.replier.flush()
    assert replying.wire.replies("g2") == [[LONGEST]]
    assert replying.wire.writes == 2
    assert replying.counters.as_dict() == {"replies": 5}


async def test_replies_wait_while_there_is_no_connection(replying: Replying) -> None:
    """They leave with the next write, and not twice."""
    replying.wire.is_connected = False
    waiting = await replying.send(10, 20)
    assert replying.wire.writes == 0
    replying.wire.is_connected = True
    more = await replying.send(30)
    assert replying.wire.replies() == [waiting + more]


@pytest.mark.parametrize(
    "sizes",
    [
        [200_000] * 8,
        [999_000, 1, 999_000, 1],
        [MAX_BYTES - ENVELOPE_BYTES] * 3,
        [0] * 30_000,
        [1, *[MAX_BYTES // 2 - 100] * 3, 2],
    ],
    ids=["the same", "in turns", "the largest", "the smallest", "halves"],
)
async def test_replies_that_are_too_large_together_arrive_all_the_same(
    replying: Replying, sizes: list[int]
) -> None:
    """Each message is one that the gateway takes, and no reply is lost or late."""
    sent = await replying.send(*sizes)
    messages = replying.wire.replies()
    assert [reply for replies in messages for reply in replies] == sent
    assert all(messages)
    assert replying.wire.writes == 1
    # No more messages than it takes: two that follow each other would not have fitted in one.
    room = MAX_BYTES - ENVELOPE_BYTES
    totals = [sum(len(reply.body) + 64 for reply in replies) for replies in messages]
    firsts = [len(replies[0].body) + 64 for replies in messages]
    assert all(total + first > room for total, first in zip(totals[:-1], firsts[1:], strict=True))


async def test_a_reply_that_is_too_large_alone_is_a_failure(replying: Replying) -> None:
    """The failure names its size and the limit that it exceeds; the others of its turn arrive."""
    too_large = MAX_BYTES - ENVELOPE_BYTES + 1
    before, asked, after = await replying.send(5, too_large, 6)
    ((first, failed, last),) = replying.wire.replies()
    assert (first, last) == (before, after)
    assert failed == replace(asked, status=Status.FAILED, body=failed.body)
    failure = unpack_failure(failed.body)
    assert failure.code == "too_large"
    assert str(too_large) in failure.message
    assert "limits.max_message_bytes" in failure.message
    assert replying.counters.as_dict() == {"failed_too_large": 1, "replies": 3}


async def test_a_write_that_leaves_anyway_takes_the_replies_along(replying: Replying) -> None:
    """What it takes is not sent again."""
    replying.replier.add("g1", LONGEST)
    assert len(replying.replier.take()) == 1
    replying.turn.end()
    assert replying.wire.writes == 0
    assert not replying.replier.has_ready


async def test_each_slot_has_its_shards_replies_on_a_channel_of_its_own() -> None:
    """They leave over the connection to the slot's node."""
    wires = [Wire(), Wire()]
    repliers = SlotRepliers(
        [
            Replier(
                cast("RedisConnection", cast("Any", wire)),
                WORKER,
                Counters(),
                MAX_BYTES,
                lambda reply_to, slot=slot: f"{slot}:{reply_to}",  # type: ignore[misc]
            )
            for slot, wire in enumerate(wires)
        ]
    )
    assert not repliers.has_ready
    sent = [replace(LONGEST, shard=shard) for shard in range(4)]
    for reply in sent:
        repliers.add("g", reply)
    assert repliers.has_ready
    repliers.flush()
    assert not repliers.has_ready
    assert wires[0].replies("0:g") == [[sent[0], sent[2]]]
    assert wires[1].replies("1:g") == [[sent[1], sent[3]]]
    assert [wire.writes for wire in wires] == [1, 1]
