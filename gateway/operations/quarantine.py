"""The cluster's quarantine, for operators."""

from collections.abc import Callable
from typing import Any

from hedgerow.common.errors import NotFoundError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.worker import WorkerSettings
from hedgerow.common.state.quarantine import Quarantine, QuarantineEntry, Record, What
from hedgerow.common.state.quarantine_store import QuarantineStore


class QuarantineAdmin:
    """Lists the queries that have killed scorers, and takes them out of quarantine.

    Every method raises RedisUnavailableError if Redis does not answer in time.
    """

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        settings: WorkerSettings,
        server_ms: Callable[[], int],
    ) -> None:
        """Use the quarantine that the workers share.

        Args:
            control: the Redis client.
            keys: the names of keys in Redis.
            settings: the workers' settings; `quarantine_after` and `quarantine_expiry_s` count.
            server_ms: the Redis server's clock.
        """
        self._settings = settings
        self._store = QuarantineStore(control, keys, self._policy().retention_ms)
        self._server_ms = server_ms

    async def lift(self, fingerprint: str) -> None:
        """Let a query run again in every worker; its earlier kills no longer count.

        Args:
            fingerprint: as `list` shows it.

        Raises:
            NotFoundError: it is neither in quarantine nor suspected.
        """
        for entry in await self._entries():
            if entry.fingerprint.hex() == fingerprint:
                # Not earlier than the kills that it clears, since workers' clocks may differ.
                at_ms = max(self._server_ms(), entry.last_kill_at_ms)
                await self._store.add([Record(at_ms, entry.fingerprint, What.LIFTED, "")])
                return
        raise NotFoundError(f"there is no query {fingerprint!r} in quarantine")

    async def _entries(self) -> list[QuarantineEntry]:
        quarantine = self._policy()
        quarantine.take(await self._store.records())
        return quarantine.entries(self._server_ms())

    def _policy(self) -> Quarantine:
        return Quarantine(self._settings.quarantine_after, self._settings.quarantine_expiry_s)

    async def list(self) -> list[dict[str, Any]]:
        """List the queries, latest kill last; docs/http-operation.md describes an entry."""
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
