"""What a worker says about itself: in its heartbeats, and to Prometheus.

Imports the rooms whose parts it reads, never `layouts`. Open `worker_report` first.
"""
