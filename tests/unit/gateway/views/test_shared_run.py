"""Callers at the same time share one run, and none gets a result from before it came."""

import asyncio
import gc

import pytest

from hedgerow.gateway.views.shared_run import SharedRun


class Work:
    """Returns the number of its run; each run ends, or fails, when the test says so."""

    def __init__(self) -> None:
        self.num_begun = 0
        self.has_begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        """Run once."""
        self.num_begun += 1
        self.has_begun.set()
        number = self.num_begun
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return number


async def test_a_caller_gets_a_run_that_began_after_it_came() -> None:
    """Callers during a run wait for the next one, which is one for all of them."""
    work = Work()
    run = SharedRun(work)
    early = [asyncio.create_task(run.result()) for _ in range(3)]
    await work.has_begun.wait()
    late = [asyncio.create_task(run.result()) for _ in range(3)]
    await asyncio.sleep(0)
    work.go_on.set()
    assert await asyncio.gather(*early) == [1, 1, 1]
    assert await asyncio.gather(*late) == [2, 2, 2]
    assert await run.result() == 3


async def test_a_caller_that_leaves_takes_the_result_from_no_other() -> None:
    """The run goes on when one of those that wait for it is cancelled."""
    work = Work()
    run = SharedRun(work)
    leaver, stayer = (asyncio.create_task(run.result()) for _ in range(2))
    await work.has_begun.wait()
    leaver.cancel()
    await asyncio.wait({leaver})
    work.go_on.set()
    assert await stayer == 1


async def test_an_error_is_that_of_its_run_alone() -> None:
    """All callers of a run that fails get its error; the next run is not held up."""
    work = Work()
    work.error = ValueError("no")
    work.go_on.set()
    run = SharedRun(work)
    results = await asyncio.gather(run.result(), run.result(), return_exceptions=True)
    assert [*results] == [work.error, work.error]
    work.error = None
    assert await run.result() == 2


async def test_a_run_that_fails_after_its_callers_have_left_is_no_loose_end() -> None:
    """Nothing reports its error: neither as never retrieved nor as a shielded task's."""
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    work = Work()
    work.error = ValueError("no")
    run = SharedRun(work)
    caller = asyncio.create_task(run.result())
    await work.has_begun.wait()
    caller.cancel()
    await asyncio.wait({caller})
    work.go_on.set()
    with pytest.raises(ValueError, match="no"):
        await run.result()
    del run, work, caller
    gc.collect()  # a traceback and its frames refer to each other
    assert errors == []
