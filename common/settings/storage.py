"""Settings for space on disks and for the embedded server's memory."""

from typing import Annotated

from pydantic import Field

from hedgerow.common.settings.group import Group, PositiveFloat


class StorageSettings(Group):
    """Limits on the use of disks and of the server's memory; beyond them, writes are refused."""

    min_free_disk_mb: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="Writes are refused while the disk of a worker, or of the embedded server, "
        "has less free space than this, in MB; 0 for 256 MB or 5 % of the disk, whichever is less.",
    )
    max_set_aside_mb: Annotated[int, Field(ge=1)] = Field(
        64,
        description="Most disk space for the documents of one shard that a worker has set aside, "
        "in MB; beyond it, the oldest of them are removed.",
    )
    poll_s: PositiveFloat = Field(
        0.5,
        description="How often the disks and the server's memory are checked, in s; a disk with "
        "10 GB to spare, every 2 s.",
    )
    embedded_max_memory_mb: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Most memory for the data in the embedded server, in MB; 0 for a quarter of "
        "the memory of the machine (or the container).",
    )
    max_memory_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.8,
        description="Documents are refused once this share of the server's maxmemory is used, so "
        "that there is room for requests and replies. Without maxmemory, there is no such limit.",
    )
