"""The settings of the circuit breakers: `[breaker]`."""

from typing import Annotated

from pydantic import Field

from hedgerow.common.settings.group import Group, Percent, PositiveFloat, PositiveInt


class BreakerSettings(Group):
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
