"""Spans on their way out: a bounded queue, and a thread that sends what is in it.

Only that thread waits for the receiver. While the receiver hangs or is away, the queue fills; spans
that find no room in it are dropped and counted.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol

import structlog

from hedgerow.common.observability.telemetry import Throttle

# In one request, of some 600 kB. A request takes as long as encoding 50 spans.
BATCH_SPANS: Final = 4096
GATHER_S: Final = 1.0  # how long spans wait for others, so that they leave together
CLOSE_S: Final = 2.0  # how long the last spans may take at the end

_log = structlog.get_logger()


class Sender(Protocol):
    """Sends spans; only the queue's thread calls it."""

    def send(self, spans: Sequence[Any]) -> bool:
        """Send spans; returns whether the receiver has taken them."""

    def close(self) -> None:
        """End what `send` is doing; any thread may call it."""


class SpanQueue:
    """Takes spans from any thread, and sends them from one of its own.

    Attributes:
        num_sent: spans that the receiver has taken.
        num_dropped: spans that found no room, or that the receiver has not taken.
    """

    def __init__(
        self,
        sender: Sender,
        max_spans: int,
        gather_s: float = GATHER_S,
    ) -> None:
        """Send by `sender`, and hold at most `max_spans`; `start` begins."""
        self.num_sent = self.num_dropped = 0
        self._sender = sender
        self._max_spans = max_spans
        self._gather_s = gather_s
        self._spans: deque[Any] = deque()
        self._lock = threading.Lock()
        self._has_spans = threading.Event()
        self._is_urgent = threading.Event()  # a batch is full, or the end has come
        self._is_closed = False
        self._throttle = Throttle(60.0)
        self._num_logged = 0  # dropped spans that the log has reported
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)

    def start(self) -> None:
        """Start the thread; it does not outlive a fork."""
        self._thread.start()

    def offer(self, spans: Sequence[Any]) -> None:
        """Take spans, or drop those that find no room; does not wait."""
        with self._lock:
            room = 0 if self._is_closed else self._max_spans - len(self._spans)
            self._spans.extend(spans[:room])
            self.num_dropped += max(0, len(spans) - room)
            num_waiting = len(self._spans)
        if num_waiting:
            self._has_spans.set()
            if num_waiting >= BATCH_SPANS:
                self._is_urgent.set()

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Send what is there, for at most `timeout_s`; blocks, so not on an event loop."""
        with self._lock:
            self._is_closed = True
        self._has_spans.set()
        self._is_urgent.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._sender.close()

    def as_dict(self) -> dict[str, int]:
        """Figures for the status."""
        return {"sent": self.num_sent, "dropped": self.num_dropped, "waiting": len(self._spans)}

    def _run(self) -> None:
        while True:
            self._has_spans.wait()
            self._is_urgent.wait(self._gather_s)
            batch = self._take()
            if batch:
                self._send(batch)
            elif self._is_closed:
                return

    def _take(self) -> list[Any]:
        with self._lock:
            batch = [self._spans.popleft() for _ in range(min(BATCH_SPANS, len(self._spans)))]
            if not self._is_closed:
                if not self._spans:
                    self._has_spans.clear()
                if len(self._spans) < BATCH_SPANS:
                    self._is_urgent.clear()
        return batch

    def _send(self, batch: list[Any]) -> None:
        reason = "the receiver did not take them"
        try:
            is_sent = self._sender.send(batch)
        except Exception as error:  # noqa: BLE001 - later spans may be sent all the same
            is_sent, reason = False, f"{type(error).__name__}: {error}"
        with self._lock:
            if is_sent:
                self.num_sent += len(batch)
            else:
                self.num_dropped += len(batch)
        num_new = self.num_dropped - self._num_logged
        if num_new and self._throttle.allows("dropped", time.monotonic()):
            self._num_logged += num_new
            _log.warning(
                "spans_dropped",
                dropped=num_new,
                reason="the queue was full" if is_sent else reason,
            )
