"""A `Transport` over scripted shards in virtual time."""

import random
from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from pydantic_core import to_json

from hedgerow.common.redis.server_clock import ServerClock
from hedgerow.common.wire.messages import (
    FetchBody,
    Kind,
    Lane,
    Reply,
    SearchBody,
    Status,
    pack_body,
    unpack_fetch_payload,
    unpack_request,
)
from hedgerow.gateway.simulate.distributions import Sampler
from hedgerow.gateway.simulate.event_loop import VirtualLoop
from hedgerow.gateway.simulate.jobs import Job, Stage, Totals
from hedgerow.gateway.simulate.scenario import Run
from hedgerow.gateway.simulate.shards import Shard
from hedgerow.gateway.transport.protocol import ReplySink

_OK: Final = Status.OK.value
_PROCESS: Final = Lane.PROCESS.value
_THREAD: Final = Lane.THREAD.value
_ANSWERED: Final = Stage.ANSWERED

STOP_S = 0.025  # time in which running work notices a cancellation: half of the bound, 50 ms
_KEPT_S = 1.0  # a released query is remembered for this time, so that it can be cancelled


class Scatter:
    """The requests of one query, the receiver of their replies, and what they share.

    Attributes:
        transport: of the gateway that asks.
        sink: takes the replies; None once they are not awaited.
        jobs: shard → its first copy.
        cancelled: shards whose part was cancelled before it was queued.
    """

    __slots__ = (
        "cancelled",
        "cost",
        "delay_s",
        "is_hedged",
        "jobs",
        "num_asked",
        "num_replies",
        "query_id",
        "sent_at",
        "sink",
        "transport",
    )

    def __init__(
        self,
        transport: "ScriptedTransport",
        query_id: int,
        sink: ReplySink,
        sent_at: float,
        cost: float,
        delay_s: float,
    ) -> None:
        self.transport = transport
        self.query_id = query_id
        self.sink: ReplySink | None = sink
        self.sent_at = sent_at
        self.cost = cost
        self.delay_s = delay_s
        self.num_asked = 0
        self.num_replies = 0
        self.is_hedged = False
        self.jobs: dict[int, Job] = {}
        self.cancelled: set[int] = set()


class Sent(NamedTuple):
    """One call of `scatter`, on its way to the queues."""

    scatter: Scatter
    shards: tuple[int, ...]
    message: bytes
    backlogs: dict[int, int]


class ScriptedTransport:
    """Carries requests to scripted shards, and their replies back.

    Attributes:
        shards: set by the code that makes them, since they report to `answered`; those of one run
            are the same for all its gateways.
        reply_s: time from scatter to reply, of each search request with an awaited reply.
        marks_s: for each mark of the run, each query's time until that share had replied.
        num_late: replies that were no longer awaited.
    """

    def __init__(
        self,
        run: Run,
        loop: VirtualLoop,
        totals: Totals,
        rng: Callable[[str], random.Random],
        on_backlog: Callable[[int, int, float], None] | None = None,
    ) -> None:
        """Script a run.

        Args:
            run: the script.
            loop: the event loop.
            totals: counts abandoned work.
            rng: makes the random generator for a purpose.
            on_backlog: called for each queued search with the shard, the queue's length, the time.
        """
        self._on_backlog = on_backlog
        self.shards: list[Shard] = []
        self.reply_s = array("d")
        self.marks_s = [array("d") for _ in run.marks]
        self.num_late = 0
        self._loop = loop
        self._totals = totals
        self._clock = ServerClock()
        self._scatters: dict[int, Scatter] = {}
        self._request_s = run.network.request.sampler(rng("network/request"))
        # A separate stream, so that first copies take the same times with and without hedges.
        self._control_s = run.network.request.sampler(rng("network/control"))
        self._reply_s = run.network.reply.sampler(rng("network/reply"))
        self._delay_s = run.query.delay.sampler(rng("query/delay"))
        self._fetch_s = run.fetch.sampler(rng("fetch"))
        self._cost = _cost_sampler(run.query.cost_sigma, rng("query/cost"))
        self._marks = run.marks
        self._documents = run.shards.documents
        count = run.shards.count
        self._bodies = [
            _body(shard, run.shards.documents, run.shards.hits) for shard in range(count)
        ]

    def scatter(
        self,
        kind: Kind,
        query_id: int,
        shards: tuple[int, ...],
        message: bytes,
        sink: ReplySink,
        goes_ahead: bool = False,  # noqa: ARG002 # its queries have one caller
    ) -> Mapping[int, int]:
        """Send a packed request to each shard; see `Transport.scatter`."""
        now = self._loop.time()
        is_search = kind is Kind.SEARCH
        scatter = self._scatters.get(query_id)
        if scatter is None:
            cost, delay_s = (self._cost(), self._delay_s()) if is_search else (1.0, 0.0)
            scatter = Scatter(self, query_id, sink, now, cost, delay_s)
            self._scatters[query_id] = scatter
        scatter.num_asked += len(shards)
        sent = Sent(scatter, shards, message, {})
        self._loop.at(now + self._request_s(), self._queue if is_search else self._fetch, sent)
        return sent.backlogs

    def ask_queue(
        self, kind: Kind, shard: int, message: bytes, on_answer: Callable[[bool], None]
    ) -> None:
        """Ask whether the first copy waits in its queue; see `Transport.ask_queue`."""

        def ask(_: None) -> None:
            job = self._job(message, shard)
            self._answer(on_answer, is_so=job is not None and job.stage is Stage.QUEUED)

        del kind  # a fetch does not queue here
        self._after_message(ask)

    def hedge(self, kind: Kind, shard: int, message: bytes) -> None:
        """Send a second copy; see `Transport.hedge`."""

        def push(_: None) -> None:
            scatter = self._scatters.get(unpack_request(message).query_id)
            if scatter is None:
                return
            if kind is Kind.FETCH:
                self._read(Sent(scatter, (shard,), message, {}), is_hedge=True)
            elif (job := scatter.jobs.get(shard)) is not None and job.twin is None:
                scatter.is_hedged = True
                self.shards[shard].push_copy(job)

        self._after_message(push)

    def withdraw(
        self, kind: Kind, shard: int, message: bytes, on_answer: Callable[[bool], None]
    ) -> None:
        """Remove a second copy from the queue; see `Transport.withdraw`."""

        def take_back(_: None) -> None:
            job = self._job(message, shard)
            copy = None if job is None else job.twin
            is_there = copy is not None and copy.stage is Stage.QUEUED
            if copy is not None:
                copy.shard.take_back(copy)
            self._answer(on_answer, is_so=is_there)

        del kind  # as above
        self._after_message(take_back)

    def cancel(self, query_id: int, shards: Iterable[int], expires_at_ms: int) -> None:
        """Cancel these parts; see `Transport.cancel`."""
        del expires_at_ms  # the queued requests have it too
        scatter = self._scatters.get(query_id)
        if scatter is not None:
            unwanted = tuple(shards)
            self._after_message(lambda _: self._cancel(scatter, unwanted))

    def is_silent(self) -> bool:
        """The simulated server never hangs."""
        return False

    def release(self, query_id: int) -> None:
        """Stop waiting for replies; see `Transport.release`."""
        scatter = self._scatters.get(query_id)
        if scatter is not None:
            scatter.sink = None
            if scatter.num_replies == scatter.num_asked and not scatter.is_hedged:
                del self._scatters[query_id]
            else:  # requests on their way may yet be withdrawn or cancelled
                self._loop.at(self._loop.time() + _KEPT_S, self._forget, query_id)

    def answered(self, job: Job) -> None:
        """A server has done its work; send the reply."""
        scatter: Scatter = job.subject
        delay_s = self._reply_s() + scatter.delay_s
        if delay_s:
            self._loop.at(self._loop.time() + delay_s, self._deliver, job)
        else:
            self._deliver(job)

    def _after_message(self, act: Callable[[None], None]) -> None:
        """Call `act` when a message sent now has reached Redis or the workers."""
        self._loop.at(self._loop.time() + self._control_s(), act, None)

    def _answer(self, on_answer: Callable[[bool], None], *, is_so: bool) -> None:
        self._loop.at(self._loop.time() + self._control_s(), on_answer, is_so)

    def _job(self, message: bytes, shard: int) -> Job | None:
        scatter = self._scatters.get(unpack_request(message).query_id)
        return None if scatter is None else scatter.jobs.get(shard)

    def _forget(self, query_id: int) -> None:
        self._scatters.pop(query_id, None)

    def _queue(self, sent: Sent) -> None:
        now = self._loop.time()
        expires_at = self._clock.monotonic_s(unpack_request(sent.message).expires_at_ms)
        scatter, shards, backlogs = sent.scatter, self.shards, sent.backlogs
        query_id, cost, jobs = scatter.query_id, scatter.cost, scatter.jobs
        sent_at = scatter.sent_at
        on_backlog = self._on_backlog
        for number in sent.shards:
            if number not in scatter.cancelled:
                shard = shards[number]
                jobs[number] = job = Job(
                    shard, query_id, scatter, expires_at, cost, now, sent_at=sent_at
                )
                backlogs[number] = backlog = shard.push(job)
                if on_backlog is not None:
                    on_backlog(number, backlog, now)

    def _cancel(self, scatter: Scatter, shards: tuple[int, ...]) -> None:
        for shard in shards:
            job = scatter.jobs.get(shard)
            if job is None:
                scatter.cancelled.add(shard)
                continue
            for copy in (job, job.twin):
                if copy is not None:
                    copy.shard.cancel(copy, STOP_S)

    def _deliver(self, job: Job) -> None:
        scatter: Scatter = job.subject
        sink = scatter.sink
        if sink is None:
            self.num_late += 1
            self._totals.abandoned_s += job.worked_s
            return
        twin = job.twin
        if twin is not None and twin.stage is _ANSWERED and twin.is_delivered:
            self._totals.abandoned_s += job.worked_s
        else:
            job.is_delivered = True
            self._count(scatter)
        number = job.shard.number
        reply = Reply(
            job.query_id,
            number,
            _OK,
            _PROCESS,
            int((job.started_at - job.queued_at) * 1e6),
            0,
            int(job.worked_s * 1e6),
            self._bodies[number],
            job.is_hedge,
        )
        worker = job.server.name if job.server is not None else ""
        sink.on_reply(reply, worker, self._loop.time())

    def _count(self, scatter: Scatter) -> None:
        took_s = self._loop.time() - scatter.sent_at
        self.reply_s.append(took_s)
        scatter.num_replies = num_replies = scatter.num_replies + 1
        if self._marks:
            num_asked = scatter.num_asked
            for mark, times in zip(self._marks, self.marks_s, strict=True):
                if num_replies == -(-mark * num_asked // 1):  # rounded up
                    times.append(took_s)

    def _fetch(self, sent: Sent) -> None:
        self._read(sent, is_hedge=False)

    def _read(self, sent: Sent, *, is_hedge: bool) -> None:
        now = self._loop.time()
        query_id = sent.scatter.query_id
        ids = unpack_fetch_payload(unpack_request(sent.message).payload).ids
        body = pack_body(FetchBody([to_json({"id": document_id}) for document_id in ids], ""))
        for shard in sent.shards:
            sent.backlogs[shard] = 1
            work_s = self._fetch_s()
            times = (0, 0, int(work_s * 1e6))
            reply = Reply(query_id, shard, _OK, _THREAD, *times, body, is_hedge)
            self._loop.at(now + work_s + self._reply_s(), self._fetched, (sent.scatter, reply))

    def _fetched(self, got: tuple[Scatter, Reply]) -> None:
        scatter, reply = got
        if scatter.sink is None:
            self.num_late += 1
        else:
            scatter.num_replies += 1
            scatter.sink.on_reply(reply, f"worker-{reply.shard}-0", self._loop.time())


def answered(job: Job) -> None:
    """A server has done its work; have the gateway that asked receive the reply."""
    scatter: Scatter = job.subject
    scatter.transport.answered(job)


def _body(shard: int, documents: int, hits: int) -> bytes:
    """Make one shard's part, the same for every query, since only time is simulated."""
    ids = [f"{shard}-{rank}" for rank in range(hits)]
    return pack_body(
        SearchBody(documents, hits, True, ids, [1 / (1 + rank) for rank in range(hits)])
    )


def _cost_sampler(sigma: float, rng: random.Random) -> Sampler:
    if not sigma:
        return lambda: 1.0
    draw = rng.lognormvariate
    return lambda: draw(0.0, sigma)
