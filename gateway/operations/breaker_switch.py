"""Breakers that are set by hand, in every live gateway."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hedgerow.common.errors import BadRequestError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.gateway.search.guards.profile_guards import ProfileGuards

EVENT: Final = "breaker"
_STATES: Final = ("forced_open", "disabled", "closed")


@dataclass(frozen=True, slots=True)
class BreakerSwitch:
    """Sets the breakers of one gateway, and has the other gateways do the same.

    Attributes:
        gateway_id: the gateway.
        guards: have its breakers.
        num_shards: shards in the cluster.
        control: announces what is set.
        now: the event loop's time, in s.
    """

    gateway_id: str
    guards: ProfileGuards
    num_shards: int
    control: RedisClient
    keys: Keys
    now: Callable[[], float]

    def set(self, shard: int, state: str) -> None:
        """Set a shard's breakers in this gateway.

        Args:
            shard: the shard of the breakers.
            state: `forced_open`, `disabled`, or `closed`, after which they work by themselves.

        Raises:
            BadRequestError: there is no such shard or state.
        """
        if not 0 <= shard < self.num_shards:
            raise BadRequestError("shard", f"is {shard}; there are {self.num_shards} shards")
        if state not in _STATES:
            raise BadRequestError("state", "must be forced_open, disabled or closed")
        self._apply(shard, state)

    async def set_everywhere(self, shard: int, state: str) -> None:
        """As `set`, in all live gateways: in this one at once, in the others moments later.

        Raises:
            RedisUnavailableError: Redis does not answer, so it was set in this gateway only.
        """
        self.set(shard, state)
        announced = f"{EVENT}:{self.gateway_id}:{shard}:{state}"
        await self.control.publish(self.keys.events, announced.encode())

    def take(self, event: bytes) -> None:
        """Do what another gateway has announced; ignores other events."""
        match event.decode(errors="replace").split(":"):
            case [kind, gateway, shard, state] if kind == EVENT and gateway != self.gateway_id:
                if shard.isdecimal() and int(shard) < self.num_shards and state in _STATES:
                    self._apply(int(shard), state)

    def _apply(self, shard: int, state: str) -> None:
        now = self.now()
        for guards in self.guards:
            breaker = guards.breakers[shard]
            match state:
                case "forced_open":
                    breaker.force_open(now)
                case "disabled":
                    breaker.disable(now)
                case _:
                    breaker.reset(now)
