"""What a pool knows of its tasks: which wait, of which profiles they are, how long they take.

From it follow how many more tasks a pool has room for, and how many go into a batch.
"""

from collections.abc import Iterable

from hedgerow.shard_worker.executors.bulkhead import OURS, Bulkhead
from hedgerow.shard_worker.executors.fair_queue import FairQueue
from hedgerow.shard_worker.executors.process_pool.arrivals import Arrivals
from hedgerow.shard_worker.executors.process_pool.batching import ServiceTime, share, startable
from hedgerow.shard_worker.executors.process_pool.limits import DispatchLimits
from hedgerow.shard_worker.executors.process_pool.task import TaskHandle

# Room is for one batch that runs and one that waits, so that a process finds tasks when it is done.
_BATCHES_AHEAD = 2
# Tasks that together take no longer end soon: about as long as a few wakeups of busy processes.
_SOON_US = 500.0


class Workload:
    """The tasks of one pool; a pure policy.

    Attributes:
        waiting: the tasks that wait for a process.
        arrivals: of which profiles tasks have come lately.
        service: how long a task takes, whatever its profile.
    """

    def __init__(self, limits: DispatchLimits, bulkhead: Bulkhead) -> None:
        self.waiting: FairQueue[TaskHandle] = FairQueue()
        self.arrivals = Arrivals()
        self.service = ServiceTime(limits.window_us)
        self._limits = limits
        self._bulkhead = bulkhead
        self._services: dict[str, ServiceTime] = {}  # by profile

    def service_of(self, profile: str) -> ServiceTime:
        """How long a task of a profile takes."""
        service = self._services.get(profile)
        if service is None:
            service = self._services[profile] = ServiceTime(self._limits.window_us)
        return service

    def observe(self, profile: str, num_tasks: int, elapsed_us: float) -> None:
        """Count tasks of a profile (at least 1) that took `elapsed_us` together, in µs."""
        self.service.observe(num_tasks, elapsed_us)
        self.service_of(profile).observe(num_tasks, elapsed_us)

    def batch_size(self, profile: str, num_free: int) -> int:
        """How many of a profile's waiting tasks the next of `num_free` free processes gets."""
        limits, bulkhead = self._limits, self._bulkhead
        service_us = self.service_of(profile).estimate_us
        limit = startable(service_us, limits.window_us, limits.max_batch)
        num_places = min(num_free, bulkhead.most(profile) - bulkhead.held(profile))
        return share(self.waiting.count(profile), num_places, limit, service_us)

    def room(self, num_free: int, nums_open: Iterable[int]) -> int:
        """How many more tasks would start within the batch window.

        Args:
            num_free: processes without a batch.
            nums_open: for each process whose batch does not run long, how many tasks it has.
        """
        limits, bulkhead, waiting = self._limits, self._bulkhead, self.waiting
        most = limits.max_batch * _BATCHES_AHEAD
        a_process = startable(self.service.estimate_us, limits.window_us, most)
        alone = self.arrivals.alone()
        if alone != OURS:  # what comes is of this profile, for all that is known
            num_free = max(0, min(num_free, bulkhead.most(alone) - bulkhead.held(alone)))
        room = num_free * a_process - len(waiting)
        for num_open in nums_open:
            room += a_process - num_open
        if alone == OURS:  # what waits for its profile's turn takes no room from the others
            for profile in waiting.profiles():
                if not bulkhead.may_take(profile):
                    room += waiting.count(profile)
        return max(0, room)

    def ends_soon(self, num_open: int) -> bool:
        """Whether the `num_open` tasks that processes have are expected to take 0.5 ms at most."""
        takes_us = num_open * self.service.estimate_us
        return num_open > 0 and not self.waiting and takes_us <= _SOON_US
