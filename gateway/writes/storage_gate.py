"""Decides whether writes are accepted, by the shortages of the workers and the server."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from hedgerow.common.errors import InsufficientStorageError, WriteRefusedError
from hedgerow.common.machine.disk import MB
from hedgerow.common.machine.shortage import BLOCKS_WRITES, DISK, LOW, MEMORY, Shortage
from hedgerow.common.redis.server_info import evicting_policy, eviction_advice
from hedgerow.common.state.storage import EXPIRY_S
from hedgerow.common.wire.heartbeat import Heartbeat

SERVER: Final = "redis"
GATEWAY: Final = "gateway"
_RECOVERY: Final = 0.95  # share of the refusal threshold below which documents are accepted again


class ServerMemory:
    """Decides whether the server runs out of memory, or may evict, with hysteresis. Pure."""

    def __init__(self, share: float) -> None:
        """Refuse writes from `share` of maxmemory on."""
        self._share = share
        self._is_short = False

    def judge(self, info: Mapping[str, Any], since_ms: int) -> Shortage | None:
        """Read the answer to `INFO memory`."""
        if policy := evicting_policy(info):
            return Shortage(MEMORY, LOW, eviction_advice(policy), since_ms)
        used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
        bound = self._share * most * (_RECOVERY if self._is_short else 1.0)
        self._is_short = most > 0 and used >= bound
        if not self._is_short:
            return None
        detail = (
            f"the server uses {used / MB:,.0f} MB of {most / MB:,.0f} MB (maxmemory); "
            f"documents are refused from {self._share:.0%} on"
        )
        return Shortage(MEMORY, LOW, detail, since_ms, max(0, most - used))


class StorageGate:
    """Accepts or refuses writes.

    Attributes:
        server: the shortages of the server, as last read.
    """

    def __init__(
        self,
        workers: Callable[[], Iterable[Heartbeat]],
        *,
        now: Callable[[], float],
        now_ms: Callable[[], int],
        own: Callable[[], Iterable[Shortage]] = tuple,
    ) -> None:
        """Decide by the heartbeats of `workers`, and by the server's state.

        Args:
            workers: the live workers.
            now: returns the time, in s.
            now_ms: the Redis server's clock, in ms.
            own: the shortages of this gateway, for the list.
        """
        self.server: list[Shortage] = []
        self._own = own
        self._workers = workers
        self._now = now
        self._now_ms = now_ms
        self._refused: tuple[float, Shortage] | None = None

    def list(self) -> list[dict[str, Any]]:
        """List the shortages, as in the status."""
        found = [
            {"where": SERVER, "shards": [], **shortage.to_json()} for shortage in self._of_server()
        ]
        found += [
            {"where": GATEWAY, "shards": [], **shortage.to_json()} for shortage in self._own()
        ]
        for worker in sorted(self._workers(), key=lambda worker: worker.id):
            shards = sorted(worker.replicas) or worker.shards
            known = filter(None, map(Shortage.from_json, worker.shortages))
            found += [
                {"where": worker.id, "shards": shards, **shortage.to_json()} for shortage in known
            ]
        return found

    def server_shortage(self) -> str:
        """What the Redis server runs out of, in words; "" for nothing."""
        return "; ".join(shortage.detail for shortage in self._of_server())

    def check(self, *, is_removal: bool = False) -> None:
        """Allow a write, or refuse it.

        Args:
            is_removal: whether it frees more than it takes, so that it may use the space that is
                kept free: it is refused only if nothing can be written at all.

        Raises:
            InsufficientStorageError: it is refused; names each shortage and its place.
        """
        blocking = [
            shortage
            for shortage in self.list()
            if shortage["resource"] in BLOCKS_WRITES
            and not (is_removal and shortage["state"] == LOW)
        ]
        if blocking:
            raise refusal(blocking)

    def check_applying(self) -> None:
        """Check that accepted documents can be applied.

        Raises:
            InsufficientStorageError: they will be once there is room; names each shortage and its
                place.
        """
        stuck = [
            shortage
            for shortage in self.list()
            if shortage["resource"] == DISK and shortage["state"] != LOW
        ]
        if stuck:
            raise refusal(stuck)

    def refused(self, error: WriteRefusedError) -> InsufficientStorageError:
        """Return the caller's error for a write that the server itself has refused."""
        resource = MEMORY if error.cause == MEMORY else DISK
        state = "read_only" if error.cause == "read_only" else "full"
        shortage = Shortage(resource, state, str(error), self._now_ms())
        self._refused = self._now(), shortage
        return refusal([{"where": SERVER, "shards": [], **shortage.to_json()}])

    def _of_server(self) -> Iterable[Shortage]:
        known = {shortage.resource for shortage in self.server}
        if self._refused is not None and self._now() - self._refused[0] < EXPIRY_S / 4:
            shortage = self._refused[1]
            return [*self.server, *([shortage] if shortage.resource not in known else [])]
        return self.server


def refusal(shortages: list[dict[str, Any]]) -> InsufficientStorageError:
    """Make an error that names the shortages."""
    what = "; ".join(f"{shortage['where']}: {shortage['detail']}" for shortage in shortages)
    return InsufficientStorageError(f"writes are refused for now: {what}", shortages)
