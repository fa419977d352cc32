"""Settings of the policies that shorten the tail: hedging, enough, probation, admission."""

from typing import Annotated

from pydantic import Field, model_validator

from hedgerow.common.settings.group import Group, Percent, PositiveFloat, PositiveInt, Share


class HedgingSettings(Group):
    """Second copies of requests that a worker has started and not answered in time."""

    max_extra_load: Share = Field(
        0.05,
        description="Hedges for each first copy that was sent, as a share; 0 switches hedging off, "
        "and copies of what a worker died with too.",
    )
    burst: PositiveInt = Field(
        10,
        description="Hedges that may be sent at once after a time without any; or "
        "`max_extra_load` times the cluster's shards, if that is more: what one query earns.",
    )
    percentile: Annotated[float, Field(gt=0, lt=100)] = Field(
        95.0,
        description="A hedge is sent after this percentile of the shard's reply times, and not "
        "before twice their median.",
    )
    min_delay_ms: PositiveFloat = Field(
        5.0, description="No hedge is sent sooner after the first copy, in ms."
    )
    window_s: PositiveFloat = Field(
        10.0, description="Time over which a shard's reply times are remembered, in s."
    )
    minimum_number_of_calls: PositiveInt = Field(
        50, description="A shard is not hedged before so many replies are in its window."
    )


class CoverageSettings(Group):
    """How long to wait for what is missing: while the caller waits, and to learn from it.

    The names of the first two are Vespa's.
    """

    min_wait_after_coverage_factor: Share = Field(
        0.0, description="Least wait for the rest, as a share of the time that was left."
    )
    max_wait_after_coverage_factor: Share = Field(
        1.0,
        description="Longest wait for the rest, as a share of the time that was left; the more "
        "shards are missing, the nearer the wait is to it.",
    )
    late_reply_factor: Share = Field(
        0.25,
        description="For how long after the deadline workers may still answer a query that is "
        "learnt from, as a share of the deadline; no caller waits for it.",
    )
    max_late_load: Share = Field(
        0.1,
        description="Requests that may run on so, as a share of those of all queries that are "
        "learnt from; 0 switches it off.",
    )

    @model_validator(mode="after")
    def _is_ordered(self) -> "CoverageSettings":
        if self.min_wait_after_coverage_factor > self.max_wait_after_coverage_factor:
            raise ValueError("min_wait_after_coverage_factor is above its maximum")
        return self


class ProbationSettings(Group):
    """Workers that are outliers among the replicas of their shards; names as in Envoy."""

    interval_s: PositiveFloat = Field(1.0, description="How often the replicas are compared, in s.")
    window_s: PositiveFloat = Field(
        30.0, description="Time over which what a replica did is remembered, in s."
    )
    minimum_number_of_calls: PositiveInt = Field(
        50, description="A replica is not judged before so many of its calls are in the window."
    )
    latency_percentile: Annotated[float, Field(gt=0, lt=100)] = Field(
        90.0, description="The percentile of their times by which replicas are compared."
    )
    latency_factor: Annotated[float, Field(gt=1)] = Field(
        3.0, description="An outlier is slower than the median of the other replicas by it."
    )
    min_excess_ms: PositiveFloat = Field(
        5.0, description="An outlier is also slower than the others by at least so much, in ms."
    )
    failure_rate_threshold: Percent = Field(
        50.0,
        description="Share of failures that makes an outlier where the others fail less than half "
        "as often, in percent.",
    )
    base_ejection_time_s: PositiveFloat = Field(
        10.0,
        description="Shortest probation, in s; times the number of probations in a row.",
    )
    max_ejection_time_s: PositiveFloat = Field(
        300.0,
        description="Cap of that time; and a worker that did well for so long has a clean "
        "sheet, in s.",
    )
    max_ejection_percent: Annotated[float, Field(ge=0, le=100)] = Field(
        50.0, description="Most live workers that may be on probation at once, in percent."
    )
    trial_interval_ms: PositiveFloat = Field(
        50.0, description="A worker on probation gets at most one copy in this time, in ms."
    )


class AdmissionSettings(Group):
    """What a gateway refuses before it asks a shard, so that what it asks is answered in time."""

    enabled: bool = Field(True, description="Whether queries are ever refused for overload.")
    initial_limit: PositiveInt = Field(
        128, description="Queries that may be in flight until the limit has been learnt."
    )
    min_limit: PositiveInt = Field(4, description="The limit never falls below this.")
    max_limit: PositiveInt = Field(4096, description="The limit never grows beyond this.")
    batch_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.7,
        description="A query of priority batch is refused when more than this share of the limit "
        "is in flight.",
    )
    wait_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.33,
        description="A shard's part that waited for more than this share of its query's deadline "
        "speaks for a lower limit.",
    )
    predict: bool = Field(
        True,
        description="Whether a query is refused if, because of the shards' backlog, it would not "
        "reach its minimum coverage by its deadline.",
    )
