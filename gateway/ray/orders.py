"""What an actor runs, and with which settings. Pure.

The settings are those of `gateway up`: its environment and the file that it has read. What belongs
to a machine is the node's own, from the environment in which it was started (`ray start`): the
folder of the data, the zone, the capacity.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.settings.environment import PREFIX
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.ray.nodes import Node

# Settings of the machine on which `gateway up` runs, which mean nothing on others.
_OF_A_MACHINE: Final = frozenset(
    {
        "HEDGEROW_CA_FILE",
        "HEDGEROW_CONFIG",
        "HEDGEROW_DATA",
        "HEDGEROW_URL",
        "HEDGEROW_WORKER__CAPACITY",
        "HEDGEROW_WORKER__HOST",
        "HEDGEROW_WORKER__JOIN",
        "HEDGEROW_WORKER__ZONE",
    }
)
_OF_A_NODE: Final = frozenset(
    {
        "HEDGEROW_DATA",
        "HEDGEROW_WORKER__CAPACITY",
        "HEDGEROW_WORKER__HOST",
        "HEDGEROW_WORKER__ZONE",
    }
)
_ZONE_CHARACTERS: Final = 12


@dataclass(frozen=True, slots=True)
class Place:
    """Where an actor runs.

    Attributes:
        node: Ray's id of the node.
        address: the address of the node.
        host: the name of its machine.
    """

    node: str
    address: str
    host: str

    @property
    def zone(self) -> str:
        """The zone of a worker there: the node, as a short name."""
        return self.node[:_ZONE_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Order:
    """What an actor runs.

    Attributes:
        kind: what messages and folders call it: "worker" or "gateway".
        version: Hedgerow's version, which has to be the node's, too.
        data: the folder on each node, unless a node has a HEDGEROW_DATA of its own.
        environment: settings as variables; they contain passwords.
        file: the settings file's text; "" without one.
        drain_s: how long a worker may take to end.
        gateway: the settings of gateways.
        host: the address that gateways bind; "" for the node's.
        port: the port that gateways bind; 0 for any free one.
    """

    kind: str
    version: str
    data: str
    environment: Mapping[str, str]
    file: str
    drain_s: float
    gateway: GatewaySettings
    host: str = ""
    port: int = 0


def sent_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings in an environment that are sent to the nodes."""
    return {
        name: value
        for name, value in environment.items()
        if name.upper().startswith(PREFIX) and name.upper() not in _OF_A_MACHINE
    }


def own_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings in the environment of a node that precede what is sent."""
    return {
        name.upper(): value for name, value in environment.items() if name.upper() in _OF_A_NODE
    }


def environment_on(
    order: Order, place: Place, own: Mapping[str, str], file: str | None
) -> dict[str, str]:
    """Return the variables that a process of an actor gets in addition to its node's.

    Args:
        order: what the actor runs.
        place: where it runs.
        own: the node's own settings (`own_settings`).
        file: the path of the sent settings file on the node; None without one.
    """
    config = {} if file is None else {"HEDGEROW_CONFIG": file}
    placed = {"HEDGEROW_WORKER__ZONE": place.zone, "HEDGEROW_WORKER__HOST": place.host}
    # Its supervisor reads the log as JSON.
    return {**config, **placed, **order.environment, **own, "HEDGEROW_LOG_FORMAT": "json"}


def check_reachable(url: str, nodes: Sequence[Node], here: str) -> None:
    """Make sure that a Redis server may be reached from all nodes, as far as its URL can tell.

    Args:
        url: the server's.
        nodes: the nodes of the Ray cluster.
        here: the name of this machine.

    Raises:
        ConfigurationError: it is on this machine only, and a node is on another one.
    """
    machines = {node.host for node in nodes} | {here}
    if len(machines) == 1:
        return
    parts = urlsplit(url)
    what = f"the nodes of Ray are on {len(machines)} machines"
    if parts.scheme == "unix":
        raise ConfigurationError(
            f"redis.url: {what}, and a Unix socket is reached from one alone; name a server that "
            "all of them reach, with --redis"
        )
    host = parts.hostname or "localhost"
    if _is_loopback(host):
        raise ConfigurationError(
            f"redis.url: {what}, and for each of them {host} is itself; name an address that all "
            "of them reach, with --redis"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
