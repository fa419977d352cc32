"""An embedded Valkey Cluster, to try what the data plane does on one: a few nodes on this machine.

The nodes listen on ports of 127.0.0.1, since a cluster has no Unix sockets, and take the password
that is in their folder. They find free ports at each start, and are introduced to each other again.
The embedded server beside them has everything else.
"""

import asyncio
import json
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.machine.private_folder import FILE_MODE, make_private
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.hash_slots import NUM_HASH_SLOTS
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.gateway.local.locks import hold_port
from hedgerow.gateway.local.processes import parent_death_guard
from hedgerow.gateway.local.processes.child import Program
from hedgerow.gateway.local.processes.template_process import PARENT_PIPE
from hedgerow.gateway.local.redis.server import OPTIONS, find_binary

NAME: Final = "redis-node"
FOLDER: Final = "redis-nodes"
LOOK_S: Final = 0.05
NODE_TIMEOUT_MS: Final = 2000
_DRAIN_S: Final = 10.0
_PASSWORD: Final = "password"  # noqa: S105 - the name of its file


class EmbeddedNodes:
    """Where the nodes' files are, and how they run.

    Attributes:
        addresses: where they are, as the setting `redis.cluster_nodes` takes them.
        password: what they demand.
    """

    def __init__(self, data: Path, number: int) -> None:
        """Prepare `number` nodes in a cluster's folder.

        Raises:
            ConfigurationError: the folder has another number of them, or there is no binary.
        """
        found = num_nodes_in(data)
        if found not in (0, number):
            raise ConfigurationError(
                f"--redis-nodes: {number} were asked for, but {data} has {found}, and that is fixed"
            )
        self._folder = data / FOLDER
        self._binary = find_binary()
        self._number = number
        make_private(self._folder)
        self.password = self._read_password()
        self._ports, self._holders = _choose_ports(2 * number)
        self.addresses = [f"127.0.0.1:{port}" for port in self._ports[:number]]

    @property
    def environment(self) -> dict[str, str]:
        """Variables for the processes that use them."""
        return {
            "HEDGEROW_REDIS__CLUSTER_NODES": json.dumps(self.addresses),
            "HEDGEROW_REDIS__PASSWORD": self.password,
        }

    def settings(self, settings: RedisSettings, control_url: str) -> RedisSettings:
        """The settings with them, and with the server beside them."""
        return RedisSettings(
            **{
                **settings.model_dump(),
                "url": "redis:///0",
                "cluster_nodes": self.addresses,
                "control_url": control_url,
                "password": self.password,
            }
        )

    def lines(self) -> dict[str, str]:
        """Name of each node's process → where it listens."""
        return {
            f"{NAME}-{number}": f"redis://{address}"
            for number, address in enumerate(self.addresses)
        }

    def close(self) -> None:
        """Give the ports up, after the nodes have ended."""
        for holder in self._holders:
            holder.close()

    def programs(self) -> list[Program]:
        """The programs for the supervisor."""
        return [self._program(number) for number in range(self._number)]

    async def wait_until_ready(self, timeout_s: float) -> None:
        """Introduce the nodes to each other, share the slots out, and wait until all agree.

        Raises:
            RedisUnavailableError: they do not within `timeout_s`.
        """
        nodes = [
            RedisClient(
                RedisSettings(url=f"redis://{address}/0", password=self.password),
            )
            for address in self.addresses
        ]
        try:
            async with asyncio.timeout(timeout_s):
                await self._introduce(nodes)
        except TimeoutError:
            raise RedisUnavailableError(
                f"the embedded nodes have not found each other within {timeout_s:g} s"
            ) from None
        finally:
            await asyncio.gather(*(node.close() for node in nodes))

    async def _introduce(self, nodes: list[RedisClient]) -> None:
        infos = [await _when_up(node) for node in nodes]
        if all(info["cluster_slots_assigned"] == "0" for info in infos):
            for number, node in enumerate(nodes):
                await node.execute("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                first = NUM_HASH_SLOTS * number // self._number
                last = NUM_HASH_SLOTS * (number + 1) // self._number - 1
                await node.execute("CLUSTER", "ADDSLOTSRANGE", first, last)
        # All to all: those that know each other have other ports than before.
        for meeting in nodes:
            for number, met in enumerate(nodes):
                if met is not meeting:
                    port, bus = self._ports[number], self._ports[self._number + number]
                    await meeting.execute("CLUSTER", "MEET", "127.0.0.1", port, bus)
        while True:
            if all([await self._agrees(node) for node in nodes]):
                return
            await asyncio.sleep(LOOK_S)

    async def _agrees(self, node: RedisClient) -> bool:
        info = await _info(node)
        text = await node.execute("CLUSTER", "NODES")
        known = [line for line in text.decode().splitlines() if "handshake" not in line]
        return (
            info["cluster_state"] == "ok"
            and len(known) == self._number
            and all(any(f"{address}@" in line for line in known) for address in self.addresses)
        )

    def _program(self, number: int) -> Program:
        folder = self._folder / str(number)
        make_private(folder)
        # Not as arguments, which other users could see.
        file = folder / "valkey.conf"
        file.touch(FILE_MODE)
        file.write_text(
            f"requirepass {self.password}\nprimaryauth {self.password}\n", encoding="utf-8"
        )
        return Program(
            name=f"{NAME}-{number}",
            arguments=(
                sys.executable,
                "-I",
                "-S",
                str(parent_death_guard.__file__),
                str(os.getpid()),
                PARENT_PIPE,
                str(self._binary),
                str(file),
                "--dir",
                str(folder),
                "--bind",
                "127.0.0.1",
                *OPTIONS,
                "--port",
                str(self._ports[number]),
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                str(self._ports[self._number + number]),
                "--cluster-node-timeout",
                str(NODE_TIMEOUT_MS),
                "--cluster-require-full-coverage",
                "no",
            ),
            drain_s=_DRAIN_S,
            is_quiet=True,
        )

    def _read_password(self) -> str:
        file = self._folder / _PASSWORD
        if not file.exists():
            file.touch(FILE_MODE)
            file.write_text(secrets.token_urlsafe(), encoding="utf-8")
        return file.read_text(encoding="utf-8")


def num_nodes_in(data: Path) -> int:
    """How many nodes a cluster's folder has; 0 if it has none."""
    folder = data / FOLDER
    return sum(path.is_dir() for path in folder.iterdir()) if folder.is_dir() else 0


async def _when_up(node: RedisClient) -> Mapping[str, str]:
    while True:
        try:
            return await _info(node)
        except RedisUnavailableError:
            await asyncio.sleep(LOOK_S)


async def _info(node: RedisClient) -> Mapping[str, str]:
    text: Any = await node.execute("CLUSTER", "INFO")
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)


def _choose_ports(number: int) -> tuple[list[int], list[socket.socket]]:
    """Ports of 127.0.0.1 that are free, and sockets that keep them for the nodes (`hold_port`)."""
    if sys.platform == "linux":
        holders = [hold_port("127.0.0.1", 0) for _ in range(number)]
        held = [one for one in holders if one is not None]
        return [int(one.getsockname()[1]) for one in held], held
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets], []
