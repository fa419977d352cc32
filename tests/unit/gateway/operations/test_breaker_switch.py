"""A breaker set by hand is set in all gateways."""

import random
from typing import Any, cast

import pytest

from hedgerow.common.errors import BadRequestError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.settings import Settings
from hedgerow.gateway.operations.breaker_switch import BreakerSwitch
from hedgerow.gateway.search.guards.profile_guards import ProfileGuards

SETTINGS = Settings(rank_profiles={"slow": RankProfile(second_phase="module:function")})


class Channel:
    """Brings what is published to all gateways, the sender too."""

    def __init__(self) -> None:
        """Start without gateways."""
        self.gateways: list[BreakerSwitch] = []

    async def publish(self, channel: str, message: bytes) -> int:
        """Bring a message."""
        assert channel == "p:events"
        for gateway in self.gateways:
            gateway.take(message)
        return len(self.gateways)

    def add(self, name: str) -> BreakerSwitch:
        """Make a gateway of two shards."""
        guards = ProfileGuards.make(2, SETTINGS, random.random, lambda *_: None, now=0.0)
        control = cast("RedisClient", self)
        switch = BreakerSwitch(name, guards, control, Keys("p"), lambda: 1.0)
        self.gateways.append(switch)
        return switch


def states(switch: BreakerSwitch) -> list[list[str]]:
    """The states of the shards' breakers, of the shared guards first."""
    return [[one.breakers[shard].state(1.0).value for shard in (0, 1)] for one in switch.guards]


async def test_it_is_set_in_every_gateway() -> None:
    """In the breakers of all profiles, and taken back everywhere as well."""
    channel = Channel()
    first, second = channel.add("a"), channel.add("b")
    await first.set_everywhere(1, "forced_open")
    assert states(first) == states(second) == [["closed", "forced_open"]] * 2
    await second.set_everywhere(1, "closed")
    assert states(first) == states(second) == [["closed", "closed"]] * 2


async def test_one_gateway_alone_can_set_its_own() -> None:
    """As a gateway in a program of your own does."""
    channel = Channel()
    first, second = channel.add("a"), channel.add("b")
    first.set(0, "disabled")
    assert states(first) == [["disabled", "closed"]] * 2
    assert states(second) == [["closed", "closed"]] * 2


@pytest.mark.parametrize(("shard", "state"), [(2, "closed"), (-1, "closed"), (0, "ajar")])
async def test_a_bad_wish_is_refused_and_not_announced(shard: int, state: str) -> None:
    """It names the member."""
    channel = Channel()
    first = channel.add("a")
    channel.gateways.clear()
    with pytest.raises(BadRequestError):
        await first.set_everywhere(shard, state)
    assert states(first) == [["closed", "closed"]] * 2


@pytest.mark.parametrize(
    "event",
    [b"workers", b"breaker", b"breaker:b:9:closed", b"breaker:b:x:closed", b"breaker:b:0:x"],
)
def test_other_events_change_nothing(event: bytes) -> None:
    """Nor do those of a newer version, or of a cluster with more shards."""
    first: Any = Channel().add("a")
    first.take(event)
    assert states(first) == [["closed", "closed"]] * 2
