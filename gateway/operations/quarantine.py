"""The cluster's quarantine, as operators see it."""

from collections.abc import Callable
from typing import Any

from hedgerow.common.errors import NotFoundError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import WorkerSettings
from hedgerow.common.state.quarantine import Quarantine, QuarantineEntry, Record, What
from hedgerow.common.state.quarantine_store import QuarantineStore


class QuarantineAdmin:
    """Lists the queries that have killed scorers, and lets them run again.

    Every method raises RedisUnavailableError when there is no answer in time.
    """

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        settings: WorkerSettings,
        server_ms: Callable[[], int],
    ) -> None:
        """Read what the workers share.

        Args:
            control: the way to Redis.
            keys: names in Redis.
            settings: the workers'; `quarantine_after` and `quarantine_expiry_s` count.
            server_ms: the Redis server's clock.
        """
        self._settings = settings
        self._board = QuarantineStore(control, keys, self._policy().retention_ms)
        self._server_ms = server_ms

    async def lift(self, fingerprint: str) -> None:
        """Let a query run again in every worker; its kills until now count no more.

        Args:
            fingerprint: as `list` shows it.

        Raises:
            NotFoundError: it is not in quarantine, nor under suspicion.
        """
        for entry in await self._entries():
            if entry.fingerprint.hex() == fingerprint:
                # No sooner than the kills that it forgives, however the workers' clocks differ.
                at_ms = max(self._server_ms(), entry.last_kill_at_ms)
                await self._board.add([Record(at_ms, entry.fingerprint, What.LIFTED, "")])
                return
        raise NotFoundError(f"there is no query {fingerprint!r} in quarantine")

    async def _entries(self) -> list[QuarantineEntry]:
        quarantine = self._policy()
        quarantine.take(await self._board.records())
        return quarantine.entries(self._server_ms())

    def _policy(self) -> Quarantine:
        return Quarantine(self._settings.quarantine_after, self._settings.quarantine_expiry_s)

    async def list(self) -> list[dict[str, Any]]:
        """What has killed scorers, latest kill last; docs/http.md describes an entry."""
        return [_as_json(entry) for entry in await self._entries()]


def _as_json(entry: QuarantineEntry) -> dict[str, Any]:
    return {
        "fingerprint": entry.fingerprint.hex(),
        "query": entry.label,
        "kills": entry.num_kills,
        "refused": entry.is_refused,
        "until_ms": entry.expires_at_ms,
        "workers": list(entry.workers),
    }
