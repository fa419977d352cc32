"""The supervised pool as an executor, used from threads, over real processes."""

import asyncio
import concurrent.futures
import contextlib
import inspect
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.common.errors import (
    ConfigurationError,
    ExpiredError,
    RankingError,
    ScorerCrashedError,
)
from hedgerow.shard_worker.executors.process_pool.executor import ProcessPool
from tests.integration.support.lanes import SOON_S
from tests.integration.support.misbehaving import Config
from tests.support.processes import count_fds, is_alive
from tests.support.waiting import block_until

pytestmark = pytest.mark.integration

ECHO = "tests.integration.support.misbehaving:echo"
MAKE = "tests.integration.support.misbehaving:make"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Where the misbehaving handler notes what it runs."""
    return Config(str(tmp_path))


@pytest.fixture
def pool(config: Config) -> Iterator[ProcessPool]:
    """Two processes of the misbehaving handler; nothing that they ran is left to run."""
    with ended(ProcessPool(MAKE, config, num_processes=2, kill_grace_ms=100.0)) as pool:
        yield pool


@contextlib.contextmanager
def ended(pool: ProcessPool) -> Iterator[ProcessPool]:
    """Shut the pool down after the block; without waiting for ever for what never ends."""
    yield pool
    pool.shutdown(wait=False)
    pool._thread.join(60)
    assert not pool._thread.is_alive()


def wait_for(config: Config, name: str) -> int:
    """Wait until a task was started; returns its process."""
    block_until(lambda: bool(config.starts()[name]), what=f"{name} was started")
    return config.pids(name)[-1]


def test_it_has_the_face_of_an_executor() -> None:
    """Each public method of `concurrent.futures.Executor`, and its use in a `with` statement."""
    theirs = {name for name in vars(concurrent.futures.Executor) if not name.startswith("_")}
    assert theirs <= set(dir(ProcessPool))
    wanted = inspect.signature(concurrent.futures.Executor.shutdown)
    assert list(inspect.signature(ProcessPool.shutdown).parameters) == list(wanted.parameters)
    assert hasattr(ProcessPool, "__enter__")


def test_threads_share_it() -> None:
    """Tasks that several threads submit at once each get their own answer."""
    with ProcessPool(ECHO, num_processes=3) as pool:

        def ask(thread: int) -> bool:
            payloads = [b"%d-%d" % (thread, at) for at in range(300)]
            return [future.result(30) for future in map(pool.submit, payloads)] == payloads

        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            assert all(threads.map(ask, range(4)))


def test_an_asyncio_program_waits_for_it_without_blocking() -> None:
    """Its futures are those that `asyncio.wrap_future` takes."""

    async def ask(pool: ProcessPool) -> bytes:
        return await asyncio.wrap_future(pool.submit(b"x"))

    with ProcessPool(ECHO, num_processes=1) as pool:
        assert asyncio.run(ask(pool)) == b"x"


def test_map_yields_results_in_order_and_takes_no_more_than_it_needs() -> None:
    """However many there are, only a bounded number is submitted ahead."""
    taken: list[int] = []

    def payloads() -> Iterator[bytes]:
        for number in range(5000):
            taken.append(number)
            yield b"%d" % number

    with ProcessPool(ECHO, num_processes=1, max_batch=8) as pool:
        results = pool.map(payloads())
        assert next(results) == b"0"
        assert len(taken) <= 17
        assert list(results) == [b"%d" % number for number in range(1, 5000)]


def test_map_ends_with_the_first_error_and_cancels_the_rest(config: Config) -> None:
    """What it has submitted ahead is stopped, and nothing more is submitted."""
    with ended(ProcessPool(MAKE, config, num_processes=1, max_batch=1)) as pool:
        results = pool.map([b"a echo", b"b ranking-error", b"c obey", b"d echo"])
        assert next(results) == b"a"
        wait_for(config, "c")
        with pytest.raises(RankingError, match="division by zero"):
            next(results)
    assert config.starts()["d"] == 0


def test_a_task_that_takes_too_long_expires_and_is_killed_alone(
    pool: ProcessPool, config: Config
) -> None:
    """One that heeds its budget keeps its process, one that does not loses it; others go on."""
    other = pool.submit(b"other await-file go")
    wait_for(config, "other")
    obedient = pool.submit(b"obedient obey", timeout_s=SOON_S)
    with pytest.raises(ExpiredError):
        obedient.result(60)
    hung = pool.submit(b"hung spin", timeout_s=SOON_S)
    pid = wait_for(config, "hung")
    assert pid == config.pids("obedient")[0]
    with pytest.raises(ExpiredError, match="killed"):
        hung.result(60)
    (Path(config.folder) / "go").touch()
    assert other.result(60) == b"other"
    block_until(lambda: not is_alive(pid), what="the killed process has ended")


def test_what_a_dead_process_ran_is_tried_again_and_what_kills_twice_fails(
    pool: ProcessPool, config: Config
) -> None:
    """SIGKILL from outside costs a task only time; a crash of its own fails it."""
    call = pool.submit(b"a await-file go")
    os.kill(wait_for(config, "a"), signal.SIGKILL)
    (Path(config.folder) / "go").touch()
    assert call.result(60) == b"a"
    assert len(config.pids("a")) == 2
    with pytest.raises(ScorerCrashedError):
        pool.submit(b"bad exit").result(60)


def test_a_future_can_be_cancelled_while_it_waits_and_while_it_runs(config: Config) -> None:
    """What waits is never started; what runs finds its budget expired, and its process goes on."""
    with ProcessPool(MAKE, config, num_processes=1) as pool:
        running = pool.submit(b"running obey")
        pid = wait_for(config, "running")
        waiting = pool.submit(b"waiting echo")
        assert waiting.cancel()
        assert running.cancel()
        assert running.cancelled()
        assert pool.submit(b"next echo").result(60) == b"next"
        assert config.pids("next") == [pid]
    assert config.starts()["waiting"] == 0


def test_shutdown_waits_for_what_was_submitted(config: Config) -> None:
    """Then every process is gone, and nothing more is taken."""
    num_fds = count_fds()
    pool = ProcessPool(MAKE, config, num_processes=1)
    calls = [pool.submit(f"w{at} sleep 0.05".encode()) for at in range(4)]
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="was shut down"):
        pool.submit(b"late echo")
    pool.shutdown()
    assert [call.result(0) for call in calls] == [b"w0", b"w1", b"w2", b"w3"]
    assert not is_alive(config.pids("w3")[0])
    with pytest.raises(RuntimeError, match="was shut down"):
        pool.submit(b"late echo")
    assert count_fds() == num_fds


def test_shutdown_may_cancel_what_has_not_begun(config: Config) -> None:
    """What runs is finished; what waits is cancelled and never started."""
    pool = ProcessPool(MAKE, config, num_processes=1)
    first = pool.submit(b"first await-file go")
    wait_for(config, "first")
    others = [pool.submit(f"w{at} echo".encode()) for at in range(3)]
    pool.shutdown(wait=False, cancel_futures=True)
    (Path(config.folder) / "go").touch()
    pool.shutdown()
    assert first.result(0) == b"first"
    assert all(other.cancelled() for other in others)
    assert config.starts() == {"first": 1}


def test_a_factory_that_fails_is_told_where_the_pool_is_made() -> None:
    """The constructor raises a ConfigurationError with the reason, and no thread is left."""
    num_threads = threading.active_count()
    with pytest.raises(ConfigurationError, match="no such index"):
        ProcessPool("tests.integration.support.misbehaving:raise_at_start", num_processes=1)
    block_until(lambda: threading.active_count() <= num_threads, what="the threads have ended")


def test_the_documented_example_runs(tmp_path: Path) -> None:
    """The program of docs/lanes.md, in a folder of its own, prints what it should."""
    page = (Path(__file__).parents[2] / "docs" / "lanes.md").read_text(encoding="utf-8")
    section = page.partition("## The supervised pool by itself")[2].partition("\n## ")[0]
    words, program = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (tmp_path / "words.py").write_text(words, encoding="utf-8")
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    told = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert told.stdout.splitlines() == [
        "[('and', 2), ('hedge', 1), ('hedgehog', 1)]",
        "[('gate', 1)]",
        "[('hedge', 1)]",
    ]
