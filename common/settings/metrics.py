"""Settings of metrics: who may read them, how many series there are, where workers serve them."""

from pydantic import Field

from hedgerow.common.settings.group import Group, PositiveInt


class MetricsSettings(Group):
    """Metrics for Prometheus, at `/metrics`."""

    public: bool = Field(
        False,
        description="Whether a gateway answers `GET /metrics` without a token or key. If not, it "
        "needs the token, or a key with the right `metrics`, once there is either.",
    )
    max_names: PositiveInt = Field(
        20,
        description="Most collections, rank profiles and keys, of each, that have series of their "
        "own: the first to be used. All others share one, with the name `other`.",
    )


class WorkerMetricsSettings(Group):
    """Where a worker serves its metrics; a part of the group `worker`."""

    metrics_host: str = Field(
        "127.0.0.1",
        description="Address of the worker's own `/metrics`, which needs neither token nor key.",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of the worker's own `/metrics`; 0 for any free one, which its log names. "
        "If unset, gateways serve the metrics of the worker with their own, as they always do for "
        "workers of `gateway up`.",
    )
