"""The events by which gateway and workers agree, at the end of a load, that it counts in ranking.

The gateway announces the last entry that the load wrote to each shard's log. Each worker answers
with the replicas whose searches rank by statistics that count these entries.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from hedgerow.common.shard_log.entries import position

LOADED: Final = "loaded"
RANKED: Final = "ranked"


@dataclass(frozen=True)
class Loaded:
    """A load has been applied by every live replica.

    Attributes:
        token: identifies the gateway that waits; the answers carry it.
        uid: the collection's.
        ends: shard → id of the last log entry of the load.
    """

    token: str
    uid: str
    ends: Mapping[int, str]

    def pack(self) -> str:
        """The event."""
        ends = ",".join(f"{shard}={entry_id}" for shard, entry_id in self.ends.items())
        return f"{LOADED}:{self.token}:{self.uid}:{ends}"

    @classmethod
    def unpack(cls, event: bytes) -> "Loaded | None":
        """Read an event; None if it is another one, or malformed."""
        match event.decode(errors="replace").split(":"):
            case [kind, token, uid, ends] if kind == LOADED:
                try:
                    return cls(token, uid, dict(map(_read_end, ends.split(","))))
                except ValueError:
                    return None
        return None


@dataclass(frozen=True)
class Ranked:
    """A worker ranks by statistics that count a load.

    Attributes:
        token: the load's.
        replicas: ids of the replicas that the worker serves.
    """

    token: str
    replicas: Collection[str]

    def pack(self) -> str:
        """The event."""
        return f"{RANKED}:{self.token}:{','.join(self.replicas)}"

    @classmethod
    def unpack(cls, event: bytes) -> "Ranked | None":
        """Read an event; None if it is another one."""
        match event.decode(errors="replace").split(":"):
            case [kind, token, replicas] if kind == RANKED:
                return cls(token, replicas.split(","))
        return None


def _read_end(pair: str) -> tuple[int, str]:
    shard, _, entry_id = pair.partition("=")
    position(entry_id)
    return int(shard), entry_id
