"""The nodes of a Ray cluster on this machine, in a process of their own.

`python -m tests.extras.support.ray_nodes FOLDER NUMBER` prints a line of JSON for each node.
For each number that it reads it kills that node, and when its input ends, all of them. Ray is
loaded there only, since it changes handlers of signals and starts threads.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.support.processes import is_alive
from tests.support.waiting import block_until

_MIB = 2**20
NUM_CPUS = 6


@dataclass(frozen=True)
class RayNode:
    """A node.

    Attributes:
        id: Ray's id.
        address: of the cluster's head.
        data: the folder that its workers store in.
        raylet: the process that starts and ends actors there.
        others: Ray's other processes there, of which the head has the most.
    """

    id: str
    address: str
    data: str
    raylet: int
    others: list[int]


@dataclass
class RayNodes:
    """The nodes, as a test sees them."""

    process: subprocess.Popen[str]
    nodes: list[RayNode] = field(default_factory=list)

    @classmethod
    def start(cls, folder: Path, number: int) -> Self:
        """Start this many nodes, with their data in `folder`."""
        # No HEDGEROW_ variables, which processes on the nodes would inherit.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HEDGEROW_")}
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        one = cls(process)
        for _ in range(number):
            one.read()
        return one

    @property
    def address(self) -> str:
        """Of the head."""
        return self.nodes[0].address

    def kill(self, number: int) -> None:
        """Kill the processes of Ray on a node, as counted from 0; those of actors notice."""
        assert self.process.stdin is not None
        print(number, file=self.process.stdin, flush=True)

    def read(self) -> RayNode:
        """Read the line of a node."""
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                self.nodes.append(RayNode(**json.loads(line)))
                return self.nodes[-1]
        raise AssertionError("no node was started")

    def stop(self) -> None:
        """End all nodes."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.wait(60)
        for node in self.nodes:
            for pid in (node.raylet, *node.others):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        block_until(
            lambda: not any(is_alive(node.raylet) for node in self.nodes), what="no node is left"
        )


@contextlib.contextmanager
def running_nodes(folder: Path, number: int) -> Iterator[RayNodes]:
    """Nodes for the block."""
    nodes = RayNodes.start(folder, number)
    try:
        yield nodes
    finally:
        nodes.stop()


def main() -> None:
    """Start nodes as asked."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - only in this process

    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    # Of Ray's sockets, whose paths must be short.
    own = tempfile.mkdtemp(prefix="ray-")
    Path("/tmp/ray").mkdir(exist_ok=True)  # where it writes down the head's address in any case
    cluster = Cluster(shutdown_at_exit=False)

    nodes = []

    def add(count: int) -> None:
        data = str(folder / f"node-{count}")
        node = cluster.add_node(
            num_cpus=NUM_CPUS,
            object_store_memory=80 * _MIB,
            include_dashboard=False,
            temp_dir=own,
            env_vars={"HEDGEROW_DATA": data},
        )
        nodes.append(node)
        pids = {
            kind: [one.process.pid for one in processes]
            for kind, processes in node.all_processes.items()
        }
        (raylet,) = pids.pop("raylet")
        others = [pid for some in pids.values() for pid in some]
        found = RayNode(node.node_id, cluster.address, data, raylet, others)
        sys.stdout.write(json.dumps(vars(found)) + "\n")
        sys.stdout.flush()

    try:
        for count in range(number):
            add(count)
        for line in sys.stdin:
            cluster.remove_node(nodes[int(line)], allow_graceful=False)
    finally:
        for node in cluster.list_all_nodes():
            node.kill_all_processes(check_alive=False, allow_graceful=False)
        shutil.rmtree(own, ignore_errors=True)


if __name__ == "__main__":
    main()
