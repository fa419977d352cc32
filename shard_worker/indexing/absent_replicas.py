"""Which replicas a log need not wait for any longer: a pure policy.

A replica whose disk is lost never records another position, and a log that waited for it would
never be trimmed. If snapshots are made, nothing is lost by not waiting: a replica that comes back
has a gap, and starts from a snapshot.
"""

from collections.abc import Collection, Mapping

from hedgerow.common.shard_log.entries import position


class AbsentReplicas:
    """Remembers when each replica of a shard was first found away."""

    __slots__ = ("_forget_after_s", "_since")

    def __init__(self, forget_after_s: float) -> None:
        """Forget replicas that have been away for `forget_after_s`, in s."""
        self._forget_after_s = forget_after_s
        self._since: dict[str, float] = {}

    def forgettable(
        self, applied: Mapping[str, str], live: Collection[str], snapshot: str, now: float
    ) -> list[str]:
        """The replicas of a shard that have been away for too long and that a snapshot can replace.

        Args:
            applied: replica → its position.
            live: the replicas of live workers.
            snapshot: the position of the newest snapshot.
            now: the time, in s.
        """
        away = applied.keys() - live
        self._since = {one: self._since.get(one, now) for one in away}
        return sorted(
            one
            for one in away
            if now - self._since[one] >= self._forget_after_s
            and position(applied[one]) < position(snapshot)
        )
