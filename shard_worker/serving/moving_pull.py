"""Pulls from queues whose slot is on its way to another node of a Redis Cluster."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from hedgerow.common.redis.asked_nodes import AskedNodes
from hedgerow.common.redis.commands import OnReply, asked_node
from hedgerow.common.redis.connection import RedisConnection


class MovingPull:
    """Looks into each queue by itself, where the slot was and where it goes.

    While a slot moves, its nodes refuse to pop from several queues at once, since they may be in
    different places, and a pop cannot block in both. It takes milliseconds, as a rule.
    """

    def __init__(self, connection: RedisConnection, asked: AskedNodes) -> None:
        """Pop over `connection` where the slot was, and by `asked` where it goes."""
        self._connection = connection
        self._asked = asked

    async def pull(self, pops: Sequence[bytes], error: Exception) -> list[Any]:
        """Pop from some queues.

        Args:
            pops: the packed commands, for one queue each.
            error: what a pop from several queues was refused with.

        Returns:
            The answers that have brought something.
        """
        here = await _answers(lambda on: self._connection.send_now(list(pops), on), len(pops))
        if found := [answer for answer in here if isinstance(answer, list)]:
            return found  # at once: the other node may have to be connected to first
        nodes = [asked_node(one) for one in (error, *here)]
        if (node := next(filter(None, nodes), None)) is None:
            return []
        there = await _answers(lambda on: self._asked.send(node, list(pops), on), len(pops))
        return [answer for answer in there if isinstance(answer, list)]

    def send(self, node: tuple[str, int], commands: list[bytes]) -> None:
        """Send commands to where a slot goes; nothing waits for their answers."""
        self._asked.send(node, commands, [_ignore] * len(commands))

    async def close(self) -> None:
        """Close the connections to where slots went."""
        await self._asked.close()


def _ignore(_reply: Any) -> None:
    """The callback of a command whose reply is not needed."""


async def _answers(send: Callable[[list[OnReply]], None], number: int) -> list[Any]:
    """Send something; returns its answers once all are there."""
    answers: list[Any] = []
    done = asyncio.get_running_loop().create_future()

    def on_answer(answer: Any) -> None:
        answers.append(answer)
        if len(answers) == number and not done.done():
            done.set_result(None)

    send([on_answer] * number)
    await done
    return answers
