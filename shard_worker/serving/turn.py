"""The worker's turn: the order in which its loop takes results, sends replies and pulls again."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from hedgerow.common.wire.messages import Reply
from hedgerow.shard_worker.serving.consumer import Consumer
from hedgerow.shard_worker.serving.pull_policy import Pulled
from hedgerow.shard_worker.serving.replier import Replies

# Longest that a pull waits for replies that could leave with it, in s.
HOLD_S: Final = 0.002

# Whether what this worker holds may be answered from; if not, it has been withheld.
IsCurrent = Callable[[], bool]
Handle = Callable[[list[Pulled]], None]


class Turn:
    """Keeps one order, whatever woke the loop.

        results of the executors ► replies ► next pull

    *Results first*: each adds its reply, and frees room for the next pull.

    *Replies before the pull, and in the same write*: a separate write would cost this worker a
    system call and the server a wakeup. So if the pulled requests are cheap enough to end within a
    moment, the next pull waits for their replies, for `HOLD_S` at most.

    *The pull last, from the same callback*: waking a task would cost as much as several requests.

    What was pulled goes back if this worker was silent for so long that callers may no longer have
    waited for it: it was stopped, or a pull was on its way through a partition meanwhile.
    """

    def __init__(self, replier: Replies, is_current: IsCurrent) -> None:
        """Send the replies of `replier`, which also leave with the consumers' pulls."""
        self._replier = replier
        self._is_current = is_current
        self._loop = asyncio.get_running_loop()
        self._is_ending = False  # `end` is due in this turn of the loop
        self._held: list[Consumer] = []  # whose next pull waits for replies
        self._timer: asyncio.TimerHandle | None = None

    async def serve(self, consumer: Consumer, handle: Handle) -> None:
        """Pull until the consumer is drained.

        Args:
            consumer: pulls, as much as its lane has room for.
            handle: starts the requests of one pull, each for its shards (or `OWN_QUEUE`). It adds
                to the replier what it can answer at once.
        """
        try:
            await consumer.run(partial(self._on_pulled, consumer, handle))
        finally:
            if consumer in self._held:
                self._held.remove(consumer)

    def reply(self, reply_to: str, reply: Reply) -> None:
        """Send a reply, together with all others of this turn of the loop."""
        if not self._is_ending:
            self._is_ending = True
            self._loop.call_soon(self.end)
        self._replier.add(reply_to, reply)

    def end(self) -> None:
        """Send the replies that have been added, and make the pull that waited for them."""
        self._is_ending = False
        if self._held:
            for held in self._release():
                held.pull_next()
        self._replier.flush()  # what did not leave with a pull

    def _on_pulled(self, consumer: Consumer, handle: Handle, answers: list[Any]) -> None:
        # Requests that came together are submitted together, so that each scorer gets one frame.
        if not self._is_current():
            consumer.put_back(answers)
            consumer.pull_next()
            return
        lane = consumer.lane
        lane.cork()
        try:
            num_taken = consumer.deliver(answers, handle)
        finally:
            lane.uncork()
        if num_taken and not self._replier.has_ready and lane.ends_soon():
            self._held.append(consumer)
            if self._timer is None:
                self._timer = self._loop.call_later(HOLD_S, self.end)
            return
        consumer.pull_next()
        self._replier.flush()

    def _release(self) -> list[Consumer]:
        held, self._held = self._held, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return held
