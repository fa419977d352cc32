"""The settings of the gateway: `[gateway]`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from hedgerow.common.settings.access import HostName, Origin, Token
from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.common.settings.group import PositiveFloat, PositiveInt
from hedgerow.common.settings.processes import ProcessSettings
from hedgerow.common.settings.tls import TlsSettings


class GatewaySettings(ProcessSettings, ConnectionSettings, TlsSettings):
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
    max_batch_searches: PositiveInt = Field(
        100, description="Most searches in one request to POST /v1/search:batch."
    )
    max_query_chars: PositiveInt = Field(
        4096, description="Longest query or filter, in characters."
    )
    max_body_bytes: PositiveInt = Field(
        65_536, description="Largest body of a request that is not a bulk load, in bytes."
    )
    max_synonyms_bytes: PositiveInt = Field(
        1_048_576,
        description="Largest body of a request with the synonyms of a collection, in bytes.",
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
    summary_bytes: Annotated[int, Field(ge=0)] = Field(
        67_108_864,
        description="Most bytes of all shards' summaries (worker.summary_bytes) that the gateway "
        "keeps, of the collections that are searched. A search that no document of a shard can "
        "match, by the shard's summary, does not ask the shard. 0 to ask every shard.",
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
    expiry_interval_s: Annotated[float, Field(ge=0)] = Field(
        10.0,
        description="How often one of the gateways deletes documents that have expired, in s; 0 "
        "if this gateway never should.",
    )
    reindex_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5,
        description="Part of the time for which documents are copied while a collection is "
        "reindexed, so that queries go first; 1 to copy as fast as possible.",
    )
    max_loads: PositiveInt = Field(
        32,
        description="Most bulk loads at once; each holds up to four times "
        "limits.max_document_bytes.",
    )
    max_requests: PositiveInt = Field(
        128,
        description="Most requests at once that are neither searches nor bulk loads: reads, "
        "patches and deletes of documents, status, collections and the like. Callers below their "
        "fair share may have half as many more.",
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
    slow_ms: Annotated[float, Field(ge=0)] = Field(
        1000.0,
        description="A search that takes this long or longer is logged with where its time went, "
        "and its trace is kept, in ms; 0 for neither.",
    )
