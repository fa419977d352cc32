"""Requests of operators: the state of the cluster, and what is done to it."""

from typing import Final

from hedgerow.gateway.client.calls.call import Call, answer, json_of, path_of_collection, segment
from hedgerow.gateway.client.reply import Reply
from hedgerow.gateway.shapes.collection import OptimiseAnswer
from hedgerow.gateway.shapes.operations import (
    ByHand,
    QuarantineAnswer,
    QuarantinedQuery,
    ReloadAnswer,
    SnapshotAnswer,
)
from hedgerow.gateway.shapes.placement import PlacementAnswer, RebalanceAnswer
from hedgerow.gateway.shapes.reindex import ReindexAnswer, ReindexBody
from hedgerow.gateway.shapes.split import SplitAnswer
from hedgerow.gateway.shapes.status import StatusAnswer

RELOAD_TIMEOUT_S: Final = 60.0  # above the gateway's own longest wait for its workers


def status() -> Call[StatusAnswer]:
    """Return the state of the cluster."""
    return Call("GET", "/v1/status", answer(StatusAnswer))


def is_alive() -> Call[bool]:
    """Return whether the process lives."""
    return Call("GET", "/healthz", _yes_or_no)


def is_ready() -> Call[bool]:
    """Return whether Redis answers and a shard is live."""
    return Call("GET", "/readyz", _yes_or_no)


def set_breaker(shard: int, state: ByHand) -> Call[None]:
    """Set a shard's breaker by hand."""
    return Call(
        "POST",
        f"/v1/shards/{shard}/breaker",
        Reply.nothing,
        body=json_of({"state": state}),
    )


def create_snapshots() -> Call[SnapshotAnswer]:
    """Ask for a snapshot of every shard."""
    return Call("POST", "/v1/snapshots", answer(SnapshotAnswer))


def optimise(collection: str) -> Call[OptimiseAnswer]:
    """Ask the workers to optimise a collection's text indexes."""
    return Call("POST", f"{path_of_collection(collection)}/optimise", answer(OptimiseAnswer))


def reload() -> Call[ReloadAnswer]:
    """Read the rank profiles again."""
    return Call("POST", "/v1/reload", answer(ReloadAnswer), RELOAD_TIMEOUT_S)


def list_quarantine() -> Call[list[QuarantinedQuery]]:
    """List the queries that have killed scorers."""
    return Call("GET", "/v1/quarantine", lambda reply: reply.typed(QuarantineAnswer).quarantine)


def lift_quarantine(fingerprint: str) -> Call[None]:
    """Take a query out of quarantine."""
    return Call("DELETE", f"/v1/quarantine/{segment(fingerprint)}", Reply.nothing)


def get_placement() -> Call[PlacementAnswer]:
    """Return which worker should serve which shard, and what moves."""
    return Call("GET", "/v1/placement", answer(PlacementAnswer))


def drain_worker(worker: str) -> Call[None]:
    """Let other workers take over a worker's shards."""
    return Call("PUT", _draining(worker), Reply.nothing)


def cancel_drain(worker: str) -> Call[None]:
    """Let a worker keep its shards."""
    return Call("DELETE", _draining(worker), Reply.nothing)


def rebalance() -> Call[RebalanceAnswer]:
    """Balance the shards without waiting for lost workers."""
    return Call("POST", "/v1/placement/rebalance", answer(RebalanceAnswer))


def get_split() -> Call[SplitAnswer]:
    """Return the number of shards, and how far their split is."""
    return Call("GET", "/v1/split", answer(SplitAnswer))


def begin_split() -> Call[SplitAnswer]:
    """Begin to double the number of shards."""
    return Call("POST", "/v1/split", answer(SplitAnswer))


def cancel_split() -> Call[SplitAnswer]:
    """Give up the split in progress."""
    return Call("DELETE", "/v1/split", answer(SplitAnswer))


def get_reindex() -> Call[ReindexAnswer]:
    """Return the last reindex."""
    return Call("GET", "/v1/reindex", answer(ReindexAnswer))


def begin_reindex(old: str, new: str, alias: str, *, skip_faulty: bool) -> Call[ReindexAnswer]:
    """Begin to copy a collection into another one, which then replaces it."""
    body = json_of(ReindexBody(old, new, alias, skip_faulty))
    return Call("POST", "/v1/reindex", answer(ReindexAnswer), body=body)


def end_reindex(*, after_switch: bool) -> Call[ReindexAnswer]:
    """Cancel the reindex, or let its collections be independent after the switch."""
    params = {"after_switch": "true"} if after_switch else None
    return Call("DELETE", "/v1/reindex", answer(ReindexAnswer), params=params)


def _draining(worker: str) -> str:
    return f"/v1/placement/draining/{segment(worker)}"


def _yes_or_no(reply: Reply) -> bool:
    if reply.status != 503:
        reply.nothing()
    return reply.is_success
