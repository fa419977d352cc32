"""`gateway up --redis-nodes`: an embedded cluster of nodes, started, stopped and started again."""

import json
import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.gateway.local.redis.nodes import EmbeddedNodes, num_nodes_in
from tests.support.processes import is_alive
from tests.support.trees import answer, loaded
from tests.support.up import Caller, Up, running_up

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

NODES = [f"redis-node-{number}" for number in range(3)]


async def test_documents_on_embedded_nodes_are_there_after_a_restart(tmp_path: Path) -> None:
    """A second start finds the nodes in the folder, at other ports, with all that was logged."""
    data, found, ports = tmp_path / "data", list[set[str]](), list[list[str]]()
    for asked in (("--redis-nodes", "3", "--shards", "3", "--workers", "1"), ()):
        async with running_up(data, *asked) as up:
            lines = [line for line in up.lines if line.startswith("redis-node-")]
            assert [line.split()[0] for line in lines] == NODES, up.output
            ports.append([line.split()[-1] for line in lines])
            async with Caller(up.url) as caller:
                found.append(await (loaded if asked else answer)(caller))
            pids = [int(line.split()[1]) for line in lines]
            assert await up.stop() == 0, up.output
            assert not any(map(is_alive, pids))
    assert found[0] == found[1]
    assert ports[0] != ports[1]
    assert num_nodes_in(data) == 3


async def test_nodes_and_a_server_are_not_asked_for_together(tmp_path: Path) -> None:
    """It says so before it starts anything."""
    up = await Up.start(tmp_path / "data", "--redis-nodes", "3", "--redis", "redis://127.0.0.1:1")
    assert await up.process.wait() == 1
    assert "--redis-nodes" in up.output


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, a node could not listen there")
def test_the_ports_of_nodes_are_kept_for_them(tmp_path: Path) -> None:
    """Another program does not get one, not even while a node is down; the node itself does."""
    with closing(EmbeddedNodes(tmp_path, 1)) as nodes:
        (address,) = nodes.addresses
        port = int(address.rpartition(":")[2])
        for _ in range(2):
            with closing(socket.socket()) as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))
            socket.create_server(("127.0.0.1", port)).close()
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", port))


def test_the_number_of_nodes_is_fixed(tmp_path: Path) -> None:
    """Another number is refused, since slots and logs are on those that the folder has."""
    nodes = EmbeddedNodes(tmp_path, 2)
    nodes.close()
    shown = json.dumps([program.arguments for program in nodes.programs()])
    assert nodes.password not in shown
    for name in ("password", "0/valkey.conf"):
        assert (tmp_path / "redis-nodes" / name).stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigurationError, match=r"--redis-nodes: 3 were asked for.* has 2"):
        EmbeddedNodes(tmp_path, 3)
