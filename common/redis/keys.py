"""Every Redis key and channel, in one place. docs/operations.md lists them for operators."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Names under one prefix, so that clusters (and tests) can share a server.

    Attributes:
        prefix: first part of every key; the setting `redis.key_prefix`.
    """

    prefix: str = "hedgerow"

    def search_queue(self, shard: int) -> str:
        """List: search requests that wait for a worker of `shard`."""
        return f"{self.prefix}:search:{shard}"

    def worker_search_queue(self, worker: str) -> str:
        """List: second copies of searches for one worker alone: handed on by another, or trials."""
        return f"{self.prefix}:search@{worker}"

    def worker_fetch_queue(self, worker: str) -> str:
        """List: second copies of fetches that one worker has been handed by another."""
        return f"{self.prefix}:fetch@{worker}"

    def fetch_queue(self, shard: int) -> str:
        """List: fetch requests that wait for a worker of `shard`."""
        return f"{self.prefix}:fetch:{shard}"

    def reply_channel(self, gateway_id: str) -> str:
        """Channel: replies to one gateway."""
        return f"{self.prefix}:reply:{gateway_id}"

    def cancel_channel(self, shard: int) -> str:
        """Channel: queries that nobody waits for any more in `shard`."""
        return f"{self.prefix}:cancel:{shard}"

    def log(self, shard: int) -> str:
        """Stream: the writes of one shard that are not yet applied by every replica."""
        return f"{self.prefix}:log:{shard}"

    def applied(self, shard: int) -> str:
        """Hash: replica id → id of the last log entry that it has applied."""
        return f"{self.prefix}:applied:{shard}"

    def trimmed(self, shard: int) -> str:
        """Hash: how far the log was trimmed, and the replicas that have missed some of it.

        `position` is the last entry removed; `documents` is there once the shard has had any;
        `kept` counts the entries that all have applied and that wait for a snapshot, up to the one
        that `kept_to` names; a replica's id stands beside where the log began when it was found to
        have a gap.
        """
        return f"{self.prefix}:trimmed:{shard}"

    @property
    def confirm(self) -> str:
        """Stream: there never is one; appending to it says whether logs can be appended to."""
        return f"{self.prefix}:log:confirm"

    @property
    def storage(self) -> str:
        """String: what the embedded server's disk lacks; expires with who says so."""
        return f"{self.prefix}:storage"

    @property
    def collections(self) -> str:
        """Hash: collection name → its definition."""
        return f"{self.prefix}:collections"

    def documents(self, uid: str) -> str:
        """Hash: shard → number of documents of one collection that it holds."""
        return f"{self.prefix}:documents:{uid}"

    @property
    def workers(self) -> str:
        """Hash: worker id → its last heartbeat."""
        return f"{self.prefix}:workers"

    @property
    def quarantine(self) -> str:
        """Sorted set: which queries have killed scorers, and when; by time, in ms."""
        return f"{self.prefix}:quarantine"

    @property
    def probation(self) -> str:
        """Hash: worker id → why and until when it takes no live requests, and who says so."""
        return f"{self.prefix}:probation"

    @property
    def events(self) -> str:
        """Channel: `workers`, `collections`, `snapshots` and the like, when one has changed."""
        return f"{self.prefix}:events"

    @property
    def cluster(self) -> str:
        """Hash: facts that every process must agree on (`shards`, `format`)."""
        return f"{self.prefix}:cluster"

    def statistics(self, uid: str) -> str:
        """String: the collection-wide term statistics of one collection."""
        return f"{self.prefix}:statistics:{uid}"

    def shard_statistics(self, uid: str) -> str:
        """Hash: shard → its own term statistics, until they are summed."""
        return f"{self.prefix}:statistics-of:{uid}"

    def statistics_claim(self, uid: str) -> str:
        """String: version of the sum that a worker makes now; expires soon."""
        return f"{self.prefix}:statistics-claim:{uid}"

    def optimising(self, uid: str) -> str:
        """Hash: when one collection's indexes were last to be optimised, and who has done so."""
        return f"{self.prefix}:optimise:{uid}"

    def snapshots(self, shard: int) -> str:
        """Hash: the newest snapshot of a shard, when one was last asked for, what failed last."""
        return f"{self.prefix}:snapshots:{shard}"

    def snapshot_lease(self, shard: int) -> str:
        """String: who makes a snapshot of a shard now; expires with its maker."""
        return f"{self.prefix}:snapshot-lease:{shard}"

    @property
    def jobs(self) -> str:
        """Sorted set: arq's queue of control-plane jobs."""
        return f"{self.prefix}:jobs"
