"""Servers of scripted shards, which pull from queues in virtual time as shard workers do.

Free servers pull in the order in which they became free: the oldest request first, or the newest
under overload, by the workers' own `PullOrder`. They drop expired requests, and stop work at its
deadline. A paused server may still receive one request, since Redis serves a blocked pop whether or
not the process behind it runs. A server that crashes loses the requests that it has started.
"""

from collections import deque
from typing import Final

from hedgerow.common.wire.pull_order import PullOrder
from hedgerow.gateway.simulate.distributions import Sampler
from hedgerow.gateway.simulate.jobs import Home, Job, Stage

# In Python 3.11, looking up a member of an enum costs five times as much as a global.
_HELD: Final = Stage.HELD
_RUNNING: Final = Stage.RUNNING
_ANSWERED: Final = Stage.ANSWERED
_DROPPED: Final = Stage.DROPPED


class Queue:
    """A list in Redis, and the servers with a blocked pop on it."""

    __slots__ = ("idle", "jobs")

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()
        self.idle: deque[Server] = deque()

    def push(self, job: Job) -> int:
        """Add at the end; returns the length with this job, even if a server takes it at once."""
        if self.idle:
            self.idle.popleft().take(job)
            return 1
        self.jobs.append(job)
        return len(self.jobs)

    def push_first(self, job: Job) -> None:
        """Add at the head, so that the next free server takes it."""
        if self.idle:
            self.idle.popleft().take(job)
        else:
            self.jobs.appendleft(job)


class Server:
    """One replica: works on up to `concurrency` requests at once, each at full speed.

    Attributes:
        service: draws how long a request takes here; None: the request says.
        is_up: whether it runs; after a crash, it does nothing until `restart`.
    """

    __slots__ = (
        "_concurrency",
        "_free",
        "_held",
        "_is_idle",
        "_order",
        "_paused_until",
        "_queue",
        "_running",
        "is_stoppable",
        "is_up",
        "name",
        "own",
        "service",
        "shard",
    )

    def __init__(
        self,
        shard: Home,
        name: str,
        queue: Queue,
        concurrency: int,
        *,
        is_stoppable: bool,
        order: PullOrder | None = None,
    ) -> None:
        """Serve `shard` from `queue` in the given order; None for always the oldest first."""
        self.shard = shard
        self.name = name
        self.is_stoppable = is_stoppable
        self.service: Sampler | None = None
        self.is_up = True
        self.own: deque[Job] = deque()  # copies that another replica has passed on
        self._queue = queue
        self._order = order
        self._concurrency = self._free = concurrency
        self._paused_until = 0.0
        self._running: list[Job] = []
        self._held: list[Job] = []
        self._is_idle = True
        queue.idle.append(self)

    def take(self, job: Job) -> None:
        """A request was popped for this server, which has room."""
        self._is_idle = False
        if self.shard.loop.time() < self._paused_until:
            # The pop was blocked when the pause began. There will be no other before its end.
            self._free -= 1
            job.stage = _HELD
            job.server = self
            self._held.append(job)
            return
        self._observe(job, self._free)
        self._begin(job)
        self._pull()

    def pause(self, duration_s: float) -> None:
        """Pause for `duration_s`; running work ends that much later."""
        loop = self.shard.loop
        now = loop.time()
        begins = max(now, self._paused_until)
        self._paused_until = begins + duration_s
        for job in self._running:
            job.ends_at += duration_s
        loop.at(self._paused_until, _wake, self)

    def wake(self) -> None:
        """A pause is over, unless another has begun."""
        if not self.is_up or self.shard.loop.time() < self._paused_until:
            return
        held, self._held = self._held, []
        for job in held:
            self._free += 1
            if job.stage is _HELD:
                self._observe(job, self._free)
                self._begin(job)
        self._pull()

    def crash(self) -> None:
        """Lose the started requests."""
        totals = self.shard.totals
        now = self.shard.loop.time()
        self.is_up = False
        if self._is_idle:
            self._queue.idle.remove(self)
            self._is_idle = False
        for job in (*self._running, *self._held):
            if job.stage is _RUNNING:
                worked_s = now - job.started_at
                totals.busy_s += worked_s
                totals.abandoned_s += worked_s
            job.stage = _DROPPED
            totals.lost += 1
        self._running.clear()
        self._held.clear()
        self._free = 0

    def restart(self) -> None:
        """Pull again."""
        self.is_up = True
        self._paused_until = 0.0
        self._free = self._concurrency
        self._pull()

    def look(self) -> None:
        """Take a request from `own` if there is room."""
        if self._is_idle and self.shard.loop.time() >= self._paused_until:
            self._queue.idle.remove(self)
            self._is_idle = False
            self._pull()

    def stop(self, job: Job, after_s: float) -> None:
        """Cancel running work, which ends after `after_s`."""
        if self.is_stoppable and not job.is_cut:
            loop = self.shard.loop
            job.is_cut = True
            job.ends_at = min(job.ends_at, max(loop.time(), self._paused_until) + after_s)
            loop.at(job.ends_at, _finish, job)

    def finish(self, job: Job) -> None:
        """This work was to end now; a pause may have postponed its end."""
        if job.stage is not _RUNNING:
            return
        shard = self.shard
        now = shard.loop.time()
        if job.ends_at > now:
            shard.loop.at(job.ends_at, _finish, job)
            return
        self._running.remove(job)
        self._free += 1
        totals = shard.totals
        job.worked_s = worked_s = now - job.started_at
        totals.busy_s += worked_s
        if job.is_cut or now > job.expires_at:
            job.stage = _DROPPED
            totals.stopped += job.is_cut
            totals.abandoned_s += worked_s
        else:
            job.stage = _ANSWERED
            shard.on_answer(job)
        self._pull()

    def _begin(self, job: Job) -> None:
        shard = self.shard
        now = shard.loop.time()
        if now >= job.expires_at:
            job.stage = _DROPPED
            shard.totals.expired_unstarted += 1
            return
        twin = job.twin
        if twin is not None:
            shard.on_copy_started(job, twin)
        size_s = job.size_s
        if size_s is None:
            size_s = (self.service or shard.service)()
        ends_at = now + size_s * job.cost * shard.factor
        if ends_at > job.expires_at and self.is_stoppable:
            ends_at = job.expires_at
            job.is_cut = True
        job.stage = _RUNNING
        job.server = self
        job.started_at = now
        job.ends_at = ends_at
        self._free -= 1
        self._running.append(job)
        shard.loop.at(ends_at, _finish, job)

    def _pull(self) -> None:
        """Pop while there is room; wait if the queue is empty."""
        jobs = self._queue.jobs
        while self._free and self.is_up:
            if self.own:
                self._begin(self.own.popleft())
            elif jobs:
                for job in self._pop(jobs):
                    if job.is_copy and job.twin is not None and job.twin.server is self:
                        self.shard.pass_on(job, self)
                    else:
                        self._begin(job)
            else:
                if not self._is_idle:
                    self._is_idle = True
                    self._queue.idle.append(self)
                return

    def _pop(self, jobs: deque[Job]) -> list[Job]:
        """Pull at most as many requests as there is room for, as `shard_worker`'s consumer does."""
        order, room = self._order, self._free
        if order is not None and order.is_newest_first:
            newest = [jobs.pop() for _ in range(min(room, len(jobs)))]
            self._drop_oldest(order, jobs)
            return newest
        oldest = [jobs.popleft() for _ in range(min(room, len(jobs)))]
        self._observe(oldest[0], room, len(oldest))
        return oldest

    def _drop_oldest(self, order: PullOrder, jobs: deque[Job]) -> None:
        """Drop expired requests, which would stay for ever while the newest are pulled first."""
        now = self.shard.loop.time()
        oldest = [jobs.popleft() for _ in range(min(order.num_drops, len(jobs)))]
        if not oldest:
            order.on_short()
            return
        alive = [job for job in oldest if now < job.expires_at]
        for job in oldest:
            if now >= job.expires_at:
                job.stage = _DROPPED
        num_expired = len(oldest) - len(alive)
        self.shard.totals.expired_unstarted += num_expired
        order.on_oldest(oldest[0].spent_share(now), len(oldest), num_expired, now)
        jobs.extendleft(reversed(alive))

    def _observe(self, oldest: Job, room: int, num_popped: int = 1) -> None:
        """Report a pull to the order with this much room; `oldest` was the first in its queue."""
        order = self._order
        if order is None:
            return
        if order.is_newest_first:  # a server was waiting, so the queue is empty
            order.on_short()
            return
        now = self.shard.loop.time()
        order.on_oldest(oldest.spent_share(now), num_popped, 0, now)
        if num_popped < room:
            order.on_short()


def _finish(job: Job) -> None:
    if job.server is not None:
        job.server.finish(job)


def _wake(server: Server) -> None:
    server.wake()
