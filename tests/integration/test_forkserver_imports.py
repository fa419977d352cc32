"""A lane that starts beside others takes no more of the CPU than they do."""

import os
import sys

import pytest

from hedgerow.shard_worker.executors.process_pool.forkserver_start import start_interpreter
from tests.integration.support.lanes import Bench, make_lane
from tests.integration.support.misbehaving import Config

pytestmark = pytest.mark.integration


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one value for a process")
async def test_a_forkserver_imports_with_the_priority_of_scorers() -> None:
    """It keeps its own: what it forks makes itself nicer, and is to be no nicer than it should."""
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    lane = make_lane(
        "tests.integration.support.nice_at_import:make",
        num_processes=1,
        start_forkserver=start_interpreter,
        nice=7,
    )
    bench = Bench(lane, Config(""))
    try:
        await lane.start()
        call = bench.submit("")
        await bench.ended(call)
        assert call.body == f"{ours + 7} {ours + 7}".encode()
    finally:
        await lane.close(0.0)
