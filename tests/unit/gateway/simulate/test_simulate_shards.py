"""Scripted shards, against queueing theory and step by step."""

import asyncio
import math
import random
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import pytest

from hedgerow.gateway.simulate.distributions import Constant, Exponential, Uniform
from hedgerow.gateway.simulate.event_loop import VirtualLoop
from hedgerow.gateway.simulate.jobs import Job, Stage, Totals
from hedgerow.gateway.simulate.scenario import Shards
from hedgerow.gateway.simulate.shards import SeparateShard, Shard, TiedShard

FOREVER = 1e9


class Bench:
    """One shard alone on a loop of its own; times in s."""

    def __init__(self, kind: type[Shard] = Shard, seed: int = 1, **script: Any) -> None:
        service = script.pop("service", Constant(kind="constant", ms=1000))
        self.script = Shards(count=1, service=service, **script)
        self.loop = VirtualLoop()
        self.totals = Totals()
        self.answered: list[tuple[Job, float]] = []
        rng = random.Random(seed)
        parts: tuple[Any, ...] = (
            0,
            self.script,
            self.loop,
            self.totals,
            service.sampler(rng),
            service.sampler(random.Random(seed + 1)),
            lambda job: self.answered.append((job, self.loop.time())),
        )
        if issubclass(kind, SeparateShard):
            parts = (*parts, random.Random(seed))
        self.shard = kind(*parts)

    def push(self, expires_at: float = FOREVER) -> Job:
        """Queue a request now."""
        job = Job(self.shard, 1, None, expires_at, 1.0, self.loop.time())
        self.shard.push(job)
        return job

    def push_at(self, when: float, expires_at: float = FOREVER) -> None:
        """Queue a request at `when`."""
        self.loop.at(when, lambda _: self.push(expires_at), None)

    def push_poisson(self, rate: float, num: int, seed: int) -> float:
        """Queue `num` requests at random times, `rate` a second; returns when the last comes."""
        rng = random.Random(seed)
        times = list(accumulate(rng.expovariate(rate) for _ in range(num)))
        left = iter(times)

        # Each arrival plans the next, so that the agenda stays short.
        def arrive(_: object) -> None:
            self.push()
            plan_next()

        def plan_next() -> None:
            when = next(left, None)
            if when is not None:
                self.loop.at(when, arrive, None)

        plan_next()
        return times[-1]

    def do_at(self, when: float, action: Callable[[], object]) -> None:
        """Act at `when`."""
        self.loop.at(when, lambda _: action(), None)

    def run(self, until: float) -> list[float]:
        """Let time pass; returns when answers left."""
        self.loop.run_until_complete(asyncio.sleep(until - self.loop.time()))
        return [at for _, at in self.answered]


@pytest.fixture
def bench() -> Any:
    """Make benches, and close their loops."""
    made: list[Bench] = []

    def make(*arguments: Any, **script: Any) -> Bench:
        made.append(Bench(*arguments, **script))
        return made[-1]

    yield make
    for one in made:
        one.loop.close()


def erlang_wait(servers: int, load: float, mean_service: float) -> float:
    """Mean wait in M/M/c by Erlang's C formula; `load` is of all servers together, below 1."""
    offered = load * servers
    terms = [offered**n / math.factorial(n) for n in range(servers)]
    last = offered**servers / math.factorial(servers) / (1 - load)
    return last / (sum(terms) + last) * mean_service / (servers * (1 - load))


@pytest.mark.parametrize(
    ("replicas", "concurrency", "load"), [(1, 1, 0.5), (1, 1, 0.7), (2, 1, 0.7), (2, 4, 0.8)]
)
def test_waits_in_a_shared_queue_are_erlangs(
    bench: Any, replicas: int, concurrency: int, load: float
) -> None:
    """With Poisson arrivals and exponential work, mean waits are those of M/M/c."""
    one = bench(
        service=Exponential(kind="exponential", mean_ms=1000),
        replicas=replicas,
        concurrency=concurrency,
    )
    servers, num_jobs = replicas * concurrency, 60_000
    when = one.push_poisson(load * servers, num_jobs, seed=5)
    one.run(when + 1000)
    assert len(one.answered) == num_jobs
    mean_wait = math.fsum(job.started_at - job.queued_at for job, _ in one.answered) / num_jobs
    assert mean_wait == pytest.approx(erlang_wait(servers, load, 1.0), rel=0.08)
    assert one.totals.busy_s / (when * servers) == pytest.approx(load, rel=0.02)


def test_waits_in_separate_queues_are_those_of_single_servers(bench: Any) -> None:
    """A random queue a request is M/M/1 each: Poisson arrivals split at random stay Poisson."""
    one = bench(SeparateShard, service=Exponential(kind="exponential", mean_ms=1000), replicas=2)
    one.run(one.push_poisson(2 * 0.6, 60_000, seed=6) + 1000)
    mean_wait = math.fsum(job.started_at - job.queued_at for job, _ in one.answered) / 60_000
    assert mean_wait == pytest.approx(erlang_wait(1, 0.6, 1.0), rel=0.08)


def test_ties_that_cost_no_time_are_one_shared_queue(bench: Any) -> None:
    """Two queues with instant ties start every request exactly when one shared queue would."""
    benches = [
        bench(
            kind,
            service=Exponential(kind="exponential", mean_ms=1000),
            replicas=2,
            tie_delay_ms=0,
            tie_cancel_ms=0,
        )
        for kind in (Shard, TiedShard)
    ]
    starts = []
    for one in benches:
        one.run(one.push_poisson(2 * 0.7, 10_000, seed=7) + 1000)
        starts.append(sorted(job.started_at for job, _ in one.answered))
    assert len(starts[0]) == 10_000
    assert starts[1] == pytest.approx(starts[0])


def test_answers_leave_in_the_order_of_the_queue(bench: Any) -> None:
    """One server with constant work answers first in, first out, one after the other."""
    one = bench()
    jobs = [one.push() for _ in range(3)]
    assert one.run(10) == [1, 2, 3]
    assert [job for job, _ in one.answered] == jobs


def test_expired_requests_are_dropped_unworked(bench: Any) -> None:
    """What has expired when a server comes to it costs no work; running work ends in time."""
    one = bench()
    one.push()
    late, cut = one.push(expires_at=0.5), one.push(expires_at=1.25)
    one.push()
    assert one.run(10) == [1, 2.25]
    assert late.stage is Stage.DROPPED
    assert (one.totals.expired_unstarted, one.totals.stopped) == (1, 1)
    assert cut.worked_s == one.totals.abandoned_s == pytest.approx(0.25)


def goodput(one: Bench, load: float, deadline_s: float) -> float:
    """Answers in time, of what one server with work of 10 ms can do, under Poisson arrivals."""
    rng, when = random.Random(9), 0.0
    while when < 60:
        when += rng.expovariate(load * 100)
        one.push_at(when, when + deadline_s)
    return len(one.run(when + deadline_s)) / (100 * when)


@pytest.mark.parametrize("load", [1.5, 3.0])
def test_overload_is_served_newest_first(bench: Any, load: float) -> None:
    """A server of the shared queue answers six sevenths of what it can do, whatever comes.

    One that keeps the order of arrival starts each request when little of its time is left, and
    works for nothing.
    """
    work = Uniform(kind="uniform", low_ms=5, high_ms=15)
    assert goodput(bench(service=work), load, 0.1) > 0.85
    assert goodput(bench(SeparateShard, service=work), load, 0.1) < 0.75


def test_the_order_turns_after_an_interval_and_the_expired_are_dropped(bench: Any) -> None:
    """Step by step: arrival order, then, the oldest having been late for a while, the newest.

    Of ten requests with 4 s each, the one that is pulled at 3 s has spent three quarters of its
    time and the next all of it: the order turns with that pull, and what follows is the newest.
    """
    one = bench()
    for _ in range(10):
        one.push(4.0)
    last = [one.push(20.0) for _ in range(3)]
    assert one.run(4.5) == [1, 2, 3, 4]
    assert one.run(10) == [1, 2, 3, 4, 5, 6, 7]
    assert [job for job, _ in one.answered[4:]] == last[::-1]
    assert one.totals.expired_unstarted == 6
    assert not one.shard.queues[0].jobs


def test_a_server_that_is_behind_drops_the_expired_and_keeps_the_rest_in_order(bench: Any) -> None:
    """Work comes from the end; of the oldest, what has expired goes, and what has not goes back."""
    one = bench()
    order = one.shard.servers[0]._order
    one.push()
    order.is_newest_first, order.num_drops = True, 2
    for _ in range(2):
        one.push(expires_at=0.5)
    oldest = [one.push() for _ in range(4)]
    one.run(1.5)
    assert list(one.shard.queues[0].jobs) == oldest[:3]  # the fourth runs
    assert one.totals.expired_unstarted == 2
    one.run(2.5)
    assert list(one.shard.queues[0].jobs) == oldest[:2]
    assert order.num_drops == 1  # what it found had not expired


def test_work_that_cannot_be_stopped_runs_on(bench: Any) -> None:
    """Where work does not see its budget, an expired request keeps its server to the end."""
    one = bench(is_stoppable=False)
    one.push(expires_at=0.5)
    one.push()
    assert one.run(10) == [2]
    assert one.totals.abandoned_s == pytest.approx(1)


def test_a_pause_puts_off_what_runs(bench: Any) -> None:
    """A server that stands still for 3 s answers 3 s later, and others take its queue meanwhile."""
    one = bench(replicas=2)
    one.push()
    one.do_at(0.5, lambda: one.shard.servers[0].pause(3))
    for when in (0.6, 1.7, 2.8):
        one.push_at(when)
    assert one.run(10) == pytest.approx([1.6, 2.7, 3.8, 4])


def test_an_idle_server_that_stands_still_is_handed_one_request(bench: Any) -> None:
    """Its pop is under way: Redis gives it one request, and no second until it runs again."""
    one = bench(replicas=2)
    one.do_at(0, lambda: one.shard.servers[0].pause(5))
    for when in (1, 1.1, 2.2):
        one.push_at(when)
    assert one.run(10) == pytest.approx([2.1, 3.2, 6])


def test_two_pauses_add_up(bench: Any) -> None:
    """A pause that begins within another lasts from its end."""
    one = bench()
    one.push()
    one.do_at(0.5, lambda: one.shard.servers[0].pause(1))
    one.do_at(1.0, lambda: one.shard.servers[0].pause(1))
    assert one.run(10) == [3]
    idle = bench()
    idle.do_at(0.5, lambda: idle.shard.servers[0].pause(1))
    idle.do_at(1.0, lambda: idle.shard.servers[0].pause(1))
    idle.push_at(1.2)
    assert idle.run(10) == [3.5]


def test_a_crash_loses_what_was_started_and_not_what_waits(bench: Any) -> None:
    """After a crash the running request is never answered; the queue is served on restart."""
    one = bench()
    one.push()
    one.push()
    one.do_at(0.5, one.shard.servers[0].crash)
    one.do_at(3, one.shard.servers[0].restart)
    assert one.run(10) == [4]
    assert (one.totals.lost, one.totals.abandoned_s) == (1, pytest.approx(0.5))


def test_a_crashed_idle_server_is_handed_nothing(bench: Any) -> None:
    """Its connection is gone, so the other replica takes what comes."""
    one = bench(replicas=2)
    one.shard.servers[0].crash()
    one.push()
    one.push()
    assert one.run(10) == [1, 2]


def test_slow_downs_multiply_and_end(bench: Any) -> None:
    """Work that starts while two slow-downs last takes both factors; later work takes none."""
    one = bench()
    one.shard.slow(2)
    one.shard.slow(3)
    one.push()
    one.do_at(6, lambda: [one.shard.end_slowdown(2), one.shard.end_slowdown(3)])
    one.push_at(6.5)
    assert one.run(10) == [6, 7.5]


def test_a_copy_is_taken_by_another_replica(bench: Any) -> None:
    """A hedge goes to the head of the queue, and not to the server that has the first copy."""
    one = bench(replicas=2)
    first = one.push()
    one.push()
    one.push()
    copies: list[Job] = []
    one.do_at(0.9, lambda: copies.append(one.shard.push_copy(first)))
    one.run(10)
    assert copies[0].server is one.shard.servers[1]
    assert (copies[0].started_at, one.totals.copies) == (1, 1)


def test_a_server_passes_on_the_copy_of_its_own_work(bench: Any) -> None:
    """A server with room for two that pops the copy of what it works on hands it to another."""
    one = bench(replicas=2, concurrency=2)
    one.do_at(0, lambda: one.shard.servers[1].pause(0.5))
    first = one.push()
    holder = first.server
    copies: list[Job] = []
    one.do_at(0.6, lambda: copies.append(one.shard.push_copy(first)))
    one.run(10)
    assert copies[0].server is not holder
    assert copies[0].stage is Stage.ANSWERED


def test_cancelled_copies_are_taken_back_or_stopped(bench: Any) -> None:
    """A queued copy leaves the queue; a running one frees its server after the time given."""
    one = bench()
    running, queued = one.push(), one.push()
    one.push()
    one.do_at(0.25, lambda: one.shard.cancel(queued, 0.05))
    one.do_at(0.5, lambda: one.shard.cancel(running, 0.05))
    assert one.run(10) == [pytest.approx(1.55)]
    assert (one.totals.cancelled_unstarted, one.totals.stopped) == (1, 1)
    assert one.totals.abandoned_s == pytest.approx(0.55)
