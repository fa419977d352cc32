"""Which replicas a log need not wait for any more. Pure: the time comes in as an argument.

A replica whose disk is lost never records another position, and a log that waited for it would
never be trimmed. With snapshots nothing is lost by not waiting: should it come back after all, it
has a gap that a snapshot closes, so it starts from that.
"""

from collections.abc import Collection, Mapping

from hedgerow.common.shard_log.log import position


class AbsentReplicas:
    """Remembers since when each replica of a shard has been away."""

    __slots__ = ("_forget_after_s", "_since")

    def __init__(self, forget_after_s: float) -> None:
        """Let those go that have been away for `forget_after_s`."""
        self._forget_after_s = forget_after_s
        self._since: dict[str, float] = {}

    def forgettable(
        self, applied: Mapping[str, str], live: Collection[str], snapshot: str, now: float
    ) -> list[str]:
        """The replicas of one shard that have been away for long, and that a snapshot replaces.

        Args:
            applied: replica → its position.
            live: those that live workers have.
            snapshot: the position of the newest snapshot.
            now: in s.
        """
        away = applied.keys() - live
        self._since = {one: self._since.get(one, now) for one in away}
        return sorted(
            one
            for one in away
            if now - self._since[one] >= self._forget_after_s
            and position(applied[one]) < position(snapshot)
        )
