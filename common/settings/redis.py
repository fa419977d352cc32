"""The settings of the connections to Redis: `[redis]`."""

from pathlib import Path

from pydantic import Field, SecretStr

from hedgerow.common.settings.group import Group, PositiveFloat, PositiveInt


class RedisSettings(Group):
    """The Redis or Valkey server that gateway and workers share."""

    url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="redis://, rediss:// or unix:// URL of the server.",
    )
    username: str | None = Field(None, description="ACL user; overrides the URL's.")
    password: SecretStr | None = Field(None, description="Password; overrides the URL's.")
    key_prefix: str = Field(
        "hedgerow", min_length=1, description="First part of every key and channel."
    )
    tls_ca_file: Path | None = Field(
        None,
        description="PEM file of the authorities trusted for rediss://; the system's if unset.",
    )
    connect_timeout_s: PositiveFloat = Field(
        2.0, description="Longest time of one connection attempt, in s."
    )
    command_timeout_s: PositiveFloat = Field(
        5.0, description="Longest time of one command off the hot path, in s."
    )
    reconnect_max_s: PositiveFloat = Field(
        2.0,
        description="Longest pause between connection attempts, in s; pauses double, with jitter.",
    )
    queue_expiry_s: PositiveInt = Field(
        60, description="A shard's queue is removed after this time without a push, in s."
    )
