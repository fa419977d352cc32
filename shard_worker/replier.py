"""Sends replies: those that are ready together leave as one message for each gateway."""

import asyncio

from common.link import Link, unanswered
from common.telemetry import Counters
from common.wire import Reply, pack_replies


class Replier:
    """Collects the replies of one turn of the loop and publishes them.

    Pub/Sub stores nothing: a reply to a gateway that has died costs nothing, and one that is lost
    with the connection costs its shard's share of one query.
    """

    def __init__(self, link: Link, worker: str, counters: Counters) -> None:
        """Reply over `link` in the name of `worker`."""
        self._link = link
        self._worker = worker
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._ready: dict[str, list[Reply]] = {}
        self._is_flushing = False

    def reply(self, reply_to: str, reply: Reply) -> None:
        """Send one reply at the end of this turn of the loop."""
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self.flush)
        self.add(reply_to, reply)

    def add(self, reply_to: str, reply: Reply) -> None:
        """Add a reply that leaves with the next `flush` or `take`, which the caller sees to."""
        ready = self._ready
        if reply_to in ready:
            ready[reply_to].append(reply)
        else:
            ready[reply_to] = [reply]

    def flush(self) -> None:
        """Send what is ready now."""
        self._is_flushing = False
        if self._ready:
            self._link.send_now(self.take(), [])

    def take(self) -> list[bytes]:
        """Hand over the packed commands that send what is ready, to whoever writes next anyway."""
        ready, self._ready = self._ready, {}
        commands = []
        for reply_to, replies in ready.items():
            self._counters.add("replies", len(replies))
            commands.append(unanswered("PUBLISH", reply_to, pack_replies(self._worker, replies)))
        return commands
