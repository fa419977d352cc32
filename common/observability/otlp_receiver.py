"""Sends requests to the receiver of spans, which settings or OpenTelemetry's variables name.

Imports requests, so it is itself imported only if tracing is on.
"""

import gzip
import os
import threading
import time
from typing import Final

import requests
from opentelemetry.util.re import parse_env_headers

from hedgerow.common.settings.tracing import TracingSettings

_DEFAULT: Final = "http://localhost:4318"
_PATH: Final = "v1/traces"
# Those after which OTLP has a request sent again, later.
_LATER: Final = frozenset({429, 502, 503, 504})
_FIRST_PAUSE_S: Final = 0.5


class OtlpReceiver:
    """The receiver, which takes OTLP requests over HTTP."""

    def __init__(self, settings: TracingSettings) -> None:
        """Send to the receiver that `settings` name."""
        self._url = _url(settings)
        self._timeout_s = settings.timeout_s
        self._is_compressed = _variable("COMPRESSION").lower() == "gzip"
        self._has_closed = threading.Event()
        self._session = requests.Session()
        self._session.headers.update(parse_env_headers(_variable("HEADERS"), liberal=True))
        self._session.headers["content-type"] = "application/x-protobuf"
        if self._is_compressed:
            self._session.headers["content-encoding"] = "gzip"
        self._session.verify = _variable("CERTIFICATE") or True
        key, certificate = _variable("CLIENT_KEY"), _variable("CLIENT_CERTIFICATE")
        if certificate:
            self._session.cert = (certificate, key) if key else certificate

    def post(self, body: bytes) -> bool:
        """Send a request, and retry while OTLP allows it; returns whether the receiver took it."""
        if self._is_compressed:
            body = gzip.compress(body)
        give_up_at, pause_s = time.monotonic() + self._timeout_s, _FIRST_PAUSE_S
        while True:
            left_s = give_up_at - time.monotonic()
            try:
                answer = self._session.post(self._url, data=body, timeout=max(0.1, left_s))
                if answer.ok:
                    return True
                is_over = answer.status_code not in _LATER
            except requests.ConnectionError:
                is_over = False
            except requests.RequestException:
                is_over = True
            left_s = give_up_at - time.monotonic()
            if is_over or left_s <= pause_s or self._has_closed.wait(pause_s):
                return False
            pause_s *= 2

    def close(self) -> None:
        """Make `post` stop retrying."""
        self._has_closed.set()


def _url(settings: TracingSettings) -> str:
    if settings.endpoint is None and (
        whole := os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    ):
        return whole
    base = settings.endpoint or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or _DEFAULT
    return f"{base.rstrip('/')}/{_PATH}"


def _variable(name: str) -> str:
    """One of OpenTelemetry's variables, of traces or of everything that is sent."""
    of_traces = os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}")
    return of_traces or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}", "")
