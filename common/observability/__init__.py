"""Logs, counters and the watch over the event loop.

Imports nothing of the rest. Open `telemetry` first.
"""
