"""Metrics for Prometheus: what a metric is, how it is written, and those of a worker.

Imports `common.wire` alone. Open `metric` first, then `worker_metrics`.
"""
