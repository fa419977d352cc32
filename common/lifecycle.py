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

    A process that answers queries makes thousands of short-lived objects a millisecond, hardly any
    in cycles. By default each 700 more of them start a collection, and the larger ones walk through
    every module: 5 % of a gateway's CPU, and pauses of milliseconds. A look at 5,000 objects takes
    1 to 2 ms, at the 20,000 of some hundred queries in flight 8 ms: too much for a deadline, so
    those that have survived one look are seldom looked at again. Entry points alone call this, once
    they have loaded what stays.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 500, 100)
