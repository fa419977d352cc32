"""The blocking client's methods for operators."""

from contextlib import suppress

from hedgerow.common.errors import UnavailableError
from hedgerow.gateway.client import calls
from hedgerow.gateway.client.blocking_exchange import Exchange
from hedgerow.gateway.shapes.collection import OptimiseAnswer
from hedgerow.gateway.shapes.operations import (
    ByHand,
    QuarantinedQuery,
    ReloadAnswer,
    SnapshotAnswer,
)
from hedgerow.gateway.shapes.placement import PlacementAnswer, RebalanceAnswer
from hedgerow.gateway.shapes.reindex import ReindexAnswer
from hedgerow.gateway.shapes.split import SplitAnswer
from hedgerow.gateway.shapes.status import StatusAnswer


class Operations(Exchange):
    """The methods of operators: the state of the cluster, and what is done to it."""

    def status(self) -> StatusAnswer:
        """Return the state of the cluster as this gateway sees it."""
        return self._ask(calls.status())

    def is_alive(self) -> bool:
        """Return whether the gateway answers."""
        with suppress(UnavailableError):
            return self._ask(calls.is_alive())
        return False

    def is_ready(self) -> bool:
        """Return whether the gateway and its Redis answer, and a shard has a live worker."""
        with suppress(UnavailableError):
            return self._ask(calls.is_ready())
        return False

    def set_breaker(self, shard: int, state: ByHand) -> None:
        """Set a shard's breaker by hand, in all gateways; "closed" ends that."""
        self._ask(calls.set_breaker(shard, state))

    def optimise(self, collection: str) -> OptimiseAnswer:
        """Ask the workers to optimise a collection's indexes; the status says when it is done."""
        return self._ask(calls.optimise(collection))

    def create_snapshots(self) -> SnapshotAnswer:
        """Ask the workers for a snapshot of every shard; the status says when each is made."""
        return self._ask(calls.create_snapshots())

    def reload(self) -> ReloadAnswer:
        """Have the rank profiles read again, once every worker has checked them.

        Raises:
            ConflictError: a profile cannot be used, and all stays as it was; says where and why.
        """
        return self._ask(calls.reload())

    def list_quarantine(self) -> list[QuarantinedQuery]:
        """List the queries that have killed scorers."""
        return self._ask(calls.list_quarantine())

    def lift_quarantine(self, fingerprint: str) -> None:
        """Take a query out of quarantine, so that it may run again.

        Raises:
            NotFoundError: the query is not in quarantine.
        """
        self._ask(calls.lift_quarantine(fingerprint))

    def get_placement(self) -> PlacementAnswer:
        """Show which worker should serve which shard, and what moves."""
        return self._ask(calls.get_placement())

    def drain_worker(self, worker: str) -> None:
        """Let other workers take over a worker's shards; `get_placement` says when it is drained.

        Raises:
            NotFoundError: there is no such worker.
            ConflictError: its shards are pinned.
        """
        self._ask(calls.drain_worker(worker))

    def cancel_drain(self, worker: str) -> None:
        """Let a worker keep its shards, and get others.

        Raises:
            NotFoundError: the worker is not draining.
        """
        self._ask(calls.cancel_drain(worker))

    def rebalance(self) -> RebalanceAnswer:
        """Balance the shards without waiting for lost workers."""
        return self._ask(calls.rebalance())

    def get_split(self) -> SplitAnswer:
        """Show the number of shards, and how far their split is."""
        return self._ask(calls.get_split())

    def begin_split(self) -> SplitAnswer:
        """Begin to double the number of shards; `get_split` says when that is done.

        Raises:
            ConflictError: a split is in progress, or a process cannot take part in one.
        """
        return self._ask(calls.begin_split())

    def cancel_split(self) -> SplitAnswer:
        """Give up the split in progress.

        Raises:
            NotFoundError: there is none.
            ConflictError: the new shards are about to take over, or have done so.
        """
        return self._ask(calls.cancel_split())

    def get_reindex(self) -> ReindexAnswer:
        """Show the last reindex, and how far it is."""
        return self._ask(calls.get_reindex())

    def begin_reindex(
        self, old: str, new: str, alias: str, *, skip_faulty: bool = False
    ) -> ReindexAnswer:
        """Begin to copy a collection into another one; `get_reindex` says when that is done.

        Args:
            old: name of the collection whose documents are copied.
            new: name of an empty collection, which gets them.
            alias: stands for `new` in the end; for `old` until then, or it does not exist yet.
            skip_faulty: whether to switch though documents do not fit `new`, which then lacks them.

        Raises:
            NotFoundError: there is no such collection.
            ConflictError: it cannot be done now; says why.
        """
        return self._ask(calls.begin_reindex(old, new, alias, skip_faulty=skip_faulty))

    def end_reindex(self, *, after_switch: bool = False) -> ReindexAnswer:
        """Cancel the reindex; or, after its switch, have the old collection follow no longer.

        Args:
            after_switch: which of the two.

        Raises:
            NotFoundError: none is in progress.
            ConflictError: it has switched, or has not, or is about to.
        """
        return self._ask(calls.end_reindex(after_switch=after_switch))
