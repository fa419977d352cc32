"""Every Redis key and channel, in one place. docs/redis-keys.md lists them for operators.

In Redis Cluster, what belongs to a shard is in one hash slot, by a tag: `hedgerow:{5}:log:0`. The
shards share a few slots, since a worker needs connections for each slot whose shards it serves. On
a plain server there are no tags, so that processes of every version spell the keys alike.
"""

from dataclasses import dataclass
from typing import Final, Self

from hedgerow.common.redis.hash_slots import tags
from hedgerow.common.settings.redis import RedisSettings

LAYOUT_MARK: Final = "-layout-"  # in names of folders of snapshots, before the layout's number


@dataclass(frozen=True, slots=True)
class Keys:
    """Names under one prefix, so that clusters (and tests) can share a server.

    Attributes:
        prefix: first part of every key; the setting `redis.key_prefix`.
        num_slots: over how many hash slots the shards are spread; 0 without Redis Cluster.
        layout: the layout whose shards are meant (`common.state.layout`). Almost every name belongs
            to one layout; `collections`, `changes`, `aliases`, `expiring`, `synonyms`,
            `synonym_versions`, `gateways`, `quarantine`, `storage`, `cluster`, `layout_document`,
            `split_lease`, `split_progress`, `copy_turn`, `summary_turn`, `reindex` and
            `reindex_lease` are the cluster's.
    """

    prefix: str = "hedgerow"
    num_slots: int = 0
    layout: int = 0

    @classmethod
    def of(cls, settings: RedisSettings) -> Self:
        """The names that the settings ask for."""
        return cls(settings.key_prefix, settings.num_slots)

    @property
    def own(self) -> str:
        """First part of the keys of this layout; the first one has no part of its own."""
        return f"{self.prefix}:layout:{self.layout}" if self.layout else self.prefix

    @property
    def folder(self) -> str:
        """Name of the folder that the snapshots of this layout are in."""
        return f"{self.prefix}{LAYOUT_MARK}{self.layout}" if self.layout else self.prefix

    def of_layout(self, layout: int) -> "Keys":
        """The names of another layout of the same cluster."""
        return Keys(self.prefix, self.num_slots, layout)

    def slot(self, shard: int) -> int:
        """Which of the `num_slots` slots a shard is in, from 0; 0 without Redis Cluster."""
        return shard % self.num_slots if self.num_slots else 0

    def _in(self, slot: int) -> str:
        """The first part of the keys and channels in a slot."""
        return f"{self.own}:{{{tags(self.num_slots)[slot]}}}" if self.num_slots else self.own

    def _of(self, shard: int) -> str:
        return self._in(shard % self.num_slots) if self.num_slots else self.own

    def search_queue(self, shard: int) -> str:
        """List: search requests that wait for a worker of `shard`."""
        return f"{self._of(shard)}:search:{shard}"

    def worker_search_queue(self, worker: str, slot: int = 0) -> str:
        """List: searches for one worker only: second copies from another, or shadow requests.

        A worker has one in each slot, for that slot's shards.
        """
        return f"{self._in(slot)}:search@{worker}"

    def worker_fetch_queue(self, worker: str, slot: int = 0) -> str:
        """List: second copies of fetches that another worker has handed to this one."""
        return f"{self._in(slot)}:fetch@{worker}"

    def fetch_queue(self, shard: int) -> str:
        """List: fetch requests that wait for a worker of `shard`."""
        return f"{self._of(shard)}:fetch:{shard}"

    def reply_channel(self, gateway_id: str) -> str:
        """Channel: replies to one gateway; requests name it, see `reply_channel_in`."""
        return f"{self.own}:reply:{gateway_id}"

    def reply_channel_in(self, slot: int, reply_to: str) -> str:
        """The channel of a slot on which a gateway that is named so gets its shards' replies.

        Each node then carries the replies of its own shards, over the connections that bring the
        requests.
        """
        return self._in(slot) + reply_to.removeprefix(self.own)

    def cancel_channel(self, shard: int) -> str:
        """Channel: queries whose answer from `shard` is no longer needed."""
        return f"{self._of(shard)}:cancel:{shard}"

    def log(self, shard: int) -> str:
        """Stream: the writes of one shard that are not yet applied by every replica."""
        return f"{self._of(shard)}:log:{shard}"

    def judgement(self, shard: int, token: str) -> str:
        """String: how a conditional write to a shard has ended; expires."""
        return f"{self.own}:judgement:{shard}:{token}"

    def set_aside(self, shard: int) -> str:
        """Sorted set: documents of a shard's log that a replica has set aside; expires."""
        return f"{self._of(shard)}:set-aside:{shard}"

    def applied(self, shard: int) -> str:
        """Hash: replica id → id of the last log entry that it has applied."""
        return f"{self._of(shard)}:applied:{shard}"

    def registered(self, shard: int) -> str:
        """String: with which identity of the control plane's server a shard is registered."""
        return f"{self._of(shard)}:registered:{shard}"

    def trimmed(self, shard: int) -> str:
        """Hash: how far the log was trimmed, and the replicas that have missed some of it.

        `position` is the last entry removed; `documents` exists once the shard has had any;
        `kept` counts the entries, up to `kept_to`, that all replicas have applied and that wait for
        a snapshot; `sealed` is the log's last id, if the log is sealed, and `sealed_by` the version
        of the layout that has sealed it; a replica's id maps to where the log began when the
        replica was found to have a gap.
        """
        return f"{self._of(shard)}:trimmed:{shard}"

    def confirm(self, slot: int = 0) -> str:
        """Stream: never created; a command on it shows whether logs can be appended to.

        Also a channel: a message on it shows whether replicas have what was written before.
        """
        return f"{self._in(slot)}:log:confirm"

    @property
    def storage(self) -> str:
        """String: shortages of the embedded server's disk; expires if it is not renewed."""
        return f"{self.prefix}:storage"

    @property
    def collections(self) -> str:
        """Hash: collection name → its definition."""
        return f"{self.prefix}:collections"

    @property
    def changes(self) -> str:
        """Hash: collection name → a change of it that has begun, if logs are on other servers."""
        return f"{self.prefix}:changes"

    @property
    def aliases(self) -> str:
        """Hash: alias → name of the collection that it stands for."""
        return f"{self.prefix}:aliases"

    @property
    def synonyms(self) -> str:
        """Hash: collection uid → its synonyms, as JSON."""
        return f"{self.prefix}:synonyms"

    @property
    def synonym_versions(self) -> str:
        """Hash: collection uid → how often its synonyms were changed."""
        return f"{self.prefix}:synonym-versions"

    @property
    def expiring(self) -> str:
        """Hash: collection uid → name of the date field by which its documents expire."""
        return f"{self.prefix}:expiring"

    @property
    def expiry_lease(self) -> str:
        """String: which gateway deletes what has expired; expires if it is not renewed."""
        return f"{self.prefix}:expiry-lease"

    @property
    def reindex(self) -> str:
        """String: the last reindex, as JSON."""
        return f"{self.prefix}:reindex"

    @property
    def reindex_lease(self) -> str:
        """String: which gateway moves a reindex on; expires if it is not renewed."""
        return f"{self.prefix}:reindex-lease"

    def documents(self, uid: str) -> str:
        """Hash: shard → number of documents of one collection that it holds."""
        return f"{self.own}:documents:{uid}"

    @property
    def workers(self) -> str:
        """Hash: worker id → its last heartbeat."""
        return f"{self.own}:workers"

    @property
    def gateways(self) -> str:
        """Hash: gateway id → its last heartbeat."""
        return f"{self.prefix}:gateways"

    @property
    def quarantine(self) -> str:
        """Sorted set: which queries have killed scorers, and when; by time, in ms."""
        return f"{self.prefix}:quarantine"

    @property
    def probation(self) -> str:
        """Hash: worker id → which gateway put it on probation, why and until when."""
        return f"{self.own}:probation"

    @property
    def events(self) -> str:
        """Channel: `workers`, `collections`, `snapshots` and the like, when one has changed."""
        return f"{self.own}:events"

    @property
    def cluster(self) -> str:
        """Hash: what every process must agree on (`shards`, `format`, `cursor_key`, …)."""
        return f"{self.prefix}:cluster"

    @property
    def layout_document(self) -> str:
        """String: which layout is current, and the state of a split, as JSON; absent before one.

        Also a channel: a message on it announces a new version.
        """
        return f"{self.prefix}:layout"

    @property
    def split_lease(self) -> str:
        """String: which worker moves a split on; expires if it is not renewed."""
        return f"{self.prefix}:split-lease"

    @property
    def split_progress(self) -> str:
        """String: how far the split in progress is, as JSON; expires if it is not renewed."""
        return f"{self.prefix}:split-progress"

    def copy_lease(self, shard: int) -> str:
        """String: which worker copies a shard for a split; expires if it is not renewed."""
        return f"{self.own}:copy-lease:{shard}"

    def clone_lease(self, shard: int) -> str:
        """String: which worker clones a shard for a split, or has just done so; expires soon."""
        return f"{self.own}:clone-lease:{shard}"

    def copy_turn(self, host: str, number: int) -> str:
        """String: which copy of a split has one of a machine's turns; expires likewise."""
        return f"{self.prefix}:copy-turn:{host}:{number}"

    def summary_turn(self, host: str, number: int) -> str:
        """String: which summary has one of a machine's turns; expires likewise."""
        return f"{self.prefix}:summary-turn:{host}:{number}"

    def statistics(self, uid: str) -> str:
        """String: the collection-wide term statistics of one collection."""
        return f"{self.own}:statistics:{uid}"

    def shard_statistics(self, uid: str) -> str:
        """Hash: shard → its own term statistics, until they are summed."""
        return f"{self.own}:statistics-of:{uid}"

    def statistics_claim(self, uid: str) -> str:
        """String: version of the sum that a worker is computing; expires soon."""
        return f"{self.own}:statistics-claim:{uid}"

    def summaries(self, uid: str) -> str:
        """Hash: the shards' summaries of one collection, each with its stamp; expires."""
        return f"{self.own}:summaries:{uid}"

    def optimising(self, uid: str) -> str:
        """Hash: when optimising a collection was last requested, and which replicas did it."""
        return f"{self.own}:optimise:{uid}"

    def snapshots(self, shard: int) -> str:
        """Hash: the newest snapshot of a shard, when one was last requested, the last failure."""
        return f"{self.own}:snapshots:{shard}"

    def snapshot_lease(self, shard: int) -> str:
        """String: which worker is making a snapshot of a shard; expires if it is not renewed."""
        return f"{self.own}:snapshot-lease:{shard}"

    @property
    def placement(self) -> str:
        """String: which workers should serve which shard, as JSON; absent if all are pinned."""
        return f"{self.own}:placement"

    @property
    def draining(self) -> str:
        """Set: the workers that are to lose all of their shards."""
        return f"{self.own}:draining"

    @property
    def placement_lease(self) -> str:
        """String: which worker watches whether the placement must change; expires."""
        return f"{self.own}:placement-lease"

    @property
    def departed(self) -> str:
        """Hash: worker of the placement → since when it is gone, in ms, if it signed off."""
        return f"{self.own}:departed"

    @property
    def reload_claim(self) -> str:
        """String: the reload of rank profiles that is in progress; expires."""
        return f"{self.own}:reload"

    def reload(self, token: str) -> str:
        """Hash: the rank profiles of one reload, and the workers' answers; expires."""
        return f"{self.own}:reload:{token}"

    @property
    def jobs(self) -> str:
        """Sorted set: arq's queue of control-plane jobs."""
        return f"{self.own}:jobs"
