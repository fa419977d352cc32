"""A `Transport` over scripted shards in virtual time."""

import random
from array import array
from collections.abc import Callable, Sequence
from typing import Final

from common.server_clock import ServerClock
from common.wire import (
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
from gateway.simulate.distributions import Sampler
from gateway.simulate.event_loop import VirtualLoop
from gateway.simulate.jobs import Job, Ledger, Stage
from gateway.simulate.scenario import Run
from gateway.simulate.shards import Shard
from gateway.transport import ReplySink

_OK: Final = Status.OK.value
_PROCESS: Final = Lane.PROCESS.value
_THREAD: Final = Lane.THREAD.value
_ANSWERED: Final = Stage.ANSWERED

STOP_S = 0.025  # mean time in which running work sees that it was cancelled; 50 ms at most


class Scatter:
    """One scatter: who waits for its replies, and what all of its requests share."""

    __slots__ = ("cost", "delay_s", "jobs", "num_replies", "query_id", "sent_at", "sink")

    def __init__(
        self, query_id: int, sink: ReplySink, sent_at: float, cost: float, delay_s: float
    ) -> None:
        self.query_id = query_id
        self.sink: ReplySink | None = sink  # None once nobody waits
        self.sent_at = sent_at
        self.cost = cost
        self.delay_s = delay_s
        self.num_replies = 0
        self.jobs: dict[int, Job] = {}  # shard → the first copy


class ScriptedTransport:
    """Carries requests to scripted shards, and their replies back.

    Attributes:
        shards: set once by who makes them, since they report to `answered`.
        reply_s: of each search request whose reply somebody waited for, from scatter to reply.
        marks_s: for each mark of the run, for each query, until so many shards had replied.
        num_late: replies that nobody waited for any more.
    """

    def __init__(
        self, run: Run, loop: VirtualLoop, ledger: Ledger, rng: Callable[[str], random.Random]
    ) -> None:
        """Script a run.

        Args:
            run: the script.
            loop: whose time it is.
            ledger: told of work that was for nobody.
            rng: makes the random numbers of one purpose.
        """
        self.shards: list[Shard] = []
        self.reply_s = array("d")
        self.marks_s = [array("d") for _ in run.marks]
        self.num_late = 0
        self._loop = loop
        self._ledger = ledger
        self._clock = ServerClock()
        self._scatters: dict[int, Scatter] = {}
        self._request_s = run.network.request.sampler(rng("network/request"))
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
        self, kind: Kind, query_id: int, messages: Sequence[tuple[int, bytes]], sink: ReplySink
    ) -> None:
        """Send one packed request to each shard; see `Transport.scatter`."""
        now = self._loop.time()
        if kind is Kind.FETCH:
            self._fetch(query_id, messages, sink, now)
            return
        scatter = Scatter(query_id, sink, now, self._cost(), self._delay_s())
        self._scatters[query_id] = scatter
        self._loop.at(now + self._request_s(), self._arrive, (scatter, messages))

    def release(self, query_id: int) -> None:
        """Nobody waits any more; see `Transport.release`."""
        scatter = self._scatters.pop(query_id, None)
        if scatter is not None:
            scatter.sink = None

    def is_queued(self, query_id: int, shard: int) -> bool:
        """Whether the shard's first copy still waits in its queue."""
        job = self._job(query_id, shard)
        return job is not None and job.stage is Stage.QUEUED

    def hedge(self, query_id: int, shard: int) -> bool:
        """Push a second copy, for another replica to take next; False if there is no first."""
        job = self._job(query_id, shard)
        if job is None or job.twin is not None:
            return False
        self.shards[shard].push_copy(job)
        return True

    def cancel(self, query_id: int, shards: Sequence[int]) -> None:
        """Nobody waits for these shards' copies: drop or stop those that have not ended."""
        for shard in shards:
            job = self._job(query_id, shard)
            if job is not None:
                for copy in (job, job.twin):
                    if copy is not None:
                        copy.shard.cancel(copy, STOP_S)

    def answered(self, job: Job) -> None:
        """A server has done its work; the reply sets out."""
        scatter: Scatter = job.subject
        delay_s = self._reply_s() + scatter.delay_s
        if delay_s:
            self._loop.at(self._loop.time() + delay_s, self._deliver, job)
        else:
            self._deliver(job)

    def _job(self, query_id: int, shard: int) -> Job | None:
        scatter = self._scatters.get(query_id)
        return None if scatter is None else scatter.jobs.get(shard)

    def _arrive(self, sent: tuple[Scatter, Sequence[tuple[int, bytes]]]) -> None:
        scatter, messages = sent
        now = self._loop.time()
        expires_at = self._clock.monotonic_s(unpack_request(messages[0][1]).expires_at_ms)
        query_id, cost, jobs, shards = scatter.query_id, scatter.cost, scatter.jobs, self.shards
        for number, _ in messages:
            shard = shards[number]
            jobs[number] = job = Job(shard, query_id, scatter, expires_at, cost, now)
            backlog = shard.push(job)
            if scatter.sink is not None:
                scatter.sink.on_queued(number, backlog)

    def _deliver(self, job: Job) -> None:
        scatter: Scatter = job.subject
        sink = scatter.sink
        if sink is None:
            self.num_late += 1
            self._ledger.abandoned_s += job.worked_s
            return
        twin = job.twin
        if twin is not None and twin.stage is _ANSWERED and twin.is_delivered:
            self._ledger.abandoned_s += job.worked_s
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
        )
        sink.on_reply(reply, job.server.name if job.server is not None else "")

    def _count(self, scatter: Scatter) -> None:
        took_s = self._loop.time() - scatter.sent_at
        self.reply_s.append(took_s)
        scatter.num_replies = num_replies = scatter.num_replies + 1
        if self._marks:
            num_asked = len(scatter.jobs)
            for mark, times in zip(self._marks, self.marks_s, strict=True):
                if num_replies == -(-mark * num_asked // 1):  # rounded up
                    times.append(took_s)

    def _fetch(
        self, query_id: int, messages: Sequence[tuple[int, bytes]], sink: ReplySink, now: float
    ) -> None:
        scatter = Scatter(query_id, sink, now, 1.0, 0.0)
        self._scatters[query_id] = scatter
        sent_at = now + self._request_s()
        for shard, message in messages:
            ids = unpack_fetch_payload(unpack_request(message).payload).ids
            body = pack_body(FetchBody([{"id": one} for one in ids], ""))
            work_s = self._fetch_s()
            reply = Reply(query_id, shard, _OK, _THREAD, 0, 0, int(work_s * 1e6), body)
            self._loop.at(sent_at, self._fetch_queued, (scatter, shard))
            self._loop.at(sent_at + work_s + self._reply_s(), self._fetched, (scatter, reply))

    def _fetch_queued(self, sent: tuple[Scatter, int]) -> None:
        scatter, shard = sent
        if scatter.sink is not None:
            scatter.sink.on_queued(shard, 1)

    def _fetched(self, got: tuple[Scatter, Reply]) -> None:
        scatter, reply = got
        if scatter.sink is None:
            self.num_late += 1
        else:
            scatter.sink.on_reply(reply, f"worker-{reply.shard}-0")


def _body(shard: int, documents: int, hits: int) -> bytes:
    """One shard's part, the same for every query: what is simulated is time, not ranking."""
    ids = [f"{shard}-{rank}" for rank in range(hits)]
    return pack_body(
        SearchBody(documents, hits, True, ids, [1 / (1 + rank) for rank in range(hits)])
    )


def _cost_sampler(sigma: float, rng: random.Random) -> Sampler:
    if not sigma:
        return lambda: 1.0
    draw = rng.lognormvariate
    return lambda: draw(0.0, sigma)
