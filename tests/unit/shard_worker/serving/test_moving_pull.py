"""Pulls from queues whose slot is on its way to another node, with scripted nodes."""

from dataclasses import dataclass, field
from typing import Any, cast

import hiredis
import pytest

from hedgerow.common.redis.asked_nodes import AskedNodes
from hedgerow.common.redis.commands import OnReply
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.shard_worker.serving.moving_pull import MovingPull

ASK = hiredis.ReplyError("ASK 7 10.0.0.2:7002")
TRY_AGAIN = hiredis.ReplyError("TRYAGAIN Multiple keys request during rehashing of slot")


@dataclass
class Nodes:
    """Where the slot is, and where it goes: what is in each queue there."""

    here: dict[bytes, Any]
    there: dict[bytes, Any]
    asked: list[tuple[str, int]] = field(default_factory=list)

    def send_now(self, commands: list[bytes], on_replies: list[OnReply]) -> None:
        """Answer from where the slot is: a key that is not there may be where it goes."""
        for command, on_reply in zip(commands, on_replies, strict=True):
            on_reply(self.here.get(command, ASK))

    def send(self, node: tuple[str, int], commands: list[bytes], on_replies: list[OnReply]) -> None:
        """Answer from where it goes."""
        self.asked.append(node)
        for command, on_reply in zip(commands, on_replies, strict=True):
            on_reply(self.there.get(command))


def pull_of(nodes: Nodes) -> MovingPull:
    """What is tested, over scripted nodes."""
    return MovingPull(
        cast("RedisConnection", cast("Any", nodes)), cast("AskedNodes", cast("Any", nodes))
    )


@pytest.mark.parametrize("error", [ASK, TRY_AGAIN])
async def test_each_queue_is_looked_into_wherever_it_is(error: Exception) -> None:
    """A pop of several is refused with an address, or without one if some keys are still there."""
    nodes = Nodes({b"a": [b"a", [b"1"]]}, {b"b": [b"b", [b"2", b"3"]]})
    pull = pull_of(nodes)
    assert await pull.pull([b"a", b"b", b"c"], error) == [[b"a", [b"1"]]]
    assert nodes.asked == []  # what is found is not held back until the other node answers
    nodes.here.clear()
    assert await pull.pull([b"a", b"b", b"c"], error) == [[b"b", [b"2", b"3"]]]
    assert nodes.asked == [("10.0.0.2", 7002)]


async def test_what_is_given_back_goes_where_its_queue_goes() -> None:
    """Nothing waits for the answers."""
    nodes = Nodes({}, {})
    pull_of(nodes).send(("10.0.0.2", 7002), [b"push", b"expire"])
    assert nodes.asked == [("10.0.0.2", 7002)]


async def test_where_nothing_is_on_its_way_no_other_node_is_asked() -> None:
    """The move was called off, or all keys are still there."""
    nodes = Nodes({b"a": None, b"b": None}, {})
    assert await pull_of(nodes).pull([b"a", b"b"], TRY_AGAIN) == []
    assert nodes.asked == []
