"""A process's life: when it has to stop, and how often its garbage collector runs."""

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on SIGTERM and SIGINT while in the block; only entry points use this."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def stop_with_parent(descriptor: int | None, stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` when the other end of the pipe is closed.

    Args:
        descriptor: the read end of a pipe whose write end only the parent holds; None for no
            parent.
        stop: called once, on the loop.
    """
    if descriptor is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def on_readable() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            stop()

    loop.add_reader(descriptor, on_readable)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)


def calm_collector() -> None:
    """Make the garbage collector run rarely, and only over objects that are created from now on.

    It only finds cycles, and a search, in process or over HTTP, leaves none. But by default, every
    700 more objects start a collection, and the larger collections walk through every module: 5 %
    of a gateway's CPU. A collection stops the event loop for as long as it takes to look at the
    young objects: the 25,000 of some 250 queries in flight, 8 ms; 200,000, 60 to 240 ms, more than
    the deadline of many searches. It therefore runs when there are 50,000 more objects, and still
    finds the cycles of rarer events in the end. Only entry points call this, once they have loaded
    the modules that stay.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
