"""The settings of a shard worker: `[worker]`."""

import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from hedgerow.common.settings.group import PositiveFloat, PositiveInt
from hedgerow.common.settings.metrics import WorkerMetricsSettings
from hedgerow.common.settings.placement import JoinSettings


class WorkerSettings(JoinSettings, WorkerMetricsSettings):
    """One shard worker."""

    scorers: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Scorer processes; 0 shares the machine's cores among workers_on_host.",
    )
    spare_scorers: Annotated[int, Field(ge=0)] = Field(
        1,
        description="Additional scorer processes, started if a rank profile has a second phase: "
        "such a profile never holds the last scorer, however long it takes.",
    )
    workers_on_host: PositiveInt = Field(
        1, description="Workers that share this machine's cores (gateway up and compose set it)."
    )
    process_pool: Literal["supervised", "executor"] = Field(
        "supervised",
        description="How scorers run: supervised replaces a single one, moves what waits behind a "
        "long search and finds the query that kills; executor is the standard library's "
        "ProcessPoolExecutor, which breaks as a whole. The indexer is always supervised.",
    )
    process_nice: Annotated[int, Field(ge=0, le=19)] = Field(
        5,
        description="Nice value of scorers above their worker's (nice(2)): on a busy core, the "
        "event loops that carry replies and cancellations run first.",
    )
    indexer_nice: Annotated[int, Field(ge=0, le=19)] = Field(
        5,
        description="Nice value of the indexer above its worker's. If it is higher than that of "
        "scorers, searches go first on a busy core; on a machine that is busy all the time, what "
        "is written then waits for long.",
    )
    threads: PositiveInt = Field(8, description="Threads of the thread lane (enrich).")
    read_threads: PositiveInt = Field(
        4,
        description="Threads that read stored documents; they run no user's function.",
    )
    profile_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5,
        description="Largest share of the threads that the enrich of one rank profile may hold at "
        "once, rounded down: at least one thread and, if there are several, never all.",
    )
    max_batch: PositiveInt = Field(64, description="Most requests in one pull or micro-batch.")
    batch_window_ms: PositiveFloat = Field(
        4.0,
        description="A pull takes as many requests as the lanes should start within this time, by "
        "the service times that they measure, in ms.",
    )
    kill_grace_ms: PositiveFloat = Field(
        250.0,
        description="A scorer is killed if its work runs for this long after its deadline, in ms. "
        "Time for which it waits for a core does not count (on Linux).",
    )
    scorer_max_memory_mb: Annotated[int, Field(ge=0)] = Field(
        0,
        description="A scorer whose own memory has grown beyond this is replaced between two "
        "batches, in MB; pages of files, such as the index, do not count; 0 for no limit (Linux "
        "only; elsewhere there is no limit).",
    )
    thread_timeout_s: PositiveFloat = Field(
        2.0,
        description="A blocking call that runs longer counts as a lost thread until it returns, "
        "in s.",
    )
    quarantine_after: PositiveInt = Field(
        2,
        description="A query that has killed this many scorers is refused.",
    )
    quarantine_expiry_s: PositiveFloat = Field(
        300.0, description="How long a query stays in quarantine, in s."
    )
    heartbeat_interval_s: PositiveFloat = Field(
        0.5,
        description="Time between a worker's heartbeats, in s; it also sends one when it starts or "
        "stops serving a shard.",
    )
    heartbeat_expiry_s: PositiveFloat = Field(
        2.0, description="A worker without a heartbeat for this long is not live, in s."
    )
    health_file: Path | None = Field(
        None,
        description="File whose modification time is the time until which the worker's last "
        "heartbeat is fresh, for a health check that starts no interpreter. It should be in "
        "memory. If unset, there is none.",
    )
    loop_lag_threshold_ms: PositiveFloat = Field(
        100.0, description="A delay of an event loop above this is logged and counted, in ms."
    )
    drain_timeout_s: PositiveFloat = Field(
        10.0, description="Longest wait for work in flight at shutdown, in s."
    )
    statistics_interval_s: PositiveFloat = Field(
        60.0, description="How often changed term statistics are summed over the shards, in s."
    )
    summary_bytes: Annotated[int, Field(ge=0, le=16_777_216)] = Field(
        131_072,
        description="Most bytes of the summary of the words, keywords and ranges that a shard "
        "holds of a collection, by which gateways see that a search need not ask the shard; in "
        "Redis and in each gateway, a shard and collection. At 10 bits a word, the default has "
        "room for 100,000; fields that do not fit are left out. 0 for no summaries.",
    )

    @property
    def host_name(self) -> str:
        """`host`, or if that is not set, what the system calls the machine."""
        return self.host or socket.gethostname()

    @field_validator("scorer_max_memory_mb")
    @classmethod
    def _can_be_kept(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("process_pool") == "executor":
            raise ValueError("needs process_pool = supervised: executor replaces no single scorer")
        return value
