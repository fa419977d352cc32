"""The benchmark's cluster of real workers."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.harness.cluster import connect, run_cluster
from tests.support.processes import processes_mentioning
from tests.support.waiting import until

pytestmark = pytest.mark.integration


async def test_worker_that_has_ended_is_not_waited_for() -> None:
    """It is named at once, without the long wait that a slow machine may need."""
    with run_cluster([(0,), (1,)]) as cluster:
        cluster.workers[1].kill()
        with pytest.raises(RuntimeError, match="worker-1 has ended with status -9"):
            async with connect(cluster):
                pass


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder below which the path of a Unix socket stays within its 100 characters or so."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Path(folder)


async def test_a_benchmark_that_is_stopped_leaves_nothing(short_path: Path) -> None:
    """SIGTERM with a cluster up: no process and no folder is left; the results so far are shown."""
    bench = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench",
        "--only",
        "breaker",
        "--rounds",
        "1000",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(short_path)},
    )
    try:
        sign = "hedgerow-bench-*/worker-0"
        await until(lambda: bool(list(short_path.glob(sign))), what=f"there is {sign}")
        bench.terminate()
        page, _ = await asyncio.wait_for(bench.communicate(), 30)
        assert bench.returncode == 130
        assert page.startswith(b"# Benchmarks")
        assert processes_mentioning(str(short_path)) == {}
        assert os.listdir(short_path) == []  # noqa: PTH208 - pathlib's is taken for blocking
    finally:
        if bench.returncode is None:
            bench.kill()
            await bench.wait()
