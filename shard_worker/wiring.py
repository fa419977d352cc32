"""The lanes of a worker, as its settings size them."""

import os
from functools import partial
from typing import Literal

from common.config import Settings, WorkerSettings
from common.telemetry import configure_logging, keep_output_steady
from shard_worker.indexer import IndexerConfig
from shard_worker.lanes.process_lane import ProcessLane
from shard_worker.lanes.recycler import MemoryLimit
from shard_worker.lanes.suspects import Suspects
from shard_worker.lanes.thread_lane import ThreadLane
from shard_worker.ledger import End, Ledger
from shard_worker.scorer import ScorerConfig

# A batch of megabytes takes a while to arrive and to apply, and at shutdown it is better ended than
# killed (the lane's drain bounds that wait).
INDEXER_GRACE_MS = 30_000.0


def prepare_process(
    level: Literal["debug", "info", "warning", "error"], form: Literal["console", "json"]
) -> None:
    """Have a process of a lane log as its worker does."""
    keep_output_steady(form)
    configure_logging(level, form)


def num_scorers(settings: WorkerSettings) -> int:
    """How many scorer processes a worker starts: its share of this machine's cores, at least 1."""
    if settings.scorers:
        return settings.scorers
    # The cores that this process may use, where the system tells: a container may have fewer.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // settings.workers_on_host)


def scorer_lane(
    settings: Settings,
    shards: tuple[int, ...],
    import_path: tuple[str, ...],
    suspects: Suspects,
) -> ProcessLane:
    """The process lane that retrieves and ranks."""
    tuning = settings.worker
    max_mb = tuning.scorer_max_memory_mb
    return ProcessLane(
        factory="shard_worker.scorer:make_scorer",
        config=ScorerConfig(str(settings.data), shards, dict(settings.rank_profiles), import_path),
        num_processes=num_scorers(tuning),
        max_batch=tuning.max_batch,
        batch_window_ms=tuning.batch_window_ms,
        kill_grace_ms=tuning.kill_grace_ms,
        suspects=suspects,
        name="scorer",
        nice=tuning.process_nice,
        memory_limit=MemoryLimit(max_mb) if max_mb else None,
        import_path=import_path,
        prepare=partial(prepare_process, settings.log_level, settings.log_format),
    )


def indexer_lane(settings: Settings, shards: tuple[int, ...]) -> ProcessLane:
    """The process lane that writes: one process, since a store and an index have one writer."""
    tuning, limits = settings.worker, settings.limits
    return ProcessLane(
        factory="shard_worker.indexer:make_indexer",
        config=IndexerConfig(
            *(str(settings.data), shards),
            *(limits.index_memory_bytes, limits.optimise_memory_bytes),
        ),
        num_processes=1,
        max_batch=1,
        batch_window_ms=tuning.batch_window_ms,
        kill_grace_ms=INDEXER_GRACE_MS,
        suspects=None,
        name="indexer",
        nice=tuning.process_nice,
        prepare=partial(prepare_process, settings.log_level, settings.log_format),
    )


def thread_lane(settings: Settings, ledger: Ledger) -> ThreadLane:
    """The thread lane for blocking calls: reading documents, and users' `enrich`."""
    tuning = settings.worker
    return ThreadLane(
        num_threads=tuning.threads,
        lost_after_s=tuning.thread_timeout_s,
        name="threads",
        on_untaken=lambda ran_s, cpu_s: ledger.add(
            End.UNSTOPPABLE.value, int(ran_s * 1e6), int(cpu_s * 1e6)
        ),
    )
