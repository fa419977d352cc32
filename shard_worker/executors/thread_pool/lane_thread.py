"""One thread of the thread lane."""

import asyncio
import math
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from hedgerow.common.errors import WorkError
from hedgerow.shard_worker.executors.bulkhead import OURS

T = TypeVar("T")

# An idle thread ends within microseconds of `end`.
_JOIN_TIMEOUT_S = 1.0


class LaneThread:
    """A daemon thread that runs calls in turn, until `end`.

    Attributes:
        started_at: when its call began, on the loop's clock; inf while idle.
        profile: the profile of its last call.
    """

    def __init__(self, name: str) -> None:
        """Start the thread; `name` is the thread's name."""
        self.started_at = math.inf
        self.profile = OURS
        self._cpu_s = 0.0
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def hand(self, call: Callable[[], None]) -> None:
        """Run `call` after those that were handed over before; it must not raise."""
        self._calls.put(call)

    def end(self) -> None:
        """Let the thread end after what it runs."""
        self._calls.put(None)

    def lap_cpu_s(self) -> float:
        """CPU time since the last call of this, in s; to be called by the thread itself.

        Once for each call, at its end: the clock costs 0.6 µs, and an idle thread uses no CPU.
        """
        before, self._cpu_s = self._cpu_s, time.thread_time()
        return self._cpu_s - before

    def join(self) -> None:
        """Wait for the thread to end, for at most 1 s."""
        self._thread.join(_JOIN_TIMEOUT_S)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # free what it refers to before waiting for the next


def ended(call: Callable[[], T]) -> tuple[T, None] | tuple[None, Exception]:
    """Make a call; returns what it has returned, or an error for its caller."""
    try:
        return call(), None
    except StopIteration as error:  # a future cannot hold one
        return None, WorkError(f"the call raised {error!r}")
    except Exception as error:  # noqa: BLE001 - raised in the caller
        return None, error
    except BaseException as error:  # noqa: BLE001 - SystemExit must not end the loop
        return None, WorkError(f"the call raised {error!r}")


def carry_out(
    call: Callable[[], T], outcome: asyncio.Future[T], settle: Callable[[Callable[[], None]], None]
) -> None:
    """Make a call in a thread.

    Args:
        call: what to call.
        outcome: gets the result or the error.
        settle: is given what sets `outcome`, to do it in the loop's thread.
    """
    made = ended(call)
    if made[1] is not None:
        settle(partial(outcome.set_exception, made[1]))
    else:
        settle(partial(outcome.set_result, made[0]))
    # The frames in an error's traceback hold those that have called them, so also this one. If it
    # held the error, there would be a cycle: all that the call refers to would stay until the
    # garbage collector runs.
    del made, outcome, settle
