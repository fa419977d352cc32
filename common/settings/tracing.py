"""Settings of traces: whether any are made, which are kept, and where they go."""

from typing import Annotated

from pydantic import Field, field_validator

from hedgerow.common.settings.group import Group, PositiveFloat, PositiveInt, Share


class TracingSettings(Group):
    """Traces by OpenTelemetry (extra `otel`), sent by OTLP over HTTP."""

    enabled: bool = Field(False, description="Whether traces are made and sent.")
    endpoint: str | None = Field(
        None,
        description="Base URL of the receiver; spans are sent to /v1/traces below it. If unset, "
        "what OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT says, or else "
        "http://localhost:4318.",
    )
    service_name: str | None = Field(
        None,
        min_length=1,
        description="service.name of all spans. If unset, what OTEL_SERVICE_NAME or "
        "OTEL_RESOURCE_ATTRIBUTES says, or else hedgerow-gateway and hedgerow-worker.",
    )
    sample_rate: Share = Field(
        0.01,
        description="Share of the traces that are kept although there is nothing special about "
        "them. Searches that are partial, hedged, failed or slow are kept anyway.",
    )
    trust_callers: bool = Field(
        False,
        description="Whether the sampled flag of a caller's traceparent decides instead of "
        "sample_rate. If not, a caller cannot have its traces kept.",
    )
    max_traces_per_second: PositiveFloat = Field(
        20.0,
        description="Most traces that a gateway keeps a second, on average; the others are "
        "counted as dropped.",
    )
    max_queued_spans: PositiveInt = Field(
        8192,
        description="Most spans that wait to be sent, in each process; further ones are dropped, "
        "and counted.",
    )
    timeout_s: Annotated[PositiveFloat, Field(le=60)] = Field(
        10.0, description="Longest time of one attempt to send spans, with its repetitions, in s."
    )

    @field_validator("endpoint")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("is not an http:// or https:// URL")
        return value
