"""The settings for several Redis servers: what fits together, and what their errors name."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.redis.connect import client_of, connect
from hedgerow.common.redis.server_info import ServerInfo, check_server
from hedgerow.common.redis.topology import Topology
from hedgerow.common.settings.redis import RedisSettings

CLUSTER = {"cluster_nodes": ["n1:7001"], "control_url": "redis://c"}
SENTINELS = {"sentinels": ["s:1"], "service_name": "x"}


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"cluster_nodes": ["n1:7001"]}, "control_url.*needed with redis.cluster_nodes"),
        ({**CLUSTER, **SENTINELS}, "control_url.*redis.sentinels"),
        ({**CLUSTER, "cluster_slots": 0}, "cluster_slots"),
        ({"control_password": "x"}, "control_password.*redis.control_url"),
        ({"control_username": "x"}, "control_username.*redis.control_url"),
    ],
)
def test_what_contradicts_itself_is_refused(values: dict[str, Any], names: str) -> None:
    """The error names the setting, and what it does not fit to."""
    with pytest.raises(ValidationError, match=rf"(?s){names}"):
        RedisSettings(**values)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"url": "redis://n1:7001"}, r"redis.url: .*n1:7001.*redis.cluster_nodes"),
        ({"url": "unix:///a"}, "redis.url: .*Unix socket"),
        ({"url": "redis:///3"}, "redis.url: .*database 0"),
        ({"key_prefix": "a{b}"}, "redis.key_prefix"),
        ({"cluster_nodes": ["n1"]}, r"redis.cluster_nodes: 'n1' is not HOST:PORT"),
        ({"cluster_nodes": ["me:secret@n1:1"]}, r"redis.cluster_nodes: 'n1:1' is not"),
    ],
)
async def test_what_is_no_redis_cluster_is_refused(values: dict[str, Any], names: str) -> None:
    """The error names the setting, and shows no password."""
    with pytest.raises(ConfigurationError, match=names) as refused:
        Topology(RedisSettings(**{**CLUSTER, **values}))
    assert "secret" not in str(refused.value)


def test_a_server_of_its_own_is_another_server() -> None:
    """The same URL twice is refused, and the error names both settings."""
    url = "redis://127.0.0.1:1/0"
    with pytest.raises(ConfigurationError, match=r"redis.control_url: .* as redis.url"):
        client_of(RedisSettings(url=url, control_url=url))


async def test_the_server_that_does_not_answer_is_named_by_its_setting(tmp_path: Path) -> None:
    """Of two servers, the error says by which setting it was reached."""
    settings = RedisSettings(
        url="redis://127.0.0.1:1", control_url=f"unix://{tmp_path}/none", reconnect_max_s=0.001
    )
    with pytest.raises(RedisUnavailableError, match=r"^redis.control_url: Redis does not answer"):
        await connect(settings)


def test_the_other_server_has_a_user_of_its_own() -> None:
    """Neither server gets the password of the other, nor waits for replicas that it lacks."""
    redis = RedisSettings(
        **CLUSTER, username="data", password="d", control_password="c", min_replicas=2
    )
    control = redis.of_control()
    assert (control.url, control.username) == ("redis://c", None)
    assert control.password is not None
    assert control.password.get_secret_value() == "c"
    assert (control.min_replicas, control.is_split, control.cluster_nodes) == (0, False, [])
    assert (redis.num_slots, redis.is_split) == (3, True)


def test_sentinels_may_watch_the_other_server() -> None:
    """With a Redis Cluster, sentinels say where the server beside it is."""
    redis = RedisSettings(cluster_nodes=["n1:1"], **SENTINELS, min_replicas=1)
    control = redis.of_control()
    assert (control.sentinels, control.service_name, control.min_replicas) == (["s:1"], "x", 1)
    assert not control.is_split


def test_one_server_is_the_default() -> None:
    """Without these settings, everything is on the server of `redis.url`."""
    redis = RedisSettings()
    assert (redis.num_slots, redis.is_split) == (0, False)
    assert redis.of_control() is redis


def test_a_node_of_a_cluster_is_no_plain_server() -> None:
    """A URL that leads to a node is refused with the settings that are meant for it."""
    node = ServerInfo("valkey", "9.0.0", 1, "cluster")
    check_server(node, "redis.cluster_nodes", is_in_cluster=True)
    with pytest.raises(ConfigurationError, match=r"redis.control_url: .*redis.cluster_nodes"):
        check_server(node, "redis.control_url")
