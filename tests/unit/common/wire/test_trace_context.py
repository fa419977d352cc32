"""The context of a trace: as W3C has it, as our processes send it, and the ids derived from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.observability.current_trace import CURRENT, add_trace_id
from hedgerow.common.wire.trace_context import TraceContext

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
CONTEXTS = st.builds(
    TraceContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
)


@pytest.mark.parametrize(
    ("header", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),  # the second bit says that the trace's id is random
        (f"cc-{TRACE}-{SPAN}-01", True),  # of a later version, what this one knows is read
        (f"cc-{TRACE}-{SPAN}-01-what-comes-next", True),
    ],
)
def test_a_valid_traceparent_is_read(header: str, is_sampled: bool) -> None:
    """Ids and the sampled flag are taken over; unknown flags and later members do no harm."""
    context = TraceContext.parse(header)
    assert context == TraceContext(int(TRACE, 16), int(SPAN, 16), is_sampled)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",  # this version has four members
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01.",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0x",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-0\N{ARABIC-INDIC DIGIT ONE}",
    ],
)
def test_a_malformed_traceparent_is_ignored(header: str) -> None:
    """Whatever W3C Trace Context calls invalid is as good as none."""
    assert TraceContext.parse(header) is None


@given(st.text(max_size=80))
def test_any_text_may_come_as_a_traceparent(header: str) -> None:
    """Reading never raises, and what was read is written as it came, but for unknown flags."""
    context = TraceContext.parse(header)
    if context is not None:
        assert context.traceparent()[3:52] == header[3:52]


@given(CONTEXTS)
def test_a_context_survives_both_its_forms(context: TraceContext) -> None:
    """It is the same after its way as a header, and as what our processes send."""
    assert TraceContext.parse(context.traceparent()) == context
    assert TraceContext.unpack(context.pack()) == context


@given(st.binary(max_size=40))
def test_any_bytes_may_come_from_the_wire(data: bytes) -> None:
    """What is no context is None, not an error."""
    context = TraceContext.unpack(data)
    assert context is None or len(data) == 25


@given(CONTEXTS, st.sets(st.integers(0, 5000), min_size=2, max_size=40))
def test_children_differ_and_are_known_beforehand(context: TraceContext, numbers: set[int]) -> None:
    """Each number has a span of its own, in the same trace, wherever it is derived."""
    spans = {context.child(number).span_id for number in numbers}
    assert len(spans) == len(numbers)
    assert 0 not in spans
    grandchildren = {context.child(1).child(number).span_id for number in numbers}
    assert grandchildren.isdisjoint(spans)
    first, second, *_ = numbers
    assert context.child(first).child(second) != context.child(second).child(first)
    again = TraceContext.unpack(context.pack())
    assert again is not None
    assert {again.child(number).span_id for number in numbers} == spans
    assert context.of_shard(0) not in [context.child(number) for number in range(16)]


def test_log_lines_carry_the_trace_that_they_belong_to() -> None:
    """Within a trace its id is added; outside of any, nothing is."""
    assert add_trace_id(None, "info", {"event": "e"}) == {"event": "e"}
    token = CURRENT.set(TraceContext(int(TRACE, 16), 1, is_sampled=False).pack())
    try:
        assert add_trace_id(None, "info", {"event": "e"}) == {"event": "e", "trace_id": TRACE}
    finally:
        CURRENT.reset(token)
