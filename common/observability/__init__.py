"""Logs, counters, and the monitor of the event loop.

Imports only `common.runtime`. Open `telemetry` first.
"""
