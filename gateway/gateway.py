"""The gateway as a Python object: one per process, used by HTTP, by the benchmarks and embedded."""

import asyncio
import itertools
import random
import secrets
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from pydantic_core import from_json, to_json

from hedgerow.common import __version__
from hedgerow.common.document_ids import check_address_id
from hedgerow.common.errors import (
    BadRequestError,
    ConfigurationError,
    NotFoundError,
    OverloadedError,
    RedisUnavailableError,
    UnavailableError,
)
from hedgerow.common.observability.telemetry import Counters, LagWatch
from hedgerow.common.outcome import Outcome
from hedgerow.common.partition import shard_of
from hedgerow.common.redis.client import RedisClient, connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.snapshots.status import SnapshotRecords
from hedgerow.common.state import probation as probation_board
from hedgerow.common.state.optimising import OptimisingStore
from hedgerow.common.state.probation import ProbationStore
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.statistics import StatisticsStore
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.access.fair_share import FairShare
from hedgerow.gateway.access.request_admission import RequestAdmission
from hedgerow.gateway.access.usage_report import keys_in_use, refused_addresses
from hedgerow.gateway.members.membership import Membership
from hedgerow.gateway.members.outlier_ejection import OutlierEjection
from hedgerow.gateway.operations.optimising import Optimiser
from hedgerow.gateway.operations.own_shortages import OwnShortages
from hedgerow.gateway.operations.quarantine import QuarantineAdmin
from hedgerow.gateway.operations.server_watch import ServerWatch
from hedgerow.gateway.operations.snapshots import Snapshots
from hedgerow.gateway.operations.status import cluster_status
from hedgerow.gateway.policies.breaker import Transition
from hedgerow.gateway.policies.hedging import HedgeCounts
from hedgerow.gateway.search.attaching import AttachPolicy
from hedgerow.gateway.search.coverage_report import coverage_report
from hedgerow.gateway.search.fetch import Refused, StoredDocument
from hedgerow.gateway.search.guards import ProfileGuards
from hedgerow.gateway.search.late_replies import CoverageCurves
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.search.search_body import check_members, search_body
from hedgerow.gateway.search.searcher import Searcher
from hedgerow.gateway.search.validation import check_deadline
from hedgerow.gateway.transport.redis import RedisTransport
from hedgerow.gateway.transport.wake_up_coalescing import lull_for
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.documents import Documents
from hedgerow.gateway.writes.load_slots import LoadSlots
from hedgerow.gateway.writes.ranked_loads import RankedLoads
from hedgerow.gateway.writes.storage_gate import StorageGate

log = structlog.get_logger()

START_TIMEOUT_S = 30.0
# A view of the workers that is so old, in polls and in s, says that Redis does not answer.
_STALE_POLLS = 4
_STALE_S = 1.0
_REPORTED_AT_ONCE = 16  # curves, of 0.1 ms each, between two turns of the loop


class Gateway:
    """Answers searches, takes documents, tells the state of the cluster.

    Attributes:
        id: unique to this process; part of its reply channel's name.
        num_shards: shards in the cluster.
        collections: defines, describes and drops collections.
        documents: loads and deletes documents.
        snapshots: asks for snapshots.
        optimiser: asks for the optimising of text indexes.
        quarantine: lists the queries that have killed scorers, and lets them run again.
        requests: admits requests that are neither searches nor bulk loads.
        shortages: what this gateway itself runs out of.
    """

    def __init__(self, settings: Settings, control: RedisClient, num_shards: int) -> None:
        """Wire the parts; use `Gateway.connect`, which also starts them."""
        keys = Keys(settings.redis.key_prefix)
        self.id = secrets.token_hex(4)
        self.settings = settings
        self.num_shards = num_shards
        self._control = control
        self._keys = keys
        self._registry = Registry(control, keys)
        self._board = StatisticsStore(control, keys)
        self._loop = asyncio.get_running_loop()
        # A random start keeps replies to a namesake's queries from being taken for ours.
        self._ids = itertools.count(secrets.randbits(32))
        self._lag = LagWatch(settings.worker.loop_lag_threshold_ms)
        self._guards = ProfileGuards.make(
            num_shards=num_shards,
            settings=settings,
            rng=random.random,
            on_transition=self._on_transition,
            now=self._loop.time(),
        )
        self._search_body = search_body(settings.gateway)
        self.requests = RequestAdmission(settings.gateway.max_requests)
        self.shortages = OwnShortages(
            settings.storage.poll_s, now=self._loop.time, now_ms=self._server_ms
        )
        self._storage = StorageGate(
            self._heartbeats,
            now=self._loop.time,
            now_ms=self._server_ms,
            own=self.shortages.list,
        )
        self.collections = Collections(
            self._registry,
            num_shards,
            settings.rank_profiles,
            max_collections=settings.limits.max_collections,
            gate=self._storage,
        )
        self._curves = CoverageCurves(settings.coverage, self.collections.uids)
        self._transport = RedisTransport(
            settings.redis,
            settings.limits,
            keys,
            self.id,
            self._guards.shared.admission.on_backlog,
            self._curves.on_late,
        )
        self._membership = Membership(
            self._registry,
            num_shards,
            settings.worker.heartbeat_expiry_s,
            settings.gateway.membership_poll_s,
            self._server_ms,
            self.collections.uids,
        )
        self._server_watch = ServerWatch(
            control, keys, settings.storage, self._storage, self._server_ms
        )
        self._ranked_loads = RankedLoads(
            board=self._board,
            registry=self._registry,
            live_replicas=self._membership.replicas_of,
            timeout_s=settings.gateway.statistics_timeout_s,
        )
        self._stale_after_s = max(_STALE_POLLS * settings.gateway.membership_poll_s, _STALE_S)
        self.documents = Documents(
            ShardLog(control, keys),
            self.collections,
            num_shards,
            settings.limits,
            write_timeout_s=settings.gateway.write_timeout_s,
            slots=LoadSlots(settings.gateway.max_loads, settings.gateway.load_idle_s),
            live_replicas=self._membership.replicas_of,
            gate=self._storage,
            ranked=self._ranked_loads,
        )
        self.optimiser = Optimiser(
            OptimisingStore(control, keys), self.collections, self._storage.check
        )
        self.snapshots = Snapshots(
            SnapshotRecords(control, keys), num_shards, settings.snapshots, self._storage.check
        )
        self.quarantine = QuarantineAdmin(control, keys, settings.worker, self._server_ms)
        self._sick_replicas = OutlierEjection(
            settings=settings.probation,
            board=ProbationStore(control, keys),
            members=self._membership,
            num_shards=num_shards,
            transport=self._transport,
            next_id=self._ids.__next__,
            server_us=self._transport.clock.server_us,
            rng=random.random,
            gateway_id=self.id,
        )
        self._searcher = Searcher(
            transport=self._transport,
            clock=self._transport.clock,
            reply_to=self._transport.reply_to,
            next_id=self._ids.__next__,
            view=self._membership,
            breakers=self._guards.shared.breakers,
            admission=self._guards.shared.admission,
            settings=settings.gateway,
            limits=settings.query,
            heavy=self._guards.heavy,
            profiles=settings.rank_profiles,
            hedging=settings.hedging,
            coverage=settings.coverage,
            curves=self._curves,
            learn=self._sick_replicas.learn,
            own_guards=self._guards.own,
            attaching=AttachPolicy(
                settings.rank_profiles,
                min(settings.limits.max_attached_bytes, settings.limits.max_fetch_bytes),
                lambda: self._membership.attaches,
            ),
        )

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, settings: Settings, num_shards: int | None = None
    ) -> "AsyncIterator[Gateway]":
        """Start a gateway, and stop it at the end of the block.

        Args:
            settings: all settings.
            num_shards: shards in the cluster; None to take what the cluster was made with.

        Raises:
            ConfigurationError: the server is too old, or has another number of shards.
            RedisUnavailableError: there is no server.
        """
        control = await connect(settings.redis)
        try:
            registry = Registry(control, Keys(settings.redis.key_prefix))
            gateway = cls(settings, control, await registry.cluster(num_shards))
            async with gateway._running():
                yield gateway
        finally:
            await control.close()

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        try:
            await self._transport.start(START_TIMEOUT_S)
            await self.collections.refresh()
            await self._membership.refresh()
            left_by: BaseException | None = None
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._membership.run(), name="membership"),
                    group.create_task(self.collections.run(), name="collections"),
                    group.create_task(self._sick_replicas.run(), name="probation"),
                    group.create_task(self._listen(), name="events"),
                    group.create_task(self._lag.run(), name="loop lag"),
                    group.create_task(self._server_watch.run(), name="server watch"),
                    group.create_task(self.shortages.run(), name="own shortages"),
                ]
                try:
                    yield
                    await self._searcher.drain(self.settings.gateway.drain_timeout_s)
                except BaseException as error:  # noqa: BLE001 - raised again below
                    # Kept from the group, which would hand the caller's own error back wrapped.
                    left_by = error
                for task in tasks:
                    task.cancel()
            if left_by is not None:
                raise left_by
        finally:
            self._searcher.close()
            # Last, since queries in flight need it: no reply can come once it is closed.
            await self._transport.close()

    async def _listen(self) -> None:
        """Pass on what the cluster announces."""
        async for event in self._control.events(self._keys.events):
            kind, _, shard = event.decode(errors="replace").partition(":")
            if kind == "applied" and shard.isdecimal():
                self.documents.wake(int(shard))
            self._ranked_loads.take(event)
            if kind in ("workers", "reconnected"):
                self._membership.wake()
            if kind in (probation_board.EVENT, "reconnected"):
                self._sick_replicas.wake()
            if kind in ("collections", "reconnected"):
                self.collections.wake()

    @property
    def counters(self) -> Counters:
        """What the status counts of this gateway."""
        return self._transport.counters

    @property
    def is_connected(self) -> bool:
        """Whether Redis is there."""
        return self._transport.is_connected

    @property
    def is_ready(self) -> bool:
        """Whether a query could be answered: Redis answers and at least one shard is live.

        A Redis that hangs keeps its connections; that the view of the workers grows old shows it.
        """
        return (
            self.is_connected
            and any(self._membership.live)
            and self._membership.age_s(self._loop.time()) < self._stale_after_s
        )

    def hedge_counts(self) -> HedgeCounts:
        """What became of the second copies of searches so far."""
        return self._searcher.hedger.counts

    def lull_s(self) -> float:
        """For how long an idle loop may let what arrives gather: `transport.wake_up_coalescing`."""
        return lull_for(self._guards.num_in_flight, self._guards.shared.admission.duration_s)

    def callers(self) -> dict[str, dict[str, int]]:
        """Name of each key that was used → `in_flight`, and `refused` for its share."""
        return keys_in_use(self._shares())

    def keep_keys(self, names: Collection[str]) -> None:
        """Forget what was counted for keys that are not among `names`: they were revoked."""
        for shares in self._shares():
            shares.keep_keys(names)

    def refusal_of(self, query: SearchQuery) -> OverloadedError | None:
        """Refuse a query for which there is no room, without waiting; else return None.

        Raises:
            NotFoundError: there is no such collection.
        """
        return self._searcher.refusal_of(query, self.collections.get(query.collection))

    async def search(self, query: SearchQuery) -> SearchResult:
        """Answer a query by its deadline with what has arrived.

        The documents are the caller's: they count no more as held by this gateway.

        Raises:
            NotFoundError: there is no such collection.
            BadRequestError: the query cannot be answered; names the field and the reason.
            InsufficientCoverageError: less was searched than demanded, or nothing; carries the
                result with every shard's outcome.
        """
        check_members(query, self._search_body)
        result = await self.search_held(query)
        if result.lease is not None:
            result.lease.release()
        return result

    async def search_held(self, query: SearchQuery) -> SearchResult:
        """As `search`, for a query whose members have been checked, as those of HTTP are.

        The result is written out and dropped.
        Its documents count as held (`gateway.max_held_bytes`) until the last reference to its
        `lease` is gone.
        """
        return await self._searcher.search(query, self.collections.get(query.collection))

    async def get_document(
        self, collection: str, document_id: str, deadline_ms: float | None = None
    ) -> dict[str, Any]:
        """Read one document.

        Args:
            collection: the collection's name.
            document_id: the document's id.
            deadline_ms: time from now within which the answer must be there, in ms; None for the
                default.

        Raises:
            BadRequestError: no document can have that id, or the deadline is out of its range.
            NotFoundError: there is no such collection or document.
            UnavailableError: its shard did not answer by the deadline.
        """
        stored = await self.stored_document(collection, document_id, deadline_ms)
        document: dict[str, Any] = from_json(stored.body)
        return document

    async def stored_document(
        self,
        collection: str,
        document_id: str,
        deadline_ms: float | None = None,
        party: str = "",
    ) -> StoredDocument:
        """Read one document, as JSON, on behalf of a party (`Caller.party`).

        The other arguments and the errors are those of `get_document`.
        """
        check_address_id(document_id, self.settings.limits.max_id_bytes)
        uid = self.collections.get(collection).uid
        shard = shard_of(document_id, self.num_shards)
        if deadline_ms is None:
            deadline_ms = self.settings.gateway.default_deadline_ms
        check_deadline(deadline_ms, self.settings.gateway)
        deadline = self._loop.time() + deadline_ms / 1000
        if not self._membership.live[shard]:
            raise UnavailableError(f"shard {shard} has no live worker")
        fetcher = self._searcher.fetcher
        lease = fetcher.memory.lease(party)
        settled = await fetcher.read(uid, {shard: [document_id]}, None, "", deadline, lease)
        part = settled[shard]
        if part.outcome is not Outcome.OK:
            raise UnavailableError(f"shard {shard}: {part.reason}")
        if isinstance(part.body, Refused):
            raise UnavailableError(part.body.reason)
        match part.body.documents:
            case [bytes() as body]:
                return StoredDocument(body, lease)
            case [dict() as decoded]:  # from a worker of an earlier version
                return StoredDocument(to_json(decoded), lease)
            case [int(size)]:
                raise UnavailableError(
                    f"the document has {size} bytes, more than its worker's limits.max_fetch_bytes"
                )
        raise NotFoundError(f"there is no document {document_id!r} in {collection!r}")

    def coverage_curve(self, collection: str, deadline_ms: float) -> dict[str, Any]:
        """What coverage this gateway's queries have reached by which deadline, as JSON.

        Args:
            collection: the collection's name.
            deadline_ms: which deadline to say of what more time would have given, in ms.

        Raises:
            NotFoundError: there is no such collection.
        """
        curve = self._curves.curve(self.collections.get(collection).uid)
        return {"name": collection, **coverage_report(curve, deadline_ms)}

    def set_breaker(self, shard: int, state: str) -> None:
        """Set a breaker by hand.

        Args:
            shard: whose.
            state: `forced_open`, `disabled`, or `closed`, which gives it back to itself.

        Raises:
            BadRequestError: there is no such shard or state.
        """
        if not 0 <= shard < self.num_shards:
            raise BadRequestError("shard", f"is {shard}; there are {self.num_shards} shards")
        if state not in ("forced_open", "disabled", "closed"):
            raise BadRequestError("state", "must be forced_open, disabled or closed")
        now = self._loop.time()
        for guards in self._guards:
            breaker = guards.breakers[shard]
            match state:
                case "forced_open":
                    breaker.force_open(now)
                case "disabled":
                    breaker.disable(now)
                case _:
                    breaker.reset(now)

    async def status(self) -> dict[str, Any]:
        """The state of the cluster, as `gateway status --json` prints it."""
        try:
            async with asyncio.timeout(self.settings.redis.command_timeout_s):
                server = await self._control.server_info()
                backlog = await self._registry.backlog(range(self.num_shards))
                standing = await self._board.standing(self.collections.uids(), self.num_shards)
                snapshots = await self.snapshots.standing()
                optimising = await self.optimiser.standing(self.collections.uids())
                quarantine = await self.quarantine.list()
        except (RedisUnavailableError, ConfigurationError, TimeoutError):
            server, backlog, standing, snapshots, quarantine = None, {}, {}, {}, []
            optimising = {}
        names = self.collections.names()
        curves = {}
        for number, uid in enumerate(names, start=1):
            curves[uid] = coverage_report(
                self._curves.curve(uid), self.settings.gateway.default_deadline_ms, is_brief=True
            )
            if number % _REPORTED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return cluster_status(
            server=server,
            backlog=backlog,
            standing=standing,
            snapshots=snapshots,
            optimising=optimising,
            quarantine=quarantine,
            shortages=self._storage.list(),
            membership=self._membership,
            probation=self._sick_replicas.words(self._server_ms()),
            breakers=self._guards.shared.breakers,
            profile_breakers=self._guards.states(self._loop.time()),
            now=self._loop.time(),
            now_ms=self._server_ms(),
            names=names,
            curves=curves,
            gateway={
                "id": self.id,
                "version": __version__,
                "in_flight": self._searcher.num_in_flight,
                "counters": self._transport.counters.as_dict(),
                "answers": self._searcher.fetcher.memory.as_dict(),
                "loop": self._lag.as_dict(),
                "admission": self._guards.admission_json(self._loop.time()),
                "requests": self.requests.to_json(),
                "addresses": refused_addresses(self._shares()),
                "hedges": {
                    "search": self._searcher.hedger.as_dict(),
                    "fetch": self._searcher.fetcher.hedger.as_dict(),
                },
                "clock_error_us": round(self._transport.clock.error_us, 1),
            },
        )

    def _shares(self) -> list[FairShare]:
        return [*self._guards.shares(), self.requests.shares]

    def _heartbeats(self) -> Iterable[Heartbeat]:
        return self._membership.workers.values()

    def _server_ms(self) -> int:
        return self._transport.clock.server_us(self._loop.time()) // 1000

    def _on_transition(self, shard: int, profile: str, transition: Transition) -> None:
        log.info(
            "breaker",
            shard=shard,
            **({"profile": profile} if profile else {}),
            before=transition.before.value,
            after=transition.after.value,
            reason=transition.reason,
        )
