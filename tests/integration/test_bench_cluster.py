"""The benchmark's cluster of real workers."""

import pytest

from bench.cluster import connect, run_cluster

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


async def test_worker_that_has_ended_is_not_waited_for() -> None:
    """It is named at once, where a wait for it would be as long as that for a slow machine."""
    with run_cluster([(0,), (1,)]) as cluster:
        cluster.workers[1].kill()
        with pytest.raises(RuntimeError, match="worker-1 has ended with status -9"):
            async with connect(cluster):
                pass
