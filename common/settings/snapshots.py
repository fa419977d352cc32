"""The settings of snapshots: `[snapshots]`."""

from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from hedgerow.common.settings.group import Group, PositiveFloat, PositiveInt


class SnapshotSettings(Group):
    """Copies of whole shards outside of the workers' folders, from which replicas start."""

    url: str = Field(
        "",
        description="Folder or fsspec URL (s3://bucket/folder) where snapshots go; none if empty.",
    )
    interval_s: Annotated[float, Field(ge=0)] = Field(
        3600.0,
        description="Time between the snapshots of a shard that has changed, in s; 0 for no "
        "schedule.",
    )
    max_log_entries: PositiveInt = Field(
        10_000,
        description="A snapshot is made earlier if the shard's log keeps this many entries for it.",
    )
    keep: PositiveInt = Field(3, description="Number of snapshots of each shard that are kept.")
    timeout_s: PositiveFloat = Field(1800.0, description="Longest time of one snapshot, in s.")
    key: SecretStr | None = Field(
        None,
        description="Secret of 16 characters or more that manifests are signed with, the same in "
        "every process; a snapshot that is not signed with it is refused. If unset, snapshots are "
        "not signed.",
    )
    max_bytes: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Largest snapshot of a shard that a worker restores, in bytes; 0 for as much "
        "as the disk has free.",
    )
    forget_replica_s: PositiveFloat = Field(
        600.0,
        description="The log does not wait for a replica that is behind the newest snapshot and "
        "has been away for this long, in s.",
    )

    @field_validator("key")
    @classmethod
    def _is_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("is shorter than 16 characters")
        return value
