"""Scripted shards: the replicas share one queue, as over Redis, or have one each."""

import math
import random
from collections.abc import Callable

from hedgerow.common.wire.pull_order import PullOrder
from hedgerow.gateway.simulate.distributions import Sampler
from hedgerow.gateway.simulate.event_loop import VirtualLoop
from hedgerow.gateway.simulate.jobs import Holder, Job, Stage, Totals
from hedgerow.gateway.simulate.scenario import Shards
from hedgerow.gateway.simulate.servers import Queue, Server


def worker_name(shard: int, replica: int) -> str:
    """Return the name of a replica's worker."""
    return f"worker-{shard}-{replica}"


class Shard:
    """One shard, whose replicas share a queue.

    `service` draws the work of first copies and `again` that of second ones, so that first copies
    are the same with and without a policy.

    Attributes:
        number: the shard's number.
        factor: multiplies the time of work that starts now.
        draws_early: whether a request's work is drawn when it is sent, the same for all servers;
            if the servers differ, the one that starts it draws.
        on_answer: called for each answered request, before the reply is sent back.
    """

    def __init__(
        self,
        number: int,
        script: Shards,
        loop: VirtualLoop,
        totals: Totals,
        service: Sampler,
        again: Sampler,
        on_answer: Callable[[Job], None],
    ) -> None:
        self.number = number
        self.loop = loop
        self.totals = totals
        self.service = service
        self._again = again
        self.on_answer = on_answer
        self.factor = 1.0
        self._factors: list[float] = []
        self.draws_early = True
        self.queues = [Queue() for _ in range(self._num_queues(script))]
        self.servers = [
            Server(
                self,
                worker_name(number, replica),
                self.queues[replica % len(self.queues)],
                script.concurrency,
                is_stoppable=script.is_stoppable,
                order=self._order(),
            )
            for replica in range(script.replicas)
        ]

    def _num_queues(self, script: Shards) -> int:
        del script
        return 1

    def _order(self) -> PullOrder | None:
        """Make the order in which a server pulls."""
        return PullOrder()

    def slow(self, factor: float) -> None:
        """Work that starts from now on takes `factor` times as long, on top of other slow-downs."""
        self._factors.append(factor)
        self.factor = math.prod(self._factors)

    def end_slowdown(self, factor: float) -> None:
        """A slow-down is over."""
        self._factors.remove(factor)
        self.factor = math.prod(self._factors)

    def push(self, job: Job) -> int:
        """Queue a first copy; returns the queue's length."""
        self.totals.requests += 1
        if self.draws_early:
            job.size_s = self.service()
        return self.queues[0].push(job)

    def push_copy(self, job: Job) -> Job:
        """Hedge a started request: another replica takes the copy next."""
        copy = self._copy(job)
        copy.is_hedge = True
        if self.draws_early:
            copy.size_s = self._again()
        self.queues[0].push_first(copy)
        return copy

    def pass_on(self, copy: Job, holder: Holder) -> None:
        """Give a copy to another replica, since its holder already works on the first copy."""
        for server in self.servers:
            if server is not holder and server.is_up:
                server.own.append(copy)
                server.look()
                return
        copy.stage = Stage.DROPPED

    def cancel(self, job: Job, stop_s: float) -> None:
        """Take back a copy that is no longer wanted, or stop it after `stop_s`."""
        if job.stage is Stage.QUEUED:
            self.take_back(job)
        elif job.stage is Stage.HELD:
            job.stage = Stage.DROPPED
            self.totals.cancelled_unstarted += 1
        elif job.stage is Stage.RUNNING and job.server is not None:
            job.server.stop(job, stop_s)

    def take_back(self, job: Job) -> None:
        """Drop a copy, unless a server has it already."""
        if job.stage is not Stage.QUEUED:
            return
        for jobs in (
            *(queue.jobs for queue in self.queues),
            *(server.own for server in self.servers),
        ):
            if job in jobs:
                jobs.remove(job)
        job.stage = Stage.DROPPED
        self.totals.cancelled_unstarted += 1

    def on_copy_started(self, job: Job, twin: Job) -> None:
        """Of two copies, `job` is about to start."""
        del twin
        self.totals.copies_started += job.is_copy

    def _copy(self, job: Job) -> Job:
        copy = Job(
            self, job.query_id, job.subject, job.expires_at, job.cost, self.loop.time(), job.sent_at
        )
        copy.is_copy = True
        copy.twin, job.twin = job, copy
        self.totals.copies += 1
        return copy


class SeparateShard(Shard):
    """A shard whose replicas have a queue each; a request goes to one of them at random."""

    def __init__(
        self,
        number: int,
        script: Shards,
        loop: VirtualLoop,
        totals: Totals,
        service: Sampler,
        again: Sampler,
        on_answer: Callable[[Job], None],
        rng: random.Random,
    ) -> None:
        super().__init__(number, script, loop, totals, service, again, on_answer)
        self._rng = rng

    def _num_queues(self, script: Shards) -> int:
        return script.replicas

    def _order(self) -> PullOrder | None:
        # For comparison with other systems, which serve the oldest first.
        return None

    def push(self, job: Job) -> int:
        """Queue a first copy; returns the queue's length."""
        self.totals.requests += 1
        if self.draws_early:
            job.size_s = self.service()
        return self._rng.choice(self.queues).push(job)

    def push_copy(self, job: Job) -> Job:
        """Hedge a request: the next replica's queue gets the copy at its head."""
        copy = self._copy(job)
        copy.is_hedge = True
        if self.draws_early:
            copy.size_s = self._again()
        holders = (number for number, server in enumerate(self.servers, 1) if server is job.server)
        at = next(holders, 0)
        self.queues[at % len(self.queues)].push_first(copy)
        return copy


class TiedShard(SeparateShard):
    """Puts a copy in two of the queues; the one that starts first takes the other back.

    Dean and Barroso, "The Tail at Scale" (CACM 56(2), 2013): the second copy follows after a short
    delay, so that both do not start at once on idle servers; each knows of the other.
    """

    def __init__(
        self,
        number: int,
        script: Shards,
        loop: VirtualLoop,
        totals: Totals,
        service: Sampler,
        again: Sampler,
        on_answer: Callable[[Job], None],
        rng: random.Random,
    ) -> None:
        super().__init__(number, script, loop, totals, service, again, on_answer, rng)
        self._delay_s = script.tie_delay_ms / 1000
        self._cancel_s = script.tie_cancel_ms / 1000

    def push(self, job: Job) -> int:
        """Queue the first copy; the other follows if the first has not started by then."""
        self.totals.requests += 1
        if self.draws_early:
            job.size_s = self.service()
        first = self._rng.choice(self.queues)
        others = [queue for queue in self.queues if queue is not first]
        second = others[0] if len(others) == 1 else self._rng.choice(others)
        backlog = first.push(job)
        if job.stage is Stage.QUEUED:
            self.loop.at(self.loop.time() + self._delay_s, self._tie, (job, second))
        return backlog

    def on_copy_started(self, job: Job, twin: Job) -> None:
        """Of two copies, `job` is about to start; the other is taken back after a while."""
        super().on_copy_started(job, twin)
        if twin.stage is Stage.RUNNING:
            # The time that one machine needs says little about another's. And if it were the same,
            # two servers that have once started together would stay in step.
            job.size_s = self._again()
        elif self._cancel_s:
            self.loop.at(self.loop.time() + self._cancel_s, self.take_back, twin)
        else:
            self.take_back(twin)

    def _tie(self, tied: tuple[Job, Queue]) -> None:
        job, second = tied
        if job.stage is Stage.QUEUED:
            copy = self._copy(job)
            copy.size_s = job.size_s
            second.push(copy)
