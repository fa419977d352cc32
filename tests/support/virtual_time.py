"""Runs a coroutine in virtual time: the clock jumps to whatever is due next, and never sleeps."""

from collections.abc import Coroutine
from typing import Any, TypeVar

import looptime

T = TypeVar("T")


def run_virtually(scenario: Coroutine[Any, Any, T]) -> T:
    """Run on an event loop of its own whose time starts at 0 and jumps."""
    loop = looptime.new_event_loop(start=0.0)
    try:
        return loop.run_until_complete(scenario)
    finally:
        loop.close()
