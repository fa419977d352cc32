"""Stand-ins for the logs and the registry, to load documents without a server."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hedgerow.common.collection import Collection
from hedgerow.common.shard_log.entries import Appended
from hedgerow.common.shard_log.set_aside_notes import SetAsideNote


@dataclass
class CountingLog:
    """Stands for the shards' logs: counts what it is given, and keeps none of it."""

    num_ops: int = 0
    num_bytes: int = 0
    failovers: int = 0

    async def append_many(
        self, ops: Sequence[tuple[int, bytes]], trace: bytes | None = None
    ) -> list[Appended]:
        """Take operations; workers that keep up have applied them at once."""
        self.num_ops += len(ops)
        self.num_bytes += sum(len(op) for _, op in ops)
        return [Appended(f"{self.num_ops}-0", 1) for _ in ops]

    async def lengths(self, shards: Iterable[int]) -> dict[int, int]:
        """All logs are empty."""
        return dict.fromkeys(shards, 0)

    async def last_ids(self, shards: Iterable[int]) -> dict[int, str]:
        """Where the logs end."""
        return dict.fromkeys(shards, f"{self.num_ops}-0")

    async def applied_of(self, shards: Iterable[int]) -> dict[int, dict[str, str]]:
        """One replica each, which has applied everything."""
        return {shard: {"r": f"{self.num_ops}-0"} for shard in shards}

    async def set_aside_of(self, entries: Mapping[int, Iterable[str]]) -> list[SetAsideNote]:
        """Nothing was."""
        del entries
        return []


@dataclass
class OneCollection:
    """Stands for the registry's collections: one, whose fields are inferred if necessary."""

    definition: Collection

    async def current(self, _name: str) -> Collection:
        """The definition."""
        return self.definition

    async def give_fields(self, definition: Collection, fields: Any) -> Collection:
        """The definition with these fields."""
        return definition.with_fields(fields)
