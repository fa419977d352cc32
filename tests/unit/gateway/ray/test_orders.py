"""Which settings reach the processes of an actor, and which Redis servers all nodes reach."""

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.ray.nodes import Node
from hedgerow.gateway.ray.orders import (
    Order,
    Place,
    check_reachable,
    environment_on,
    own_settings,
    sent_environment,
)

PLACE = Place(node="0123456789abcdef", address="10.0.0.7", host="seven")


def order(**environment: str) -> Order:
    """A worker's order with these settings."""
    return Order(
        kind="worker",
        version="1",
        data="/data",
        environment=environment,
        file="",
        drain_s=1.0,
        gateway=GatewaySettings(),
    )


def test_what_belongs_to_a_machine_is_not_sent() -> None:
    """Settings are sent, but not this machine's folder, zone and file, nor other variables."""
    sent = sent_environment(
        {
            "HEDGEROW_LOG_LEVEL": "debug",
            "hedgerow_worker__scorers": "3",
            "HEDGEROW_DATA": "/here",
            "HEDGEROW_CONFIG": "here.toml",
            "HEDGEROW_WORKER__ZONE": "a",
            "HEDGEROW_WORKER__CAPACITY": "2",
            "PATH": "/bin",
        }
    )
    assert sent == {"HEDGEROW_LOG_LEVEL": "debug", "hedgerow_worker__scorers": "3"}


def test_a_node_is_the_zone_unless_it_says_otherwise() -> None:
    """What belongs to a machine is the node's own; for all else, what is sent counts."""
    found = environment_on(order(HEDGEROW_LOG_LEVEL="debug"), PLACE, {}, None)
    assert found["HEDGEROW_WORKER__ZONE"] == "0123456789ab"
    assert found["HEDGEROW_WORKER__HOST"] == "seven"
    assert found["HEDGEROW_LOG_LEVEL"] == "debug"
    own = own_settings({"HEDGEROW_WORKER__ZONE": "rack 4", "HEDGEROW_LOG_LEVEL": "error", "A": ""})
    found = environment_on(order(HEDGEROW_LOG_LEVEL="debug"), PLACE, own, "/x.toml")
    assert found["HEDGEROW_WORKER__ZONE"] == "rack 4"
    assert found["HEDGEROW_LOG_LEVEL"] == "debug"
    assert found["HEDGEROW_CONFIG"] == "/x.toml"
    assert "A" not in found


@pytest.mark.parametrize(
    "url", ["unix:///run/valkey.sock", "redis://127.0.0.1:6379", "redis://localhost/0", "redis://"]
)
def test_a_server_of_one_machine_is_refused_for_several(url: str) -> None:
    """A socket or a loopback address is refused if a node is on another machine, and only then."""
    here, there = Node("a", "here", 4.0), Node("b", "there", 4.0)
    with pytest.raises(ConfigurationError, match=r"on 2 machines, and .* --redis"):
        check_reachable(url, [here, there], "here")
    check_reachable(url, [here, here], "here")
    check_reachable("rediss://user@redis.example:6379/0", [here, there], "here")
