"""Logs, counters, the monitor of the event loop, and traces.

Imports `common.settings`, `common.wire`, `common.runtime` and `common.errors`. Open `telemetry`
first, and for traces `tracing`; `otlp` alone imports OpenTelemetry, and only once tracing is on.
"""
