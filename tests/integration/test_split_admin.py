"""When a split may begin, and what a process that starts makes of one, on a real server."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from hedgerow.common.errors import ConfigurationError, ConflictError, InsufficientStorageError
from hedgerow.common.machine.shortage import Shortage
from hedgerow.common.placement.store import PlacementStore
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.splitting.policy import Seen, begin, next_step
from hedgerow.common.state.gateways import GatewayHeartbeat, GatewayStore
from hedgerow.common.state.layout import ClusterLayout, Layout, LayoutStore, current_keys
from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.operations.splits import SplitAdmin
from hedgerow.shard_worker.splitting.driver import SplitDriver
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration


@pytest.fixture
async def control(redis_server: RedisServer) -> AsyncIterator[RedisClient]:
    """A connection to the server."""
    control = await connect(RedisSettings(url=redis_server.url))
    yield control
    await control.close()


class Scene:
    """A cluster of four shards, as its heartbeats have it."""

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self.control = control
        self.registry = Registry(control, keys)
        self.gateways = GatewayStore(control, keys)
        self.placement = PlacementStore(control, keys)
        self.layouts = LayoutStore(control, keys)
        self.admin = SplitAdmin(control, keys, self.registry, 4, expiry_s=5.0)

    async def beat(self, worker: str, **members: Any) -> None:
        """A worker is live."""
        now_ms = await self.control.now_ms()
        given = {"joins": True, "splits": True, **members}
        await self.registry.beat(Heartbeat(worker, 1, "h", [0], "v", now_ms, now_ms, **given))

    async def greet(self, gateway: str, **members: Any) -> None:
        """A gateway is live."""
        now_ms = await self.control.now_ms()
        await self.gateways.beat(GatewayHeartbeat(gateway, 1, "h", "v", now_ms, now_ms, **members))


@pytest.fixture
async def scene(control: RedisClient, key_prefix: str) -> Scene:
    """A worker that joined, and a gateway, both of this version."""
    scene = Scene(control, Keys(key_prefix))
    await scene.registry.cluster(4)
    await scene.beat("w")
    await scene.greet("g", layout=0)
    return scene


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"joins": False}, "shards of other are pinned.*or gateway up with --replicas 2"),
        ({"splits": False}, "other: this version"),
    ],
)
async def test_a_worker_that_cannot_take_part_is_named(
    scene: Scene, members: dict[str, Any], words: str
) -> None:
    """Its shards are pinned, or it is of a version that cannot split."""
    await scene.beat("other", **members)
    with pytest.raises(ConflictError, match=words):
        await scene.admin.begin()
    assert await scene.layouts.read() is None


async def test_a_gateway_that_knows_no_layouts_is_named(scene: Scene) -> None:
    """It would search the old shards for ever."""
    await scene.greet("old")
    with pytest.raises(ConflictError, match="gateways old: this version cannot split"):
        await scene.admin.begin()


@pytest.mark.parametrize("who", ["worker", "gateway"])
async def test_a_process_that_cannot_split_over_several_servers_is_named(
    redis_server: RedisServer, own_server: RedisServer, key_prefix: str, who: str
) -> None:
    """Its version would seal logs on the wrong server, or change collections meanwhile."""
    settings = RedisSettings(url=redis_server.url, control_url=own_server.url)
    control = await connect(settings)
    try:
        scene = Scene(control, Keys(key_prefix))
        await scene.registry.cluster(4)
        await scene.beat("w", splits_servers=True)
        await scene.greet("g", layout=0, splits_servers=True)
        if who == "worker":
            await scene.beat("old")
        else:
            await scene.greet("old", layout=0)
        with pytest.raises(ConflictError, match="old: this version"):
            await scene.admin.begin()
        await scene.beat("old", splits_servers=True)
        await scene.greet("old", layout=0, splits_servers=True)
        assert (await scene.admin.begin())["split"]["to_shards"] == 8
        # From now on, neither may join.
        assert await control.execute("HGET", scene.registry.keys.cluster, "format") == b"3"
        assert await Registry(control, Keys(key_prefix)).cluster() == 4
    finally:
        await control.close()


async def test_a_drain_comes_first(scene: Scene) -> None:
    """The new shards' placement would know nothing of it."""
    await scene.placement.set_draining("w", is_draining=True)
    with pytest.raises(ConflictError, match="w is draining"):
        await scene.admin.begin()


async def test_a_cluster_without_workers_is_not_split(
    control: RedisClient, key_prefix: str
) -> None:
    """Nothing could copy the shards."""
    scene = Scene(control, Keys(key_prefix))
    await scene.registry.cluster(4)
    with pytest.raises(ConflictError, match="no worker is live"):
        await scene.admin.begin()


async def test_every_number_that_the_cluster_has_had_may_be_named(
    scene: Scene, control: RedisClient, key_prefix: str
) -> None:
    """Of each layout there is: a worker may be started by what was written between two splits."""
    begun = ClusterLayout(7, Layout(2, 16), next_id=3)
    assert await scene.layouts.write(begin(begun, 1), 0)
    target = Keys(key_prefix).of_layout(3)
    for named in (4, 8, 16):
        assert await Registry(control, Keys(key_prefix).of_layout(2)).cluster(named) == 16
        assert await Registry(control, target).cluster(named) == 32
    assert await Registry(control, target).cluster(32) == 32
    for wrong in (2, 6, 64):
        with pytest.raises(ConfigurationError, match="was made with 4 shards and split to 32"):
            await Registry(control, target).cluster(wrong)


async def test_a_process_that_starts_gets_the_layout_that_is_searched(
    scene: Scene, control: RedisClient, key_prefix: str
) -> None:
    """By any number that the cluster has had; the old one's keys are refused once it is gone."""
    begun = await scene.admin.begin()
    assert begun["split"]["to_shards"] == 8
    assert begun["split"]["waits_for"] == "a worker to move it on"
    assert (await current_keys(control, Keys(key_prefix))).layout == 0
    layout: ClusterLayout | None = await scene.layouts.read()
    while layout is not None and layout.split is not None:
        step = next_step(layout, Seen(is_counted=True), await control.now_ms())
        assert step.next is not None
        assert await scene.layouts.write(step.next, layout.version)
        assert not await scene.layouts.write(msgspec.structs.replace(step.next, next_id=9), 1)
        layout = step.next
    keys = await current_keys(control, Keys(key_prefix))
    assert keys.layout == 1
    for named in (None, 4, 8):
        assert await Registry(control, keys).cluster(named) == 8
    with pytest.raises(ConfigurationError, match="was made with 4 shards and split to 8"):
        await Registry(control, keys).cluster(16)
    with pytest.raises(ConfigurationError, match="no layout 0 any more"):
        await scene.registry.cluster()


async def test_no_split_begins_without_room(
    control: RedisClient, key_prefix: str, scene: Scene
) -> None:
    """While a disk or memory runs out, it is refused, and nothing has changed."""

    def refuse() -> None:
        raise InsufficientStorageError("the disk of w is full", [])

    admin = SplitAdmin(
        control, Keys(key_prefix), scene.registry, 4, expiry_s=5.0, check_room=refuse
    )
    with pytest.raises(InsufficientStorageError, match="disk of w"):
        await admin.begin()
    assert await scene.layouts.read() is None
    assert (await scene.admin.begin())["split"] is not None


@pytest.mark.parametrize(("state", "is_given_up"), [("full", True), ("low", False)])
async def test_a_split_that_fills_a_disk_is_given_up(
    control: RedisClient, key_prefix: str, scene: Scene, state: str, is_given_up: bool
) -> None:
    """The worker that moves it on sees it in the heartbeats; a disk that is low does not end it."""
    await scene.admin.begin()
    await scene.beat("other", shortages=[Shortage("disk", state, "why", 1).to_json()])
    driver = SplitDriver(control, Keys(key_prefix), "w", 5.0)
    before = await scene.layouts.read()
    assert before is not None
    await driver.step(before)
    split = (await scene.admin.describe())["split"]
    assert (split["state"] == "abandoning") is is_given_up
    assert (split["fell_back"] == "the disk of other was full") is is_given_up
