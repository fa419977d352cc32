"""Logs, counters, the monitor of the event loop, and traces.

Imports `common.settings`, `common.wire`, `common.runtime` and `common.errors`. Open `telemetry`
first, and for traces `tracing`. Nothing of OpenTelemetry is imported before tracing is on.
"""
