"""What the tests of search options share: shards that none of them changes."""

import pytest

from tests.unit.gateway.search.options.corpus import shards
from tests.unit.support.real_shards import RealShards


@pytest.fixture(scope="session", params=[1, 8])
def goods_shards(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> RealShards:
    """The same documents in one shard, and in eight; a test that takes one down brings it back."""
    return shards(tmp_path_factory.mktemp("goods"), request.param)
