"""Commands that go in one write, while the slot of their keys may go to another node."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.sentinel_view import Address
from hedgerow.common.redis.translation import asked_at


class Pipelined:
    """Commands that go in one write; those that have been carried out are not sent again.

    A node can give a slot away between two commands. It refuses the second one (MOVED), which is
    then sent to the new node, without the first.
    """

    def __init__(self, commands: Sequence[Command], last: Sequence[Command]) -> None:
        """Nothing is sent yet.

        Args:
            commands: each with its name and arguments.
            last: commands about the connection, as WAIT is, whose replies are numbers. They follow
                in each write, since what one server says of itself means nothing for another. The
                lowest numbers count.
        """
        self._commands = commands
        self._last = last
        self._done: dict[int, Any] = {}  # the replies, by position

    @property
    def has_begun(self) -> bool:
        """Whether one of them has been carried out."""
        return bool(self._done)

    async def run(
        self,
        send: Callable[[Sequence[Command]], Awaitable[list[Any]]],
        ask: Callable[[Address, Sequence[Command]], Awaitable[list[Any]]],
    ) -> list[Any]:
        """Have those carried out that are left.

        Args:
            send: writes commands to the node of the slot, and returns the replies; errors are among
                them.
            ask: the same for a node to which the slot is being moved; the first is the one whose
                key is there. Errors are raised.

        Returns:
            The replies to all commands, in order.

        Raises:
            redis.ResponseError: the first reply that is an error.
        """
        left = [at for at in range(len(self._commands)) if at not in self._done]
        replies = await send([*(self._commands[at] for at in left), *self._last])
        of_last = replies[len(left) :]
        asked: dict[int, Address] = {}
        refusals = []
        for at, reply in zip(left, replies, strict=False):
            if not isinstance(reply, Exception):
                self._done[at] = reply
            elif (target := asked_at(reply)) is not None:
                asked[at] = target
            else:
                refusals.append(reply)
        refusals += [reply for reply in of_last if isinstance(reply, Exception)]
        if refusals:
            raise refusals[0]
        for at, target in asked.items():
            self._done[at], *of_target = await ask(target, [self._commands[at], *self._last])
            of_last = list(map(min, of_last, of_target))
        return [*(self._done[at] for at in range(len(self._commands))), *of_last]
