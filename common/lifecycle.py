"""A process's life: when it has to stop, and how it lives with the garbage collector."""

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on SIGTERM and SIGINT while in the block; entry points alone use this."""
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
    """Call `stop` when nobody holds the other end of the pipe any more.

    Args:
        descriptor: the read end of a pipe whose write end the parent alone holds; None for no
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
    """Let the garbage collector look rarely, and only at what was made from now on.

    It finds cycles alone, and a search, in process or over HTTP, leaves none; but by default each
    700 more objects start a collection, and the larger ones walk through every module: 5 % of a
    gateway's CPU. What a look costs is what is young: the 25,000 objects of some 250 queries in
    flight took 8 ms, too much for a deadline. So it looks when there are 200,000 more objects, and
    cycles that rarer events leave are found in the end. Entry points alone call this, once they
    have loaded what stays.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 10, 10)
