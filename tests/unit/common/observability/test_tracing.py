"""What a process sends to a receiver of OTLP, and as what it presents itself."""

import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hedgerow.common import observability
from hedgerow.common.errors import ConfigurationError
from hedgerow.common.observability.current_trace import CURRENT
from hedgerow.common.observability.span import Attribute, Span, SpanKind
from hedgerow.common.observability.tracing import Tracing, load_if_on, tracing_of
from hedgerow.common.settings.tracing import TracingSettings
from hedgerow.common.wire.trace_context import TraceContext
from tests.support.otlp_receiver import ReceivedSpan, Receiver, receiving

CONTEXT = TraceContext(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0xF067AA0BA902B7, is_sampled=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that takes what it gets."""
    with receiving() as one:
        yield one


def sent(receiver: Receiver, endpoint: str | None, **settings: Any) -> ReceivedSpan:
    """One span, as it arrives when a process sends it and ends."""
    tracing = Tracing(TracingSettings(enabled=True, endpoint=endpoint, **settings), "ours", "one")
    tracing.start()
    now = time.time_ns()
    attributes: dict[str, Attribute] = {"text": "t", "number": 7, "share": 0.5, "is": True}
    kind = SpanKind.SERVER
    tracing.offer([Span("work", CONTEXT, 9, now, now + 5, attributes, "why", kind)])
    tracing.close()
    (span,) = receiver.spans
    return span


def test_a_span_arrives_as_it_was_made(receiver: Receiver) -> None:
    """Ids, times, attributes of each type, and the error."""
    span = sent(receiver, receiver.url + "/")
    assert (span.trace_id, span.span_id) == (CONTEXT.hex_id, f"{CONTEXT.span_id:016x}")
    assert span.parent_id == f"{9:016x}"
    assert span.end_ns - span.start_ns == 5
    assert span.attributes == {"text": "t", "number": 7, "share": 0.5, "is": True}
    assert (span.is_error, span.message) == (True, "why")
    assert (span.service, span.instance, span.scope) == ("ours", "one", "hedgerow")


def test_opentelemetry_s_variables_count(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the settings say nothing: the receiver, headers for it, and the service's name."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=theirs,deployment=test")
    span = sent(receiver, None)
    assert span.service == "theirs"
    assert receiver.headers["authorization"] == "Bearer secret"


def test_a_setting_counts_before_a_variable(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As everywhere."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "theirs")
    assert sent(receiver, receiver.url, service_name="mine").service == "mine"


def test_a_user_s_function_sees_the_trace(receiver: Receiver) -> None:
    """Log lines within it name the trace, sampled or not, and no longer once it has returned."""
    tracing = Tracing(TracingSettings(enabled=True, endpoint=receiver.url), "ours", "one")
    for is_sampled in (True, False):
        context = TraceContext(CONTEXT.trace_id, 1, is_sampled)
        with tracing.users_span("rank", context, {}):
            assert CURRENT.get() == context.pack()
        assert not CURRENT.get()
    tracing.close()


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """When tracing is on; while it is off, nothing is missing."""
    monkeypatch.delitem(sys.modules, "hedgerow.common.observability.otlp", raising=False)
    monkeypatch.delattr(observability, "otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert tracing_of(TracingSettings(), "ours", "one") is None
    load_if_on(TracingSettings())
    with pytest.raises(ConfigurationError, match=r"needs the extra otel \(pip install"):
        tracing_of(TracingSettings(enabled=True), "ours", "one")


def test_an_endpoint_is_a_url() -> None:
    """Else the settings are refused at the start."""
    with pytest.raises(ValueError, match="is not an http"):
        TracingSettings(endpoint="localhost:4318")
