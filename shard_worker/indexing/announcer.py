"""Records in Redis what a worker's shards hold and how far they are, and trims their logs."""

from collections.abc import Callable, Collection, Iterable

from hedgerow.common.shard_log.entries import Entry, furthest
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.state.judgements import JudgementStore
from hedgerow.common.state.registry import Registry
from hedgerow.shard_worker.indexing.log_retention import LogRetention, trim_position
from hedgerow.shard_worker.indexing.open_shards import OpenShards
from hedgerow.shard_worker.indexing.withheld_shards import WithheldShards


class Announcer:
    """Tells the other processes of each state that a shard gets to, once."""

    def __init__(
        self,
        log: ShardLog,
        registry: Registry,
        judgements: JudgementStore,
        shards: OpenShards,
        withheld: WithheldShards,
        snapshot_position: Callable[[int], str | None],
    ) -> None:
        """Announce nothing yet.

        Args:
            log: where positions go, and what is trimmed.
            registry: where the document counts go.
            judgements: where it is reported how conditional writes have ended.
            shards: those of this worker.
            withheld: which of them have counts that others must not see.
            snapshot_position: as in `Applier`.
        """
        self._log = log
        self._registry = registry
        self._judgements = judgements
        self._shards = shards
        self._withheld = withheld
        self._snapshot_position = snapshot_position

    async def open(self, shard: int) -> None:
        """Find out which entries that the shard has applied are in its log for a snapshot.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        if self._snapshot_position(shard) is not None:
            ids = await self._log.ids(shard, self._shards.states[shard].position)
            self._shards.followed[shard].kept = LogRetention(ids)
            self._shards.followed[shard].trimmed = await self._log.trimmed(shard)

    async def report(self, shard: int) -> None:
        """Report how the conditional writes that were applied have ended.

        To be done before their position is recorded: a gateway that learns of the position must
        find the judgements. A replica with a gap may have judged wrongly, so it reports none.

        Raises:
            RedisUnavailableError: there was no answer; they are reported the next time.
        """
        known = self._shards.followed[shard]
        if judged := known.judged:
            known.judged = []
            if shard in self._withheld.gaps:
                return
            try:
                await self._judgements.report(shard, judged)
            except BaseException:
                known.judged = judged + known.judged
                raise

    def add(self, shard: int, entries: Iterable[Entry]) -> None:
        """Entries were applied to a shard; they stay in its log until a snapshot contains them."""
        if self._snapshot_position(shard) is not None:
            self._shards.followed[shard].kept.add(entry.id for entry in entries)

    async def announce(self, shard: int) -> None:
        """Record in Redis what the shard holds and its position, once for each state.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        state, known = self._shards.states[shard], self._shards.followed[shard]
        before = known.announced
        snapshot = self._snapshot_position(shard)
        trimmed_by = snapshot, known.num_forgotten
        if before is state and trimmed_by == known.trimmed_by:
            return
        counts = {report.uid: report.documents for report in state.collections}
        dropped = {report.uid for report in before.collections} - counts.keys() if before else ()
        # Counts first: a caller that learns that the batch is applied must find it counted. Shards
        # with a gap, whose counts would hide what is missing, and replicas behind others, whose
        # counts are old, record none. At the end of the log all replicas have the same counts.
        if shard not in self._withheld.gaps and not self._shards.is_before(
            shard, furthest(await self._log.applied(shard))
        ):
            await self._registry.set_document_counts(shard, counts, dropped)
            if before is None:  # of collections dropped just before an earlier worker ended
                await self._registry.forget_counts(shard, counts)
        await self.report(shard)
        applied = await self._log.record_applied(shard, state.replica_id, state.position)
        await self._trim(shard, applied.values(), snapshot)
        self._withheld.note_position(shard)
        known.furthest = furthest(applied)
        known.announced, known.trimmed_by = state, trimmed_by

    async def _trim(self, shard: int, applied: Collection[str], snapshot: str | None) -> None:
        """Remove the entries that all replicas and the newest snapshot have from the log."""
        upto = trim_position(applied, snapshot)
        kept = None
        if snapshot is not None and (slowest := trim_position(applied, None)):
            retention = self._shards.followed[shard].kept
            if upto is not None:
                retention.trim(upto)
            kept = retention.count(slowest), slowest
        if upto is not None or kept is not None:
            changes = (report.changes for report in self._shards.states[shard].collections)
            has_documents = upto is not None and any(changes)
            # A log may have begun as a trimmed one, before the first snapshot.
            upto = upto or self._shards.followed[shard].trimmed
            await self._log.trim_to(shard, upto, has_documents=has_documents, kept=kept)
