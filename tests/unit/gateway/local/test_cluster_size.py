"""Whose number of shards counts, against a registry of one cluster."""

from typing import cast

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.state.registry import Registry
from hedgerow.gateway.local.cluster_size import settle_shards
from hedgerow.gateway.local.sizing import Source


class OneCluster:
    """A registry that has the number of one cluster, or none yet."""

    def __init__(self, num_shards: int | None = None, rival: int | None = None) -> None:
        """Have `num_shards`; `rival` is what another host writes just before the first claim."""
        self.num_shards = num_shards
        self._rival = rival

    async def cluster(self, num_shards: int | None = None) -> int:
        """As `Registry.cluster`."""
        if num_shards is not None and self.num_shards is None:
            self.num_shards = num_shards if self._rival is None else self._rival
        if self.num_shards is None or num_shards not in (None, self.num_shards):
            raise ConfigurationError("num_shards")
        return self.num_shards


async def settled(
    registry: OneCluster, asked: int | None = None, stored: int = 0, fitting: int = 2
) -> tuple[int, Source]:
    """What `settle_shards` makes of a registry."""
    return await settle_shards(cast("Registry", registry), asked, stored, fitting)


async def test_a_new_cluster_gets_what_fits() -> None:
    """With nothing asked for and nothing there, the machine decides, once and for all."""
    registry = OneCluster()
    assert await settled(registry, fitting=2) == (2, Source.CORES)
    assert await settled(registry, fitting=4) == (2, Source.CLUSTER)


async def test_what_is_asked_for_wins_over_what_fits() -> None:
    """An option makes a new cluster with its number."""
    assert await settled(OneCluster(), asked=5) == (5, Source.OPTION)


async def test_what_is_there_wins_over_what_fits() -> None:
    """A cluster keeps its shards on a machine that another number would fit."""
    assert await settled(OneCluster(8)) == (8, Source.CLUSTER)


async def test_another_number_than_there_is_is_refused() -> None:
    """An option that names another number is an error, whatever fits."""
    with pytest.raises(ConfigurationError):
        await settled(OneCluster(8), asked=2, stored=8)


async def test_a_folder_keeps_its_shards_where_redis_has_lost_the_number() -> None:
    """A restored folder, or one whose Redis is new, is not read as a cluster of fewer shards."""
    registry = OneCluster()
    assert await settled(registry, stored=8) == (8, Source.CLUSTER)
    assert registry.num_shards == 8


async def test_two_hosts_that_start_at_once_agree() -> None:
    """The number of the host that comes first counts for the other one too."""
    assert await settled(OneCluster(rival=4), fitting=2) == (4, Source.CLUSTER)
