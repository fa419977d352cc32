"""Reads a scenario, the script of a simulation, from TOML; docs/tail.md explains every member.

A scenario is one run, or several that differ in some members: the tables of `[[runs]]` override the
others, table by table.
"""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from hedgerow.common.errors import BadRequestError
from hedgerow.common.settings.breaker import BreakerSettings
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.tail import AdmissionSettings, CoverageSettings, HedgingSettings
from hedgerow.gateway.simulate.distributions import Constant, Distribution, Milliseconds, Part

Share = Annotated[float, Field(gt=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_SHIPPED = files("hedgerow.gateway.simulate") / "scenarios"
_NO_TIME = Constant(kind="constant", ms=0)


class Open(Part):
    """Queries arrive whether or not earlier ones are answered."""

    kind: Literal["poisson", "constant"]
    rate_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Closed(Part):
    """A number of callers, of which each asks again, after `think`, when it has an answer."""

    kind: Literal["closed"]
    callers: PositiveInt
    think: Distribution = _NO_TIME


class Shards(Part):
    """The shards, and how each answers.

    Attributes:
        replicas: servers of each shard.
        concurrency: requests that a server works on at once, each at full speed.
        queue: "shared": one first-in-first-out queue per shard, as over Redis; "separate": one per
            server, and each request goes to a random one; "tied": a request goes to two of those,
            the second copy after `tie_delay_ms`, and each is taken back `tie_cancel_ms` after the
            other has started.
        service: time that the work of a request takes.
        is_stoppable: whether work ends at the deadline, as it does if it checks its budget.
        documents: documents in each shard.
        hits: hits that each shard finds.
    """

    count: PositiveInt
    replicas: PositiveInt = 1
    concurrency: PositiveInt = 1
    queue: Literal["shared", "separate", "tied"] = "shared"
    tie_delay_ms: Milliseconds = 1.0
    tie_cancel_ms: Milliseconds = 0.0
    service: Distribution
    is_stoppable: bool = True
    documents: PositiveInt = 1000
    hits: PositiveInt = 1

    @model_validator(mode="after")
    def _can_be_tied(self) -> Self:
        if self.queue == "tied" and self.replicas < 2:
            raise ValueError("tied requests need at least replicas = 2")
        return self


class Different(Part):
    """Servers that answer differently from the others: all replicas or one, of some shards."""

    shards: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    replica: Annotated[int, Field(ge=0)] | None = None
    service: Distribution | None = None
    is_stoppable: bool | None = None


class Network(Part):
    """Latency of a scatter (one write: the same for all shards), and of each reply."""

    request: Distribution = _NO_TIME
    reply: Distribution = _NO_TIME


class Query(Part):
    """The parameters of each query, and what its shards have in common.

    Attributes:
        hang_up: share of the callers that leave, each `hang_up_after` it has asked.
        fields: whether the winners' documents are fetched; each part takes `Run.fetch`.
        delay: time that is added to every reply of a query, drawn once per query.
        cost_sigma: a query's cost multiplies the work of all its shards: lognormal, median 1.
    """

    deadline_ms: Annotated[float, Field(gt=0, le=60_000)] = 300.0
    k: PositiveInt = 10
    minimum_coverage: Annotated[float, Field(ge=0, le=1)] = 0.0
    wait_for: Share = 1.0
    priority: Literal["interactive", "batch"] = "interactive"
    hang_up: Annotated[float, Field(ge=0, le=1)] = 0.0
    hang_up_after: Distribution = Constant(kind="constant", ms=1)
    fields: bool = False
    delay: Distribution = _NO_TIME
    cost_sigma: Annotated[float, Field(ge=0, le=10)] = 0.0


class Racks(Part):
    """Workers in racks, over which the cluster's placement policy spreads the replicas of shards.

    Attributes:
        count: racks.
        workers: in all racks.
        are_known: whether each worker states its rack (`worker.zone`).
    """

    count: PositiveInt
    workers: PositiveInt
    are_known: bool = True

    @model_validator(mode="after")
    def _has_workers_in_each(self) -> Self:
        if self.workers < self.count:
            raise ValueError("racks.workers is less than racks.count")
        return self


class Whose(Part):
    """The servers that a fault affects; shards None for a new random `share` each time."""

    shards: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    share: Share = 1.0
    replica: Annotated[int, Field(ge=0)] | None = None


class Slowdown(Whose):
    """Work that starts during it takes `factor` times as long, on all these shards at once.

    Attributes:
        at_s: when the first one begins; None: after a random gap as between two.
        every_s: mean of the exponential gap from the end of one to the next; None for only one.
    """

    at_s: Seconds | None = None
    every_s: PositiveSeconds | None = None
    lasts: Distribution
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)]


class Pause(Whose):
    """Background work: each of these servers pauses now and then, independently.

    Attributes:
        every_s: mean of the exponential gap from the end of one to the next.
    """

    every_s: PositiveSeconds
    lasts: Distribution


class Crash(Whose):
    """These servers lose the requests that they have started, and return after `lasts`.

    Attributes:
        at_s: when; None: at a random time, independently.
        every_s: mean of the exponential gap from a restart to the next crash; None for only one.
        rack: only the servers in this rack.
    """

    at_s: Seconds | None = None
    every_s: PositiveSeconds | None = None
    lasts: Distribution
    rack: Annotated[int, Field(ge=0)] | None = None


class Run(Part):
    """One simulated cluster and its queries.

    Attributes:
        queries: how many queries are counted.
        warmup: how many queries precede these and are not counted.
        gateways: each with breakers, admission and estimates of its own; a query goes to a random
            one.
        racks: None if all servers fail independently.
        late: how late timers of the gateway's event loop run, including its deadlines; callers are
            on time.
        breakers: "off" disables them all, as an operator can.
        over_ms: report the share of answers that took longer.
        marks: shares of a query's shards; report when that share had replied.
        heartbeat_expiry_s: after this time, the gateway knows that all servers of a shard are down.
    """

    name: str = "run"
    queries: PositiveInt
    warmup: Annotated[int, Field(ge=0)] = 0
    arrivals: Annotated[Open | Closed, Field(discriminator="kind")]
    gateways: PositiveInt = 1
    shards: Shards
    racks: Racks | None = None
    different: tuple[Different, ...] = ()
    network: Network = Network()
    late: Distribution = _NO_TIME
    query: Query = Query()
    fetch: Distribution = Constant(kind="constant", ms=1)
    slowdowns: tuple[Slowdown, ...] = ()
    pauses: tuple[Pause, ...] = ()
    crashes: tuple[Crash, ...] = ()
    breakers: Literal["on", "off"] = "on"
    gateway: GatewaySettings = GatewaySettings()
    breaker: BreakerSettings = BreakerSettings()
    admission: AdmissionSettings = AdmissionSettings()
    hedging: HedgingSettings = HedgingSettings()
    coverage: CoverageSettings = CoverageSettings()
    over_ms: tuple[Milliseconds, ...] = ()
    marks: tuple[Share, ...] = ()
    heartbeat_expiry_s: Seconds = 2.0

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        whose: tuple[Different | Whose, ...] = (
            *self.different,
            *self.slowdowns,
            *self.pauses,
            *self.crashes,
        )
        for fault in whose:
            for shard in fault.shards or ():
                if shard >= self.shards.count:
                    raise ValueError(
                        f"names shard {shard}, but shards.count is {self.shards.count}"
                    )
            if fault.replica is not None and fault.replica >= self.shards.replicas:
                raise ValueError(
                    f"names replica {fault.replica}, but shards.replicas is {self.shards.replicas}"
                )
        num_racks = 0 if self.racks is None else self.racks.count
        for crash in self.crashes:
            if crash.rack is not None and crash.rack >= num_racks:
                raise ValueError(f"names rack {crash.rack}, but racks.count is {num_racks}")
        if self.racks is not None and self.racks.workers < self.shards.replicas:
            raise ValueError("racks.workers is less than shards.replicas")
        return self


class Published(Part):
    """A published figure, shown beside ours.

    Attributes:
        run: the run's name.
        figure: its path in the run's part of the report, such as "took_ms.p99".
        value: the published value, in the figure's unit.
        tolerance: how far ours may be from it, as a share of `value`; None: no agreement claimed.
    """

    run: str
    figure: str
    value: float
    tolerance: Annotated[float, Field(ge=0)] | None = None


class Scenario(Part):
    """Runs to compare, and their source."""

    name: str
    title: str
    source: str = ""
    seed: int = 1
    runs: Annotated[tuple[Run, ...], Field(min_length=1)]
    published: tuple[Published, ...] = ()

    @field_validator("runs")
    @classmethod
    def _check_unique_names(cls, value: tuple[Run, ...]) -> tuple[Run, ...]:
        names = [run.name for run in value]
        if len(set(names)) < len(names):
            raise ValueError("each run needs a different name")
        return value

    @model_validator(mode="after")
    def _check_published_runs(self) -> Self:
        names = {run.name for run in self.runs}
        for figure in self.published:
            if figure.run not in names:
                raise ValueError(f"published: there is no run {figure.run!r}")
        return self


def shipped() -> list[str]:
    """Return the names of the built-in scenarios, in the order of docs/tail.md."""
    return sorted(
        path.name.removesuffix(".toml")
        for path in _SHIPPED.iterdir()
        if path.name.endswith(".toml")
    )


def load(name_or_path: str) -> Scenario:
    """Read a built-in scenario by its name, or a file.

    Raises:
        BadRequestError: it does not exist, or is invalid; names the member and the reason.
    """
    if name_or_path in shipped():
        return parse(name_or_path, (_SHIPPED / f"{name_or_path}.toml").read_text("utf-8"))
    try:
        text = Path(name_or_path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise BadRequestError(
            "scenario", f"{name_or_path}: {reason} (built-in ones: {', '.join(shipped())})"
        ) from error
    return parse(Path(name_or_path).stem, text)


def parse(name: str, text: str) -> Scenario:
    """Read a scenario's text.

    Raises:
        BadRequestError: it is not TOML, or is invalid; names the member and the reason.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadRequestError("scenario", f"{name} is not TOML: {error}") from error
    common = {key: document.pop(key) for key in [*document] if key in Run.model_fields}
    has_runs = "runs" in document
    runs = document.pop("runs", [{}])
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        raise BadRequestError("runs", "should be an array of tables: [[runs]]")
    common.pop("name", None)
    try:
        return Scenario.model_validate(
            {"name": name, **document, "runs": [_laid_over(common, run) for run in runs]}
        )
    except ValidationError as error:
        # Unknown members first: a misspelt one is often why another is missing.
        details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
        field, reason = _describe(details[0])
        more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
        raise BadRequestError(field if has_runs else _without_run(field), reason + more) from error


def _laid_over(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Override `common` with `own`, table by table; a distribution is replaced as a whole."""
    merged = dict(common)
    for key, value in own.items():
        under = merged.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping) and "kind" not in value:
            merged[key] = _laid_over(under, value)
        else:
            merged[key] = value
    return merged


def _without_run(field: str) -> str:
    """Return a member's name for a text without `[[runs]]`."""
    return field.removeprefix("runs.0.").replace("runs.0", "scenario")


def _describe(error: ErrorDetails) -> tuple[str, str]:
    where = ".".join(str(part) for part in error["loc"]) or "scenario"
    if error["type"] == "extra_forbidden":
        return where, "is not a known member"
    return where, error["msg"].removeprefix("Value error, ")
