"""Breakers that are set by hand, in every live gateway."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from hedgerow.common.errors import BadRequestError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.gateway.search.guards.profile_guards import ProfileGuards

EVENT: Final = "breaker"


@dataclass(frozen=True, slots=True)
class BreakerSwitch:
    """Sets the breakers of one gateway, and has the other gateways do the same.

    Attributes:
        gateway_id: the gateway.
        guards: have its breakers.
        control: announces what is set.
        now: the event loop's time, in s.
    """

    gateway_id: str
    guards: ProfileGuards
    control: RedisClient
    keys: Keys
    now: Callable[[], float]

    def set(self, shard: int, state: str) -> None:
        """Set a shard's breakers in this gateway; see `ProfileGuards.set_by_hand`."""
        self.guards.set_by_hand(shard, state, self.now())

    async def set_everywhere(self, shard: int, state: str) -> None:
        """As `set`, in all live gateways: in this one at once, in the others moments later.

        Raises:
            BadRequestError: there is no such shard or state.
            RedisUnavailableError: Redis does not answer, so it was set in this gateway only.
        """
        self.set(shard, state)
        announced = f"{EVENT}:{self.gateway_id}:{shard}:{state}"
        await self.control.publish(self.keys.events, announced.encode())

    def take(self, event: bytes) -> None:
        """Do what another gateway has announced; ignores other events."""
        match event.decode(errors="replace").split(":"):
            case [kind, gateway, shard, state] if kind == EVENT and gateway != self.gateway_id:
                # A gateway of a newer version may know more states.
                with suppress(BadRequestError, ValueError):
                    self.set(int(shard), state)
