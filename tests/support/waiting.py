"""Waiting, within a time limit, for what other processes and threads do.

They give no event to wait for, so these functions look again every few milliseconds, and ever less
often: looking takes CPU time, which what is awaited needs too. What must be asked for, which takes
more of it, is asked for less often.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

_EVERY_S = 0.005
# The longest pause between two looks, as a share of the time that was waited, and in s: for a look
# in this process, and for a question to another one.
_LATE_LOOK, _LATE_ANSWER = (0.01, 0.02), (0.05, 0.2)
_LONGEST_REST_S = 0.2
_PATIENT_S = 60.0  # longer than any busy machine takes for what needs a second


async def until(
    is_true: Callable[[], bool | Awaitable[bool]],
    timeout_s: float = _PATIENT_S,
    *,
    what: str = "what the test waits for",
) -> None:
    """Return once `is_true` does.

    Raises:
        TimeoutError: it is not so within `timeout_s`; says `what`.
    """
    try:
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        async with asyncio.timeout(timeout_s) as limit:
            while True:
                answer = is_true()
                if answer if isinstance(answer, bool) else await answer:
                    return
                share, most_s = _LATE_LOOK if isinstance(answer, bool) else _LATE_ANSWER
                pause_s = min(most_s, (loop.time() - began_at) * share)
                await asyncio.sleep(max(_EVERY_S, pause_s))
    except TimeoutError:
        if limit.expired():
            raise _too_late(timeout_s, what) from None
        raise


def block_until(
    is_true: Callable[[], bool],
    timeout_s: float = _PATIENT_S,
    *,
    what: str = "what the test waits for",
    every_s: float = _EVERY_S,
) -> None:
    """The same for code without an event loop.

    Raises:
        TimeoutError: as of `until`.
    """
    ends_at = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() >= ends_at:
            raise _too_late(timeout_s, what)
        time.sleep(every_s)


@asynccontextmanager
async def rested(times: float = 2.0, longest_s: float = _LONGEST_REST_S) -> AsyncIterator[None]:
    """Do the block, and pause `times` as long as it took: for load beside what is tested.

    Without pauses, such load takes all of a small machine, and what it is beside takes several
    times as long. Pauses are short enough that there is some load on a busy machine, too.
    """
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    yield
    await asyncio.sleep(min(max(_EVERY_S, times * (loop.time() - began_at)), longest_s))


async def comes_true(
    is_true: Callable[[], Awaitable[bool]], within_s: float, every_s: float = 0.1
) -> bool:
    """Whether `is_true` says so within the time; it is asked at least once.

    Unlike with `until`, its answer counts however long it takes.
    """
    ends_at = asyncio.get_running_loop().time() + within_s
    while not await is_true():
        if asyncio.get_running_loop().time() >= ends_at:
            return False
        await asyncio.sleep(every_s)
    return True


def _too_late(timeout_s: float, what: str) -> TimeoutError:
    return TimeoutError(f"not within {timeout_s:g} s: {what}")
