"""Ray: the only module that imports it, and is imported only for `gateway up --ray`.

Calls of Ray block, and are made in threads, except for those of actors' methods, which can be
awaited.
"""

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import Any, Final

import ray
from ray.exceptions import RayActorError, RayError
from ray.util import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from hedgerow.common.errors import ConfigurationError, UnavailableError
from hedgerow.gateway.ray.node_processes import NodeProcesses, Report
from hedgerow.gateway.ray.nodes import Node
from hedgerow.gateway.ray.orders import Order, Place

_CLIENT: Final = "ray://"
_REPORT_S: Final = 5.0
_CONNECT_S: Final = 5.0


class RayProcesses(NodeProcesses):
    """The same, on the node on which Ray starts it."""

    def __init__(self, order: Order) -> None:
        node = ray.get_runtime_context().get_node_id()
        address = ray.util.get_node_ip_address()
        super().__init__(order, Place(node, address, socket.gethostname()))


class Actor:
    """An actor that runs processes; Ray restarts it, perhaps on another node, when it is lost."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def report(self, last: Report | None) -> Report | None:
        """Return its report, with the events since the last; None if it does not answer for now."""
        known = ("", 0) if last is None else (last.life, last.num_events)
        try:
            async with asyncio.timeout(_REPORT_S):
                found: Report = await self._handle.report.remote(*known)
        except (RayError, TimeoutError):
            return None
        return found

    async def stop(self, timeout_s: float) -> bool:
        """Drain its processes; returns whether none is left, as far as is known."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._handle.stop.remote()
        except RayActorError:  # it has ended, and its processes with it
            return True
        except (RayError, TimeoutError):
            return False
        return True

    def kill(self) -> None:
        """Kill its processes at once."""
        self._handle.kill.remote()


def _check_head(address: str) -> None:
    """Make sure that a head listens at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigurationError(f"--ray {address}: no Ray cluster answers: {error}") from error


class Engine:
    """A connection to a Ray cluster.

    Args:
        address: of the cluster's head, or "auto" for the cluster that this machine is a node of.

    Raises:
        ConfigurationError: there is none, this machine is not one of its nodes, or it has another
            version of Ray or Python.
    """

    def __init__(self, address: str) -> None:
        if address.startswith(_CLIENT):
            raise ConfigurationError(
                f"--ray {address}: this command runs on a node of the Ray cluster, not as a client "
                "of it; there, --ray auto finds the cluster"
            )
        _check_head(address)
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            raise ConfigurationError(f"--ray {address}: {error}") from error
        self._groups: list[Any] = []
        self._handles: list[Any] = []

    def nodes(self) -> list[Node]:
        """Return the live nodes; blocks."""
        return [
            Node(one["NodeID"], one["NodeManagerHostname"], one["Resources"].get("CPU", 0.0))
            for one in ray.nodes()
            if one["Alive"]
        ]

    def start(
        self, names: Sequence[str], cpus: float, order: Order, *, is_apart: bool, timeout_s: float
    ) -> list[Actor]:
        """Start actors, which run the same; blocks until Ray has reserved their CPUs.

        Args:
            names: one for each actor.
            cpus: the CPUs that each reserves.
            order: what they run.
            is_apart: whether each must be on a node of its own; otherwise, they are spread over the
                nodes as far as there is room.
            timeout_s: how long to wait for room.

        Raises:
            UnavailableError: the nodes have no room for them.
        """
        strategy = "STRICT_SPREAD" if is_apart else "SPREAD"
        group = placement_group([{"CPU": cpus} for _ in names], strategy=strategy)
        self._groups.append(group)
        if not group.wait(timeout_s):
            raise UnavailableError(
                f"Ray has found no room for {len(names)} actors with {cpus:g} CPUs each within "
                f"{timeout_s:g} s; other actors may use the CPUs (`ray status` shows them)"
            )
        remote: Any = ray.remote(RayProcesses)
        handles = [
            remote.options(
                name=name,
                num_cpus=cpus,
                max_restarts=-1,
                max_concurrency=4,  # so that a report need not wait for a drain
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, number),
            ).remote(order)
            for number, name in enumerate(names)
        ]
        self._handles += handles
        return [Actor(handle) for handle in handles]

    def close(self) -> None:
        """End all actors, and release what they have reserved; blocks."""
        for handle in self._handles:
            ray.kill(handle, no_restart=True)
        for group in self._groups:
            remove_placement_group(group)
        ray.shutdown()
