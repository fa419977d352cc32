"""Ids of documents of which each shard gets as many: coverage, of documents, is then of shards."""

import itertools

from common.partition import shard_of


def even_ids(num_shards: int, of_each: int) -> list[str]:
    """Make up ids of which `of_each` belong to each of the shards."""
    missing = dict.fromkeys(range(num_shards), of_each)
    ids = []
    for number in itertools.count():
        document_id = f"document-{number}"
        if missing[shard := shard_of(document_id, num_shards)]:
            missing[shard] -= 1
            ids.append(document_id)
            if not any(missing.values()):
                break
    return ids
