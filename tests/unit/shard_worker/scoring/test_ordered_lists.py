"""Keywords in lists: what earlier versions have indexed is refused where it would be wrong."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from hedgerow.common.errors import BadQueryError
from hedgerow.common.query.tree import Everything
from hedgerow.common.wire.search_options import FacetKind, SortKey, WantedFacet
from hedgerow.shard_worker.scoring.facets import count_facets
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from hedgerow.shard_worker.scoring.sorting import Ordering
from tests.unit.support.shards import OneShard

FIELDS = {"tags": "keyword", "brand": "keyword"}
DOCUMENTS: list[dict[str, Any]] = [
    {"id": "a", "tags": ["z", "b", "b"], "brand": "acme"},
    {"id": "b", "tags": "c", "brand": "acme"},
]


def answers(shard: OneShard, field: str) -> tuple[list[str], dict[object, int]]:
    """The ids in the order of a field, and how often each of its values occurs."""
    index = shard.open()
    query = QueryBuilder(index, None).build(Everything())
    rows = Ordering(index, [SortKey(field, is_descending=False)]).first(query, 10)
    (part,) = count_facets(index, query, [WantedFacet(field, FacetKind.TERMS, 10)])
    return [row.id for row in rows], dict(zip(part.values, part.counts, strict=True))


def test_a_list_counts_by_its_smallest_value_and_each_value_once(tmp_path: Path) -> None:
    """Whatever its order, and however often it repeats a value."""
    shard = OneShard.of(tmp_path, FIELDS, DOCUMENTS)
    assert answers(shard, "tags") == (["a", "b"], {"b": 1, "c": 1, "z": 1})


def test_lists_of_an_earlier_version_are_refused_until_they_are_indexed_again(
    tmp_path: Path,
) -> None:
    """Fields without lists are as before; documents that are loaded again are in order."""
    with (
        patch("hedgerow.shard_worker.storage.document_maker.ORDERED_LISTS", "old"),
        patch("hedgerow.shard_worker.storage.document_maker.in_order", lambda texts: texts),
    ):
        shard = OneShard.of(tmp_path, FIELDS, DOCUMENTS)
    with pytest.raises(BadQueryError, match="lists that an earlier version has indexed"):
        answers(shard, "tags")
    shard.put(DOCUMENTS)
    assert answers(shard, "tags") == (["a", "b"], {"b": 1, "c": 1, "z": 1})
