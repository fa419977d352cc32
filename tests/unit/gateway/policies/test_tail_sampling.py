"""Which traces are kept: by chance, by callers if they are trusted, by the outcome; how many."""

from typing import Any

import pytest

from hedgerow.common.settings.tracing import TracingSettings
from hedgerow.common.wire.trace_context import TraceContext
from hedgerow.gateway.policies.tail_sampling import TailSampling

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-01"
UNSAMPLED = f"00-{TRACE}-00f067aa0ba902b7-00"


def sampling_of(drawn: float, **settings: Any) -> TailSampling:
    """One whose every draw is `drawn`."""
    return TailSampling(TracingSettings(enabled=True, **settings), lambda: drawn)


def begun(sampling: TailSampling, header: str = "") -> tuple[TraceContext, int]:
    """The span of a request, and its caller's."""
    packed, caller_span = sampling.begin(header, 1.0)
    context = TraceContext.unpack(packed)
    assert context is not None
    return context, caller_span


@pytest.mark.parametrize(("drawn", "is_sampled"), [(0.0, True), (0.099, True), (0.1, False)])
def test_a_share_is_sampled(drawn: float, is_sampled: bool) -> None:
    """What is drawn below the rate is, and nothing else."""
    context, caller_span = begun(sampling_of(drawn, sample_rate=0.1))
    assert (context.is_sampled, caller_span) == (is_sampled, 0)


@pytest.mark.parametrize("header", [SAMPLED, UNSAMPLED])
@pytest.mark.parametrize("drawn", [0.0, 0.5])
def test_a_caller_continues_its_trace_but_does_not_decide(header: str, drawn: float) -> None:
    """By default, its ids are taken over, and its flag is not."""
    context, caller_span = begun(sampling_of(drawn, sample_rate=0.1), header)
    assert context.hex_id == TRACE
    assert caller_span == 0x00F067AA0BA902B7 != context.span_id
    assert context.is_sampled == (drawn < 0.1)


@pytest.mark.parametrize("header", [SAMPLED, UNSAMPLED])
@pytest.mark.parametrize("drawn", [0.0, 0.5])
def test_a_trusted_caller_decides(header: str, drawn: float) -> None:
    """If the settings trust callers, their flag counts instead of the rate."""
    sampling = sampling_of(drawn, sample_rate=0.1, trust_callers=True)
    assert begun(sampling, header)[0].is_sampled == (header == SAMPLED)


def test_a_malformed_header_begins_a_new_trace() -> None:
    """A malformed header counts as if the caller had sent none."""
    context, caller_span = begun(sampling_of(0.5), SAMPLED + "-x")
    assert context.hex_id != TRACE
    assert caller_span == 0


def test_traces_worth_keeping_are_bounded() -> None:
    """Beyond the limit they are dropped and counted; a second later, there is room again."""
    sampling = sampling_of(0.5, max_traces_per_second=10)
    assert [sampling.keeps(1.0, is_sampled=False) for _ in range(12)] == [True] * 10 + [False] * 2
    assert sampling.as_dict() == {"kept": 10, "dropped": 2}
    assert sampling.keeps(2.0, is_sampled=False)


def test_what_is_sampled_has_its_place_from_the_beginning() -> None:
    """Users' functions make spans of it, so it is not dropped at the end; it counts once."""
    sampling = sampling_of(0.0, max_traces_per_second=1, trust_callers=True)
    first, _ = begun(sampling, SAMPLED)
    second, _ = begun(sampling, SAMPLED)
    assert (first.is_sampled, second.is_sampled) == (True, False)
    assert sampling.keeps(1.5, is_sampled=True)
    assert sampling.as_dict() == {"kept": 1, "dropped": 1}
