"""Runs many queries, a bounded number at once, and returns the answers in order."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Final

from hedgerow.common.errors import BadRequestError, HedgerowError
from hedgerow.gateway.shapes.answer import SearchAnswer

CONCURRENCY: Final = 8

Answers = list[SearchAnswer] | list[SearchAnswer | HedgerowError]


def ask_many(
    ask: Callable[[str], SearchAnswer],
    queries: Iterable[str],
    concurrency: int,
    *,
    return_errors: bool,
) -> Answers:
    """Ask from `concurrency` threads.

    Raises:
        HedgerowError: a query has failed, and `return_errors` is False. No further query is sent,
            and those in flight are awaited.
    """
    run = _Run(queries, concurrency, return_errors=return_errors)

    def work() -> None:
        while (taken := run.take()) is not None:
            place, query = taken
            try:
                run.answers[place] = ask(query)
            except BaseException as error:  # noqa: BLE001 - raised again unless it is kept
                run.fail(place, error)

    with ThreadPoolExecutor(concurrency, "hedgerow-search") as threads:
        # Each in the caller's context, of which its trace is a part.
        workers = [threads.submit(copy_context().run, work) for _ in range(run.num_workers)]
        try:
            wait(workers)
        finally:
            run.stop()  # if this thread is interrupted
    for worker in workers:
        worker.result()
    return run.in_order()


async def ask_many_async(
    ask: Callable[[str], Awaitable[SearchAnswer]],
    queries: Iterable[str],
    concurrency: int,
    *,
    return_errors: bool,
) -> Answers:
    """Ask from `concurrency` tasks.

    Raises:
        HedgerowError: a query has failed, and `return_errors` is False. No further query is sent,
            and those in flight are cancelled.
    """
    import asyncio  # noqa: PLC0415 - 10 ms, which blocking clients need not spend

    run = _Run(queries, concurrency, return_errors=return_errors)

    async def work() -> None:
        while (taken := run.take()) is not None:
            place, query = taken
            try:
                run.answers[place] = await ask(query)
            except BaseException as error:  # noqa: BLE001 - raised again unless it is kept
                run.fail(place, error)

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(run.num_workers):
                tasks.create_task(work())
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return run.in_order()


class _Run:
    """Waiting queries, and answers by position; shared by the workers.

    A deque's single operations are safe between threads.
    """

    def __init__(self, queries: Iterable[str], concurrency: int, *, return_errors: bool) -> None:
        if concurrency < 1:
            raise BadRequestError("concurrency", "must be at least 1")
        if isinstance(queries, str):  # which would be iterated by its characters
            raise BadRequestError("queries", "is a single text; give a list of queries")
        self.answers: dict[int, SearchAnswer | HedgerowError] = {}
        self._waiting = deque(enumerate(queries))
        self._return_errors = return_errors
        self.num_workers = min(concurrency, len(self._waiting))

    def take(self) -> tuple[int, str] | None:
        """Remove and return the next query with its position; None if there is none."""
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def fail(self, place: int, error: BaseException) -> None:
        """Keep an error at its position, or stop and raise it."""
        if not (self._return_errors and isinstance(error, HedgerowError)):
            self.stop()
            raise error
        self.answers[place] = error

    def stop(self) -> None:
        """Drop the waiting queries."""
        self._waiting.clear()

    def in_order(self) -> list[SearchAnswer | HedgerowError]:
        """Return the answers to all queries, in the queries' order."""
        return [self.answers[place] for place in range(len(self.answers))]
