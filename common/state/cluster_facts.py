"""What all processes of a cluster must agree on: its number of shards, its format, a key."""

import secrets
from contextlib import suppress

from hedgerow.common.errors import ConfigurationError, WriteRefusedError
from hedgerow.common.partition import MAX_SHARDS
from hedgerow.common.redis.commands import Command
from hedgerow.common.state.layout import ClusterLayout
from hedgerow.common.state.stored_state import StoredState
from hedgerow.common.wire.formats import other_format

FORMAT = "1"  # of everything that is stored in Redis
SPLIT_FORMAT = "2"  # once the cluster has been split: versions that know no layouts must not join
# The same for versions that know no splits of shards whose logs are on servers of their own.
SPLIT_SERVERS_FORMAT = "3"
FORMATS = (FORMAT, SPLIT_FORMAT, SPLIT_SERVERS_FORMAT)


class ClusterFacts(StoredState):
    """The cluster's number of shards, and what else is fixed when it is made."""

    async def cluster(self, num_shards: int | None = None) -> int:
        """Set or read the number of shards, which only a split changes.

        Args:
            num_shards: the number given to this process: one that the cluster has had, from that
                with which it was created to its present one, since what starts the process may have
                been written between two splits; None to use the cluster's.

        Returns:
            The number of shards of the layout that the keys belong to.

        Raises:
            ConfigurationError: the cluster has another number or another format, or has no number
                yet and none is given.
        """
        key = self.keys.cluster
        await self._check_slots()
        if num_shards is not None:
            if not 1 <= num_shards <= MAX_SHARDS:
                raise ConfigurationError(
                    f"num_shards: {num_shards} is not between 1 and {MAX_SHARDS}"
                )
            # A server that accepts no writes can still be read.
            facts: list[Command] = [("HSETNX", key, "format", FORMAT)]
            if self.keys.num_slots:
                facts.append(("HSETNX", key, "slots", self.keys.num_slots))
            with suppress(WriteRefusedError):
                await self._control.pipeline([*facts, ("HSETNX", key, "shards", num_shards)])
        (shards, stored_format), layout = await self._control.pipeline(
            [("HMGET", key, "shards", "format"), ("GET", self.keys.layout_document)]
        )
        if shards is None:
            raise ConfigurationError(
                f"num_shards: the cluster {self.keys.prefix!r} has no number of shards yet; "
                "name one when its first process starts"
            )
        if (stored_format or b"").decode(errors="replace") not in FORMATS:
            found = (stored_format or b"none").decode(errors="replace")
            raise ConfigurationError(
                other_format(f"the cluster {self.keys.prefix!r}", found, FORMAT)
            )
        present = most = int(shards)
        if layout is not None:
            known = ClusterLayout.from_json(layout)
            present = known.num_shards_of(self.keys.layout)
            most = max(present, known.current.num_shards)
        if num_shards is not None and not _has_had(int(shards), most, num_shards):
            raise ConfigurationError(
                f"num_shards: {num_shards} was named, but the cluster {self.keys.prefix!r} "
                f"{_history(int(shards), present)}, and only gateway split changes that number"
            )
        return present

    async def allow_layouts(self) -> None:
        """Keep versions that cannot take part in a split from joining the cluster from now on."""
        new = SPLIT_SERVERS_FORMAT if self._control.is_split else SPLIT_FORMAT
        await self._control.execute("HSET", self.keys.cluster, "format", new)

    async def _check_slots(self) -> None:
        """Make sure that this process spells the keys of shards as the cluster's others do.

        Raises:
            ConfigurationError: the cluster has another number of slots.
        """
        shards, slots = await self._control.execute("HMGET", self.keys.cluster, "shards", "slots")
        if shards is None or int(slots or 0) == self.keys.num_slots:
            return
        name = f"the cluster {self.keys.prefix!r}"
        if not self.keys.num_slots:
            raise ConfigurationError(
                f"redis.cluster_nodes: none are named, but {name} uses a Redis Cluster"
            )
        if slots is None:
            raise ConfigurationError(
                f"redis.cluster_nodes: {name} was made without a Redis Cluster, which it cannot "
                "change to; use another redis.key_prefix and load the documents there"
            )
        raise ConfigurationError(
            f"redis.cluster_slots: {self.keys.num_slots} was named, but {name} was made with "
            f"{int(slots)}, and that number is fixed"
        )

    async def cursor_key(self) -> bytes:
        """The key with which the cluster's gateways sign cursors; made by the first that asks."""
        new = secrets.token_hex(32)
        # While a server accepts no writes, the key serves this process alone.
        with suppress(WriteRefusedError):
            await self._control.execute("HSETNX", self.keys.cluster, "cursor_key", new)
        stored: bytes | None = await self._control.execute("HGET", self.keys.cluster, "cursor_key")
        return stored or new.encode()

    async def identity(self) -> bytes:
        """What tells this server from one that has lost its data; made by the first that asks.

        Returns:
            b"" if there is none and the server accepts no writes.
        """
        key, new = self.keys.cluster, secrets.token_hex(16)
        with suppress(WriteRefusedError):
            await self._control.execute("HSETNX", key, "identity", new)
        stored: bytes | None = await self._control.execute("HGET", key, "identity")
        return stored or b""


def _has_had(created: int, most: int, num_shards: int) -> bool:
    """Whether a cluster that each split has doubled, to `most` shards, has had this number."""
    while created < min(num_shards, most):
        created *= 2
    return created == num_shards


def _history(created: int, present: int) -> str:
    split = f" and split to {present}" if present != created else ""
    return f"was made with {created} shards{split}"
