"""With which priority a worker clones: by what CPU time is left, unless that is too little. Pure.

    idle ► a clone gets too little ► it is begun again, nicer than searches ► idle again, later

The system runs an idle thread only while no other one wants its core, and takes the core from it
the moment that one does: searches notice little of it. But on a machine that is always busy, such a
clone would never end. A thread cannot be given a higher priority again, so the clone is begun
again. That costs little, since it had got little.
"""

from typing import Final

from hedgerow.shard_worker.indexing.background_thread import Priority

# Of a core. Clones share what searches leave of the cores. Of one that is always busy, the higher
# priority gets a quarter.
LEAST_SHARE: Final = 0.1
PATIENCE_S: Final = 2.0  # searches may need all cores for a moment
INSISTS_S: Final = 30.0  # else each clone of a busy worker would be begun twice


class ClonePriority:
    """Chooses the priority of a worker's clones."""

    def __init__(self, share: float) -> None:
        """Choose for a `placement.split_share`; with 1, nothing gives way."""
        self._share = share
        self._insists_until = 0.0

    def choose(self, now: float) -> Priority:
        """The priority of a clone that begins now."""
        if self._share >= 1.0:
            return Priority.OF_PROCESS
        return Priority.NICER if now < self._insists_until else Priority.IDLE

    def is_starved(self, priority: Priority, took_s: float, cpu_s: float, now: float) -> bool:
        """Whether a clone is to be begun again with a higher priority, as all are for a while.

        Args:
            priority: the one that it has.
            took_s: for how long it has run or wanted to run.
            cpu_s: CPU time that it had meanwhile.
            now: the time.
        """
        is_starved = took_s >= PATIENCE_S and cpu_s < LEAST_SHARE * took_s
        if priority is not Priority.IDLE or not is_starved:
            return False
        self._insists_until = now + INSISTS_S
        return True
