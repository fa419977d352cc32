"""The settings of the connections to Redis: `[redis]`."""

from pathlib import Path
from typing import Final, TypeVar

from pydantic import Field, NonNegativeInt, SecretStr, ValidationInfo, field_validator

from hedgerow.common.settings.group import Group, PositiveFloat, PositiveInt

_T = TypeVar("_T")

DEFAULT_URL: Final = "redis://127.0.0.1:6379/0"


class RedisSettings(Group):
    """The Redis or Valkey server that gateway and workers share."""

    url: str = Field(
        DEFAULT_URL,
        description="redis://, rediss:// or unix:// URL of the server. With `redis.sentinels` it "
        "names no host: `redis:///0`, or `rediss:///0` for TLS.",
    )
    sentinels: list[str] = Field(
        [],
        description="The sentinels that know which server is the primary: a JSON list of HOST:PORT,"
        " or of rediss://HOST:PORT for TLS. Empty for the server of `redis.url`.",
    )
    service_name: str | None = Field(
        None,
        validate_default=True,
        description="The name by which the sentinels monitor the primary; needed with "
        "`redis.sentinels`.",
    )
    sentinel_username: str | None = Field(
        None, description="ACL user of the sentinels; `redis.username` is that of the servers."
    )
    sentinel_password: SecretStr | None = Field(
        None, description="Password of the sentinels; `redis.password` is that of the servers."
    )
    min_replicas: NonNegativeInt = Field(
        0,
        description="How many replicas of the Redis server must have a write before it is "
        "acknowledged.",
    )
    min_replicas_timeout_s: PositiveFloat = Field(
        2.0,
        description="How long a write waits for `redis.min_replicas`, in s; then it is reported as "
        "not acknowledged.",
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

    @field_validator("service_name")
    @classmethod
    def _is_needed_with_sentinels(cls, value: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("sentinels") and not value:
            raise ValueError("is needed with redis.sentinels")
        return _with_sentinels(value, info)

    @field_validator("sentinel_username")
    @classmethod
    def _is_of_sentinels(cls, value: str | None, info: ValidationInfo) -> str | None:
        return _with_sentinels(value, info)

    @field_validator("sentinel_password")
    @classmethod
    def _is_for_sentinels(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        return _with_sentinels(value, info)


def _with_sentinels(value: _T, info: ValidationInfo) -> _T:
    if value is not None and "sentinels" in info.data and not info.data["sentinels"]:
        raise ValueError("is set, but redis.sentinels is empty")
    return value
