"""An operation is divided among the shards that its documents belong to."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.collection import Collection
from hedgerow.common.partition import shard_of
from hedgerow.common.shard_log.op_parts import divided, parts_of
from hedgerow.common.shard_log.operations import (
    Create,
    Delete,
    Drop,
    Upsert,
    pack_op,
    unpack_op,
)

ids = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=20, unique=True)


@given(ids, st.integers(1, 9))
def test_each_document_is_in_the_part_of_its_shard(chosen: list[str], num_shards: int) -> None:
    """Once, in the order of the operation."""
    upserts = parts_of(Upsert("u", [(one, one.encode()) for one in chosen]), num_shards)
    deletes = parts_of(Delete("u", chosen), num_shards)
    assert upserts is not None
    assert deletes is not None
    for shard in range(num_shards):
        own = [one for one in chosen if shard_of(one, num_shards) == shard]
        expected = [(one, one.encode()) for one in own]
        assert upserts.get(shard) == (Upsert("u", expected) if own else None)
        assert deletes.get(shard) == (Delete("u", own) if own else None)


def test_definitions_concern_every_shard() -> None:
    """They are not divided."""
    assert parts_of(Create(Collection("c", "u").to_json()), 4) is None
    assert parts_of(Drop("u"), 4) is None


@given(ids)
def test_a_batch_for_fewer_shards_becomes_batches_for_more(chosen: list[str]) -> None:
    """No document is lost; a batch that is in its place stays as it is."""
    packed = [
        (shard, pack_op(Delete("u", own)))
        for shard in range(2)
        if (own := [one for one in chosen if shard_of(one, 2) == shard])
    ]
    ops = divided(packed, 4)
    found = [(shard, one) for shard, op in ops for one in unpack_op(op).ids]  # type: ignore[union-attr]
    assert sorted(found) == sorted((shard_of(one, 4), one) for one in chosen)
    assert divided(ops, 4) == ops
