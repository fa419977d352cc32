"""Settings: environment `HEDGEROW_*` over `hedgerow.toml` over the defaults below.

`HEDGEROW_BREAKER__CONSECUTIVE_FAILURES=3` is `consecutive_failures = 3` under `[breaker]`.
docs/configuration.md has each setting with unit and default; a test fails when the two differ.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.settings.access import HostName, Origin, Token
from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.common.settings.group import Group as _Group
from hedgerow.common.settings.group import Percent, PositiveFloat, PositiveInt
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.settings.storage import StorageSettings
from hedgerow.common.settings.tail import (
    AdmissionSettings,
    CoverageSettings,
    HedgingSettings,
    ProbationSettings,
)
from hedgerow.common.settings.tls import TlsSettings
from hedgerow.common.wire.messages import MAX_ATTACHED_BYTES


class RedisSettings(_Group):
    """The Redis or Valkey server that gateway and workers share."""

    url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="redis://, rediss:// or unix:// URL of the server.",
    )
    username: str | None = Field(None, description="ACL user; overrides the URL's.")
    password: SecretStr | None = Field(None, description="Password; overrides the URL's.")
    key_prefix: str = Field(
        "hedgerow", min_length=1, description="First part of every key and channel."
    )
    tls_ca_file: Path | None = Field(
        None,
        description="PEM file of the authorities trusted for rediss://; the system's if unset.",
    )
    connect_timeout_s: PositiveFloat = Field(
        2.0, description="Longest time of one connection attempt, in s."
    )
    command_timeout_s: PositiveFloat = Field(
        5.0, description="Longest time of one command off the hot path, in s."
    )
    reconnect_max_s: PositiveFloat = Field(
        2.0,
        description="Longest pause between connection attempts, in s; pauses double, with jitter.",
    )
    queue_expiry_s: PositiveInt = Field(
        60, description="A shard's queue is removed after this time without a push, in s."
    )


class BreakerSettings(_Group):
    """One circuit breaker per shard in each gateway; names as in resilience4j."""

    consecutive_failures: PositiveInt = Field(
        5, description="Open after this many failures in a row."
    )
    sliding_window_size: PositiveInt = Field(
        100, description="Number of recent calls from which the rates are computed."
    )
    minimum_number_of_calls: PositiveInt = Field(
        20, description="No rate opens the breaker until the window has this many calls."
    )
    failure_rate_threshold: Percent = Field(
        50.0, description="Open at this share of failures in the window, in percent."
    )
    slow_call_rate_threshold: Percent = Field(
        100.0, description="Open at this share of slow calls in the window, in percent."
    )
    slow_call_duration_threshold_ms: PositiveFloat = Field(
        60_000.0, description="A call that takes longer is slow, in ms."
    )
    wait_duration_in_open_state_s: PositiveFloat = Field(
        1.0,
        description="Time from opening to the first probe, in s; doubles each time a probe fails.",
    )
    max_wait_duration_in_open_state_s: PositiveFloat = Field(
        30.0, description="Longest such wait, in s."
    )
    wait_jitter: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="The wait is varied at random by up to this share of it, up or down."
    )
    permitted_number_of_calls_in_half_open_state: PositiveInt = Field(
        1, description="Most probes at once in the half-open state."
    )


class GatewaySettings(ConnectionSettings, TlsSettings):
    """The gateway: HTTP, query defaults and limits."""

    host: str = Field("127.0.0.1", description="Address that the HTTP server binds.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8080, description="Port that the HTTP server binds; 0 for any free one."
    )
    token: Token | None = Field(
        None,
        description="If set, every request except health checks needs this token, or a key, as a "
        "bearer token. The token has all rights.",
    )
    keys_file: Path | None = Field(
        None,
        description="File of the keys that `gateway key` creates. Once it exists, every request "
        "except health checks needs one of them, or the token. If unset, keys.json in the data "
        "folder.",
    )
    allowed_hosts: list[HostName] = Field(
        [],
        description="Host names, without port, that the gateway answers to while there is neither "
        "a token nor a key, in addition to loopback names and the bound address; * for all.",
    )
    cors_origins: list[Origin] = Field(
        [],
        description="Origins of web pages that may read and write through this gateway, such as "
        "https://app.example.org.",
    )
    default_deadline_ms: PositiveFloat = Field(
        300.0, description="Deadline of a query that names none, in ms."
    )
    max_deadline_ms: PositiveFloat = Field(
        60_000.0, description="Longest deadline that a query may name, in ms."
    )
    default_k: PositiveInt = Field(10, description="Hits of a query that names no k.")
    max_k: PositiveInt = Field(1000, description="Most hits that a query may ask for.")
    max_query_chars: PositiveInt = Field(
        4096, description="Longest query or filter, in characters."
    )
    max_body_bytes: PositiveInt = Field(
        65_536, description="Largest body of a request that is not a bulk load, in bytes."
    )
    max_answer_bytes: PositiveInt = Field(
        8_388_608,
        description="Most bytes of documents, as JSON, in the answer to a search. If the "
        "documents have more, the last hits come without fields.",
    )
    max_held_bytes: PositiveInt = Field(
        33_554_432,
        description="Most bytes of documents that all answers together hold until their clients "
        "have read them; replies of up to 64 KiB do not count. The answers of a key, or of an "
        "address without one, hold at most as many bytes as stay free: alone, half. Beyond that, "
        "hits come without fields.",
    )
    membership_poll_s: PositiveFloat = Field(
        0.25, description="How often the workers' heartbeats are read, in s."
    )
    drain_timeout_s: PositiveFloat = Field(
        10.0, description="Longest wait for queries in flight at shutdown, in s."
    )
    write_timeout_s: PositiveFloat = Field(
        60.0, description="Longest wait for a bulk load's backpressure, or for ?wait=applied, in s."
    )
    statistics_timeout_s: float = Field(
        10.0,
        ge=0.0,
        description="Longest that a load with ?wait=applied, once its documents can be found, "
        "waits for term statistics that count them, in s; 0 for no wait.",
    )
    max_loads: PositiveInt = Field(
        32,
        description="Most bulk loads at once; each holds up to four times "
        "limits.max_document_bytes.",
    )
    max_requests: PositiveInt = Field(
        128,
        description="Most requests at once that are neither searches nor bulk loads: reads and "
        "deletes of documents, status, collections and the like. Callers below their fair share "
        "may have half as many more.",
    )
    max_viewers: Annotated[int, Field(ge=0)] = Field(
        20,
        description="Most clients at once that follow the events of the cluster: pages in "
        "browsers, and gateway top. With 0, none may.",
    )
    load_idle_s: PositiveFloat = Field(
        10.0,
        description="If there are max_loads bulk loads, a new one replaces a load whose client "
        "has sent no document that was accepted for this long, in s.",
    )


class WorkerSettings(_Group):
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
        description="Nice value of scorers and the indexer above their worker's (nice(2)): on a "
        "busy core, the event loops that carry replies and cancellations run first.",
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
        description="A scorer is killed if its work runs for this long after its deadline, in ms.",
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
    loop_lag_threshold_ms: PositiveFloat = Field(
        100.0, description="A delay of an event loop above this is logged and counted, in ms."
    )
    drain_timeout_s: PositiveFloat = Field(
        10.0, description="Longest wait for work in flight at shutdown, in s."
    )
    statistics_interval_s: PositiveFloat = Field(
        60.0, description="How often changed term statistics are summed over the shards, in s."
    )

    @field_validator("scorer_max_memory_mb")
    @classmethod
    def _can_be_kept(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("process_pool") == "executor":
            raise ValueError("needs process_pool = supervised: executor replaces no single scorer")
        return value


class LimitSettings(_Group):
    """Explicit limits of the write path and of messages."""

    max_collections: PositiveInt = Field(
        256,
        description="Most collections in a cluster; each has a text index in every shard.",
    )
    max_document_bytes: PositiveInt = Field(
        1_048_576, description="Largest document, as JSON, in bytes."
    )
    max_document_values: PositiveInt = Field(
        10_000,
        description="Most values in a document, including nested ones, as counted by its commas "
        "and opening brackets outside of strings.",
    )
    max_id_bytes: PositiveInt = Field(512, description="Longest document id, in bytes.")
    max_log_entries: PositiveInt = Field(
        1_000,
        description="A bulk load waits while a shard's log holds more entries "
        "that are not yet applied (an entry is a batch of documents).",
    )
    max_message_bytes: PositiveInt = Field(
        16_777_216, description="Largest message between gateway and worker, in bytes."
    )
    max_fetch_bytes: PositiveInt = Field(
        4_194_304,
        description="Most bytes of documents, as JSON, in one shard's reply to a fetch (or "
        "max_document_bytes, if that is more). If the documents have more, the last hits come "
        "without fields.",
    )
    max_attached_bytes: Annotated[int, Field(ge=0, le=MAX_ATTACHED_BYTES)] = Field(
        MAX_ATTACHED_BYTES,
        description="Most bytes of documents, as JSON, in all shards' replies to a search, so that "
        "these documents need not be fetched. The others are fetched; with 0, all are.",
    )
    max_enrich_bytes: PositiveInt = Field(
        1_048_576,
        description="Most bytes of stored documents, as JSON, that one call of an enrich "
        "receives; the other documents keep their stored fields.",
    )
    max_candidate_bytes: PositiveInt = Field(
        8_388_608,
        description="Most bytes of documents, as JSON and with the profile's fields only, that "
        "one call of a second phase receives; the other candidates are not ranked, and the answer "
        "says so.",
    )
    apply_batch_bytes: PositiveInt = Field(
        8_388_608,
        description="Most bytes of the log that a replica applies before it commits.",
    )
    index_memory_bytes: Annotated[int, Field(ge=15_000_000)] = Field(
        32_000_000, description="Memory of one text index's writer while it applies, in bytes."
    )
    optimise_memory_bytes: Annotated[int, Field(ge=15_000_000)] = Field(
        512_000_000,
        description="Most memory of the writer that optimises a text index, in bytes; what does "
        "not fit becomes another segment.",
    )


class SnapshotSettings(_Group):
    """Copies of whole shards outside of the workers' folders, from which replicas start."""

    url: str = Field(
        "",
        description="Folder or fsspec URL (s3://bucket/folder) where snapshots go; none if empty.",
    )
    interval_s: Annotated[float, Field(ge=0)] = Field(
        3600.0,
        description="Time between the snapshots of a shard that has changed, in s; 0 for no "
        "schedule.",
    )
    max_log_entries: PositiveInt = Field(
        10_000,
        description="A snapshot is made earlier if the shard's log keeps this many entries for it.",
    )
    keep: PositiveInt = Field(3, description="Number of snapshots of each shard that are kept.")
    timeout_s: PositiveFloat = Field(1800.0, description="Longest time of one snapshot, in s.")
    key: SecretStr | None = Field(
        None,
        description="Secret of 16 characters or more that manifests are signed with, the same in "
        "every process; a snapshot that is not signed with it is refused. If unset, snapshots are "
        "not signed.",
    )
    max_bytes: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Largest snapshot of a shard that a worker restores, in bytes; 0 for as much "
        "as the disk has free.",
    )
    forget_replica_s: PositiveFloat = Field(
        600.0,
        description="The log does not wait for a replica that is behind the newest snapshot and "
        "has been away for this long, in s.",
    )

    @field_validator("key")
    @classmethod
    def _is_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("is shorter than 16 characters")
        return value


class RankProfile(_Group):
    """A named choice of first-phase retrieval and second-phase scoring."""

    first_phase: Literal["bm25", "noop"] = Field(
        "bm25", description="bm25 retrieves by the text index; noop takes the first k ids."
    )
    second_phase: str | None = Field(
        None, description="module:function that scores the candidates again."
    )
    candidates: PositiveInt = Field(
        100, description="Best documents of each shard that the second phase scores."
    )
    fields: list[str] | None = Field(
        None, description="Fields that the second phase receives; all if unset."
    )
    enrich: str | None = Field(
        None, description="module:function, may block; runs on the winners' documents."
    )
    share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Largest share of a worker's threads and scorers that the profile's functions "
        "may hold at once. If unset, worker.profile_share of the threads and all scorers but one.",
    )
    canary: bool = Field(
        False,
        description="Whether a query that no scorer has survived yet is tried on one shard first.",
    )
    lane: Literal["process", "loop"] = Field(
        "process", description="Where the search runs; loop is only for noop."
    )

    @field_validator("second_phase", "enrich")
    @classmethod
    def _names_a_function(cls, value: str | None) -> str | None:
        if value is not None:
            module, colon, function = value.partition(":")
            if not (module and colon and function):
                raise ValueError("is written module:function")
        return value


BUILT_IN_PROFILES = {
    "bm25": RankProfile(first_phase="bm25"),
    "noop": RankProfile(first_phase="noop", lane="loop"),
}


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix="HEDGEROW_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # a traceback must not show a password
    )

    data: Path = Field(Path("hedgerow-data"), description="Folder of all stored data.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )
    log_format: Literal["console", "json"] = Field("console", description="Form of a log line.")
    redis: RedisSettings = RedisSettings()
    gateway: GatewaySettings = GatewaySettings()
    worker: WorkerSettings = WorkerSettings()
    query: QuerySettings = QuerySettings()
    breaker: BreakerSettings = BreakerSettings()
    hedging: HedgingSettings = HedgingSettings()
    coverage: CoverageSettings = CoverageSettings()
    probation: ProbationSettings = ProbationSettings()
    admission: AdmissionSettings = AdmissionSettings()
    limits: LimitSettings = LimitSettings()
    storage: StorageSettings = StorageSettings()
    snapshots: SnapshotSettings = SnapshotSettings()
    rank_profiles: dict[str, RankProfile] = Field(
        default_factory=dict, description="Profiles in addition to the built-in bm25 and noop."
    )

    @field_validator("rank_profiles")
    @classmethod
    def _with_built_in(cls, value: dict[str, RankProfile]) -> dict[str, RankProfile]:
        for name, profile in value.items():
            if profile.lane == "loop" and (profile.first_phase != "noop" or profile.second_phase):
                raise ValueError(f"{name}: lane loop is for noop without a second phase")
        return {**BUILT_IN_PROFILES, **value}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order: arguments, the environment, the file that HEDGEROW_CONFIG names."""
        path = _file()
        return (
            init_settings,
            env_settings,
            TomlConfigSettingsSource(settings_cls, path if path.is_file() else None),
        )


def load_settings(**overrides: object) -> Settings:
    """Read the settings; only entry points call this.

    Raises:
        ConfigurationError: a value is invalid; names the setting and the reason.
    """
    if os.environ.get("HEDGEROW_CONFIG") and not _file().is_file():
        raise ConfigurationError(f"HEDGEROW_CONFIG: there is no file {_file()}")
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigurationError("; ".join(map(_describe, error.errors()))) from error
    except SettingsError as error:  # a whole group as one variable, which is not JSON
        raise ConfigurationError(f"environment: {error}") from error
    except (ValueError, OSError) as error:  # the file is not TOML, or cannot be read
        raise ConfigurationError(f"{_file()}: {error}") from error


def _file() -> Path:
    return Path(os.environ.get("HEDGEROW_CONFIG") or "hedgerow.toml")


def _describe(error: ErrorDetails) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where}: there is no such setting"
    return f"{where}: {error['msg'].removeprefix('Value error, ')}"
