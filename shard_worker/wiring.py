"""Makes the lanes of a worker, with the sizes of its settings."""

import pickle
from collections.abc import Mapping
from functools import partial
from typing import Final, Literal

from hedgerow.common.machine.freed_memory import return_unused_memory
from hedgerow.common.observability.telemetry import configure_logging, keep_output_steady
from hedgerow.common.settings.cores import num_cores, num_scorers, num_spare_scorers
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.settings import Settings
from hedgerow.shard_worker.embedding.embedder import EmbedConfig
from hedgerow.shard_worker.executors.bulkhead import Bulkhead
from hedgerow.shard_worker.executors.process_pool.forkserver_start import Start, start_interpreter
from hedgerow.shard_worker.executors.process_pool.limits import DispatchLimits
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate
from hedgerow.shard_worker.executors.process_pool.recycler import MemoryLimit
from hedgerow.shard_worker.executors.process_pool.scorer_pool import ScorerPool
from hedgerow.shard_worker.executors.process_pool.scorer_process import ScorerSpec
from hedgerow.shard_worker.executors.thread_pool.batched_threads import BatchedThreads
from hedgerow.shard_worker.executors.thread_pool.threads import ThreadLane
from hedgerow.shard_worker.indexing.indexer import IndexerConfig
from hedgerow.shard_worker.scoring.scorer import ScorerConfig
from hedgerow.shard_worker.serving.fetch import FetchLanes
from hedgerow.shard_worker.serving.work_accounting import End, WorkAccounting

SCORER_FACTORY: Final = "hedgerow.shard_worker.scoring.scorer:make_handler"

# A batch of megabytes takes a while to send and to apply. At shutdown it is better finished than
# killed; the drain time bounds this.
INDEXER_GRACE_MS = 30_000.0
WORKER_SERVICE = "hedgerow-worker"  # the `service.name` of its spans, and of its scorers'


def prepare_process(
    level: Literal["debug", "info", "warning", "error"], form: Literal["console", "json"]
) -> None:
    """Configure the logging of a lane's process as its worker's."""
    keep_output_steady(form)
    configure_logging(level, form)


def scorer_lane(
    settings: Settings,
    import_path: tuple[str, ...],
    gate: QuarantineGate,
    start_forkserver: Start = start_interpreter,
    worker_id: str = "",
) -> ScorerPool:
    """The process lane that retrieves and ranks, in the pool that `worker.process_pool` names.

    A profile with a second phase may have all scorers but one. If there is such a profile,
    `worker.spare_scorers` are added, so that it loses none by this.
    """
    tuning, profiles = settings.worker, settings.rank_profiles
    num_processes = num_scorers(tuning, num_cores(), tuning.workers_on_host)
    num_processes += num_spare_scorers(settings)
    max_mb = tuning.scorer_max_memory_mb
    config = ScorerConfig(
        str(settings.data),
        dict(profiles),
        import_path,
        max_candidate_bytes=settings.limits.max_candidate_bytes,
        tracing=settings.tracing,
        worker_id=worker_id,
    )
    bulkhead = Bulkhead(num_processes, 1.0, shares_of(profiles))
    prepare = partial(prepare_process, settings.log_level, settings.log_format)
    if tuning.process_pool == "executor":
        # Imported here, since it takes 20 ms and most workers do not need it.
        from hedgerow.shard_worker.executors.standard_pool import pool  # noqa: PLC0415

        return pool.StandardPool(
            ScorerSpec(
                name="scorer",
                factory=SCORER_FACTORY,
                config=pickle.dumps(config),
                import_path=import_path,
                prepare=prepare,
                nice=tuning.process_nice,
            ),
            num_processes,
            DispatchLimits.of(
                num_processes, tuning.max_batch, tuning.batch_window_ms, tuning.kill_grace_ms
            ),
            bulkhead,
            gate,
        )
    return ProcessLane(
        factory=SCORER_FACTORY,
        config=config,
        num_processes=num_processes,
        bulkhead=bulkhead,
        max_batch=tuning.max_batch,
        batch_window_ms=tuning.batch_window_ms,
        kill_grace_ms=tuning.kill_grace_ms,
        gate=gate,
        name="scorer",
        nice=tuning.process_nice,
        memory_limit=MemoryLimit(max_mb) if max_mb else None,
        import_path=import_path,
        prepare=prepare,
        start_forkserver=start_forkserver,
    )


def indexer_lane(
    settings: Settings,
    start_forkserver: Start = start_interpreter,
    import_path: tuple[str, ...] = (),
) -> ProcessLane:
    """The process lane that writes: one process, since a store and an index have one writer.

    Functions that embed are imported from `import_path`.
    """
    tuning, limits = settings.worker, settings.limits
    return ProcessLane(
        factory="hedgerow.shard_worker.indexing.indexer:make_indexer",
        config=IndexerConfig(
            str(settings.data),
            limits.index_memory_bytes,
            limits.optimise_memory_bytes,
            EmbedConfig.of(settings.embed),
        ),
        num_processes=1,
        max_batch=1,
        batch_window_ms=tuning.batch_window_ms,
        kill_grace_ms=INDEXER_GRACE_MS,
        gate=None,
        name="indexer",
        nice=tuning.indexer_nice,
        when_idle=return_unused_memory,
        import_path=import_path,
        prepare=partial(prepare_process, settings.log_level, settings.log_format),
        start_forkserver=start_forkserver,
    )


def enrich_bulkhead(settings: Settings) -> Bulkhead:
    """What bounds how many threads the `enrich` of one profile holds."""
    tuning = settings.worker
    return Bulkhead(tuning.threads, tuning.profile_share, shares_of(settings.rank_profiles))


def fetch_lanes(settings: Settings, accounting: WorkAccounting, bulkhead: Bulkhead) -> FetchLanes:
    """The thread lanes: one for reading documents, one for users' `enrich`, within `bulkhead`."""
    tuning = settings.worker

    def on_untaken(ran_s: float, cpu_s: float) -> None:
        accounting.add(End.UNSTOPPABLE.value, int(ran_s * 1e6), int(cpu_s * 1e6))

    readers = ThreadLane(
        num_threads=tuning.read_threads, lost_after_s=tuning.thread_timeout_s, name="readers"
    )
    return FetchLanes(
        BatchedThreads(readers, tuning.max_batch, on_untaken),
        ThreadLane(
            num_threads=tuning.threads,
            lost_after_s=tuning.thread_timeout_s,
            name="threads",
            on_untaken=on_untaken,
            bulkhead=bulkhead,
        ),
    )


def shares_of(profiles: Mapping[str, RankProfile]) -> dict[str, float]:
    """Profile → its share of a lane, for profiles with a share of their own."""
    return {name: profile.share for name, profile in profiles.items() if profile.share is not None}
