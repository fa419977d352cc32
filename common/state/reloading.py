"""A reload of the rank profiles: what a gateway asks of the workers, and what they answer.

One gateway at a time asks. It holds a claim, which it renews; that of a gateway that has died
expires within seconds. It stores the profiles that it has read and announces each step; every
worker that has done the step writes so into the same hash, which is gone after some minutes.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.state.versioned import hold_lease

EVENT = "reload"
ANSWERED = "reload-answered"
KEPT_S = 300  # longer than any reload takes
LEASE_S = 10  # how long a claim lasts that is not renewed

_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('EXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"

_PROFILES = b"profiles"


class Step(StrEnum):
    """What is asked."""

    CHECK = "check"  # read the settings, load the functions, and keep both ready
    TAKE = "take"  # from now on, rank by what was checked
    DROP = "drop"  # forget what was checked
    DONE = "done"  # all workers have taken it: for the other gateways


class Asked(NamedTuple):
    """An announced step of a reload.

    Attributes:
        token: identifies the reload.
    """

    token: str
    step: Step


def announced(event: bytes) -> Asked | None:
    """Read an event; None if it is another one, or of a newer version."""
    match event.decode(errors="replace").split(":"):
        case [kind, token, step] if kind == EVENT and step in list(Step):
            return Asked(token, Step(step))
    return None


def profiles_json(profiles: Mapping[str, RankProfile]) -> dict[str, Any]:
    """Write profiles so that two processes can compare theirs."""
    return {name: profile.model_dump(mode="json") for name, profile in sorted(profiles.items())}


class ReloadStore:
    """Asks and answers; every method raises RedisUnavailableError if Redis does not answer."""

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def begin(self, token: str, profiles: Mapping[str, RankProfile]) -> bool:
        """Store what a reload is about; returns False if another one is in progress.

        The claim must be renewed within `LEASE_S`, again and again, until `end`.
        """
        if not await hold_lease(self._control, self._keys.reload_claim, token, LEASE_S):
            return False
        key = self._keys.reload(token)
        commands: list[Command] = [
            ("HSET", key, _PROFILES, json.dumps(profiles_json(profiles))),
            ("EXPIRE", key, KEPT_S),
        ]
        await self._control.pipeline(commands, atomic=True)
        return True

    async def renew(self, token: str) -> bool:
        """Keep the claim; returns False if it has expired: another reload may have begun."""
        claim = self._keys.reload_claim
        return bool(await self._control.execute("EVAL", _RENEW, 1, claim, token, LEASE_S))

    async def end(self, token: str) -> None:
        """Let another reload begin, if that of this token is the one in progress."""
        await self._control.execute("EVAL", _RELEASE, 1, self._keys.reload_claim, token)
        await self._control.execute("EXPIRE", self._keys.reload(token), KEPT_S)

    async def ask(self, token: str, step: Step) -> None:
        """Announce a step."""
        await self._control.execute("PUBLISH", self._keys.events, f"{EVENT}:{token}:{step.value}")

    async def profiles(self, token: str) -> dict[str, Any]:
        """Return the profiles of a reload, as `profiles_json` writes them; empty if it is gone."""
        stored = await self._control.execute("HGET", self._keys.reload(token), _PROFILES)
        found: dict[str, Any] = json.loads(stored) if stored else {}
        return found

    async def answer(self, token: str, step: Step, worker: str, reason: str) -> None:
        """Say that a worker has done a step, or for what `reason` it cannot."""
        key = self._keys.reload(token)
        commands: list[Command] = [
            ("HSET", key, f"{step.value}@{worker}", reason),
            ("EXPIRE", key, KEPT_S),
            ("PUBLISH", self._keys.events, f"{ANSWERED}:{token}"),
        ]
        await self._control.pipeline(commands, atomic=True)

    async def answers(self, token: str, step: Step) -> dict[str, str]:
        """Return the answers to a step so far: worker → "", or the reason why it cannot."""
        stored = await self._control.execute("HGETALL", self._keys.reload(token))
        prefix = f"{step.value}@"
        return {
            name.decode().removeprefix(prefix): reason.decode(errors="replace")
            for name, reason in stored.items()
            if name.decode().startswith(prefix)
        }
