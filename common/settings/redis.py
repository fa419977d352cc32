"""The settings of the connections to Redis: `[redis]`."""

from pathlib import Path
from typing import Any, Final, Self, TypeVar

from pydantic import Field, NonNegativeInt, SecretStr, ValidationInfo, field_validator

from hedgerow.common.settings.group import Group, PositiveFloat, PositiveInt
from hedgerow.common.settings.redis_url import url_fault

_T = TypeVar("_T")

DEFAULT_URL: Final = "redis://127.0.0.1:6379/0"
DEFAULT_SLOTS: Final = 3
MOST_SLOTS: Final = 128  # a worker of many shards has five connections for each


class RedisSettings(Group):
    """The Redis or Valkey server that gateway and workers share."""

    url: str = Field(
        DEFAULT_URL,
        description="redis://, rediss:// or unix:// URL of the server. With `redis.sentinels` or "
        "`redis.cluster_nodes` it names no host: `redis:///0`, or `rediss:///0` for TLS.",
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
    cluster_nodes: list[str] = Field(
        [],
        description="Nodes of a Redis or Valkey Cluster that carries queries, replies and logs: a "
        "JSON list of HOST:PORT. Some that are up are enough; the rest is learned from them.",
    )
    cluster_slots: PositiveInt = Field(
        DEFAULT_SLOTS,
        le=MOST_SLOTS,
        description="Over how many hash slots the shards are spread: at least the number of nodes "
        "that the Redis Cluster will ever have. It is fixed when Hedgerow first uses it.",
    )
    control_url: str | None = Field(
        None,
        validate_default=True,
        description="URL of a server of its own for everything but queries, replies and logs; "
        "needed with `redis.cluster_nodes`, unless `redis.sentinels` name that server. If unset, "
        "the server of `redis.url` does it as well.",
    )
    control_username: str | None = Field(
        None, description="ACL user of that server; overrides the URL's."
    )
    control_password: SecretStr | None = Field(
        None, description="Password of that server; overrides the URL's."
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

    @property
    def num_slots(self) -> int:
        """Over how many hash slots the shards are spread; 0 without Redis Cluster."""
        return self.cluster_slots if self.cluster_nodes else 0

    @property
    def is_split(self) -> bool:
        """Whether queries, replies and logs are on other servers than all the rest."""
        return bool(self.cluster_nodes) or self.control_url is not None

    def of_control(self) -> Self:
        """The settings of the server for all but queries, replies and logs."""
        if not self.is_split:
            return self
        changes: dict[str, Any] = {
            "cluster_nodes": [],
            "control_url": None,
            "username": self.control_username,
            "password": self.control_password,
        }
        if self.control_url is not None:
            changes |= {"url": self.control_url, "sentinels": [], "min_replicas": 0}
        return self.model_copy(update=changes)

    def of_node(self, url: str) -> Self:
        """The settings of a single server."""
        changes: dict[str, Any] = {"url": url, "sentinels": [], "cluster_nodes": []}
        changes["control_url"] = None
        return self.model_copy(update=changes)

    @field_validator("url", "control_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and (fault := url_fault(value)):
            raise ValueError(fault)
        return value

    @field_validator("control_url")
    @classmethod
    def _is_needed_with_cluster(cls, value: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("cluster_nodes"):
            if value is None and not info.data.get("sentinels"):
                raise ValueError(
                    "is needed with redis.cluster_nodes: arq and scripts over many keys need a "
                    "server that is not part of a Redis Cluster"
                )
            if value is not None and info.data.get("sentinels"):
                raise ValueError(
                    "is set, but redis.sentinels name the server that it would name; leave one out"
                )
        return value

    @field_validator("control_username", "control_password")
    @classmethod
    def _is_of_control(cls, value: Any, info: ValidationInfo) -> Any:
        is_split = info.data.get("cluster_nodes") or info.data.get("control_url")
        if value is not None and "control_url" in info.data and not is_split:
            raise ValueError("is set, but redis.control_url names no server")
        return value

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
