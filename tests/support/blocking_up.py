"""`gateway up` as it comes, in a process of its own, for tests that block."""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hedgerow import Client
from tests.support.launching import Process, launch
from tests.support.processes import kill_all_of
from tests.support.up import Announcement, up_command
from tests.support.waiting import block_until

_START_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 60.0


@dataclass
class Cluster:
    """A running cluster.

    Attributes:
        process: of `gateway up`.
        said: the URL of its gateway, and its processes.
        output: what it prints.
    """

    process: Process
    said: Announcement
    output: Path

    @property
    def url(self) -> str:
        """Where its gateway answers."""
        return self.said.url

    def client(self, token: str | None = None) -> Client:
        """A client of it."""
        return Client(self.url, token)

    def pid_of(self, name: str) -> int:
        """The process that has this name now."""
        printed = self.output.read_text(encoding="utf-8")
        again = re.findall(rf"^{name} is back \(pid (\d+)", printed, re.MULTILINE)
        return int(again[-1]) if again else self.said.pids[name]

    def kill(self, name: str) -> int:
        """Kill a process without notice; its id."""
        pid = self.pid_of(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_for_seconds(self, worker: str, token: str | None = None) -> int:
        """Kill a worker so that it stays away for some seconds; its last process.

        The first time, it would be back within half a second. The pause doubles each time.
        """
        with self.client(token) as client:
            for _ in range(4):
                before = self.kill(worker)

                def is_back(before: int = before) -> bool:
                    found = [one.pid for one in client.status().workers if one.id == worker]
                    return found not in ([], [before]) and self.pid_of(worker) == found[0]

                block_until(is_back, what=f"{worker} is back", every_s=0.05)
        return self.kill(worker)


@contextlib.contextmanager
def running_cluster(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """A cluster for the block; nothing of it is left afterwards."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HEDGEROW_")}
    output = folder / "output"
    with output.open("wb") as file:
        process = launch(
            up_command(folder / "data", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**clean, **(environment or {})},
            cwd=folder,
            start_new_session=True,
        )
    said = Announcement()

    def is_ready() -> bool:
        for line in output.read_text(encoding="utf-8").splitlines():
            said.read(line)
        return bool(said.url) or process.poll() is not None

    try:
        block_until(is_ready, _START_TIMEOUT_S, what="the cluster is ready", every_s=0.05)
        assert said.url, output.read_text(encoding="utf-8")
        yield Cluster(process, said, output)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            kill_all_of(process.pid)
            process.kill()
            process.wait()
