"""Divides an operation of the log among the shards that its documents belong to."""

from collections.abc import Sequence

from hedgerow.common.partition import shard_of
from hedgerow.common.shard_log.operations import Delete, Drop, Op, Upsert, Write, pack_op, unpack_op

# An operation that changes nothing: it holds a place in a log.
NOTHING = pack_op(Drop(""))


def parts_of(op: Op, num_shards: int) -> dict[int, Op] | None:
    """Shard → the part of an operation that concerns it.

    Args:
        op: the operation.
        num_shards: over how many shards the documents are spread.

    Returns:
        Only shards that it concerns; None if it concerns all of them, as it is.
    """
    match op:
        case Upsert(uid, documents):
            upserts: dict[int, list[tuple[str, bytes]]] = {}
            for one in documents:
                upserts.setdefault(shard_of(one[0], num_shards), []).append(one)
            return {shard: Upsert(uid, some) for shard, some in upserts.items()}
        case Delete(uid, ids):
            deletes: dict[int, list[str]] = {}
            for document_id in ids:
                deletes.setdefault(shard_of(document_id, num_shards), []).append(document_id)
            return {shard: Delete(uid, some) for shard, some in deletes.items()}
        case Write():
            return {shard_of(op.id, num_shards): op}
    return None


def ids_of(op: Op) -> dict[str, list[str]]:
    """Collection uid → ids of the documents that an operation may change, except by a drop."""
    match op:
        case Upsert(uid, documents):
            return {uid: [document_id for document_id, _ in documents]}
        case Delete(uid, ids):
            return {uid: ids}
        case Write():
            return {op.uid: [op.id]}
        case Drop(uid):
            return {uid: []}
    return {}


def divided(ops: Sequence[tuple[int, bytes]], num_shards: int) -> Sequence[tuple[int, bytes]]:
    """Packed operations with the shards that they are for, if there are `num_shards`.

    Args:
        ops: operations, each with the shard that it was for when there were fewer shards, or is
            for now; each is of documents.
        num_shards: how many shards there are.
    """
    divided_ops: list[tuple[int, bytes]] = []
    for shard, packed in ops:
        parts = parts_of(unpack_op(packed), num_shards)
        if parts is None or parts.keys() == {shard}:
            divided_ops.append((shard, packed))
        else:
            divided_ops += [(one, pack_op(part)) for one, part in parts.items()]
    return divided_ops
