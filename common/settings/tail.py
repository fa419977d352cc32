"""Settings of the policies that shorten the tail: hedging, coverage, probation, admission."""

from typing import Annotated

from pydantic import Field, model_validator

from hedgerow.common.settings.group import Group, Percent, PositiveFloat, PositiveInt, Share


class HedgingSettings(Group):
    """Second copies of requests that a worker has started and not answered in time."""

    max_extra_load: Share = Field(
        0.05,
        description="Most hedges, as a share of the first copies sent; 0 turns hedging off, and "
        "also second copies of requests that a dead worker had.",
    )
    burst: PositiveInt = Field(
        10,
        description="Most hedges that can be saved up and sent at once; or what one query over "
        "all shards earns (`max_extra_load` times the cluster's shards), if that is more.",
    )
    percentile: Annotated[float, Field(gt=0, lt=100)] = Field(
        95.0,
        description="A hedge is sent after this percentile of the shard's reply times, and not "
        "before twice their median.",
    )
    min_delay_ms: PositiveFloat = Field(
        5.0, description="Shortest time from the first copy to a hedge, in ms."
    )
    window_s: PositiveFloat = Field(
        10.0, description="Time over which a shard's reply times are remembered, in s."
    )
    minimum_number_of_calls: PositiveInt = Field(
        50, description="A shard is not hedged until its window has this many replies."
    )


class CoverageSettings(Group):
    """How long to wait for missing replies, and for late ones to learn from.

    The names of the first two are Vespa's.
    """

    min_wait_after_coverage_factor: Share = Field(
        0.0, description="Shortest wait for the rest, as a share of the remaining time."
    )
    max_wait_after_coverage_factor: Share = Field(
        1.0,
        description="Longest wait for the rest, as a share of the remaining time; the more "
        "shards are missing, the closer the wait is to it.",
    )
    late_reply_factor: Share = Field(
        0.25,
        description="How long after the deadline workers may still reply to a query from which "
        "the gateway learns, as a share of the deadline; no caller waits for these replies.",
    )
    max_late_load: Share = Field(
        0.1,
        description="Most requests that may run past the deadline in this way, as a share of all "
        "requests of the queries from which the gateway learns; 0 turns this off.",
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
        30.0, description="Time over which a replica's calls are remembered, in s."
    )
    minimum_number_of_calls: PositiveInt = Field(
        50, description="A replica is not judged until its window has this many calls."
    )
    latency_percentile: Annotated[float, Field(gt=0, lt=100)] = Field(
        90.0, description="The percentile of their times by which replicas are compared."
    )
    latency_factor: Annotated[float, Field(gt=1)] = Field(
        3.0,
        description="An outlier takes at least this many times the median of the other replicas.",
    )
    min_excess_ms: PositiveFloat = Field(
        5.0, description="An outlier also takes at least this much longer than the others, in ms."
    )
    failure_rate_threshold: Percent = Field(
        50.0,
        description="A replica with at least this share of failures is an outlier if the others "
        "fail less than half as often, in percent.",
    )
    base_ejection_time_s: PositiveFloat = Field(
        10.0,
        description="Shortest probation, in s; it is multiplied by the number of probations in a "
        "row.",
    )
    max_ejection_time_s: PositiveFloat = Field(
        300.0,
        description="Limit on that product, in s; a worker that performs well for this long starts "
        "at one again.",
    )
    max_ejection_percent: Annotated[float, Field(ge=0, le=100)] = Field(
        50.0, description="Most live workers that may be on probation at once, in percent."
    )
    trial_interval_ms: PositiveFloat = Field(
        50.0,
        description="Shortest time between shadow requests to a worker on probation, in ms.",
    )


class AdmissionSettings(Group):
    """When a gateway refuses queries, so that those it admits are answered in time."""

    enabled: bool = Field(True, description="Whether queries are ever refused for overload.")
    initial_limit: PositiveInt = Field(
        128, description="Most queries in flight until the limit has been learnt."
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
        description="If a shard's part waits for more than this share of its query's deadline, it "
        "counts towards a lower limit.",
    )
    predict: bool = Field(
        True,
        description="Whether a query is refused if, because of the shards' backlog, it would not "
        "reach its minimum coverage by its deadline.",
    )
