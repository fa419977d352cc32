"""What a cluster on this machine calls its workers."""

import asyncio
from pathlib import Path

from hedgerow.common.settings.settings import Settings
from hedgerow.gateway.local.cluster import LocalCluster
from hedgerow.gateway.local.cluster_options import ClusterOptions


def names(data: Path, redis_url: str | None) -> list[str]:
    """The names of the workers of a cluster on this folder."""

    async def scenario() -> list[str]:
        cluster = LocalCluster(
            ClusterOptions(data, redis_url=redis_url), Settings(), lambda _event: None
        )
        return [cluster._worker_name(number) for number in range(3)]

    return asyncio.run(scenario())


def test_clusters_that_share_a_server_share_no_names(tmp_path: Path) -> None:
    """With --redis another folder means other names, and the same folder the same ones."""
    one = names(tmp_path / "one", "redis://somewhere")
    other = names(tmp_path / "other", "redis://somewhere")
    assert len({*one, *other}) == 6
    assert names(tmp_path / "one", "redis://somewhere") == one


def test_a_server_of_our_own_needs_no_long_names(tmp_path: Path) -> None:
    """An embedded server has no other cluster's workers."""
    assert names(tmp_path, None) == ["worker-0", "worker-1", "worker-2"]
