"""Settings of sentinels that contradict each other, or cannot be read."""

from typing import Any

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.sentinels import primary_of
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.settings import load_settings

SENTINELS = '["s1:26379"]'


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SENTINELS": SENTINELS}, "redis.service_name: is needed with redis.sentinels"),
        ({"SERVICE_NAME": "x"}, "redis.service_name: is set, but redis.sentinels is empty"),
        (
            {"SENTINEL_USERNAME": "x"},
            "redis.sentinel_username: is set, but redis.sentinels is empty",
        ),
        (
            {"SENTINEL_PASSWORD": "x"},
            "redis.sentinel_password: is set, but redis.sentinels is empty",
        ),
        ({"MIN_REPLICAS": "-1"}, "redis.min_replicas: .*greater than or equal to 0"),
    ],
)
def test_a_contradiction_names_the_setting(
    variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that needs another, or must not be there, is an error that says which one."""
    for name, value in variables.items():
        monkeypatch.setenv(f"HEDGEROW_REDIS__{name}", value)
    with pytest.raises(ConfigurationError, match=f"^{message}"):
        load_settings()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "unix:///run/redis.sock"}, "redis.url: is a Unix socket"),
        ({"url": "redis://:secret@db1:6379/0"}, "redis.url: names the server db1:6379"),
        ({"url": "http:///0"}, "redis.url: scheme 'http'"),
        ({"sentinels": ("s1",)}, "redis.sentinels: 's1' is not HOST:PORT"),
        ({"sentinels": ("s1:x",)}, "redis.sentinels: 's1:x' is not HOST:PORT"),
        ({"sentinels": ("http://s1:26379",)}, "redis.sentinels: 'http://s1:26379' is not"),
        ({"sentinels": ("redis://:secret@s1:26379",)}, "redis.sentinels: 's1:26379' is not"),
        ({"sentinels": ("s1:26379/2",)}, "redis.sentinels: 's1:26379/2' is not HOST:PORT"),
    ],
)
async def test_an_address_that_cannot_be_used_is_named(
    changes: dict[str, Any], message: str
) -> None:
    """The error names the setting, and shows no password."""
    settings = RedisSettings(url="redis:///0", sentinels=["s1:26379"], service_name="x").model_copy(
        update=changes
    )
    with pytest.raises(ConfigurationError, match=f"^{message}") as raised:
        primary_of(settings)
    assert "secret" not in str(raised.value)


async def test_without_sentinels_the_url_names_the_server() -> None:
    """Then the primary never moves."""
    primary = primary_of(RedisSettings(url="redis://db1:7000/3"))
    assert isinstance(primary, Endpoint)
    assert not primary.moves
    assert (primary.host, primary.port, primary.database) == ("db1", 7000, 3)
