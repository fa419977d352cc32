"""The spans of users' functions, by OpenTelemetry, and sending all spans.

Imported only if tracing is on: only this module and `otlp_receiver` import OpenTelemetry.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    ProxyTracerProvider,
    SpanContext,
    TraceFlags,
)

from hedgerow.common import __version__
from hedgerow.common.observability.otlp_encoding import encode_request
from hedgerow.common.observability.otlp_receiver import OtlpReceiver
from hedgerow.common.observability.span import Attribute
from hedgerow.common.settings.tracing import TracingSettings
from hedgerow.common.wire.trace_context import TraceContext

_SCOPE: Final = "hedgerow"
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_UNSAMPLED: Final = TraceFlags(TraceFlags.DEFAULT)


class OtlpSender:
    """Sends spans to a receiver; blocks."""

    def __init__(self, settings: TracingSettings, service: str, instance: str) -> None:
        """Send the spans of `instance`, one process of `service`.

        OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_…, OTEL_RESOURCE_ATTRIBUTES and so on)
        apply where the settings are not set.
        """
        self.resource = _resource(settings, service, instance)
        self._ours = {name: str(value) for name, value in self.resource.attributes.items()}
        self._settings = settings
        self._receiver = OtlpReceiver(settings)
        self._exporter: OTLPSpanExporter | None = None  # of the spans of users' functions

    def send(self, spans: Sequence[bytes | ReadableSpan]) -> bool:
        """Send spans, ours by `encode_span`; returns whether the receiver has taken them."""
        ours = [span for span in spans if isinstance(span, bytes)]
        users = [span for span in spans if not isinstance(span, bytes)]
        is_sent = True
        if ours:
            is_sent = self._receiver.post(encode_request(self._ours, _SCOPE, __version__, ours))
        if users:
            if self._exporter is None:
                self._exporter = self._make_exporter()
            is_sent = self._exporter.export(users) is SpanExportResult.SUCCESS and is_sent
        return is_sent

    def close(self) -> None:
        """End the attempt that is being made, and make no other."""
        self._receiver.close()
        if self._exporter is not None:
            self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _make_exporter(self) -> OTLPSpanExporter:
        _mute()
        base = self._settings.endpoint
        return OTLPSpanExporter(
            endpoint=None if base is None else f"{base.rstrip('/')}/v1/traces",
            timeout=self._settings.timeout_s,
        )


class Offer(SpanProcessor):
    """Hands the spans that users' functions make to our own queue."""

    def __init__(self, offer: Callable[[Sequence[ReadableSpan]], None]) -> None:
        """Hand them to `offer`."""
        self._offer = offer

    def on_end(self, span: ReadableSpan) -> None:
        """A span has ended."""
        if span.context is not None and span.context.trace_flags.sampled:
            self._offer((span,))


def provide_tracers(
    settings: TracingSettings, sender: OtlpSender, offer: Callable[[Sequence[ReadableSpan]], None]
) -> None:
    """Let users' functions make spans, unless they have brought a provider of their own.

    A span within a trace is kept if the trace is sampled; of spans outside of any trace, the share
    `sample_rate` is kept.
    """
    if isinstance(trace.get_tracer_provider(), ProxyTracerProvider):
        sampler = ParentBased(TraceIdRatioBased(settings.sample_rate))
        provider = TracerProvider(sampler, sender.resource, shutdown_on_exit=False)
        provider.add_span_processor(Offer(offer))
        trace.set_tracer_provider(provider)


@contextmanager
def users_span(
    name: str, parent: TraceContext, attributes: Mapping[str, Attribute]
) -> Iterator[None]:
    """Run a user's function in a span of its own, the parent of the spans that the function makes.

    If the trace is not sampled, nothing is recorded, and the function sees the trace's id only.
    """
    flags = _SAMPLED if parent.is_sampled else _UNSAMPLED
    remote = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)
    context = trace.set_span_in_context(NonRecordingSpan(remote))
    if parent.is_sampled:
        tracer = trace.get_tracer(_SCOPE, __version__)
        with tracer.start_as_current_span(name, context, attributes=dict(attributes)):
            yield
        return
    token = otel_context.attach(context)
    try:
        yield
    finally:
        otel_context.detach(token)


def _resource(settings: TracingSettings, service: str, instance: str) -> Resource:
    found = Resource.create()  # with the environment's attributes
    ours: dict[str, str] = {"service.instance.id": instance, "service.version": __version__}
    if settings.service_name is not None:
        ours[SERVICE_NAME] = settings.service_name
    elif str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        ours[SERVICE_NAME] = service
    return found.merge(Resource(ours))


def _mute() -> None:
    """Have no line logged for each batch that fails: `SpanQueue` reports that once a minute."""
    logger = logging.getLogger("opentelemetry.exporter")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
