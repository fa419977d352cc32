"""Searches whose winners all lie in one shard, through a real cluster."""

from unittest.mock import patch

import pytest

from hedgerow.common.partition import shard_of
from hedgerow.gateway.gateway import Gateway
from tests.support.clusters import all_live, ask, cluster_of_its_own, load

pytestmark = pytest.mark.integration

NUM_SHARDS = 4
K = 30


def documents() -> list[dict[str, str]]:
    """Those of one shard are short, so that they come first; no two have the same length."""
    ids = [f"d{number}" for number in range(40 * NUM_SHARDS)]
    ids.sort(key=lambda one: shard_of(one, NUM_SHARDS) != 2)
    return [{"id": one, "text": "wing " + "tail " * at} for at, one in enumerate(ids)]


async def test_one_shard_that_has_all_winners_is_asked_for_all_of_them() -> None:
    """The answer, with its fields, is the same as if each shard had been asked for k hits."""
    with cluster_of_its_own(num_shards=NUM_SHARDS, num_workers=2) as cluster:
        async with Gateway.connect(cluster.settings, num_shards=NUM_SHARDS) as gateway:
            await all_live(gateway)
            await load(gateway, "skewed", documents())
            top_up = gateway._searcher._scatter_gather._top_up
            with patch.object(top_up, "ask", side_effect=top_up.ask) as asked:
                few = await ask(gateway, "skewed", "wing", k=K)
            with patch("hedgerow.gateway.search.searcher.num_asked", return_value=K):
                every = await ask(gateway, "skewed", "wing", k=K)
    assert [call.args[2] for call in asked.call_args_list] == [(2,)]
    assert few.coverage.is_full
    assert few.fetch is not None
    assert few.fetch.missing == 0
    assert [(hit.id, hit.score, hit.fields) for hit in few.hits] == [
        (hit.id, hit.score, hit.fields) for hit in every.hits
    ]
    assert {hit.shard for hit in few.hits} == {2}
