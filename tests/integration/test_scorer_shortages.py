"""A system that has no descriptor or no memory left for a while: slots come back by themselves."""

import errno
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.shard_worker.executors.process_pool.forkserver_start import start_interpreter
from tests.integration.support.lanes import running
from tests.support.processes import count_fds, parent_of
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@dataclass
class Shortage:
    """Stands for a call that takes from the system, and refuses it until it is over."""

    call: Callable[..., Any]
    number: int
    num_refused: int = 0
    is_over: bool = False

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Refuse, or take."""
        if not self.is_over:
            self.num_refused += 1
            raise OSError(self.number, os.strerror(self.number))
        return self.call(*args, **options)


async def test_a_slot_comes_back_when_descriptors_had_run_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No channel for a replacement at first: the slot tries again, and the others serve."""
    async with running(tmp_path, num_processes=2, start_forkserver=start_interpreter) as bench:
        shortage = Shortage(socket.socketpair, errno.EMFILE)
        monkeypatch.setattr(socket, "socketpair", shortage)
        os.kill(bench.pids()[0], signal.SIGKILL)
        await until(lambda: shortage.num_refused >= 2)
        call = bench.submit("a echo")
        await bench.ended(call)
        assert call.body == b"a"
        assert bench.lane.load()["alive"] == 1
        shortage.is_over = True
        await bench.whole()


async def test_the_lane_comes_back_when_memory_had_run_out(
    tmp_path: Path,
) -> None:
    """No memory for another forkserver at first: it is tried again, and what waits is served."""
    shortage = Shortage(subprocess.Popen, errno.ENOMEM, is_over=True)

    async with running(
        tmp_path,
        num_processes=2,
        start_forkserver=lambda name: start_interpreter(name, shortage),
    ) as bench:
        shortage.is_over = False
        os.kill(parent_of(bench.pids()[0]), signal.SIGKILL)
        await until(lambda: shortage.num_refused >= 2)
        call = bench.submit("a echo")
        shortage.is_over = True
        await bench.ended(call)
        assert call.body == b"a"
        await bench.whole()


async def test_a_shortage_of_descriptors_at_the_start_ends_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of the start names the lack of descriptors; nothing is left running."""
    num_fds = count_fds()
    monkeypatch.setattr(socket, "socketpair", Shortage(socket.socketpair, errno.ENFILE))
    with pytest.raises(ConfigurationError, match=os.strerror(errno.ENFILE)):
        async with running(tmp_path, start_forkserver=start_interpreter):
            pass
    assert count_fds() == num_fds


async def test_a_shortage_of_memory_at_the_start_ends_the_start(tmp_path: Path) -> None:
    """The error of the start names the lack of memory; nothing is left running."""
    num_fds = count_fds()
    shortage = Shortage(subprocess.Popen, errno.ENOMEM)
    with pytest.raises(ConfigurationError, match=os.strerror(errno.ENOMEM)):
        async with running(
            tmp_path, start_forkserver=lambda name: start_interpreter(name, shortage)
        ):
            pass
    assert count_fds() == num_fds
