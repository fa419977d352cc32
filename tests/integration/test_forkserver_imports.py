"""A lane that starts beside others takes little CPU from them, but one that is missed does not."""

import os
import signal
import sys

import pytest

from hedgerow.shard_worker.executors.process_pool.forkserver import IMPORT_NICE
from tests.integration.support.lanes import Bench, make_lane
from tests.integration.support.misbehaving import Config
from tests.support.processes import parent_of
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one value for a process")
async def test_only_the_first_import_of_a_lane_gives_way() -> None:
    """Its scorers do not, nor does the import of the forkserver that replaces one that was lost."""
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    lane = make_lane("tests.integration.support.nice_at_import:make", num_processes=1)
    bench = Bench(lane, Config(""))
    try:
        await lane.start()
        call = bench.submit("")
        await bench.ended(call)
        assert call.body == f"{IMPORT_NICE} {ours}".encode()
        (first,) = bench.pids()
        os.kill(parent_of(first), signal.SIGKILL)
        await until(lambda: bool(bench.pids()) and bench.pids() != [first])
        await until(lambda: lane.load()["alive"] == 1)
        call = bench.submit("")
        await bench.ended(call)
        assert call.body == f"{ours} {ours}".encode()
    finally:
        await lane.close(0.0)
