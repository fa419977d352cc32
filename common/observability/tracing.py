"""A process's tracing: its queue of spans, and spans around users' functions."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.observability.current_trace import CURRENT
from hedgerow.common.observability.otlp_encoding import encode_span
from hedgerow.common.observability.span import Attribute, Span
from hedgerow.common.observability.span_queue import GATHER_S, SpanQueue
from hedgerow.common.settings.tracing import TracingSettings
from hedgerow.common.wire.trace_context import TraceContext


class Tracing:
    """Makes and sends the spans of one process."""

    def __init__(
        self, settings: TracingSettings, service: str, instance: str, gather_s: float = GATHER_S
    ) -> None:
        """Trace according to `settings`; see `tracing_of`.

        Args:
            settings: the settings of tracing.
            service: the `service.name`, unless it is configured.
            instance: distinguishes this process from others of the service.
            gather_s: how long spans wait for others, so that they leave together, in s.

        Raises:
            ConfigurationError: OpenTelemetry is not installed.
        """
        otlp = _otlp()
        self.settings = settings
        self._otlp = otlp
        self._sender = otlp.OtlpSender(settings, service, instance)
        self.queue = SpanQueue(self._sender, settings.max_queued_spans, gather_s)

    def start(self) -> None:
        """Start to send; a process that is forked later must start its own."""
        self.queue.start()

    def offer(self, spans: Sequence[Span]) -> None:
        """Queue spans, which a thread sends soon; drops them if there is no room."""
        # Encoded here: thousands of spans that wait as objects would cost more than their encoding.
        self.queue.offer([encode_span(span) for span in spans])

    def provide_tracers(self) -> None:
        """Let users' functions make spans by OpenTelemetry's global tracers.

        If their modules have set a provider of their own when they were imported, that stays.
        """
        self._otlp.provide_tracers(self.settings, self._sender, self.queue.offer)

    def close(self) -> None:
        """Send what is left; blocks for at most some seconds."""
        self.queue.close()

    @contextmanager
    def users_span(
        self, name: str, parent: TraceContext, attributes: Mapping[str, Attribute]
    ) -> Iterator[None]:
        """Run a user's function in a span of its own, if the trace is sampled.

        Args:
            name: the span's name.
            parent: the span that it is a part of; log lines name its trace.
            attributes: the span's attributes.
        """
        token = CURRENT.set(parent.pack())
        try:
            with self._otlp.users_span(name, parent, attributes):
                yield
        finally:
            CURRENT.reset(token)


def load_if_on(settings: TracingSettings) -> None:
    """Import OpenTelemetry if tracing is on: processes that are forked later share its memory.

    Raises:
        ConfigurationError: it is not installed.
    """
    if settings.enabled:
        _otlp()


def tracing_of(
    settings: TracingSettings, service: str, instance: str, gather_s: float = GATHER_S
) -> Tracing | None:
    """Return a process's tracing; None while tracing is off. The arguments are those of `Tracing`.

    Raises:
        ConfigurationError: OpenTelemetry is not installed.
    """
    return Tracing(settings, service, instance, gather_s) if settings.enabled else None


def _otlp() -> Any:
    """Import the module that uses OpenTelemetry, which is not loaded while tracing is off.

    Raises:
        ConfigurationError: OpenTelemetry is not installed.
    """
    try:
        from hedgerow.common.observability import otlp  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            f"tracing.enabled needs the extra otel (pip install 'hedgerow[otel]'): {error}"
        ) from error
    return otlp
