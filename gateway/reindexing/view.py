"""What a gateway sees of a reindex: the workers' heartbeats, and what Redis has."""

from collections.abc import Mapping
from typing import Final

from hedgerow.common.errors import InsufficientStorageError
from hedgerow.common.shard_log.mirror_report import MirrorReport
from hedgerow.common.state.layout import LayoutStore
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.reindexing import Reindex
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.members.membership import Membership
from hedgerow.gateway.reindexing.carried_settings import CarriedSettings
from hedgerow.gateway.reindexing.policy import Seen
from hedgerow.gateway.writes.aliases import Aliases
from hedgerow.gateway.writes.storage_gate import StorageGate

_NUM_MEMBERS: Final = len(MirrorReport._fields) - 1


class ReindexView:
    """Looks at the cluster."""

    def __init__(
        self,
        registry: Registry,
        membership: Membership,
        aliases: Aliases,
        layout: LayoutStore,
        gate: StorageGate,
        settings: CarriedSettings,
        num_shards: int,
    ) -> None:
        """Look at these.

        Args:
            registry: has the collections.
            membership: has the heartbeats.
            aliases: of the collections.
            layout: whether the shards are being split.
            gate: knows whether a disk or memory runs out.
            settings: what collections have beside their documents.
            num_shards: shards in the cluster.
        """
        self._registry = registry
        self._membership = membership
        self._aliases = aliases
        self._layout = layout
        self._gate = gate
        self._settings = settings
        self._num_shards = num_shards

    @property
    def workers(self) -> Mapping[str, Heartbeat]:
        """The live workers' heartbeats."""
        return self._membership.workers

    def reports(self, reindex: Reindex) -> dict[int, list[MirrorReport | None]]:
        """Shard → what its live replicas report; None for one that knows nothing of it."""
        return {
            shard: reports_of(self.workers, shard, reindex.id) for shard in range(self._num_shards)
        }

    async def look(self, reindex: Reindex) -> Seen:
        """What there is to see of a reindex now.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        old = await self._registry.collection(reindex.old)
        new = await self._registry.collection(reindex.new)
        filling = None if new is None else self._membership.filling_of(new)
        obstacle = ""
        if old is not None and new is not None and reindex.expiry is not None:
            obstacle = await self._settings.obstacle(old, new)
        return Seen(
            self.reports(reindex),
            has_old=old is not None and old.uid == reindex.old_uid,
            has_new=new is not None and new.uid == reindex.new_uid,
            alias_of=await self._aliases.stored(reindex.alias) or "",
            is_splitting=await self.is_splitting(),
            filling=() if filling is None else filling.fields,
            shortage=self._shortage(),
            expiry_obstacle=obstacle,
        )

    def _shortage(self) -> str:
        try:
            self._gate.check()
        except InsufficientStorageError as error:
            return str(error)
        return ""

    async def is_splitting(self) -> bool:
        """Whether a split of the shards is in progress."""
        layout = await self._layout.read()
        return layout is not None and layout.split is not None


def reports_of(
    workers: Mapping[str, Heartbeat], shard: int, mirror: str
) -> list[MirrorReport | None]:
    """What the live replicas of a shard report of a pair of collections; None if nothing.

    A replica that has missed a part of the log does not count: it is replaced by another copy.
    """
    found: list[MirrorReport | None] = []
    for beat in workers.values():
        if shard in beat.replicas and shard not in beat.gaps:
            report = beat.mirrors.get(shard, {}).get(mirror)
            # A newer version may report more.
            found.append(None if report is None else MirrorReport(mirror, *report[:_NUM_MEMBERS]))
    return found
