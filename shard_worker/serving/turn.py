"""The worker's turn: in which order its loop takes results, replies, and pulls again."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from hedgerow.common.wire.messages import Reply
from hedgerow.shard_worker.serving.consumer import Consumer
from hedgerow.shard_worker.serving.replier import Replier

# How long a pull waits for replies that it could take along, should they be late.
HOLD_S: Final = 0.002

Handle = Callable[[int, list[bytes]], None]


class Turn:
    """Keeps one order, whatever has woken the loop.

        results of the executors ► replies ► next pull

    *Results first*: each adds its reply and frees the room that the next pull is made for.

    *Replies before the pull, and in the same write*: a write of their own would cost this worker a
    system call and the server a wakeup. So when what was pulled is so cheap that its results will
    be here in a moment, the next pull waits for them, for `HOLD_S` at most.

    *The pull last, from this very callback*: waking a task would cost as much as several requests.
    """

    def __init__(self, replier: Replier) -> None:
        """Send replies by `replier`, which the consumers' pulls take replies from."""
        self._replier = replier
        self._loop = asyncio.get_running_loop()
        self._is_ending = False  # `end` is due in this turn of the loop
        self._held: Consumer | None = None  # its next pull waits for replies
        self._timer: asyncio.TimerHandle | None = None

    async def serve(self, consumer: Consumer, handle: Handle) -> None:
        """Pull until the consumer is drained.

        Args:
            consumer: says from where, and has the lane that says how much.
            handle: starts the work of one pop; is given its shard, or `OWN_QUEUE`, and the packed
                requests. It adds to the replier what it can answer at once.
        """
        try:
            await consumer.run(partial(self._on_pulled, consumer, handle))
        finally:
            if self._held is consumer:
                self._release()

    def reply(self, reply_to: str, reply: Reply) -> None:
        """Send a result that came alone, with all others of this turn of the loop."""
        if not self._is_ending:
            self._is_ending = True
            self._loop.call_soon(self.end)
        self._replier.add(reply_to, reply)

    def end(self) -> None:
        """Results have come, and their replies are with the replier: send them and pull on."""
        self._is_ending = False
        if (held := self._held) is not None:
            self._release()
            held.pull_next()
        self._replier.flush()  # what no pull has taken along

    def _on_pulled(self, consumer: Consumer, handle: Handle, answers: list[Any]) -> None:
        # What came together starts together, so that it goes to the scorers in one frame each.
        lane = consumer.lane
        lane.cork()
        try:
            num_taken = consumer.deliver(answers, handle)
        finally:
            lane.uncork()
        if num_taken and not self._replier.has_ready and lane.ends_soon():
            self._held = consumer
            self._timer = self._loop.call_later(HOLD_S, self.end)
            return
        consumer.pull_next()
        self._replier.flush()

    def _release(self) -> None:
        self._held = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
