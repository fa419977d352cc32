"""Runs a coroutine in virtual time: the clock jumps to whatever is due next, and never sleeps."""

from collections.abc import Coroutine
from typing import Any, TypeVar

import looptime

T = TypeVar("T")


def run_virtually(scenario: Coroutine[Any, Any, T]) -> T:
    """Run on an event loop of its own whose time starts at 0 and jumps.

    It jumps as soon as nothing is ready. By default the loop would first turn 42 times for nothing,
    which in tests that mostly wait takes most of the time.
    """
    loop = looptime.new_event_loop(start=0.0, noop_cycles=0)
    try:
        return loop.run_until_complete(scenario)
    finally:
        loop.close()
