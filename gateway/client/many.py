"""Many queries, of which a bounded number is in flight; their answers in the queries' order."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
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
    """Ask from as many threads as `concurrency` says.

    Raises:
        HedgerowError: a query has failed, and `return_errors` is False. No other is asked from
            then on, and those in flight are waited for.
    """
    run = _Run(queries, concurrency, return_errors=return_errors)

    def work() -> None:
        while (taken := run.take()) is not None:
            place, query = taken
            try:
                run.answers[place] = ask(query)
            except BaseException as error:  # noqa: BLE001 - it is raised again unless it is kept
                run.fail(place, error)

    with ThreadPoolExecutor(concurrency, "hedgerow-search") as threads:
        workers = [threads.submit(work) for _ in range(run.num_workers)]
        try:
            wait(workers)
        finally:
            run.stop()  # where this thread is interrupted
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
    """Ask from as many tasks as `concurrency` says.

    Raises:
        HedgerowError: a query has failed, and `return_errors` is False. No other is asked from
            then on, and those in flight are cancelled.
    """
    run = _Run(queries, concurrency, return_errors=return_errors)

    async def work() -> None:
        while (taken := run.take()) is not None:
            place, query = taken
            try:
                run.answers[place] = await ask(query)
            except BaseException as error:  # noqa: BLE001 - it is raised again unless it is kept
                run.fail(place, error)

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(run.num_workers):
                tasks.create_task(work())
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return run.in_order()


class _Run:
    """Queries that wait, and answers by the places of theirs; workers share one.

    A deque's single operations are safe between threads.
    """

    def __init__(self, queries: Iterable[str], concurrency: int, *, return_errors: bool) -> None:
        if concurrency < 1:
            raise BadRequestError("concurrency", "must be at least 1")
        self.answers: dict[int, SearchAnswer | HedgerowError] = {}
        self._waiting = deque(enumerate(queries))
        self._return_errors = return_errors
        self.num_workers = min(concurrency, len(self._waiting))

    def take(self) -> tuple[int, str] | None:
        """Remove the next query, and return it with its place; None when none waits."""
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def fail(self, place: int, error: BaseException) -> None:
        """Keep an error in its place, or stop and raise it."""
        if not (self._return_errors and isinstance(error, HedgerowError)):
            self.stop()
            raise error
        self.answers[place] = error

    def stop(self) -> None:
        """Let no query be asked that waits."""
        self._waiting.clear()

    def in_order(self) -> list[SearchAnswer | HedgerowError]:
        """Return the answers to all queries, in the queries' order."""
        return [self.answers[place] for place in range(len(self.answers))]
