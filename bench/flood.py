"""Searches at a rate that no gateway can answer, from one process that uses little CPU.

A client that creates a task for each search, and opens a connection whenever none is idle, uses
more CPU than the gateway uses to refuse the search: it falls behind, opens more and more
connections, and hardly sends any of the searches that it counts as asked. Here the requests are
prepared beforehand, there are no more connections than one address may have, and a search takes two
callbacks. A search that is due while every connection awaits an answer is given up, as by a client
whose pool is exhausted: searches that were due and searches that were sent are counted separately.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from bench.harness.http_load import whole_body
from bench.harness.load import arrivals, quantile
from bench.search.inside.callers import Verdict, judge

_LAST_S: Final = 0.5  # for the last answers to arrive: longer than the searches' deadline


@dataclass(slots=True)
class Flooded:
    """What became of the searches.

    Attributes:
        seconds: for how long they were due.
        num_due: how many were due.
        num_sent: how many were sent; for the others, every connection was awaiting an answer.
        late_s: how long after it was due each of those was sent.
        answered_s: how long after its search was due each whole answer was read.
        counts: the other answers, by kind, and the connections that the gateway closed.
    """

    seconds: float = 0.0
    num_due: int = 0
    num_sent: int = 0
    late_s: list[float] = field(default_factory=list)
    answered_s: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def to_json(self, limit_s: float) -> dict[str, float]:
        """Rates a second; whole answers within `limit_s` count as answered, the others as late."""
        in_time = sum(took_s <= limit_s for took_s in self.answered_s)
        return {
            "due_per_s": self.num_due / self.seconds,
            "sent_per_s": self.num_sent / self.seconds,
            "answered_per_s": in_time / self.seconds,
            "late_per_s": (len(self.answered_s) - in_time) / self.seconds,
            "refused_per_s": self.counts[Verdict.REFUSED.value] / self.seconds,
            "partial_per_s": self.counts[Verdict.PARTIAL.value] / self.seconds,
            "num_failed": self.counts["failed"],
            "num_closed": self.counts["closed"],
            "sent_late_p99_ms": quantile(self.late_s, 0.99) * 1000,
        }


async def flood(
    address: tuple[str, int],
    requests: Sequence[bytes],
    rate: float,
    seconds: float,
    num_connections: int,
    come_from: str = "127.0.0.1",
) -> Flooded:
    """Send searches at random instants, `rate` a second on average.

    Args:
        address: the gateway's.
        requests: whole requests of HTTP/1.1, which are sent in turn.
        rate: mean arrivals a second.
        seconds: for how long.
        num_connections: how many are opened before the first search is due; none is opened later.
        come_from: the local address of the connections.
    """
    flooded = Flooded()
    # The connection that has been idle longest comes first, so that none is closed for idling.
    idle: deque[_Connection] = deque()
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(num_connections):
        _, connection = await loop.create_connection(
            lambda: _Connection(flooded, idle), *address, local_addr=(come_from, 0)
        )
        connections.append(connection)
    started = time.perf_counter()
    async for due in arrivals(rate, seconds, seed=3):
        flooded.num_due += 1
        if idle:
            request = requests[flooded.num_sent % len(requests)]
            flooded.num_sent += 1
            idle.popleft().ask(request, due)
    flooded.seconds = max(seconds, time.perf_counter() - started)
    await asyncio.sleep(_LAST_S)
    for connection in connections:
        connection.close()
    return flooded


class _Connection(asyncio.Protocol):
    """One connection: a search, then its answer, whose length its header gives."""

    def __init__(self, flooded: Flooded, idle: "deque[_Connection]") -> None:
        self._flooded = flooded
        self._idle = idle
        self._received = b""
        self._due = 0.0
        self._is_ours_to_close = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._idle.append(self)

    def ask(self, request: bytes, due: float) -> None:
        self._due = due
        self._flooded.late_s.append(time.perf_counter() - due)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if (body := whole_body(self._received)) is not None:
            self._received = b""
            self._note(body)
            self._idle.append(self)

    def _note(self, body: bytes) -> None:
        try:
            verdict = judge(body)
        except RuntimeError:
            self._flooded.counts["failed"] += 1
            return
        if verdict is Verdict.WHOLE:
            self._flooded.answered_s.append(time.perf_counter() - self._due)
        else:
            self._flooded.counts[verdict.value] += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason does not matter
        if self._is_ours_to_close:
            return
        self._flooded.counts["closed"] += 1
        if self in self._idle:
            self._idle.remove(self)

    def close(self) -> None:
        """Close it; this is not counted."""
        self._is_ours_to_close = True
        self._transport.close()
