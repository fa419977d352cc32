"""Shards that answer by script, in whatever time the test's clock tells."""

import asyncio
import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from hedgerow.common.wire.messages import (
    Failure,
    FetchBody,
    Kind,
    Lane,
    Reply,
    Request,
    SearchBody,
    Status,
    pack_body,
    unpack_fetch_payload,
    unpack_request,
    unpack_search_payload,
)
from hedgerow.gateway.transport.protocol import ReplySink


@dataclass(frozen=True)
class Script:
    """What one shard does with a request.

    Attributes:
        delays_s: when its reply arrives, once for each copy; empty for silence.
        hits: (id, score) pairs, best first.
        kind: `ok`, `failed`, `refused`, `malformed`, `unsent` or `unqueued`.
        fetch_delay_s: when its reply to a fetch arrives; None for silence.
        fetch: id → document, or the size of one that it leaves out; what it does not have is gone.
        is_old: whether it sends documents decoded, as workers up to version 0.1 do.
        enrich_error: what its replies to fetches say of `enrich`.
        is_enrich_late: whether they say that it had too little time.
        attached: documents of its first hits, which it sends to callers that ask for any.
        silent_for: numbers of hits; it does not answer requests for that many.
    """

    delays_s: tuple[float, ...] = (0.01,)
    hits: tuple[tuple[str, float], ...] = ()
    documents: int = 10
    kind: str = "ok"
    fetch_delay_s: float | None = 0.01
    fetch: Mapping[str, Any] = field(default_factory=dict)
    is_old: bool = False
    enrich_error: str = ""
    is_enrich_late: bool = False
    attached: tuple[bytes, ...] = ()
    silent_for: frozenset[int] = frozenset()


@dataclass
class ScriptedTransport:
    """A `Transport` whose shards follow scripts; what is released hears nothing more.

    Attributes:
        scripts: shard → script; a shard without one is silent.
        late: replies that arrived after their query was released.
        scattered: kind and shards of each scatter.
        messages: the request of each scatter, packed.
        asked: how many hits each search asked for.
        queued: shards whose requests no worker has taken.
        hedge_scripts: shard → script of its second copy; one without never starts.
        hedged: shard, instant and request of each second copy.
        worker_scripts: worker → script of what is sent to it alone.
        sent_to: worker, instant and request of each of these.
        cancelled: query, shards and deadline of each cancellation.
        on_late: called with each late reply.
    """

    scripts: dict[int, Script]
    late: int = 0
    asked: list[int] = field(default_factory=list)
    scattered: list[tuple[Kind, tuple[int, ...]]] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    cancelled: list[tuple[int, tuple[int, ...], int]] = field(default_factory=list)
    worker_scripts: dict[str, Script] = field(default_factory=dict)
    sent_to: list[tuple[str, float, Request]] = field(default_factory=list)
    queued: set[int] = field(default_factory=set)
    hedge_scripts: dict[int, Script] = field(default_factory=dict)
    hedged: list[tuple[int, float, Request]] = field(default_factory=list)
    on_late: Callable[[Reply], None] = lambda _reply: None
    ahead: set[int] = field(default_factory=set)
    silent: bool = False
    _sinks: dict[int, ReplySink] = field(default_factory=dict)

    def scatter(
        self,
        kind: Kind,
        query_id: int,
        shards: tuple[int, ...],
        message: bytes,
        sink: ReplySink,
        goes_ahead: bool = False,
    ) -> Mapping[int, int]:
        """Follow each shard's script."""
        loop = asyncio.get_running_loop()
        self._sinks[query_id] = sink
        self.scattered.append((kind, shards))
        self.messages.append(message)
        if goes_ahead:
            self.ahead.add(query_id)
        if kind is Kind.SEARCH:
            self.asked.append(unpack_search_payload(unpack_request(message).payload).k)
        backlogs: dict[int, int] = {}
        for shard in shards:
            script = self.scripts.get(shard, Script(delays_s=()))
            if kind is Kind.FETCH:
                loop.call_soon(backlogs.__setitem__, shard, 1)
                if script.fetch_delay_s is not None:
                    reply = fetched(query_id, shard, script, message)
                    loop.call_later(script.fetch_delay_s, self._arrive, query_id, reply)
                continue
            if script.kind == "unsent":
                sink.on_unsent(shard, "scripted")
                continue
            if script.kind != "unqueued":
                loop.call_soon(backlogs.__setitem__, shard, 1)
            request = unpack_request(message)
            if request.attach is None:
                script = dataclasses.replace(script, attached=())
            k = unpack_search_payload(request.payload).k
            if k in script.silent_for:
                continue
            reply = reply_of(query_id, shard, script, k)
            for delay_s in script.delays_s:
                loop.call_later(delay_s, self._arrive, query_id, reply)
        return backlogs

    def ask_queue(
        self, kind: Kind, shard: int, message: bytes, on_answer: Callable[[bool], None]
    ) -> None:
        """Report that it is missing, in the next turn of the loop."""
        asyncio.get_running_loop().call_soon(on_answer, shard in self.queued)

    def hedge(self, kind: Kind, shard: int, message: bytes) -> None:
        """Follow the script of the second copy."""
        loop, request = asyncio.get_running_loop(), unpack_request(message)
        self.hedged.append((shard, loop.time(), request))
        script = self.hedge_scripts.get(shard, Script(delays_s=()))
        for delay_s in script.delays_s:
            reply = replace(reply_of(request.query_id, shard, script), is_hedge=True)
            loop.call_later(delay_s, self._arrive, request.query_id, reply)

    def send_to(
        self, kind: Kind, worker: str, shard: int, query_id: int, message: bytes, sink: ReplySink
    ) -> None:
        """Follow the worker's script, if it has one."""
        loop, request = asyncio.get_running_loop(), unpack_request(message)
        self._sinks[query_id] = sink
        self.sent_to.append((worker, loop.time(), request))
        script = self.worker_scripts.get(worker, Script(delays_s=()))
        for delay_s in script.delays_s:
            reply = replace(reply_of(query_id, shard, script), work_us=round(delay_s * 1e6))
            loop.call_later(delay_s, self._arrive, query_id, reply)

    def withdraw(
        self, kind: Kind, shard: int, message: bytes, on_answer: Callable[[bool], None]
    ) -> None:
        """Say whether the second copy's script has it start at all."""
        is_there = shard not in self.hedge_scripts
        asyncio.get_running_loop().call_soon(on_answer, is_there)

    def cancel(self, query_id: int, shards: Iterable[int], expires_at_ms: int) -> None:
        """Note what is cancelled."""
        self.cancelled.append((query_id, tuple(sorted(shards)), expires_at_ms))

    def is_silent(self) -> bool:
        """Whether the script says that the server hangs."""
        return self.silent

    def release(self, query_id: int) -> None:
        """Forget the sink."""
        self._sinks.pop(query_id, None)

    @property
    def num_remembered(self) -> int:
        """The queries of which the transport still keeps anything."""
        return len(self._sinks)

    def _arrive(self, query_id: int, reply: Reply) -> None:
        sink = self._sinks.get(query_id)
        if sink is None:
            self.late += 1
            self.on_late(reply)
        else:
            worker = f"worker-of-{reply.shard}"
            sink.on_reply(reply, worker, asyncio.get_running_loop().time())


def fetched(query_id: int, shard: int, script: Script, message: bytes) -> Reply:
    """The reply that the script's shard sends to a fetch."""
    wanted = unpack_fetch_payload(unpack_request(message).payload).ids
    documents = [script.fetch.get(one) for one in wanted]
    body = FetchBody(
        [
            json.dumps(one).encode() if isinstance(one, dict) and not script.is_old else one
            for one in documents
        ],
        script.enrich_error,
        script.is_enrich_late,
    )
    return Reply(query_id, shard, Status.OK, Lane.THREAD, 1, 2, 3, pack_body(body))


def reply_of(query_id: int, shard: int, script: Script, k: int | None = None) -> Reply:
    """The reply that the script's shard sends to a request for `k` hits, or for all."""
    status, body = Status.OK, b""
    if script.kind == "failed":
        status, body = Status.FAILED, pack_body(Failure("failed", "scripted failure"))
    elif script.kind == "refused":
        status, body = Status.FAILED, pack_body(Failure("bad_request", "scripted refusal"))
    elif script.kind == "malformed":
        body = b"\xc1not MessagePack"
    else:
        ids = [document_id for document_id, _ in script.hits[:k]]
        scores = [score for _, score in script.hits[:k]]
        body = pack_body(
            SearchBody(
                script.documents, len(script.hits), True, ids, scores, attached=script.attached[:k]
            )
        )
    return Reply(query_id, shard, status, Lane.PROCESS, 1, 2, 3, body)
