"""What a process sends to a receiver of OTLP, and as what it presents itself."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hedgerow.common import observability
from hedgerow.common.errors import ConfigurationError
from hedgerow.common.observability import otlp_receiver
from hedgerow.common.observability.current_trace import CURRENT
from hedgerow.common.observability.otlp_encoding import encode_request, encode_span
from hedgerow.common.observability.otlp_receiver import OtlpReceiver
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
    """Without settings, the variables name the receiver, its headers and the service."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=theirs,deployment=test")
    span = sent(receiver, None)
    assert span.service == "theirs"
    assert receiver.headers["authorization"] == "Bearer secret"


def test_a_setting_counts_before_a_variable(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings apply before OpenTelemetry's variables."""
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
    """Without OpenTelemetry, tracing that is on is an error; while it is off, none is needed."""
    monkeypatch.delitem(sys.modules, "hedgerow.common.observability.otlp", raising=False)
    monkeypatch.delattr(observability, "otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert tracing_of(TracingSettings(), "ours", "one") is None
    load_if_on(TracingSettings())
    with pytest.raises(ConfigurationError, match=r"needs the extra otel \(pip install"):
        tracing_of(TracingSettings(enabled=True), "ours", "one")


def test_an_endpoint_is_a_url() -> None:
    """Settings with an endpoint that is not a URL are refused at the start."""
    with pytest.raises(ValueError, match="is not an http"):
        TracingSettings(endpoint="localhost:4318")


ATTRIBUTES = st.dictionaries(
    st.text(max_size=200),
    st.text(max_size=300)
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.booleans(),
    max_size=6,
)
NS = st.integers(0, 2**64 - 1)


@given(
    name=st.text(max_size=200),
    trace_id=st.integers(1, 2**128 - 1),
    ids=st.tuples(st.integers(1, 2**64 - 1), NS),
    times=st.tuples(NS, NS),
    attributes=ATTRIBUTES,
    error=st.text(max_size=300),
    kind=st.sampled_from(SpanKind),
)
def test_what_is_encoded_is_what_otlp_s_own_classes_read(
    name: str,
    trace_id: int,
    ids: tuple[int, int],
    times: tuple[int, int],
    attributes: dict[str, Attribute],
    error: str,
    kind: SpanKind,
) -> None:
    """Whatever a span says arrives: ids, times, each type of attribute, any text."""
    context = TraceContext(trace_id, ids[0], is_sampled=True)
    span = Span(name, context, ids[1], *times, attributes, error, kind, has_remote_parent=True)
    encoded = encode_request({"service.name": "s"}, "hedgerow", "1", [encode_span(span)] * 2)
    request = ExportTraceServiceRequest.FromString(encoded)
    (of_resource,) = request.resource_spans
    assert of_resource.resource.attributes[0].value.string_value == "s"
    (of_scope,) = of_resource.scope_spans
    assert (of_scope.scope.name, of_scope.scope.version) == ("hedgerow", "1")
    for read in of_scope.spans:
        assert read.name == name
        assert read.trace_id == trace_id.to_bytes(16, "big")
        assert read.span_id == ids[0].to_bytes(8, "big")
        assert read.parent_span_id == (ids[1].to_bytes(8, "big") if ids[1] else b"")
        assert (read.start_time_unix_nano, read.end_time_unix_nano) == times
        assert (read.kind, read.flags) == (kind, 0x301)
        assert read.status.message == error
        assert read.status.code == (2 if error else 0)
        found = {
            one.key: getattr(one.value, str(one.value.WhichOneof("value")))
            for one in read.attributes
        }
        assert found == attributes
        assert {key: type(value) for key, value in found.items()} == {
            key: type(value) for key, value in attributes.items()
        }


class Refusing(BaseHTTPRequestHandler):
    """Answers with the next of `statuses`."""

    statuses: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.statuses.pop(0))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("statuses", "is_taken"),
    [
        ([200], True),
        ([202], True),
        ([503, 429, 200], True),
        ([400, 200], False),
        ([503] * 9, False),
    ],
)
def test_a_receiver_that_asks_for_it_is_tried_again(
    statuses: list[int], is_taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests are repeated for the statuses that OTLP calls retryable, until the time is over."""
    monkeypatch.setattr(otlp_receiver, "_FIRST_PAUSE_S", 0.001)
    Refusing.statuses = [*statuses]
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        timeout_s = 30.0 if is_taken else 0.1
        receiver = OtlpReceiver(TracingSettings(enabled=True, endpoint=url, timeout_s=timeout_s))
        try:
            assert receiver.post(b"") is is_taken
        finally:
            server.shutdown()
            thread.join()


def test_a_receiver_that_is_away_does_not_take_anything() -> None:
    """Sending reports a failure and does not raise; once closed, nothing is tried again."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    receiver = OtlpReceiver(TracingSettings(enabled=True, endpoint=url, timeout_s=60))
    receiver.close()
    assert receiver.post(b"") is False
